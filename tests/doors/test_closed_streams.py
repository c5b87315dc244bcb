"""A reader that has gone, and standard streams that were never there."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.doors.main_job import SCRIPT, Scene, small_plan


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def shell(scene: Scene, line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `$run` is the command line."""
    return subprocess.run(
        ["bash", "-c", line.replace("$run", shlex.join(scene.argv(*arguments)))],
        cwd=scene.repository,
        env=scene.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    "command", [["--help"], ["show", "--help"], ["doctor"], ["budget"], ["survey"]], ids="-".join
)
@pytest.mark.parametrize("both", ["", "2>&1"])
def test_a_reader_that_has_gone_is_141_and_no_word_of_it(scene: Scene, command: list[str], both: str):
    # The pipe is closed before the first line is written.
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            scene.argv(*command),
            cwd=scene.repository,
            env=scene.environ,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.STDOUT if both else subprocess.PIPE,
            text=True,
            timeout=100,
        )
    finally:
        os.close(write)
    assert done.returncode == 141, done.stderr
    assert both or done.stderr == ""


def test_a_run_whose_first_line_closes_the_pipe_has_begun_nothing(scene: Scene):
    plan = small_plan(scene)
    asked = ["run", str(plan), "--yes", "--scripted", str(SCRIPT), "--budget", "1"]
    done = shell(scene, "$run 2>&1 | true; echo ${PIPESTATUS[0]}", *asked)
    assert done.stdout == "141\n", done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command",
    [["runs"], ["doctor"], ["nothing"], ["plan", "Improve this application", "--offline"]],
    ids="-".join,
)
def test_a_missing_stream_is_as_good_as_dev_null(scene: Scene, command: list[str], streams: str):
    missing = shell(scene, f"$run {streams}", *command)
    nowhere = shell(scene, f"$run {streams.replace('&-', '/dev/null')}", *command)
    assert (missing.returncode, missing.stdout, missing.stderr) == (
        nowhere.returncode,
        nowhere.stdout,
        nowhere.stderr,
    )
    assert "Traceback" not in missing.stderr


@pytest.mark.slow
def test_a_run_without_standard_output_is_carried_out(scene: Scene):
    plan = small_plan(scene)
    asked = ["run", str(plan), "--yes", "--scripted", str(SCRIPT), "--budget", "1"]
    done = shell(scene, "$run >&-", *asked)
    assert done.returncode == 0, done.stderr
    assert scene.report()["state"] == "done"
