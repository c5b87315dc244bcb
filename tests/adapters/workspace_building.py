"""The workspaces of one run on a real repository, and an attempt that goes all its way there."""

from __future__ import annotations

from pathlib import Path

from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import BranchMoved, GitWorkspaces
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from tests.adapters.repositories import write

RUN = RunId("20261123-100000-abcd")
BRANCH = f"orchestrator/{RUN}"


def attempt(name: str = "parse", number: int = 1) -> AttemptId:
    return AttemptId(SubtaskId(name), number)


async def begin(root: Path, tmp_path: Path) -> GitWorkspaces:
    repository = Repository.open(root)
    spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await spaces.start()
    return spaces


async def land(spaces: GitWorkspaces, name: str, files: dict[str, str]) -> str:
    """An attempt's whole life: worktree, edit, commit, rebase, advance, removal."""
    who = attempt(name)
    worktree = await spaces.create(who)
    write(Path(worktree.path), files)
    trailers = {"Orchestrator-Subtask": name, "Orchestrator-Attempt": str(who)}
    commit = await spaces.commit(worktree, message=f"Do {name}", trailers=trailers)
    while True:
        tip = await spaces.tip()
        there, rebased, _ = await spaces.rebase(who, commit)
        try:
            await spaces.advance(rebased, expected=tip)
        except BranchMoved:
            await spaces.remove(there)
            continue
        await spaces.remove(there)
        return rebased
