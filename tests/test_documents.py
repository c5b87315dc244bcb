"""What the documents say is what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def test_the_reference_lists_the_commands_and_options_there_are():
    done = subprocess.run(
        [sys.executable, "scripts/command_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_every_figure_of_the_readme_names_a_script_that_exists():
    named = re.findall(r"`(bench/[\w/]+\.py)`", (ROOT / "README.md").read_text("utf-8"))
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_in_an_example_exists(page: Path):
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    known = dict(re.findall(r"^## `orchestrator ([\w-]+)`(.*?)(?=^## |\Z)", reference, re.M | re.S))
    for name, rest in re.findall(
        r"^(?: {4}|\$ )orchestrator ([a-z][\w-]*)([^\n#]*)", page.read_text("utf-8"), re.M
    ):
        assert name in known, name
        for option in re.findall(r"(?<=\s)(--[a-z-]+)", rest):
            assert option in known[name], f"{name} {option}"
