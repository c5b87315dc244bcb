"""What finished runs have left in a repository, and which of it can go without anything being lost."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.file_lock import locked
from orchestrator.adapters.git import Repository
from orchestrator.adapters.git_command import GitFailed
from orchestrator.adapters.workspaces import GitWorkspaces, kept_prefix, repository_lock
from orchestrator.core.domain import OrchestratorError, RunId

_BRANCH = re.compile(r"refs/heads/orchestrator/(?P<run>.+?)(?:-except-[0-9a-f]{6})?")
_KEPT = re.compile(r"refs/orchestrator/(?P<run>[^/]+)/.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Of one run: the refs and worktrees that went, and why the others stay (nothing: all are gone)."""

    run: RunId
    removed: tuple[str, ...]
    stays: tuple[str, ...]


def prune(
    repository: Repository,
    *,
    state: Path,
    active: Collection[RunId] = (),
    only: Collection[RunId] | None = None,
    rejected: bool = False,
) -> tuple[Pruned, ...]:
    """Remove branches, kept work and worktrees of runs whose commits the user's own branches hold.

    Runs in `active` are left alone. A branch with a commit that is nowhere else stays, and so does kept
    (rejected) work unless `rejected`. Uncommitted work in a worktree is kept under a ref first.
    """
    runs = _runs(repository, state)
    chosen = [run for run in sorted(runs) if only is None or run in only]
    return tuple(_prune(repository, state, run, run in active, rejected) for run in chosen)


def clear_never_begun(repository: Repository, *, state: Path, begun: Callable[[RunId], bool]) -> None:
    """Remove the worktrees of runs that were killed before their journal began: nobody can resume those.

    The caller holds the repository's run lock, so none of them is at work.
    """
    for run in sorted(_with_worktrees(repository, state)):
        if not begun(run):
            GitWorkspaces(repository, run=run, base=repository.head(), state=state).clear_away()


def _runs(repository: Repository, state: Path) -> set[RunId]:
    found: set[RunId] = set()
    for ref in repository.refs("refs/heads/orchestrator/", "refs/orchestrator/"):
        if match := _BRANCH.fullmatch(ref) or _KEPT.fullmatch(ref):
            found.add(RunId(match["run"]))
    return found | _with_worktrees(repository, state)


def _with_worktrees(repository: Repository, state: Path) -> set[RunId]:
    found: set[RunId] = set()
    records = repository.common_dir / "worktrees"
    ours = state.resolve() / "worktrees"
    for entry in records.glob("*/gitdir"):
        try:
            place = Path(os.fsdecode(entry.read_bytes()).strip())
        except OSError:
            continue  # Somebody is removing it.
        if place.is_relative_to(ours):
            found.add(RunId(place.relative_to(ours).parts[0]))
    return found


def _prune(repository: Repository, state: Path, run: RunId, active: bool, rejected: bool) -> Pruned:
    if active:
        return Pruned(run=run, removed=(), stays=("the run is not finished",))
    removed: list[str] = []
    stays: list[str] = []
    try:
        workspaces = GitWorkspaces(repository, run=run, base=repository.head(), state=state)
    except OrchestratorError as error:
        return Pruned(run=run, removed=(), stays=(str(error),))
    names = workspaces.worktrees.names()
    stays += [line for line in workspaces.clear_away() if "is kept under" not in line]
    left = set(workspaces.worktrees.names())
    removed += [f"worktree {name}" for name in names if name not in left]
    with locked(repository_lock(repository, state)):
        kept = repository.refs(kept_prefix(run))
        branches = {
            ref: commit
            for ref, commit in repository.refs("refs/heads/orchestrator/").items()
            if (match := _BRANCH.fullmatch(ref)) and match["run"] == run
        }
        for ref, commit in branches.items():
            if place := repository.git.text("for-each-ref", "--format=%(worktreepath)", "--", ref):
                stays.append(f"{ref} is checked out in {place}")
            elif missing := _nowhere_else(repository, commit):
                stays.append(f"{ref} has {missing} commits that are in no branch of yours")
            else:
                _delete(repository, ref, commit, removed)
        unaccepted = {}
        for ref, commit in kept.items():
            if not rejected and _nowhere_else(repository, commit):
                unaccepted[ref] = commit
            else:
                _delete(repository, ref, commit, removed)
        if unaccepted:
            stays.append(
                f"{len(unaccepted)} attempts that did not land stay under {kept_prefix(run)}: "
                f"add --rejected to drop them"
            )
    return Pruned(run=run, removed=tuple(removed), stays=tuple(stays))


def _delete(repository: Repository, ref: str, commit: str, removed: list[str]) -> None:
    repository.git.text("update-ref", "-d", ref, commit)
    removed.append(f"{ref} ({commit[:12]})")


def _nowhere_else(repository: Repository, commit: str) -> int:
    """How many commits up to this one are held by no ref of the user's, as themselves or as the same change."""
    others = [
        ref
        for ref in repository.refs("refs/heads/", "refs/remotes/", "refs/tags/")
        if not ref.startswith("refs/heads/orchestrator/")
    ]
    arguments = "".join(f"^{ref}\n" for ref in others)
    # Merges too: what was resolved in one by hand is in no other commit.
    listing = repository.git.output(
        "rev-list",
        "--stdin",
        stdin=os.fsencode(f"{commit}\n^{repository.head()}\n{arguments}"),
    )
    missing = set(listing.decode().split())
    if not missing:
        return 0
    try:
        cherry = repository.git.text("cherry", "HEAD", commit).splitlines()
    except GitFailed:
        return len(missing)
    same = {line[2:] for line in cherry if line.startswith("- ")}
    return len(missing - same)
