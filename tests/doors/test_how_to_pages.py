"""Every command of the how-to pages about task lists and coding agents, run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

import pytest

from tests.doors.task_project import SCRIPT, Project

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
KIT = "# Tasks: farewell\n\n## Phase 1: Setup\n\n- [ ] T001 Write another in `other.py`\n"
MASTER = {
    tag: {"tasks": [{"id": 1, "title": f"Say goodbye for {tag}", "status": "pending", "dependencies": []}]}
    for tag in ("master", "feature-x")
}
ANY = """  - text: |
      What was asked, with a test.

      other.py
      <<<<<<< SEARCH
      =======
      def other():
          return 1
      >>>>>>> REPLACE

      test_other.py
      <<<<<<< SEARCH
      =======
      import unittest

      from other import other


      class Other(unittest.TestCase):
          def test_it(self):
              self.assertEqual(other(), 1)
      >>>>>>> REPLACE
"""


def commands(page: str) -> list[str]:
    """The indented lines of the page that call us."""
    lines = re.findall(r"^    (orchestrator .*)$", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in lines]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.script.write_text(SCRIPT.replace("  - text: I cannot do that.\n", ANY))
    for name, text in (
        (".taskmaster/tasks/tasks.json", json.dumps(MASTER)),
        ("tasks.json", json.dumps(MASTER)),
        ("specs/001-mvp/tasks.md", KIT),
    ):
        place = project.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (project.root / ".gitignore").write_text("__pycache__/\n/plan.json\n")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "lists")
    return project


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["agent-os.md", "claude-code-and-opencode.md", "task-lists.md"])
def test_every_command_of_the_page_does_what_the_page_says(project: Project, page: str):
    # The editor that `plan edit` opens changes nothing.
    project.environ["EDITOR"] = "true"
    found = commands(page)
    assert len(found) > 3
    run = ""
    for command in found:
        words = [run if word == "RUN" else word for word in shlex.split(command)[1:]]
        if words[:2] == ["hook", "execute-tasks"]:
            until_no_run_works(project)
        said = project.run(*words, code=0)
        assert "no budget cap applies" not in said, (command, said)
        if started := re.search(r"run (\d{8}-\d{6}-[0-9a-f]{4})", said, re.IGNORECASE):
            run = started[1]
    assert run
    until_no_run_works(project)


def until_no_run_works(project: Project) -> None:
    while "running" in project.run("runs", code=None):
        time.sleep(0.5)
