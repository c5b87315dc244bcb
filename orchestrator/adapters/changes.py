"""What an attempt changed: the bytes of every changed file before and after, links never followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.adapters.background import in_background
from orchestrator.adapters.beneath import Beneath, PathRefused
from orchestrator.adapters.survey.languages import is_test
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.ports import Worktree


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """`before` and `after` hold the bytes by path, None where there is no file (or a link, which is no file here)."""

    before: Mapping[str, bytes | None]
    after: Mapping[str, bytes | None]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.after)

    @property
    def tests(self) -> tuple[str, ...]:
        """Changed files that belong to the tests: test files, their fixtures and their data."""
        return tuple(path for path in self.after if is_test(path))

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(path for path in self.after if not is_test(path))

    def texts(self, path: str) -> tuple[str | None, str | None]:
        """The file before and after as text; None also for what is not UTF-8."""
        return _text(self.before.get(path)), _text(self.after.get(path))


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


async def changes_of(workspaces: GitWorkspaces, worktree: Worktree) -> Changes:
    """Read every changed file of the worktree and its counterpart in the base."""
    paths = await workspaces.changed_files(worktree)

    def read() -> Changes:
        beneath = Beneath(worktree.path)
        repository = workspaces.repository
        return Changes(
            before={path: repository.read_blob(worktree.base, path) for path in paths},
            after={path: _read(beneath, path) for path in paths},
        )

    return await in_background(read)


async def restore(workspaces: GitWorkspaces, worktree: Worktree, changes: Changes) -> tuple[str, ...]:
    """Undo what checks left in the worktree, so that only the attempt's own changes are there; return the paths."""
    now = await workspaces.changed_files(worktree)
    beneath = Beneath(worktree.path)
    undone: list[str] = []

    def undo() -> None:
        for path in dict.fromkeys((*now, *changes.after)):
            wanted = (
                changes.after[path]
                if path in changes.after
                else workspaces.repository.read_blob(worktree.base, path)
            )
            try:
                found = beneath.read(path)
                if found == wanted:
                    continue
                if wanted is None:
                    beneath.delete(path)
                else:
                    beneath.write(path, wanted)
            except PathRefused:
                # A link or a directory of its own: the guard has judged it, or the commit will refuse it.
                continue
            undone.append(path)

    await in_background(undo)
    return tuple(undone)


def _read(beneath: Beneath, path: str) -> bytes | None:
    try:
        return beneath.read(path)
    except PathRefused:
        return None
