"""`show` over a real repository and a real store; no run is carried out here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.rendering_markdown import RUN_MARKER
from orchestrator.adapters.run_lock import RunLock
from orchestrator.core.events import CancelRequested, RunEnded
from orchestrator.wiring import Home
from tests.core.runs import finished, landed, rejected, started
from tests.doors.test_steering import NEW, OLD, PAUSED, journal, opened, orchestrator, project

__all__ = ["opened", "project"]


def test_show_tells_of_the_newest_run_and_what_can_be_done(opened: Home, capsys: pytest.CaptureFixture[str]):
    journal(opened, OLD, RunEnded())
    journal(opened, NEW, started("parse#1"), finished("parse#1"), landed("parse#1"), PAUSED)
    assert orchestrator("show") == 0
    out = capsys.readouterr().out
    assert ": waits until the run goes on\n" in out
    assert out.startswith(f"Run {NEW}: a goal\n  paused; 2 waiting, 1 succeeded\n")
    assert f"orchestrator resume {NEW} --budget USD" in out
    assert f"orchestrator accept {NEW}" in out
    assert orchestrator("show", OLD[-9:]) == 0
    assert capsys.readouterr().out.startswith(f"Run {OLD}")


def test_an_unknown_run_is_one_clear_line(opened: Home, capsys: pytest.CaptureFixture[str]):
    journal(opened, NEW, RunEnded())
    assert orchestrator("show", "20261123-110000-ef02") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"error: no run '20261123-110000-ef02' here, did you mean {NEW!r}?: `orchestrator runs` lists them\n"
    )


def test_without_any_run_it_says_how_to_make_one(project: Path, capsys: pytest.CaptureFixture[str]):
    assert orchestrator("show") == 2
    assert capsys.readouterr().err.endswith("no run in this repository: `orchestrator run GOAL` makes one\n")


def test_a_report_is_written_as_a_page_and_as_markdown_and_never_over_a_file(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, PAUSED)
    page, comment = Path("report.html"), Path("report.md")
    assert orchestrator("show", "--html", str(page), "--md", str(comment)) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert comment.read_text().startswith(RUN_MARKER)
    page.write_text("mine")
    capsys.readouterr()
    assert orchestrator("show", "--html", str(page)) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: report.html exists: name another file, or add --force\n")
    assert page.read_text() == "mine"
    assert orchestrator("show", "--html", str(page), "--force") == 0
    assert page.read_text().startswith("<!doctype html>")


def test_json_is_the_whole_report(opened: Home, capsys: pytest.CaptureFixture[str]):
    journal(opened, NEW, PAUSED)
    assert orchestrator("show", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["started"]["run"], told["state"], told["stopped"]) == (NEW, "paused", False)


def test_a_run_whose_process_has_gone_is_stopped_and_a_live_one_is_not(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, started("parse#1"))
    orchestrator("show")
    out = capsys.readouterr().out
    assert "\n  stopped; " in out
    assert "waits for parse\n" in out
    assert f"go on: orchestrator resume {NEW}\n" in out
    with RunLock.acquire(opened.git, opened.state, run=NEW, clock=opened.clock):
        orchestrator("show")
    out = capsys.readouterr().out
    assert "\n  running; " in out
    assert f"orchestrator show {NEW} --follow" in out


def test_what_a_killed_process_was_at_does_not_run_and_a_retry_makes_an_ended_run_a_stopped_one(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, OLD, started("parse#1"), finished("parse#1", rejected()), RunEnded())
    journal(opened, NEW, started("parse#1"))
    orchestrator("show", "--json")
    told = json.loads(capsys.readouterr().out)
    parse = told["subtasks"][0]
    assert (parse["state"], parse["standing"]) == ("waiting", "cut off, delivered again by `resume`")
    assert parse["attempts"][0]["cut_off"]
    assert orchestrator("retry", "parse", "--run", OLD) == 0
    capsys.readouterr()
    orchestrator("show", OLD)
    assert "  stopped; " in capsys.readouterr().out
    with RunLock.acquire(opened.git, opened.state, run=NEW, clock=opened.clock):
        orchestrator("show", NEW)
    assert "1 running" in capsys.readouterr().out


def test_following_a_run_that_is_over_tells_it_all_and_then_the_report(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, started("parse#1"), finished("parse#1"), landed("parse#1"), RunEnded())
    assert orchestrator("show", "--follow") == 0
    said = capsys.readouterr()
    assert "parse#1: landed" in said.err
    assert said.out.startswith(f"Run {NEW}")
    assert orchestrator("show", "--follow", "--json") == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert (events[0], events[-1]) == ("RunStarted", "RunEnded")


def test_a_run_that_has_only_just_begun_is_waited_for(opened: Home, project: Path):
    with RunLock.acquire(opened.git, opened.state, run=NEW, clock=opened.clock):
        command = [sys.executable, "-m", "orchestrator", "show", NEW, "--follow", "--json"]
        with subprocess.Popen(
            command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as following:
            assert following.stderr is not None
            assert following.stderr.readline() == f"run {NEW} (process {os.getpid()}) has just begun\n"
            journal(opened, NEW, CancelRequested(), RunEnded(cancelled=True))
            out, err = following.communicate(timeout=60)
    assert following.returncode == 0, err
    said = [json.loads(line)["event"] for line in out.splitlines()]
    assert said == ["RunStarted", "CancelRequested", "RunEnded"]
