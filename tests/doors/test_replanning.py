"""What failed is planned anew, a bounded number of times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.adapters.scripted import ScriptedProvider
from tests.doors.main_job import Scene


def planned(name: str) -> dict[str, object]:
    return {
        "json": {
            "subtasks": [
                {
                    "id": name,
                    "title": "Compare with None by identity",
                    "instructions": "In stockroom/pricing.py compare with None by `is`.",
                    "category": "cheap/bug-fixes",
                    "depends_on": [],
                    "touches": ["stockroom/pricing.py"],
                    "checks": [{"kind": "tests", "targets": ["tests/test_pricing.py"]}],
                }
            ]
        }
    }


EDIT = """Identity instead of equality.

stockroom/pricing.py
<<<<<<< SEARCH
    if price == None:
=======
    if price is None:
>>>>>>> REPLACE
"""


def test_a_failed_subtask_is_planned_anew_once_and_the_report_says_so(tmp_path: Path):
    scene = Scene(tmp_path)
    script = {
        "rules": [
            {"when": {"contains": "Subtask: first-idea"}, "text": "I cannot do that."},
            {"when": {"contains": "Subtask: second-idea"}, "text": EDIT},
            {"name": "plan", "replies": [planned("first-idea"), planned("second-idea")]},
        ]
    }
    with ScriptedProvider(json.dumps(script)) as provider:
        done = scene.run("run", "Fix the comparison", "--yes", "--budget", "0.6", "--scripted", provider.url)
        asked = [call.rule for call in provider.calls]
    assert done.returncode == 0, done.stdout + done.stderr
    assert asked.count("plan") == 2
    assert "planned anew" in done.stdout
    states = {row["subtask"]["id"]: row["state"] for row in scene.report()["subtasks"]}  # type: ignore[attr-defined]
    assert states == {"second-idea": "succeeded", "first-idea": "failed"}


@pytest.mark.slow
def test_without_leave_to_plan_anew_a_failure_stays_one(tmp_path: Path):
    scene = Scene(tmp_path)
    script = {"rules": [{"when": {"contains": "Subtask: only-idea"}, "text": "No."}, planned("only-idea")]}
    with ScriptedProvider(json.dumps(script)) as provider:
        done = scene.run(
            "run", "Fix it", "--yes", "--budget", "0.6", "--replan", "0", "--scripted", provider.url
        )
    assert done.returncode == 1, done.stdout + done.stderr
