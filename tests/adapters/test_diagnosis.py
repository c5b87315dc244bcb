"""What doctor says of versions and exit codes, and the repair of an environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.adapters.diagnosis import Finding, Level, exit_code
from orchestrator.adapters.diagnosis_machine import judge_litellm, judge_sqlite, set_up
from orchestrator.core.domain import OrchestratorError


def finding(level: Level, *, no_model: bool = False) -> Finding:
    return Finding(area="x", level=level, what="y", no_model=no_model)


def test_the_exit_code_tells_a_missing_model_from_everything_else():
    assert exit_code([finding(Level.OK), finding(Level.WARNING)]) == 0
    assert exit_code([finding(Level.ERROR, no_model=True)]) == 4
    assert exit_code([finding(Level.ERROR, no_model=True), finding(Level.ERROR)]) == 2


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("1.106.2", Level.OK),
        ("1.106.9", Level.WARNING),
        ("1.82.7", Level.ERROR),
        ("1.82.8", Level.ERROR),
        ("1.107.0", Level.ERROR),
        ("1.107.3rc1", Level.ERROR),
        (None, Level.ERROR),
    ],
)
def test_releases_of_litellm_with_an_advisory_are_errors(version: str | None, level: Level):
    assert judge_litellm(version).level is level


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.40.1", Level.ERROR), ("3.51.2", Level.ERROR), ("3.51.3", Level.OK), ("3.54.1", Level.OK)],
)
def test_a_sqlite_that_can_lose_transactions_is_an_error(version: str, level: Level):
    assert judge_sqlite(version).level is level


def test_an_environment_is_repaired_by_the_checkouts_own_set_up(tmp_path: Path):
    setup = tmp_path / "setup.sh"
    setup.write_text("#!/bin/sh\ntouch made\n")
    setup.chmod(0o755)
    assert set_up(setup, os.environ) == f"ran {setup}"
    assert (tmp_path / "made").exists()
    setup.write_text("#!/bin/sh\necho no network >&2\nexit 3\n")
    with pytest.raises(OrchestratorError, match="ended with 3: no network"):
        set_up(setup, os.environ)
