"""The steering commands over a real repository and a real store; no run is carried out here."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.adapters.run_lock import RunLock
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.cli.following import follow
from orchestrator.cli.progress import SilentView
from orchestrator.core.domain import RunId, SubtaskId, WaitingFor
from orchestrator.core.events import (
    CancelRequested,
    Event,
    Noted,
    RetryRequested,
    RunEnded,
    RunPaused,
    RunStarted,
    SelectionChanged,
    SkipRequested,
    SubtaskUndone,
)
from orchestrator.core.money import Usd
from orchestrator.core.ports import Worktree
from orchestrator.wiring import Home, open_home
from tests.adapters.store_building import hold
from tests.core.runs import attempt, finished, landed, plan, rejected, started, subtask
from tests.doors.test_progress import STARTED

OLD, NEW = RunId("20261123-100000-abcd"), RunId("20261123-110000-ef01")


@pytest.fixture
def project(working_directory: Path) -> Path:
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"]
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", *commit], check=True)
    return working_directory


@pytest.fixture
def opened(project: Path):
    found = open_home()
    yield found
    found.store.close()


def journal(opened: Home, run: RunId, *events: Event, scripted: str = "") -> None:
    first = RunStarted(
        run=run,
        plan=plan(subtask("parse"), subtask("render", after="parse"), subtask("docs")),
        repository=str(opened.git.root),
        base_commit=opened.git.head(),
        branch=f"orchestrator/{run}",
        limits=STARTED.limits,
        ladder=STARTED.ladder,
        tier_models=STARTED.tier_models,
        started_at=opened.clock.now(),
        scripted=scripted,
    )
    asyncio.run(opened.store.append(run, [first, *events]))


PAUSED = RunPaused(waiting_for=WaitingFor.BUDGET, reason="parse: needs $0.40")


def orchestrator(*arguments: str) -> int:
    return cli.run(list(arguments))


def last(opened: Home, run: RunId) -> Event:
    return list(opened.store.events(run))[-1]


def test_runs_lists_where_every_run_stands(opened: Home, capsys: pytest.CaptureFixture[str]):
    journal(opened, OLD, RunEnded())
    journal(opened, NEW, started("parse#1"), PAUSED)
    assert orchestrator("runs") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in out] == [[NEW, "paused"], [OLD, "done"]]
    assert "needs $0.40" in out[0]
    assert orchestrator("runs", "--json") == 0
    assert [entry["standing"] for entry in json.loads(capsys.readouterr().out)] == ["paused", "done"]


def test_what_is_said_behind_the_end_of_a_run_does_not_make_it_unfinished(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    remarks: list[Event] = [Noted(code="remark", text=f"kept {number}") for number in range(80)]
    remarks.append(CancelRequested())  # It came too late.
    undone = SubtaskUndone(subtask=SubtaskId("parse"), commit="c1")
    journal(opened, OLD, RunEnded(), *remarks)
    journal(opened, NEW, started("parse#1"), finished("parse#1"), landed("parse#1"), RunEnded(), undone)
    orchestrator("runs")
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["done", "done"]
    journal(opened, RunId("20261123-120000-ab12"), RunEnded(), replace(undone, retry=True))
    orchestrator("runs")
    assert capsys.readouterr().out.splitlines()[0].split()[1] == "stopped"


def test_a_run_that_has_ended_is_not_cancelled(opened: Home, capsys: pytest.CaptureFixture[str]):
    journal(opened, NEW, RunEnded())
    assert orchestrator("cancel", NEW) == 2
    assert f"run {NEW} is done and cannot be cancelled" in capsys.readouterr().err
    assert isinstance(last(opened, NEW), RunEnded)


def test_a_run_is_known_to_be_at_work_from_anywhere(
    opened: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, started("parse#1"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with RunLock.acquire(opened.git, opened.state, run=NEW, clock=opened.clock):
        assert orchestrator("runs") == 0
    assert capsys.readouterr().out.split()[:2] == [NEW, "running"]


def test_a_run_that_measures_the_suite_yet_is_listed_and_can_be_ended(
    opened: Home, project: Path, capsys: pytest.CaptureFixture[str]
):
    holding = (
        "import signal, sys\n"
        "from orchestrator.adapters.run_lock import RunLock\n"
        "from orchestrator.wiring import open_home\n"
        "home = open_home()\n"
        f"with RunLock.acquire(home.git, home.state, run={NEW!r}, clock=home.clock):\n"
        "    print('at work', flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", holding], cwd=project, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert orchestrator("runs") == 0
        assert capsys.readouterr().err == f"{NEW}  has just begun, and measures the tests before any change\n"
        assert orchestrator("cancel", NEW) == 0
        assert capsys.readouterr().out == f"run {NEW} had only just begun and is ended\n"
        assert process.wait() == -signal.SIGTERM


def test_a_resume_that_is_refused_writes_nothing(opened: Home, capsys: pytest.CaptureFixture[str]):
    only = SelectionChanged(only=(SubtaskId("parse"),))
    done = [started("parse#1"), finished("parse#1"), landed("parse#1"), PAUSED]
    journal(opened, NEW, only, *done, scripted="scripted models: x.yaml")
    assert orchestrator("resume") == 2
    err = capsys.readouterr().err
    assert "all that was selected is done: going on with the rest" in err
    assert "add --scripted FILE" in err
    assert last(opened, NEW) == PAUSED

    async def spend() -> None:
        await opened.store.settle(await opened.store.reserve(hold("0.02", run=NEW)), bill=Usd.of("0.01"))

    asyncio.run(spend())
    assert orchestrator("resume", "--budget", "0.01") == 2
    assert "the run has cost $0.01 already: a --budget has to be more than that" in capsys.readouterr().err


def test_a_run_whose_process_died_is_stopped_and_one_that_holds_the_lock_is_running(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, started("parse#1"))
    orchestrator("runs")
    assert "stopped" in capsys.readouterr().out
    with RunLock.acquire(opened.git, opened.state, run=NEW, clock=opened.clock):
        orchestrator("runs")
        assert "running" in capsys.readouterr().out


def test_skip_and_retry_are_journalled_and_say_when_they_take_effect(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, started("parse#1"), PAUSED)
    assert orchestrator("skip", "docs") == 0
    assert capsys.readouterr().out == (f"docs is skipped when the run goes on: `orchestrator resume {NEW}`\n")
    assert isinstance(last(opened, NEW), SkipRequested)
    with RunLock.acquire(opened.git, opened.state, run=NEW, clock=opened.clock):
        assert orchestrator("retry", "parse", "--note", "use re") == 0
    assert capsys.readouterr().out == f"parse is tried again: run {NEW} is told\n"
    request = last(opened, NEW)
    assert isinstance(request, RetryRequested)
    assert (request.subtask, request.note) == ("parse", "use re")


def test_a_finished_run_is_taken_up_again_by_a_retry(opened: Home, capsys: pytest.CaptureFixture[str]):
    ended = [started("parse#1"), finished("parse#1", rejected()), started("parse#2")]
    journal(opened, NEW, *ended, finished("parse#2", rejected()), RunEnded())
    assert orchestrator("skip", "docs") == 2
    assert "no unfinished run" in capsys.readouterr().err
    assert orchestrator("retry", "render") == 0
    capsys.readouterr()
    orchestrator("runs")
    assert "stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["skip", "pares"], "no subtask 'pares' in this run, did you mean 'parse'?"),
        (["skip", "docs"], "docs has succeeded already and cannot be skipped"),
        (["retry", "docs"], "take it back first with `orchestrator undo"),
        (["retry", "parse", "--model", "chaep"], "no usable model is called 'chaep'"),
        (["cancel", "nonsense"], "no run 'nonsense' here"),
        (["runs", "tidy"], "'tidy' is not `prune`"),
    ],
)
def test_a_request_that_cannot_be_met_says_why_and_writes_nothing(
    opened: Home, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    journal(opened, NEW, started("docs#1"), finished("docs#1"), landed("docs#1"), PAUSED)
    assert orchestrator(*arguments) == 2
    assert said in capsys.readouterr().err
    assert last(opened, NEW) == PAUSED


def test_a_script_plays_every_alias_also_for_a_retry(opened: Home):
    journal(opened, NEW, started("parse#1"), PAUSED, scripted="scripted models: demo.yaml")
    assert orchestrator("retry", "parse", "--model", "smart") == 0
    request = last(opened, NEW)
    assert isinstance(request, RetryRequested)
    assert request.model == "smart"


@pytest.mark.parametrize(
    ("scripted", "arguments", "said"),
    [
        ("scripted models: demo.yaml", [], "was played from a script"),
        ("", ["--scripted", "demo.yaml"], "began with real models"),
    ],
)
def test_a_run_is_not_resumed_with_models_of_the_other_kind(
    opened: Home, capsys: pytest.CaptureFixture[str], scripted: str, arguments: list[str], said: str
):
    Path("demo.yaml").write_text("rules:\n  - text: done\n")
    journal(opened, NEW, started("parse#1"), PAUSED, scripted=scripted)
    assert orchestrator("resume", *arguments) == 2
    assert said in capsys.readouterr().err
    assert last(opened, NEW) == PAUSED


def test_cancelling_a_stopped_run_ends_it(opened: Home, capsys: pytest.CaptureFixture[str]):
    journal(opened, NEW, started("parse#1"))
    assert orchestrator("cancel") == 0
    assert f"run {NEW} is cancelled" in capsys.readouterr().out
    assert [type(event) for event in opened.store.events(NEW)][-2:] == [CancelRequested, RunEnded]
    assert orchestrator("cancel") == 2


async def made(spaces: GitWorkspaces) -> Worktree:
    worktree = await spaces.create(attempt("parse#1"))
    Path(worktree.path, "new.txt").write_text("half done\n")
    return worktree


def test_cancelling_a_stopped_run_keeps_what_was_under_way_on_a_ref(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, NEW, started("parse#1"))
    spaces = GitWorkspaces(opened.git, run=NEW, base=opened.git.head(), state=opened.state)
    asyncio.run(spaces.start())
    worktree = asyncio.run(made(spaces))
    assert orchestrator("cancel") == 0
    ref = f"refs/orchestrator/{NEW}/parse/1"
    assert f"unfinished work of parse.1 is kept under {ref}" in capsys.readouterr().out
    assert not Path(worktree.path).exists()
    assert opened.git.read_blob(ref, "new.txt") == b"half done\n"


def test_with_two_unfinished_runs_one_must_be_named_and_its_end_will_do(
    opened: Home, capsys: pytest.CaptureFixture[str]
):
    journal(opened, OLD, PAUSED)
    journal(opened, NEW, PAUSED)
    assert orchestrator("skip", "docs") == 2
    assert f"2 runs are unfinished here: name one of {NEW}, {OLD}" in capsys.readouterr().err
    assert orchestrator("skip", "docs", "--run", "abcd") == 0
    assert isinstance(last(opened, OLD), SkipRequested)


def test_pruning_removes_the_files_of_finished_runs_only(opened: Home, capsys: pytest.CaptureFixture[str]):
    for run, event in ((OLD, RunEnded()), (NEW, PAUSED)):
        journal(opened, run, event)
        (opened.state / "runs" / run / "attempts").mkdir(parents=True)
    assert orchestrator("runs", "prune") == 0
    assert [path.name for path in (opened.state / "runs").iterdir()] == [NEW]


def test_following_shows_what_is_there_and_what_comes_until_the_process_is_gone(opened: Home):
    journal(opened, NEW, started("parse#1"))
    alive = [True, True, False]
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        asyncio.run(opened.store.append(NEW, [SkipRequested(subtask=SubtaskId("docs"))]))

    view = SilentView()
    assert follow(opened.store, NEW, view, is_live=lambda: alive.pop(0), wait=wait) == 4
    assert len(waits) == 2
    assert view.progress.counts()
