"""SIGKILL before and after every git call of an attempt's life: no work is lost, and the next start goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from tests.adapters.repositories import belongings, git, make_repository, make_untidy, write

RUN = RunId("20261123-100000-abcd")
BRANCH = f"refs/heads/orchestrator/{RUN}"
TEXT = "the only copy of an expensive edit"
LIFE = f"""
import asyncio, pathlib, sys
from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, RunId, SubtaskId

async def land(spaces, name, text):
    attempt = AttemptId(SubtaskId(name), 1)
    worktree = await spaces.create(attempt)
    other = await spaces.create(AttemptId(SubtaskId("other-" + name), 1))
    path = pathlib.Path(worktree.path)
    (path / "app.py").write_text(text)
    (path / "fresh.txt").write_text(text)
    pathlib.Path("edited").touch()
    commit = await spaces.commit(worktree, message=name, trailers={{"Orchestrator-Attempt": str(attempt)}})
    (pathlib.Path(other.path) / "README.md").write_text("other")
    first = await spaces.commit(other, message="other", trailers={{}})
    await spaces.advance(first, expected=other.base)
    await spaces.remove(other)
    tip = await spaces.tip()
    there, rebased, moved = await spaces.rebase(attempt, commit)
    assert moved
    await spaces.advance(rebased, expected=tip)
    await spaces.remove(there)

async def main():
    repository = Repository.open("user")
    spaces = GitWorkspaces(repository, run=RunId({RUN!r}), base=repository.head(), state=pathlib.Path("state"))
    await spaces.start()
    await land(spaces, "parse", {TEXT!r})

asyncio.run(main())
"""


def live(directory: Path, *, kill_at: int, before: bool) -> tuple[int, int]:
    """Run the life with a git that kills its caller at the n-th call; return the exit code and the calls made."""
    real = shutil.which("git")
    fake = directory / "bin" / "git"
    fake.parent.mkdir(exist_ok=True)
    counter = directory / "calls"
    counter.write_text("0")
    kill = f"if [ $n = {kill_at} ]; then kill -9 $PPID; fi"
    fake.write_text(
        f"#!/bin/sh\nn=$(($(cat {counter}) + 1)); echo $n > {counter}\n"
        + (f'{kill}\nexec {real} "$@"\n' if before else f'{real} "$@"; code=$?\n{kill}\nexit $code\n')
    )
    fake.chmod(0o755)
    environ = os.environ | {
        "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", LIFE], cwd=directory, env=environ, capture_output=True, check=False
    )
    return done.returncode, int(counter.read_text())


async def check(directory: Path, before: dict[str, str], place: str) -> None:
    root = directory / "user"
    repository = Repository.open(root)
    spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=directory / "state")
    await spaces.start()
    lines = await spaces.reclaim()
    assert belongings(root) == before, place
    assert git(root, "worktree", "list").count("\n") == 0, place
    assert not (directory / "state" / "worktrees" / RUN).exists(), (place, lines)
    refs = [
        ref for ref in git(root, "for-each-ref", "--format=%(refname)").splitlines() if "orchestrator" in ref
    ]
    if (directory / "edited").exists():
        kept = [git(root, "show", f"{ref}:app.py") for ref in refs]
        assert TEXT in kept, (place, refs)
    git(root, "fsck", "--no-dangling")
    attempt = AttemptId(SubtaskId("parse"), 2)
    worktree = await spaces.create(attempt)
    write(Path(worktree.path), {"again.txt": "again\n"})
    commit = await spaces.commit(worktree, message="again", trailers={})
    await spaces.advance(commit, expected=worktree.base)
    await spaces.remove(worktree)
    assert git(root, "show", f"{BRANCH}:again.txt") == "again"


async def killed(tmp_path: Path, places: list[tuple[int, bool]]) -> None:
    for number, before in places:
        directory = tmp_path / f"{number}-{before}"
        directory.mkdir()
        make_repository(directory / "user")
        make_untidy(directory / "user")
        owned = belongings(directory / "user")
        code, _ = live(directory, kill_at=number, before=before)
        place = f"killed {'before' if before else 'after'} git call {number}"
        assert code == -signal.SIGKILL, place
        await check(directory, owned, place)


@pytest.fixture
def calls(tmp_path: Path) -> int:
    """How many git calls the life takes when nobody is killed."""
    directory = tmp_path / "undisturbed"
    directory.mkdir()
    make_repository(directory / "user")
    make_untidy(directory / "user")
    code, count = live(directory, kill_at=0, before=True)
    assert code == 0
    return count


async def test_a_kill_at_some_git_calls_loses_nothing(tmp_path: Path, calls: int):
    assert calls > 30
    await killed(tmp_path, [(number, number % 2 == 0) for number in range(7, calls, calls // 4)])


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_kill_at_any_git_call_loses_nothing(tmp_path: Path, calls: int):
    await killed(tmp_path, [(number, before) for number in range(1, calls + 1) for before in (True, False)])
