"""A scratch copy of the example application, and the real command line on it with scripted models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "stockroom-script" / "script.yaml"
GOAL = "Improve this application"


@dataclass
class Scene:
    """One repository with a state directory of its own."""

    scratch: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.repository = self.scratch / "stockroom"
        shutil.copytree(
            ROOT / "examples" / "stockroom", self.repository, ignore=shutil.ignore_patterns("__pycache__")
        )
        self.environ = {
            **os.environ,
            "ORCHESTRATOR_STATE": str(self.scratch / "state"),
            "ORCHESTRATOR_CACHE": str(self.scratch / "cache"),
            "ORCHESTRATOR_CONFIG_DIR": str(self.scratch / "config"),
            **self.variables,
        }
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@localhost")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "Stockroom")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.repository,
            env=self.environ,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *arguments]

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.repository,
            env=self.environ,
            capture_output=True,
            text=True,
            input=stdin if stdin is not None else "",
            timeout=100,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command in a session of its own, so that a test can kill all of it."""
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.repository,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def fingerprint(self) -> dict[str, str]:
        """What may not change before `accept`: every file with its mode, the index, HEAD, every ref there was."""
        found = {}
        for path in sorted(self.repository.rglob("*")):
            if ".git" not in path.relative_to(self.repository).parts and path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(self.repository))] = f"{path.stat().st_mode:o} {digest}"
        for name in ("index", "HEAD", "config"):
            found[f".git/{name}"] = hashlib.sha256((self.repository / ".git" / name).read_bytes()).hexdigest()
        for line in self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines():
            name, _, commit = line.partition(" ")
            if "orchestrator" not in name:
                found[name] = commit
        return found

    def report(self) -> dict[str, object]:
        done = self.run("show", "--json")
        assert done.returncode == 0, done.stderr
        loaded: dict[str, object] = json.loads(done.stdout)
        return loaded


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command and everything it started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def small_plan(scene: Scene) -> Path:
    """A saved plan of three subtasks, one of them for a tool: the quickest real run."""
    plan = json.loads(PLAN)
    path = scene.scratch / "plan.json"
    done = scene.run("plan", GOAL, "--offline", "--out", str(path), "--yes")
    assert done.returncode == 0, done.stderr
    saved = json.loads(path.read_text())
    chosen = {subtask["id"]: subtask for subtask in saved["subtasks"]}
    saved["subtasks"] = [
        {**chosen[old], "id": new, "depends_on": []} for old, new in plan.items() if old in chosen
    ]
    path.write_text(json.dumps(saved))
    return path


# The offline planner's ids -> the ids that the example's script has replies for.
PLAN = """{
  "ruff-fix": "remove-unused-imports",
  "fix-pricing": "fix-pricing-bugs",
  "test-movements": "add-movement-tests"
}"""
