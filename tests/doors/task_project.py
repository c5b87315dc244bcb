"""A small project with a task list of Agent OS, and models that do its tasks from a script."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SPEC = "2026-01-02-greetings"
TASKS = """# Spec Tasks

> Created: 2026-01-02

## Tasks

- [x] 1. Greet
  - [x] 1.1 Greet people

- [ ] 2. Say goodbye
  - [ ] 2.1 Write a goodbye in `bye.py`
  - [ ] 2.2 Shout it in `shout.py`
  - [ ] 2.3 Verify all tests pass

- [ ] 3. Impossible
  - [ ] 3.1 Do what no model can do
"""

SCRIPT = """
rules:
  - when: {contains: "task 2.1 of"}
    text: |
      A goodbye with its test.

      bye.py
      <<<<<<< SEARCH
      =======
      def bye(name):
          return f"bye {name}"
      >>>>>>> REPLACE

      test_bye.py
      <<<<<<< SEARCH
      =======
      import unittest

      from bye import bye


      class Bye(unittest.TestCase):
          def test_it_names_the_person(self):
              self.assertEqual(bye("Ada"), "bye Ada")
      >>>>>>> REPLACE
  - when: {contains: "task 2.2 of"}
    text: |
      A loud one with its test.

      shout.py
      <<<<<<< SEARCH
      =======
      def shout(text):
          return text.upper()
      >>>>>>> REPLACE

      test_shout.py
      <<<<<<< SEARCH
      =======
      import unittest

      from shout import shout


      class Shout(unittest.TestCase):
          def test_it_is_loud(self):
              self.assertEqual(shout("bye"), "BYE")
      >>>>>>> REPLACE
  - text: I cannot do that.
"""


@dataclass
class Project:
    """A repository with one Agent OS spec, and a state directory of its own."""

    scratch: Path

    def __post_init__(self) -> None:
        self.root = self.scratch / "greetings"
        self.spec = self.root / ".agent-os" / "specs" / SPEC
        self.tasks = self.spec / "tasks.md"
        self.script = self.scratch / "script.yaml"
        self.spec.mkdir(parents=True)
        self.script.write_text(SCRIPT)
        self.tasks.write_text(TASKS)
        (self.root / "greet.py").write_text('def greet(name):\n    return f"hello {name}"\n')
        (self.root / "test_greet.py").write_text(
            "import unittest\n\nfrom greet import greet\n\n\nclass Greet(unittest.TestCase):\n"
            '    def test_hello(self):\n        self.assertEqual(greet("Ada"), "hello Ada")\n'
        )
        (self.root / ".gitignore").write_text("__pycache__/\n")
        self.environ = {
            **os.environ,
            "ORCHESTRATOR_STATE": str(self.scratch / "state"),
            "ORCHESTRATOR_CACHE": str(self.scratch / "cache"),
            "ORCHESTRATOR_CONFIG_DIR": str(self.scratch / "config"),
            "ORCHESTRATOR_SCRIPTED": str(self.script),
        }
        for arguments in (
            ("init", "-q", "-b", "main"),
            ("config", "user.name", "Tester"),
            ("config", "user.email", "tester@localhost"),
            ("add", "."),
            ("commit", "-q", "-m", "Greetings"),
        ):
            self.git(*arguments)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env=self.environ, check=True, capture_output=True, text=True
        )
        return done.stdout

    def run(self, *arguments: str, stdin: str | bytes = "", code: int | None = 0) -> str:
        """Run our command line to its end; return what it said on both channels."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            timeout=110,
        )
        said = done.stdout.decode() + done.stderr.decode()
        assert code is None or done.returncode == code, (done.returncode, said)
        return said
