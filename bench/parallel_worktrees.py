"""Claim: 16 parallel subtasks on one repository, 50 times: no lost commit, no orphan worktree, the user's checkout
(dirty, untracked, stash, index, every ref that existed before) byte-identical, every commit passes the suite.

Each round has a repository of its own with an untidy checkout. A subtask makes a worktree, edits a file of its own
and one shared by all, commits, and lands when its turn comes, or makes itself anew after a conflict.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from orchestrator.core.ports import Conflict, Worktree

IDENTITY = {f"GIT_{role}_{part}": "bench" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
# The suite: the list names exactly the parts that are there, and each part is whole.
SUITE = """
import pathlib
named = pathlib.Path("parts.txt").read_text().split()
there = sorted(path.stem for path in pathlib.Path("parts").glob("*.txt"))
assert sorted(named) == there, (named, there)
assert all(pathlib.Path(f"parts/{name}.txt").read_text() == name * 50 for name in there)
"""
OURS = ("worktrees", "objects", "refs/orchestrator", "refs/heads/orchestrator", "logs/refs")


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(
        command, cwd=root, env=os.environ | IDENTITY, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make_untidy_repository(root: Path) -> None:
    (root / "parts").mkdir(parents=True)
    (root / "parts" / "start.txt").write_text("start" * 50)
    (root / "parts.txt").write_text("start\n")
    (root / "suite.py").write_text(SUITE)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    (root / "suite.py").write_text("stashed")
    git(root, "stash", "-q")
    (root / "staged").write_text("staged")
    git(root, "add", "staged")
    (root / "parts.txt").write_text("dirty\n")
    (root / "untracked").write_text("untracked")
    git(root, "branch", "other")
    git(root, "tag", "v1")


def belongings(root: Path) -> dict[str, str]:
    found = {"stash": git(root, "stash", "list")}
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root).as_posix().removeprefix(".git/")
        if path.is_file() and not any(inner == own or inner.startswith(own + "/") for own in OURS):
            found[str(path)] = f"{path.stat().st_mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    for line in git(root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines():
        if "orchestrator/" not in line:
            found[line.split()[0]] = line
    return found


def passes(directory: Path) -> bool:
    return subprocess.run([sys.executable, "-S", "suite.py"], cwd=directory, check=False).returncode == 0


async def one_subtask(spaces: GitWorkspaces, name: str, turn: asyncio.Lock) -> tuple[str, int]:
    """Return the landed commit and how many conflicts there were on the way."""
    for number in range(1, 100):
        attempt = AttemptId(SubtaskId(name), number)
        worktree = await spaces.create(attempt)
        edit(worktree, name)
        trailers = {"Orchestrator-Subtask": name, "Orchestrator-Attempt": str(attempt)}
        commit = await spaces.commit(worktree, message=name, trailers=trailers)
        async with turn:
            tip = await spaces.tip()
            try:
                there, rebased, _ = await spaces.rebase(attempt, commit)
            except Conflict:
                await spaces.remove(worktree)
                continue
            if not passes(Path(there.path)):
                raise AssertionError(f"{name} does not pass after its rebase")
            await spaces.advance(rebased, expected=tip)
        await spaces.remove(there)
        return rebased, number - 1
    raise AssertionError(f"{name} never landed")


def edit(worktree: Worktree, name: str) -> None:
    root = Path(worktree.path)
    (root / "parts" / f"{name}.txt").write_text(name * 50)
    lines = [*(root / "parts.txt").read_text().split(), name]
    (root / "parts.txt").write_text("".join(f"{line}\n" for line in sorted(lines)))


async def all_subtasks(spaces: GitWorkspaces, parallel: int) -> list[tuple[str, int]]:
    await spaces.start()
    turn = asyncio.Lock()
    names = [f"part{number:02}" for number in range(parallel)]
    return await asyncio.gather(*(one_subtask(spaces, name, turn) for name in names))


def failing_commits(root: Path, commits: list[str], look: Path) -> int:
    """Unpack one commit after the other over the one before (none deletes a file) and run the suite on each."""
    look.mkdir()
    failing = 0
    for commit in commits:
        archive = subprocess.run(["git", "archive", commit], cwd=root, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(look)], input=archive.stdout, check=True)
        failing += not passes(look)
    return failing


def one_round(directory: Path, parallel: int) -> dict[str, object]:
    root = directory / "repository"
    make_untidy_repository(root)
    before = belongings(root)
    repository = Repository.open(root)
    spaces = GitWorkspaces(repository, run=RunId("bench"), base=repository.head(), state=directory / "state")
    started = time.perf_counter()
    landed = asyncio.run(all_subtasks(spaces, parallel))
    seconds = time.perf_counter() - started
    branch = git(root, "rev-list", "--reverse", f"main..{spaces.branch}").split()
    after = belongings(root)
    registered = len(git(root, "worktree", "list").splitlines()) - 1
    return {
        "lost": len({commit for commit, _ in landed} ^ set(branch)) + abs(parallel - len(branch)),
        "orphans": registered + (directory / "state" / "worktrees" / "bench").exists(),
        "touched": [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)],
        "failing": failing_commits(root, branch, directory / "look"),
        "conflicts": sum(conflicts for _, conflicts in landed),
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 50")
    parser.add_argument("--parallel", type=int, default=16)
    options = parser.parse_args()
    rounds = []
    for _ in range(2 if options.quick else 50):
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as name:
            rounds.append(one_round(Path(name), options.parallel))
    total = {key: sum(int(one[key]) for one in rounds) for key in ("lost", "orphans", "failing", "conflicts")}
    touched = sum(len(one["touched"]) for one in rounds)
    seconds = sorted(float(one["seconds"]) for one in rounds)
    print(
        f"{len(rounds)} rounds of {options.parallel} subtasks; median {seconds[len(seconds) // 2]:.1f} s a round"
    )
    print(
        f"{'lost commits':>14} {'orphans':>9} {'files touched':>14} {'commits failing':>16} {'conflicts retried':>18}"
    )
    print(
        f"{total['lost']:>14} {total['orphans']:>9} {touched:>14} {total['failing']:>16} {total['conflicts']:>18}"
    )
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=2, default=str) + "\n")
    return 1 if total["lost"] or total["orphans"] or total["failing"] or touched else 0


if __name__ == "__main__":
    sys.exit(main())
