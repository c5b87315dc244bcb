"""The workflow of docs/how-to/github-actions.md, its scripts run as a runner would run them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.adapters.rendering_markdown import PLAN_MARKER
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "how-to" / "github-actions.md").read_text(encoding="utf-8")


def workflow() -> dict[Any, Any]:
    (found,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return yaml.safe_load(found)  # type: ignore[no-any-return]


def script(name: str) -> str:
    (step,) = [step for step in workflow()["jobs"]["plan"]["steps"] if step.get("name") == name]
    return str(step["run"])


def program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def perform(name: str, folder: Path, **environ: str) -> str:
    """Run a step as GitHub does, with the programs of `folder`/bin first; return what these were called with."""
    calls = folder / "calls"
    calls.write_text("")
    env = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), **environ}
    env["GITHUB_STEP_SUMMARY"] = str(folder / "summary")
    subprocess.run(["bash", "-e", "-c", script(name)], cwd=folder, env=env, check=True)
    return calls.read_text()


def test_strangers_code_gets_neither_a_key_nor_a_token_that_writes():
    found = workflow()
    # YAML 1.1 reads the key `on` as true.
    assert found[True] == "pull_request"
    assert found["permissions"] == {"contents": "read", "pull-requests": "write"}
    for step in found["jobs"]["plan"]["steps"]:
        assert "${{" not in step.get("run", ""), "what others write must not become part of a script"


@pytest.mark.parametrize(
    ("key", "options"), [("", "--offline"), ("sk-or-1", "--budget 0.50")], ids=["no key", "a key"]
)
def test_without_a_key_it_plans_offline_and_with_one_under_a_cap(tmp_path: Path, key: str, options: str):
    program(
        tmp_path / "bin",
        "orchestrator",
        'echo "$@ key=${OPENROUTER_API_KEY-none}" >> "$CALLS"; echo the plan > plan.md',
    )
    calls = perform("Plan", tmp_path, OPENROUTER_API_KEY=key, GOAL="Improve it", PLANNING_BUDGET="0.50")
    assert calls == (
        f"plan Improve it {options} --md plan.md --html plan.html --out plan.json key={key or 'none'}\n"
    )
    assert (tmp_path / "summary").read_text() == "the plan\n"


@pytest.mark.parametrize(
    ("known", "request_line"),
    [
        ("", "--method POST repos/me/it/issues/7/comments"),
        ("41\n42", "--method PATCH repos/me/it/issues/comments/41"),
    ],
    ids=["first", "again"],
)
def test_one_comment_is_made_and_then_updated(tmp_path: Path, known: str, request_line: str):
    program(
        tmp_path / "bin",
        "gh",
        f'echo "$@" >> "$CALLS"; case "$*" in *--paginate*) printf "%s" "{known}";; esac',
    )
    calls = perform("Comment", tmp_path, GITHUB_REPOSITORY="me/it", NUMBER="7")
    assert PLAN_MARKER in calls
    assert 'select(.user.login == "github-actions[bot]")' in calls
    assert calls.splitlines()[-1] == f"api --silent {request_line} -F body=@plan.md"
