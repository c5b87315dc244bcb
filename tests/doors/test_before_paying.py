"""What would refuse a run anyway is said before its planning costs anything; planning can be ended at any time."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.run_lock import RunLock
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.domain import RunId
from orchestrator.wiring import SystemClock
from tests.doors.main_job import GOAL, Scene

ANSWER = json.dumps({"rules": [{"name": "plan", "text": "never", "barrier": "plan"}]})


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_repository_without_usable_checks_is_refused_before_the_planner_is_asked(scene: Scene):
    scene.git("rm", "-rq", "tests")
    scene.git("commit", "-qm", "No tests")
    with ScriptedProvider(ANSWER) as provider:
        done = scene.run("run", GOAL, "--yes", "--budget", "0.5", "--scripted", provider.url)
        assert done.returncode == 2, done.stderr
        assert "checks cannot run here: no test, lint or build command was found" in done.stderr
        assert not provider.calls
    assert len(scene.git("worktree", "list").splitlines()) == 1


def test_a_second_run_is_refused_before_its_planner_is_asked(scene: Scene):
    repository = Repository.open(scene.repository)
    run = RunId("20261123-101500-3f9a")
    with (
        RunLock.acquire(repository, scene.scratch / "state", run=run, clock=SystemClock()),
        ScriptedProvider(ANSWER) as provider,
    ):
        done = scene.run("run", GOAL, "--yes", "--budget", "0.5", "--scripted", provider.url)
        assert done.returncode == 2, done.stderr
        assert f"run {run} (process {os.getpid()}" in done.stderr
        assert not provider.calls


def test_keys_of_the_repository_that_do_not_count_are_named_in_one_line(scene: Scene):
    (scene.repository / "litellm_budget_config.yaml").write_text(
        "orchestrator: {checks: {test: make test}}\n"
    )
    done = scene.run("plan", GOAL, "--offline")
    assert done.returncode == 0, done.stderr
    said = "litellm_budget_config.yaml: ignored until `orchestrator trust`: orchestrator.checks"
    assert done.stderr.splitlines().count(said) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_planner_thinks_ends_at_once_and_leaves_nothing(
    scene: Scene, number: int, code: int
):
    before = scene.fingerprint()
    with ScriptedProvider(ANSWER) as provider:
        process = scene.start("run", GOAL, "--yes", "--budget", "0.5", "--scripted", provider.url)
        assert provider.wait_until_held("plan", timeout_seconds=60)
        os.kill(process.pid, number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    *_, charged, last = said.splitlines()
    assert last == {130: "interrupted", 143: "terminated"}[code]
    assert re.fullmatch(
        r"the planning call was cut off and may be billed: its whole hold of \$0\.\d+ is charged, scripted, not paid "
        r"\(hold 1 of `orchestrator budget history`\)",
        charged,
    )
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert scene.fingerprint() == before
    assert len(scene.git("worktree", "list").splitlines()) == 1


def test_a_paid_plan_whose_detached_run_is_refused_is_kept_and_nothing_else_of_it(scene: Scene):
    subtask = {
        "id": "fix-it",
        "title": "Fix it",
        "instructions": "Fix it.",
        "category": "cheap/bug-fixes",
        "deliverable": "edit",
        "touches": ["README.md"],
        "checks": [{"kind": "tests", "targets": ["tests"]}],
    }
    answer = {"rules": [{"name": "plan", "text": json.dumps({"subtasks": [subtask]}), "barrier": "plan"}]}
    state = scene.scratch / "state"
    with ScriptedProvider(json.dumps(answer)) as provider:
        process = scene.start("run", GOAL, "--yes", "--detach", "--budget", "0.5", "--scripted", provider.url)
        assert provider.wait_until_held("plan", timeout_seconds=60)
        # Somebody else's run begins while the planner thinks.
        with RunLock.acquire(
            Repository.open(scene.repository), state, run=RunId("20261123-101500-3f9a"), clock=SystemClock()
        ):
            provider.release("plan")
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    kept, error = said.splitlines()[-2:]
    assert error.startswith("error: the run did not start: run 20261123-101500-3f9a (process ")
    (left,) = state.glob("runs/*/*")
    assert kept == f"the plan is kept: `orchestrator run {left}` runs it"
