"""The kill sweep of `bench/`, with the settings CI can afford."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, requires

SWEEP = ROOT / "bench" / "kill_sweep.py"


def sweep(*options: str, report: Path) -> dict[str, dict[str, int]]:
    command = [sys.executable, str(SWEEP), *options, "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, int]] = json.loads(report.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@requires("strace")
def test_a_run_killed_at_sixty_writes_and_twenty_random_moments_loses_nothing(tmp_path: Path):
    found = sweep("--quick", report=tmp_path / "report.json")
    assert {row["wrong"] for row in found.values()} == {0}
    assert sum(row["kills"] for row in found.values()) >= 70


def test_a_run_killed_twice_loses_nothing(tmp_path: Path):
    found = sweep("--points", "0", "--kills", "2", "--size", "5", report=tmp_path / "report.json")
    assert {row["wrong"] for row in found.values()} == {0}
