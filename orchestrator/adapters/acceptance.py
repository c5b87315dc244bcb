"""A run's commits into the user's branch, and out of the run again: `accept`, `accept --except`, `undo`.

`accept` is the only thing that ever writes to the user's checkout. It adds commits, forces nothing, and refuses
before it starts where a file of the user's is in the way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.adapters.background import in_background
from orchestrator.adapters.file_lock import locked
from orchestrator.adapters.git import Repository
from orchestrator.adapters.git_command import GitFailed
from orchestrator.adapters.merging import (
    SUBTASK,
    UNDOES,
    Carry,
    Landed,
    landed,
    merge,
    pick,
    revert,
    with_trailers,
)
from orchestrator.adapters.state import digest, worktrees_directory
from orchestrator.adapters.workspaces import GitWorkspaces, branch_name, branch_ref, repository_lock
from orchestrator.adapters.worktrees import Worktrees
from orchestrator.core.domain import OrchestratorError, RunId, SubtaskId
from orchestrator.core.ports import Conflict, Worktree
from orchestrator.core.text import did_you_mean, one_line

_ZERO = "0" * 40


class AcceptRefused(OrchestratorError):
    """The commits were not taken in; the checkout is as it was."""

    exit_code = 1


class NotLanded(OrchestratorError):
    """No commit of that subtask is on the run branch."""


class How(StrEnum):
    FAST_FORWARD = "fast-forward"
    MERGE = "merge"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What `accept` did to `branch`: from commit `before` to `after`; `take_back` is the command that undoes it."""

    how: How
    branch: str
    before: str
    after: str
    commits: int
    files: tuple[str, ...]
    take_back: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """A revert that is not on the run branch yet: verify it in `worktree`, then `advance(commit, expected=...)`."""

    worktree: Worktree
    commit: str
    expected: str
    reverted: tuple[str, ...]


def accept(
    repository: Repository, *, run: RunId, state: Path, branch: str | None = None, carry: Carry | None = None
) -> Accepted:
    """Fast-forward or merge the run's branch (or another one made of it) into the branch that is checked out.

    `carry` knows files that are not merged line by line, the ticks of a task list. Raises AcceptRefused, with
    nothing changed, when that would touch a file with uncommitted changes.
    """
    chosen = branch or branch_name(run)
    tip = repository.ref(f"refs/heads/{chosen}")
    if tip is None:
        raise AcceptRefused(f"there is no branch {one_line(chosen)}: `orchestrator runs` lists what there is")
    with locked(repository_lock(repository, state)):
        into = _ready(repository, chosen)
        head = repository.head()
        if repository.is_ancestor(tip, head):
            return Accepted(
                how=How.NOTHING, branch=into, before=head, after=head, commits=0, files=(), take_back=""
            )
    how, target = How.FAST_FORWARD, tip
    if not repository.is_ancestor(head, tip):
        how, target = How.MERGE, _merged(repository, run, state, head, tip, chosen, into, carry)
    with locked(repository_lock(repository, state)):
        files = repository.changed_between(head, target)
        _refuse_overlap(repository, head, target, files, chosen)
        if repository.head() != head:
            raise AcceptRefused("the checkout moved meanwhile: try again")
        try:
            repository.git.text(
                "merge", "--ff-only", "--no-autostash", "--no-overwrite-ignore", "--quiet", target
            )
        except GitFailed as error:
            raise AcceptRefused(
                f"git would not take {chosen} into {one_line(into)}, nothing was changed: "
                f"{one_line(error.said.strip(), 300)}"
            ) from None
    return Accepted(
        how=how,
        branch=into,
        before=head,
        after=target,
        commits=int(repository.git.text("rev-list", "--count", f"{head}..{target}")),
        files=files,
        take_back=f"git reset --keep {head[:12]}",
    )


def _ready(repository: Repository, chosen: str) -> str:
    """The branch to accept into. Raises AcceptRefused when the checkout is in no state for it."""
    if what := repository.in_progress():
        raise AcceptRefused(f"{what} is in progress in the checkout: finish or abort it, then accept again")
    into = repository.branch()
    if into is None:
        raise AcceptRefused(
            f"HEAD is detached, so there is no branch to accept into: switch to one, or run `git merge {chosen}`"
        )
    if into == chosen:
        raise AcceptRefused(
            f"{chosen} itself is checked out: switch to the branch that is to have its commits"
        )
    if (repository.git.git_dir / "index.lock").exists():
        raise AcceptRefused(
            f"{one_line(str(repository.git.git_dir / 'index.lock'))} exists: another git command is running here; "
            f"when none is, remove the file and accept again"
        )
    return into


def _merged(
    repository: Repository,
    run: RunId,
    state: Path,
    head: str,
    tip: str,
    chosen: str,
    into: str,
    carry: Carry | None,
) -> str:
    """Merge in a worktree of ours, so that a conflict never reaches the user's checkout."""
    worktrees = _worktrees(repository, run, state)
    name = "accept.0.merge"
    worktrees.delete(name)
    worktrees.create(name, head)
    try:
        return merge(worktrees, name, head, tip, with_trailers(f"Merge {chosen} into {into}", {}), carry)
    except Conflict as conflict:
        raise AcceptRefused(
            f"{chosen} does not merge into {one_line(into)} by itself ({conflict}); nothing was changed: "
            f"run `git merge {chosen}` and resolve it, or start a new run from here"
        ) from None
    finally:
        worktrees.delete(name)


def _refuse_overlap(
    repository: Repository, head: str, target: str, files: Sequence[str], chosen: str
) -> None:
    """Name the user's files that would be overwritten; ignored ones too, which git would not ask about."""
    dirty = set(repository.dirty())
    overlap = [path for path in files if path in dirty]
    if overlap:
        raise AcceptRefused(
            f"uncommitted changes in {_some(overlap)} are in the way, nothing was changed: "
            f"commit or stash them, then accept again"
        )
    before, after = set(repository.files_at(head)), set(repository.files_at(target))
    there = sorted(
        {
            place
            for path in files
            if path in after - before and (place := _in_the_way(repository.root, path)) is not None
        }
    )
    if there:
        raise AcceptRefused(
            f"{_some(there)} would be overwritten though git does not track it, nothing was changed: "
            f"move it away, then accept again"
        )
    disabled = repository.git.drivers().disabled
    if disabled:
        listing = b"".join(os.fsencode(path) + b"\0" for path in files)
        fields = repository.git.output("check-attr", "-z", "--stdin", "filter", stdin=listing).split(b"\0")
        under = [
            os.fsdecode(path)
            for path, value in zip(fields[::3], fields[2::3], strict=False)
            if os.fsdecode(value) in disabled
        ]
        if under:
            raise AcceptRefused(
                f"{_some(under)} pass through a filter that only this repository configures, which is not run "
                f"here, nothing was changed: run `git merge {chosen}` yourself"
            )


def _in_the_way(root: Path, path: str) -> str | None:
    """What lies where `path` is to be made: itself, or a file or link where it needs a directory."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        part = "/".join(parts[:depth])
        try:
            mode = (root / part).lstat().st_mode
        except OSError:
            return None
        if depth == len(parts) or not stat.S_ISDIR(mode):
            return part
    return None


def without(
    repository: Repository,
    *,
    run: RunId,
    base: str,
    state: Path,
    drop: Collection[SubtaskId],
    carry: Carry | None = None,
) -> str:
    """Make a branch of the run's commits but those of the subtasks in `drop`; return its name, for `accept`.

    The caller decides whether the result must be verified. Raises NotLanded for a subtask that has no commit,
    AcceptRefused when a later commit does not apply without a dropped one.
    """
    tip = repository.ref(branch_ref(run))
    if tip is None:
        raise AcceptRefused(f"there is no branch {branch_name(run)}")
    entries = landed(repository, base, tip)
    dropped: set[str] = set()
    for subtask in drop:
        found = _commits_of(entries, subtask)
        dropped |= {entry.commit for entry in found}
    # A revert of what is dropped has nothing left to revert.
    dropped |= {entry.commit for entry in entries if entry.undoes in dropped}
    commits = repository.git.text("rev-list", "--reverse", "--topo-order", f"{base}..{tip}").splitlines()
    if len(commits) != int(repository.git.text("rev-list", "--count", "--no-merges", f"{base}..{tip}")):
        raise AcceptRefused(f"{branch_name(run)} holds merges made by hand: drop subtasks by `undo` instead")
    first = min(commits.index(commit) for commit in dropped)
    onto = commits[first - 1] if first else base
    subjects = {entry.commit: entry.subtask for entry in entries}
    worktrees = _worktrees(repository, run, state)
    name = "accept.0.except"
    worktrees.delete(name)
    worktrees.create(name, onto)
    try:
        for commit in commits[first:]:
            if commit not in dropped:
                onto = pick(worktrees, name, commit, onto, carry)
    except Conflict as conflict:
        raise AcceptRefused(
            f"{subjects.get(commit) or commit[:12]} builds on what is to be left out ({conflict}): leave it out too"
        ) from None
    finally:
        worktrees.delete(name)
    branch = f"{branch_name(run)}-except-{digest(*sorted(drop))[:6]}"
    with locked(worktrees.lock):
        known = repository.ref(f"refs/heads/{branch}") or _ZERO
        if known != onto:
            why = "orchestrator: accept --except"
            repository.git.text("update-ref", "-m", why, f"refs/heads/{branch}", onto, known)
    return branch


async def undo(
    workspaces: GitWorkspaces,
    subtask: SubtaskId,
    *,
    note: str = "",
    carry: Carry | None = None,
    before: Sequence[SubtaskId] = (),
) -> Undone:
    """Revert a subtask's commits on top of the run branch, in a worktree, for the caller to verify and advance.

    Those of the subtasks in `before`, which build on it, are reverted first. Raises NotLanded, or Conflict when
    other later commits build on it.
    """
    return await in_background(lambda: _undo(workspaces, subtask, note, carry, before))


def _undo(
    workspaces: GitWorkspaces, subtask: SubtaskId, note: str, carry: Carry | None, before: Sequence[SubtaskId]
) -> Undone:
    repository, worktrees = workspaces.repository, workspaces.worktrees
    tip = repository.ref(branch_ref(workspaces.run))
    if tip is None:
        raise NotLanded(f"there is no branch {workspaces.branch}")
    all_landed = landed(repository, workspaces.base, tip)
    wanted = [(name, f"builds on {subtask}") for name in before] + [(subtask, note)]
    entries = [(entry, why) for name, why in wanted for entry in reversed(_commits_of(all_landed, name))]
    name = f"{subtask}.0.undo"
    worktrees.delete(name)
    made = worktrees.create(name, tip)
    onto = tip
    try:
        for entry, why in entries:
            trailers = {"Orchestrator-Run": workspaces.run, UNDOES: entry.commit}
            message = with_trailers(f"Undo {entry.subtask}: {entry.subject}\n\n{why}", trailers)
            onto = revert(worktrees, name, entry.commit, onto, message, carry)
    except Conflict as conflict:
        worktrees.delete(name)
        raise Conflict(
            f"{subtask} cannot be undone, later commits build on it ({conflict}): undo those first"
        ) from None
    worktree = Worktree(path=made.path, base=tip, name=name)
    return Undone(
        worktree=worktree, commit=onto, expected=tip, reverted=tuple(entry.commit for entry, _ in entries)
    )


async def taken_back_by(workspaces: GitWorkspaces, subtask: SubtaskId) -> str | None:
    """The newest revert of a subtask of which nothing is on the run branch any more; None when something is."""
    return await in_background(lambda: _taken_back_by(workspaces, subtask))


def _taken_back_by(workspaces: GitWorkspaces, subtask: SubtaskId) -> str | None:
    tip = workspaces.repository.ref(branch_ref(workspaces.run))
    entries = landed(workspaces.repository, workspaces.base, tip) if tip else ()
    commits = {entry.commit for entry in entries if entry.subtask == subtask}
    reverts = [entry for entry in entries if entry.undoes in commits]
    return reverts[-1].commit if commits and commits == {entry.undoes for entry in reverts} else None


def _commits_of(entries: Sequence[Landed], subtask: SubtaskId) -> list[Landed]:
    """The commits of a subtask that still count, oldest first. Raises NotLanded."""
    undone = {entry.undoes for entry in entries}
    found = [entry for entry in entries if entry.subtask == subtask and entry.commit not in undone]
    if not found:
        there = {entry.subtask for entry in entries if entry.subtask and entry.commit not in undone}
        raise NotLanded(
            f"no commit of {one_line(subtask)} is on the run branch{did_you_mean(subtask, there)}"
            + (f" (there are {', '.join(sorted(there)[:10])})" if there else "")
        )
    return found


def _worktrees(repository: Repository, run: RunId, state: Path) -> Worktrees:
    directory = worktrees_directory(state.resolve(), run)
    return Worktrees(repository, directory, repository_lock(repository, state))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


__all__ = [
    "SUBTASK",
    "AcceptRefused",
    "Accepted",
    "How",
    "NotLanded",
    "Undone",
    "accept",
    "taken_back_by",
    "undo",
    "without",
]
