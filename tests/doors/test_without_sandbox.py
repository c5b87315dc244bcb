"""A machine where no sandbox works: a run refuses before it costs anything, and says how to go without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.doors.main_job import GOAL, ROOT, SCRIPT, Scene

WITHOUT = [sys.executable, str(ROOT / "tests" / "without_sandbox.py")]
SKIPPED = 77


def held(argv: list[str], scene: Scene) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*WITHOUT, *argv],
        cwd=scene.repository,
        env=scene.environ,
        capture_output=True,
        text=True,
        timeout=170,
    )
    if done.returncode == SKIPPED:
        pytest.skip("system calls cannot be refused here")
    return done


def test_a_run_is_refused_before_anything_is_spent(tmp_path: Path):
    scene = Scene(tmp_path)
    done = held(scene.argv("run", GOAL, "--budget", "0.5", "--yes", "--scripted", str(SCRIPT)), scene)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "no sandbox works here" in done.stderr and "--no-sandbox" in done.stderr
    assert "planning" not in done.stderr
    assert scene.git("for-each-ref", "refs/heads", "--format=%(refname)").split() == ["refs/heads/main"]


@pytest.mark.slow
def test_the_demo_goes_on_without_one_and_says_so(tmp_path: Path):
    scene = Scene(tmp_path)
    done = held([sys.executable, str(ROOT / "examples" / "demo.py")], scene)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UNSANDBOXED: no sandbox works here" in done.stdout
    assert "none: checks ran UNSANDBOXED" in done.stdout + done.stderr
