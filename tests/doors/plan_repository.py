"""A small repository and plan for the tests of `plan` and its kin."""

from __future__ import annotations

import subprocess
from pathlib import Path

from orchestrator.core.planning import plan_to_json
from tests.core.planning_builders import draft, planned

CODE = """def load(path, seen=[]):
    try:
        seen.append(path)
        return open(path).read()
    except Exception:
        return ""
"""


def make_repository(root: Path) -> Path:
    """A git repository with one commit: a module with findable faults, and a test."""
    (root / "src").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "src" / "load.py").write_text(CODE)
    (root / "tests" / "test_load.py").write_text(
        "import unittest\n\n\nclass LoadTest(unittest.TestCase):\n    pass\n"
    )
    (root / "pyproject.toml").write_text('[project]\nname = "tiny"\nversion = "1"\n')
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "tiny")
    return root


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@localhost"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def save_plan(path: Path) -> str:
    """Write a plan of four subtasks, a -> b -> c and d; return its text."""
    plan = planned(
        draft("a"),
        draft("b", "a"),
        draft("c", "b", category="smart/architecture-design"),
        draft("d", title="Mend \x1b[31mred\x1b[0m [bold]titles[/bold]"),
        questions=[
            {"id": "db", "text": "Which database?", "options": ["sqlite", "postgres"], "default": "sqlite"}
        ],
    )
    text = plan_to_json(plan)
    path.write_text(text, encoding="utf-8")
    return text
