"""The wheel holds everything it needs, and works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.doors.main_job import GOAL, ROOT, Scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return next(place.glob("*.whl"))


def test_every_packaged_file_of_the_checkout_is_in_the_wheel_and_nothing_else_is(wheel: Path):
    tracked = ["git", "ls-files", "-z", "orchestrator", "agent-os", "templates"]
    listed = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    wanted = {
        path if path.startswith("orchestrator/") else f"orchestrator/_data/{path}"
        for path in listed
        if path and (ROOT / path).exists()
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert wanted - names == set()
    assert {name for name in names if not name.startswith("orchestrator/") or "__pycache__" in name} == set()


def test_the_wheel_works_outside_of_any_checkout(wheel: Path, tmp_path: Path):
    unpacked = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(unpacked)
    scene = Scene(tmp_path / "scene")
    scene.environ["PYTHONPATH"] = str(unpacked)
    origin = subprocess.run(
        [sys.executable, "-c", "import orchestrator; print(orchestrator.__file__)"],
        cwd=scene.repository,
        env=os.environ | scene.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(origin.stdout.strip()).is_relative_to(unpacked)
    tagged = scene.run("tag", "fix typo")
    assert tagged.returncode == 0 and tagged.stdout.startswith("cheap"), tagged.stderr
    planned = scene.run("plan", GOAL, "--offline")
    assert planned.returncode == 0 and "ruff-fix" in planned.stdout, planned.stderr
