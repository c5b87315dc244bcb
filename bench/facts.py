"""Claim: on repositories nobody here wrote, every cited file:line is true and every proposed check command exists.

For each clone given with `--repository DIR` (several times), surveys it, plans "Improve this application" offline,
and checks every fact again by other means: git's own view of the commit, the text of the line, `git grep` for what no
test is said to name, the manifests for commands. Without a clone the example application is checked. Exit code 1 when
anything is false.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.adapters.state import packaged
from orchestrator.adapters.survey import survey
from orchestrator.adapters.survey.languages import is_test
from orchestrator.core.domain import CheckKind, OrchestratorError, Plan, Provenance
from orchestrator.core.facts import Command, Survey
from orchestrator.core.offline import plan_offline
from orchestrator.core.planning import compile_plan
from orchestrator.core.standards import read_standard

GOAL = "Improve this application"


class Clone:
    """What git itself says of one commit."""

    def __init__(self, root: Path, commit: str) -> None:
        self.root, self.commit = root, commit
        self.paths = set(filter(None, self.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")))
        self._lines: dict[str, list[str]] = {}

    def git(self, *arguments: str) -> str:
        argv = ["git", "-c", "core.quotePath=false", *arguments]
        done = subprocess.run(argv, cwd=self.root, capture_output=True, check=False)
        return done.stdout.decode("utf-8", "replace")

    def line(self, path: str, number: int) -> str | None:
        if path not in self._lines:
            self._lines[path] = self.git("show", f"{self.commit}:{path}").split("\n")
        lines = self._lines[path]
        return lines[number - 1].strip() if 1 <= number <= len(lines) else None


def false_facts(clone: Clone, found: Survey) -> Iterator[str]:
    """Every fact of a survey that is not true."""
    for finding in found.findings:
        line = clone.line(finding.path, finding.line) if finding.path in clone.paths else None
        if line is None or (finding.quote and not line.startswith(finding.quote[:100])):
            yield f"{finding.path}:{finding.line}: {finding.fact}"
    for function in found.functions:
        name = re.split(r"::|\.", function.name)[-1]
        line = clone.line(function.path, function.line) if function.path in clone.paths else None
        if line is None or (name.isidentifier() and name not in line):
            yield f"{function.path}:{function.line}: no function {function.name}"
    tests = [path for path in sorted(clone.paths) if is_test(path)]
    for module in found.untested:
        if module.path not in clone.paths:
            yield f"{module.path}: not there"
            continue
        same = [path for path in tests if Path(path).suffix[:3] == Path(module.path).suffix[:3]]
        for name, number in module.symbols:
            line = clone.line(module.path, number)
            if line is None or name not in line:
                yield f"{module.path}:{number}: no {name} here"
            if same and len(same) < 2000 and len(name) > 2:
                said = clone.git("grep", "-l", "-w", "-F", "-e", name, clone.commit, "--", *same)
                if said.strip():
                    yield f"{module.path}: {name} is named by {said.split()[0]}"
    for command in found.commands:
        if reason := missing(clone, command):
            yield f"{command.name}: {command.where}: {reason}"


def missing(clone: Clone, command: Command) -> str | None:
    """Why a command does not exist; None when it does."""
    if command.path not in clone.paths or (
        command.line > 1 and clone.line(command.path, command.line) is None
    ):
        return "no such place"
    if command.path.endswith("package.json") and "run" in command.argv:
        script = command.argv[command.argv.index("run") + 1]
        document = json.loads(clone.git("show", f"{clone.commit}:{command.path}"))
        if script not in document.get("scripts", {}):
            return f"no script {script}"
        if f'"{script}"' not in (clone.line(command.path, command.line) or ""):
            return f"{script} is on another line"
    if command.argv[0] in ("make", "just"):
        target = command.argv[-1]
        if not (clone.line(command.path, command.line) or "").startswith(target):
            return f"no target {target}"
    return None


def false_plan(clone: Clone, found: Survey, plan: Plan) -> Iterator[str]:
    names = {command.name for command in found.commands}
    for subtask in plan.subtasks:
        for evidence in subtask.evidence:
            if evidence.path not in clone.paths or (
                evidence.line and clone.line(evidence.path, evidence.line) is None
            ):
                yield f"{subtask.id}: {evidence}"
        made = {path for other in plan.subtasks for path in other.touches or ()}
        for check in subtask.checks:
            for target in check.targets:
                there = target in names if check.kind is CheckKind.COMMAND else target in clone.paths | made
                if not there:
                    yield f"{subtask.id}: no {check.kind.value} {target}"


def example(scratch: Path) -> Path:
    root = scratch / "stockroom"
    shutil.copytree(Path(__file__).resolve().parents[1] / "examples" / "stockroom", root)
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True)
    return root


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, action="append", help="a clone; may be given again")
    parser.add_argument("--quick", action="store_true", help="the same: the size is that of the clones")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    source = packaged("agent-os", "standards", "prompt-optimization.md")
    standard = read_standard(source.read_text(encoding="utf-8"), source=source.name)
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        roots = options.repository or [example(Path(scratch))]
        print(f"{'repository':40} {'files':>6} {'facts':>6} {'subtasks':>8} {'false':>6}")
        for root in roots:
            found = asyncio.run(survey(root.resolve(), cache=Path(scratch)))
            clone = Clone(root.resolve(), found.commit)
            wrong = list(false_facts(clone, found))
            subtasks, note = 0, ""
            try:
                plan = compile_plan(
                    plan_offline(GOAL, found, standard, commit=found.commit),
                    goal=GOAL,
                    standard=standard,
                    made_from=Provenance(planner="offline", commit=found.commit),
                    commands=[command.name for command in found.commands],
                )
                subtasks = len(plan.subtasks)
                wrong += list(false_plan(clone, found, plan))
            except OrchestratorError as error:
                note = str(error)
            facts = len(found.findings) + len(found.functions) + len(found.untested) + len(found.commands)
            print(f"{root.name[:40]:40} {len(found.files):6} {facts:6} {subtasks:8} {len(wrong):6}")
            for line in [*wrong[:10], *([note[:150]] if note else [])]:
                print(f"    {line}")
            figures.append(
                {
                    "repository": root.name,
                    "files": len(found.files),
                    "facts": facts,
                    "subtasks": subtasks,
                    "false": wrong,
                }
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if any(row["false"] for row in figures) else 0


if __name__ == "__main__":
    raise SystemExit(main())
