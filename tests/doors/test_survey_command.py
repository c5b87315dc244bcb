"""`orchestrator survey`, and the offline plan of the example application."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.core.facts import Survey
from orchestrator.core.offline import plan_offline
from orchestrator.core.serial import decode
from orchestrator.core.standards import read_standard
from tests.adapters.repositories import commit_all, git, make_repository

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stockroom(working_directory: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "stockroom", working_directory, dirs_exist_ok=True)
    git(working_directory, "init", "-q")
    commit_all(working_directory)
    return working_directory


def test_survey_shows_each_fact_with_its_place(stockroom: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["survey"]) == 0
    out = capsys.readouterr().out
    for line in (
        "  test: python -m unittest discover -s tests -t .  tests/test_cli.py:4",
        "  stockroom/store.py:4: style: `os` imported but unused (F401) [ruff-fix]",
        "  stockroom/cli.py:9: main: complexity 15, 69 lines",
        "modules without tests: 1",
    ):
        assert line in out.splitlines()
    assert "\x1b" not in out
    assert not [line for line in git(stockroom, "status", "--porcelain").splitlines() if line]


def test_survey_as_json_is_the_survey_and_a_path_narrows_it(
    stockroom: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["survey", "--json"]) == 0
    whole = decode(Survey, json.loads(capsys.readouterr().out))
    assert cli.run(["survey", "--json", "--path", "stockroom/store.py"]) == 0
    part = decode(Survey, json.loads(capsys.readouterr().out))
    assert (
        {finding.path for finding in part.findings}
        == {"stockroom/store.py"}
        < {finding.path for finding in whole.findings}
    )
    assert part.commands == whole.commands


def test_the_example_application_is_planned_as_the_brief_decomposes_it(
    stockroom: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["survey", "--json"]) == 0
    found = decode(Survey, json.loads(capsys.readouterr().out))
    text = (ROOT / "agent-os" / "standards" / "prompt-optimization.md").read_text(encoding="utf-8")
    draft = plan_offline(
        "Improve this application", found, read_standard(text, source="standard"), commit=found.commit
    )
    assert [
        (subtask["group"], subtask["category"], subtask["touches"][0]) for subtask in draft["subtasks"]
    ] == [
        ("Fix what a tool can fix", "cheap/syntax-corrections", "stockroom/store.py"),
        ("Fix obvious bugs", "cheap/bug-fixes", "stockroom/pricing.py"),
        ("Improve error handling", "cheap/error-handling", "stockroom/store.py"),
        ("Add unit tests", "cheap/unit-tests", "tests/test_movements.py"),
        ("Optimize performance bottlenecks", "smart/performance-analysis", "stockroom/reporting.py"),
        ("Refactor architecture", "smart/architecture-design", "stockroom/cli.py"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["survey"], "has no commit yet: commit your files first"),
        (["survey", "--commit", "nope"], "has no commit 'nope'"),
    ],
)
def test_a_repository_without_a_commit_is_one_clear_line(
    working_directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    git(working_directory, "init", "-q")
    assert cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err and captured.err.count("\n") == 1


def test_outside_a_repository_survey_says_what_to_do(
    working_directory: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["survey"]) == 2
    assert "is not in a git repository: change to one, or make one with `git init`" in capsys.readouterr().err


def test_hostile_names_and_texts_cannot_reach_the_terminal(
    working_directory: Path, capsys: pytest.CaptureFixture[str]
):
    make_repository(
        working_directory,
        {
            "a\x1b[31m.py": "import os\n",
            "b.py": "# TODO: look \x1b]0;owned\x07 here\n",
            "c.js": "try{a()}catch(e){}\n",
        },
    )
    assert cli.run(["survey", "--all"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out
    assert "\\x1b[31m.py" in out
