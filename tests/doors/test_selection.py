"""`run --only` and `--limit`: checked as soon as there is a plan, shown and priced before anything is asked."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.cli.selection import selected, selection
from orchestrator.plans import reopened
from orchestrator.wiring import open_home
from tests.doors.main_job import GOAL, Scene
from tests.doors.plan_repository import make_repository, save_plan
from tests.doors.test_plan_terminal import CHOICE, Spawn, ended, orchestrator

__all__ = ["orchestrator"]

Refused = Callable[..., str]


@pytest.fixture
def repository(working_directory: Path) -> Path:
    make_repository(working_directory)
    save_plan(working_directory / "plan.json")
    return working_directory


@pytest.fixture
def refused(repository: Path) -> Refused:
    """Run the saved plan, which must be wrong use; return what was said."""

    def run(*options: str) -> str:
        argv = [sys.executable, "-m", "orchestrator", "run", "plan.json", "--yes", *options]
        done = subprocess.run(argv, cwd=repository, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        return done.stderr

    return run


@pytest.mark.parametrize("nothing", ["", ", ,", " "])
def test_an_empty_selection_is_wrong_use_before_anything_is_planned(refused: Refused, nothing: str):
    said = refused("--only", nothing)
    assert said.startswith("error: --only: it names no subtask: give ids or numbers by commas\n")
    assert "Plan:" not in said


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("a,x", "no subtask 'x': the plan has a, b, c, d"),
        ("0", "no subtask '0'"),
        ("5", "no subtask '5'"),
        ("9" * 5000, "no subtask '99999"),
        ("-1", "no subtask '-1'"),
    ],
)
def test_a_wrong_name_is_said_before_the_plan_is_shown(refused: Refused, named: str, meant: str):
    said = refused(f"--only={named}")
    assert said.startswith(f"error: --only: {meant}")
    assert "Plan:" not in said


@pytest.mark.parametrize(
    ("only", "limit", "chosen", "extra"),
    [
        ("b", None, ("a", "b"), ("a",)),
        ("a,d,a", None, ("a", "d"), ()),
        # The rows of the table.
        ("1,2", None, ("a", "b"), ()),
        ("3", 2, ("a", "b"), ("a", "b")),
        (None, 1, ("a",), ()),
    ],
)
def test_a_selection_takes_what_it_needs_and_is_priced_as_the_whole_is(
    repository: Path, only: str | None, limit: int | None, chosen: tuple[str, ...], extra: tuple[str, ...]
):
    home = open_home()
    drawn = reopened(home, repository / "plan.json")
    part = selected(home, drawn, selection(only, limit))
    assert part is not None
    assert (part.subtasks, part.extra, part.of) == (chosen, extra, 4)
    assert part.dollars is not None and drawn.forecast.dollars is not None
    assert part.dollars.likely < drawn.forecast.dollars.likely
    rows = [row.dollars for row in drawn.forecast.subtasks if row.id in chosen]
    together = sum(row.likely.nano for row in rows if row is not None)
    assert part.dollars.likely.nano == pytest.approx(together, abs=10)
    everything = selected(home, drawn, selection("a,b,c,d", None))
    assert everything is not None and everything.dollars == drawn.forecast.dollars
    assert selected(home, drawn, selection(None, None)) is None


def test_the_selection_and_its_price_are_shown_before_the_choice_and_follow_changes_of_the_plan(
    repository: Path,
    orchestrator: Spawn,
):
    child = orchestrator("run", "plan.json", "--only", "b,d", "--budget", "0.0000001")
    child.expect(r"selected: 3 of 4 subtasks, likely \$[\d.]+, \$[\d.]+ to \$[\d.]+\r\n")
    child.expect_exact("  b, d\r\n  with what they need: a\r\n")
    child.expect_exact("warning: what is selected likely costs")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendline("d")
    child.expect_exact("drop which")
    child.sendline("c")
    child.expect_exact("selected: 3 of 3 subtasks")
    child.expect(CHOICE)
    child.sendline("d")
    child.expect_exact("drop which")
    child.sendline("d")
    child.expect_exact("error: --only: no subtask 'd'")
    child.expect(CHOICE)
    child.sendline("r")
    child.expect_exact("cannot be run so")
    child.expect(CHOICE)
    child.sendline("q")
    child.expect_exact("nothing was run")
    assert ended(child) == 0


def test_a_wrong_name_for_a_goal_keeps_the_plan_that_was_paid_for(tmp_path: Path):
    scene = Scene(tmp_path)
    subtask = {
        "id": "fix-it",
        "title": "Fix it",
        "instructions": "Fix it.",
        "category": "cheap/bug-fixes",
        "deliverable": "edit",
        "touches": ["README.md"],
        "checks": [{"kind": "tests", "targets": ["tests"]}],
    }
    script = json.dumps({"rules": [{"name": "plan", "text": json.dumps({"subtasks": [subtask]})}]})
    with ScriptedProvider(script) as provider:
        done = scene.run(
            "run", GOAL, "--yes", "--budget", "0.5", "--only", "mend", "--scripted", provider.url
        )
    assert done.returncode == 2, done.stderr
    kept, error, _ = done.stderr.splitlines()[-3:]
    assert error == "error: --only: no subtask 'mend': the plan has fix-it"
    match = re.fullmatch(r"the plan is kept: `orchestrator (run .+)` runs it", kept)
    assert match, kept
    path = shlex.split(match[1])[1]
    shown = scene.run("plan", path)
    assert "fix-it" in shown.stdout, shown.stderr
