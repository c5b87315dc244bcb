"""Do prepared worktrees run a repository's suite on the worktree's own code? Prints a row per repository.

    python bench/prepared_worktrees.py [REPOSITORY...] [--json FILE] [--quick]

Each repository (a path to any git repository; the example application without one) is cloned, its baseline is
measured in a prepared worktree, and then every module of it is broken in a second worktree: a suite that still
passes there runs some other code. Or the checks cannot run, and the row says why: that is said before anything is
spent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

from orchestrator.adapters.changes import Changes, restore
from orchestrator.adapters.checks import ProjectChecker
from orchestrator.adapters.git import Repository
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.adapters.suites import run_suite
from orchestrator.adapters.survey.languages import is_test
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import RunId
from orchestrator.wiring import SystemClock

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "stockroom"
_FAULTS = {
    ".py": 'raise RuntimeError("canary")\n',
    ".js": 'throw new Error("canary");\n',
    ".mjs": 'throw new Error("canary");\n',
    ".cjs": 'throw new Error("canary");\n',
    ".ts": 'throw new Error("canary");\n',
    ".go": "this is no Go\n",
    ".rs": "this is no Rust\n",
}
_NOT_CODE = ("docs/", "doc/", "examples/", "setup.py", "conftest.py", "benchmark", "scripts/", "tasks.py")


@dataclass(kw_only=True)
class Row:
    repository: str
    can_check: bool
    passed: int
    failed: int
    seconds: float
    set_up_seconds: float
    proved: str
    broken_seen: bool | None
    reason: str


def _clone(source: Path, clone: Path) -> None:
    if (source / ".git").exists() or (source / "HEAD").exists():
        subprocess.run(["git", "clone", "-q", str(source), str(clone)], check=True, capture_output=True)
        return
    shutil.copytree(source, clone)
    git = ["git", "-C", str(clone), "-c", "user.name=Bench", "-c", "user.email=bench@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it is"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)


async def look_at(source: str, place: Path, seconds: float) -> Row:
    name = "/".join(Path(source).resolve().parts[-2:]).removesuffix("/repo")
    clone = place / "clone"
    await asyncio.to_thread(_clone, Path(source), clone)
    (place / "state").mkdir()
    environ = dict(os.environ) | {"ORCHESTRATOR_CACHE": str(place / "cache")}
    repository = Repository.open(clone, environ)
    workspaces = GitWorkspaces(
        repository, run=RunId("20260101-000000-be9c"), base=repository.head(), state=place / "state"
    )
    settings = SimpleNamespace(
        commands={}, check_seconds=seconds, setup=(), network_in_setup=True, deny_files=()
    )
    checker = ProjectChecker(
        workspaces=workspaces, settings=settings, sandbox=Sandbox.probe(), clock=SystemClock(), environ=environ
    )  # fmt: skip
    started = time.perf_counter()
    told = await checker.baseline()
    total = time.perf_counter() - started
    seen = await _broken_is_seen(checker, workspaces) if told.can_check else None
    return Row(
        repository=name,
        can_check=told.can_check,
        passed=told.tests_passed,
        failed=len(told.tests_failed),
        seconds=round(told.seconds, 1),
        set_up_seconds=round(total - 2 * told.seconds, 1),
        proved=told.canary,
        broken_seen=seen,
        reason=told.reason,
    )


async def _broken_is_seen(checker: ProjectChecker, workspaces: GitWorkspaces) -> bool:
    worktree = await workspaces.checkout("canary.1", workspaces.base)
    await checker.prepare(worktree)
    root = Path(worktree.path)
    for path in await workspaces.files(worktree.path):
        place = root / path
        if (
            place.suffix in _FAULTS
            and not is_test(path)
            and not path.startswith(_NOT_CODE)
            and place.is_file()
        ):
            place.write_text(_FAULTS[place.suffix])
    commands = await checker.commands()
    run = await run_suite(
        checker.runner,
        commands.suites[0],
        worktree=worktree.path,
        environment=checker._environments[worktree.path],
    )
    await restore(workspaces, worktree, Changes(before={}, after={}))
    await workspaces.remove(worktree)
    return run.ran.exit_code != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repositories", nargs="*", default=[str(EXAMPLE)])
    parser.add_argument("--json", dest="out")
    parser.add_argument("--quick", action="store_true", help="at most a minute per command")
    options = parser.parse_args()
    rows = []
    for source in options.repositories:
        with tempfile.TemporaryDirectory(prefix="prepared-", ignore_cleanup_errors=True) as place:
            row = asyncio.run(look_at(source, Path(place), 60.0 if options.quick else 900.0))
        rows.append(row)
        verdict = "own code" if row.broken_seen else "cannot run" if not row.can_check else "OTHER CODE"
        print(
            f"{row.repository:32} {verdict:10} {row.passed:5} passed {row.failed:3} failed "
            f"{row.seconds:6.1f} s suite {row.set_up_seconds:6.1f} s set-up  {row.reason or row.proved}",
            flush=True,
        )
    if options.out:
        Path(options.out).write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
