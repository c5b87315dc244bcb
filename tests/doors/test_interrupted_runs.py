"""SIGINT, SIGTERM, SIGHUP, a closed pipe, a second run: what ends, what goes on, and what is left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.main_job import SCRIPT, Scene, kill, small_plan

# Real runs with real suites: half a minute each on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def start(scene: Scene) -> subprocess.Popen[str]:
    plan = small_plan(scene)
    return scene.start("run", str(plan), "--yes", "--json", "--scripted", str(SCRIPT), "--budget", "1")


def until(process: subprocess.Popen[str], wanted: str) -> str:
    """Read the run's events up to the wanted one; return the run's id."""
    assert process.stdout is not None
    run = ""
    for line in process.stdout:
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        run = run or event.get("run", "")
        if event["event"] == wanted:
            return run
    raise AssertionError(f"no {wanted}")


def ends(process: subprocess.Popen[str]) -> int:
    """The exit code, within five seconds and a margin for a busy machine; nothing may be left of the session."""
    began = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return process.returncode


def finishes(scene: Scene) -> None:
    done = scene.run("resume", "--scripted", str(SCRIPT))
    assert done.returncode == 0, done.stderr
    assert scene.report()["state"] == "done"


@pytest.fixture
def untouched(scene: Scene) -> Iterator[None]:
    before = scene.fingerprint()
    yield
    assert scene.fingerprint() == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("phase", ["BaselineMeasured", "AttemptStarted", "AttemptFinished", "SubtaskLanded"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_any_phase_ends_the_run_resumable(scene: Scene, phase: str, number: int, code: int):
    process = start(scene)
    until(process, phase)
    os.kill(process.pid, number)
    os.kill(process.pid, number)
    assert ends(process) == code
    finishes(scene)


@pytest.mark.usefixtures("untouched")
def test_a_terminal_that_hangs_up_lets_the_run_go_on(scene: Scene):
    process = start(scene)
    until(process, "AttemptStarted")
    os.kill(process.pid, signal.SIGHUP)
    process.communicate(timeout=100)
    assert process.returncode == 0
    assert scene.report()["state"] == "done"


@pytest.mark.usefixtures("untouched")
def test_a_terminal_that_is_closed_for_good_makes_no_failure_of_a_run_that_succeeds(scene: Scene):
    argv = scene.argv("run", str(small_plan(scene)), "--yes", "--scripted", str(SCRIPT), "--budget", "1")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(scene.repository)
        os.execve(argv[0], argv, {**scene.environ, "TERM": "xterm"})
    # The priced plan is said first of all, before the suite has been measured.
    seen = b""
    while b"total" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert scene.report()["state"] == "done"


@pytest.mark.usefixtures("untouched")
def test_a_closed_pipe_ends_the_run_resumable(scene: Scene):
    process = start(scene)
    until(process, "AttemptStarted")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert ends(process) == 141
    finishes(scene)


def test_a_second_run_is_refused_with_the_first_ones_name_and_a_killed_one_is_not_in_the_way(scene: Scene):
    process = start(scene)
    run = until(process, "AttemptStarted")
    second = scene.run("resume", "--scripted", str(SCRIPT))
    assert second.returncode == 2
    assert f"run {run} (process {process.pid}" in second.stderr
    kill(process)
    finishes(scene)


def test_cancel_from_another_process_ends_a_live_run(scene: Scene):
    process = start(scene)
    until(process, "AttemptStarted")
    done = scene.run("cancel")
    assert done.returncode == 0, done.stderr
    assert ends(process) == 1
    assert scene.report()["state"] == "cancelled"
    # What was under way is kept on refs at most: nobody can go on with it.
    assert len(scene.git("worktree", "list").splitlines()) == 1


@pytest.mark.usefixtures("untouched")
def test_a_detached_run_goes_on_by_itself_and_is_followed_to_its_end(scene: Scene):
    plan = small_plan(scene)
    done = scene.run("run", str(plan), "--yes", "--detach", "--scripted", str(SCRIPT), "--budget", "1")
    assert done.returncode == 0, done.stderr
    run = done.stdout.split()[1]
    assert done.stdout.splitlines()[1] == f"watch it: orchestrator show {run} --follow"
    followed = scene.run("show", run, "--follow", "--json")
    assert followed.returncode == 0, followed.stderr
    events = [json.loads(line) for line in followed.stdout.splitlines()]
    assert (events[0]["event"], events[0]["run"], events[-1]["event"]) == ("RunStarted", run, "RunEnded")
    assert scene.report()["state"] == "done"


def test_what_refuses_a_detached_run_is_said_at_once_and_with_its_own_exit_code(scene: Scene):
    plan = small_plan(scene)
    for test in (scene.repository / "tests").glob("test_*.py"):
        test.write_text("import nothing_of_that_name\n")
    scene.git("commit", "-qam", "no test passes")
    began = time.monotonic()
    done = scene.run("run", str(plan), "--yes", "--detach", "--scripted", str(SCRIPT), "--budget", "1")
    assert time.monotonic() - began < 30
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the run did not start: checks cannot run here: ")
    assert list((scene.scratch / "state" / "runs").iterdir()) == []
