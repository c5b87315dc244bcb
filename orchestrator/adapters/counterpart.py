"""A second worktree at an attempt's base, in which its changes can be put in and taken out file by file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.adapters.beneath import Beneath, PathRefused
from orchestrator.adapters.changes import Changes, restore
from orchestrator.adapters.check_runner import Environment
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.ports import Worktree


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterpart:
    """`put` lays files over it, None taking one away; what is put stays until something else is put there."""

    worktree: Worktree
    environment: Environment

    def put(self, files: Mapping[str, bytes | None]) -> None:
        beneath = Beneath(self.worktree.path)
        for path, data in files.items():
            try:
                if data is not None:
                    beneath.write(path, data)
                elif beneath.read(path) is not None:
                    beneath.delete(path)
            except PathRefused:
                continue  # The guard has judged what the attempt left there; here it is only not copied.


@asynccontextmanager
async def counterpart(
    workspaces: GitWorkspaces, worktree: Worktree, prepare: Callable[[Worktree], Awaitable[Environment]]
) -> AsyncIterator[Counterpart]:
    """Check the base of `worktree` out beside it, prepared, for as long as the block runs."""
    beside = await workspaces.checkout(f"{worktree.name}.base", worktree.base)
    try:
        yield Counterpart(worktree=beside, environment=await prepare(beside))
    finally:
        # Nothing in it is anybody's work: what is left there must not be kept as such.
        await restore(workspaces, beside, Changes(before={}, after={}))
        await workspaces.remove(beside)
