"""The worktrees and the run branch of one run: the port `Workspaces` on git. The user's checkout is never touched."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.background import in_background
from orchestrator.adapters.file_lock import locked
from orchestrator.adapters.git import Repository
from orchestrator.adapters.git_command import GitFailed
from orchestrator.adapters.guard import GuardLimits, judge
from orchestrator.adapters.merging import (
    ATTEMPT,
    author_of,
    commit_tree,
    landed,
    message_of,
    pick,
    with_trailers,
)
from orchestrator.adapters.state import worktrees_directory
from orchestrator.adapters.worktrees import Change, WorkNotKept, Worktrees
from orchestrator.core.domain import AttemptId, OrchestratorError, Problem, RunId, Subtask
from orchestrator.core.ports import Conflict, Worktree
from orchestrator.core.text import one_line

_RUN_ID = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_NAME = re.compile(r"(?P<subtask>.+)\.(?P<number>\d+)(?P<rest>\.[a-z]+)?")
_ZERO = "0" * 40


class BranchMoved(OrchestratorError):
    """The run branch is not where we left it: somebody else has moved or deleted it."""

    exit_code = 1


def branch_name(run: str) -> str:
    return f"orchestrator/{run}"


def branch_ref(run: str) -> str:
    return f"refs/heads/{branch_name(run)}"


def kept_prefix(run: str) -> str:
    return f"refs/orchestrator/{run}/"


def repository_lock(repository: Repository, state: Path) -> Path:
    """One lock for all that writes to the repository's shared directory, whichever run or process it is."""
    return state / "locks" / f"{repository.id}.lock"


class GitWorkspaces:
    """`Workspaces` for one run. The methods with a plain name are async; what blocks has a leading underscore."""

    def __init__(
        self,
        repository: Repository,
        *,
        run: RunId,
        base: str,
        state: Path,
        limits: GuardLimits | None = None,
    ) -> None:
        if not _RUN_ID.fullmatch(run):
            raise OrchestratorError(f"{one_line(run)!r} is no run id")
        self.repository, self.run, self.base = repository, run, base
        self.limits = limits or GuardLimits()
        self.lock = repository_lock(repository, state)
        self.worktrees = Worktrees(repository, worktrees_directory(state.resolve(), run), self.lock)

    @property
    def branch(self) -> str:
        """The run branch without `refs/heads/`."""
        return branch_name(self.run)

    # --- the run ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the run branch at the base when it is not there yet. Raises BranchMoved, GitFailed."""
        await in_background(self._start)

    def _start(self) -> None:
        ref = branch_ref(self.run)
        found = self.repository.ref(ref)
        if found is not None:
            if not self.repository.is_ancestor(self.base, found):
                raise BranchMoved(
                    f"the run branch {self.branch} does not hold the base {self.base[:12]} any more: "
                    f"point it back with `git branch -f`, or start a new run"
                )
            return
        if self.repository.ref("refs/heads/orchestrator") is not None:
            raise OrchestratorError(
                "a branch called `orchestrator` leaves no room for `orchestrator/<run>`: rename it first"
            )
        self._update_ref(ref, self.base, _ZERO, "orchestrator: run branch")

    async def reclaim(self) -> tuple[str, ...]:
        """Clear away what a killed process has left of this run; return a line for each piece of work kept."""
        return await in_background(self.clear_away)

    def clear_away(self) -> tuple[str, ...]:
        """`reclaim`, blocking."""
        lines = []
        for name in self.worktrees.names():
            try:
                ref = self._remove(name)
            except OrchestratorError as error:
                lines.append(str(error))
                continue
            if ref:
                lines.append(f"unfinished work of {name} is kept under {ref}")
        return tuple(lines)

    async def remarks(self) -> tuple[str, ...]:
        """What a user should know of the checkout before a run, one line each."""
        return await in_background(self._remarks)

    def _remarks(self) -> tuple[str, ...]:
        lines = []
        if dirty := self.repository.dirty():
            lines.append(f"uncommitted changes are not part of the run: {_some(dirty)}")
        if what := self.repository.in_progress():
            lines.append(f"{what} is in progress in the checkout; the run starts from {self.base[:12]}")
        if modules := self.repository.submodules_at(self.base):
            lines.append(f"submodules stay empty in the worktrees: {_some(modules)}")
        if self._in_lfs():
            lines.append(
                "files in Git LFS are pointers in the worktrees: git-lfs is not set up for this user"
            )
        if self.repository.shallow:
            lines.append("a shallow clone: history before its first commits is not there")
        if programs := self.repository.configures_programs():
            lines.append(f"hooks and drivers of this repository are not run: {_some(programs)}")
        return tuple(lines)

    def _in_lfs(self) -> bool:
        """Whether the base has files whose contents lie in Git LFS, and nothing here would bring them."""
        git = self.repository.git
        if "lfs" in git.drivers().run:
            return False
        names = [
            path
            for path in self.repository.files_at(self.base)
            if path.rpartition("/")[2] == ".gitattributes"
        ]
        return any(
            b"filter=lfs" in git.output("cat-file", "blob", f"{self.base}:{name}") for name in names[:50]
        )

    async def tip(self) -> str:
        """The run branch's commit. Raises BranchMoved when the branch is gone."""
        return await in_background(self._tip)

    def _tip(self) -> str:
        found = self.repository.ref(branch_ref(self.run))
        if found is None:
            raise BranchMoved(
                f"the run branch {self.branch} is gone: bring it back with "
                f"`git branch {self.branch} {self.base[:12]}`, or start a new run"
            )
        return found

    async def advance(self, commit: str, *, expected: str) -> None:
        """Move the run branch from `expected` to `commit`, atomically. Raises BranchMoved."""
        await in_background(lambda: self._advance(commit, expected))

    def _advance(self, commit: str, expected: str) -> None:
        if not self.repository.is_ancestor(expected, commit):
            raise BranchMoved(f"{commit[:12]} does not build on {expected[:12]}: the run branch stays")
        with locked(self.lock):
            # Under the lock: it looks at the worktrees of other attempts, too, also at one being made.
            place = self.repository.git.text(
                "for-each-ref", "--format=%(worktreepath)", "--", branch_ref(self.run)
            )
        if place:
            raise BranchMoved(
                f"{self.branch} is checked out in {one_line(place)}: switch to another branch there, then resume"
            )
        self._update_ref(branch_ref(self.run), commit, expected, "orchestrator: landed")

    def _update_ref(self, ref: str, commit: str, expected: str, why: str) -> None:
        with locked(self.lock):
            git = self.repository.git
            try:
                git.text("update-ref", "-m", why, ref, commit, expected)
            except GitFailed as error:
                found = self.repository.ref(ref)
                if found == commit:
                    return
                if (found or _ZERO) != expected:
                    raise BranchMoved(
                        f"{ref} is at {(found or 'nothing')[:12]}, not at {expected[:12]}: "
                        f"somebody else moved it, nothing was changed"
                    ) from None
                # Only we write to these refs, under the lock we hold: a lock file there is a dead process's.
                stale = git.common_dir / f"{ref}.lock"
                if "orchestrator/" not in ref or not stale.exists():
                    raise error
                stale.unlink(missing_ok=True)
                git.text("update-ref", "-m", why, ref, commit, expected)

    async def landed_commit(self, attempt: AttemptId) -> str | None:
        """The commit on the run branch that came of this attempt, None when it has not landed."""
        return await in_background(lambda: self._landed_commit(attempt))

    def _landed_commit(self, attempt: AttemptId) -> str | None:
        for entry in landed(self.repository, self.base, self._tip()):
            if entry.attempt == str(attempt) and not entry.undoes:
                return entry.commit
        return None

    # --- one attempt ------------------------------------------------------------------------------

    async def create(self, attempt: AttemptId) -> Worktree:
        """A fresh worktree at the run branch's tip; what an earlier delivery of the attempt left is kept first."""
        return await in_background(lambda: self._create(_name(attempt), self._tip()))

    async def checkout(self, name: str, commit: str) -> Worktree:
        """A worktree at any commit, for a baseline or a look; `name` is like `baseline.0`."""
        return await in_background(lambda: self._create(name, commit))

    def _create(self, name: str, commit: str) -> Worktree:
        if name in self.worktrees.names():
            self._remove(name)
        return self.worktrees.create(name, commit)

    async def changed_files(self, worktree: Worktree) -> tuple[str, ...]:
        """Files that differ from `worktree.base`, committed or not; renamed ones under both names."""
        changes = await in_background(lambda: self.worktrees.changes(worktree.name, worktree.base))
        return tuple(change.path for change in changes)

    async def files(self, worktree: str) -> tuple[str, ...]:
        """All files in the worktree at this path that git tracks or would track, sorted."""
        return await in_background(lambda: self.worktrees.files(Path(worktree).name))

    async def diff(self, worktree: Worktree) -> str:
        """The attempt's changes as a patch for people and models to read, new files included."""
        return await in_background(lambda: self._diff(worktree))

    def _diff(self, worktree: Worktree) -> str:
        changes = self.worktrees.changes(worktree.name, worktree.base)
        tree = self.worktrees.tree(worktree.name, _addable(changes))
        return self.repository.diff(worktree.base, tree)

    async def guard(self, worktree: Worktree, subtask: Subtask) -> tuple[Problem, ...]:
        """Every way in which the changes go beyond the subtask; an empty tuple when there is none."""
        return await in_background(lambda: self._guard(worktree, subtask))

    def _guard(self, worktree: Worktree, subtask: Subtask) -> tuple[Problem, ...]:
        changes = self.worktrees.changes(worktree.name, worktree.base)
        problems: tuple[Problem, ...] = ()
        if tampered := self.worktrees.tampering(worktree.name):
            problems = (Problem(where=".git", what=f"tampering: {tampered}"),)
        filtered = self._filtered(worktree.name, changes)
        return problems + judge(
            changes, subtask, root=Path(worktree.path), filtered=filtered, limits=self.limits
        )

    def _filtered(self, name: str, changes: tuple[Change, ...]) -> frozenset[str]:
        """Changed paths under a filter that is not run here: as they are, they would be committed unfiltered."""
        if not changes:
            return frozenset()
        git = self.worktrees.watched(name)
        run = git.drivers().run | {"unspecified", "unset", "set"}
        listing = b"".join(os.fsencode(change.path) + b"\0" for change in changes)
        fields = git.output("check-attr", "-z", "--stdin", "filter", stdin=listing).split(b"\0")
        pairs = zip(fields[::3], fields[2::3], strict=False)
        return frozenset(os.fsdecode(path) for path, value in pairs if os.fsdecode(value) not in run)

    async def commit(self, worktree: Worktree, *, message: str, trailers: Mapping[str, str]) -> str:
        """Commit every change, also under a ref of ours; return the commit. Raises when there is none."""
        return await in_background(lambda: self._commit(worktree, message, trailers))

    def _commit(self, worktree: Worktree, message: str, trailers: Mapping[str, str]) -> str:
        name = worktree.name
        commit = self._snapshot(name, with_trailers(message, trailers), self.worktrees.changes(name))
        if commit is None:
            raise OrchestratorError(
                f"nothing was changed in {one_line(worktree.path)}: there is no commit to make"
            )
        self._keep_ref(name, commit)
        self.worktrees.committed(name, commit)
        return commit

    def _snapshot(self, name: str, message: str, changes: tuple[Change, ...]) -> str | None:
        base = self.worktrees.base(name)
        assert base is not None
        tree = self.worktrees.tree(name, changes)
        git = self.repository.git
        if tree == git.text("rev-parse", f"{base}^{{tree}}"):
            return None
        return commit_tree(git, tree, [base], message)

    def _keep_ref(self, name: str, commit: str) -> str:
        """Put the commit under the attempt's ref, or the next free one beside it; return the ref."""
        found = _NAME.fullmatch(name)
        stem = f"{found['subtask']}/{found['number']}" if found else f"{name}/0"
        number, ref = 1, kept_prefix(self.run) + stem
        while (known := self.repository.ref(ref)) is not None:
            if known == commit:
                return ref
            number += 1
            ref = f"{kept_prefix(self.run)}{stem}.{number}"
        self._update_ref(ref, commit, _ZERO, "orchestrator: kept")
        return ref

    async def keep(self, attempt: AttemptId, worktree: Worktree, *, message: str) -> str:
        """Commit whatever is there under a ref of ours and return the ref; the worktree stays as it is."""
        return await in_background(lambda: self._keep(worktree.name, message))

    def _keep(self, name: str, message: str) -> str:
        changes = self.worktrees.changes(name)
        too_big = set(self.worktrees.too_big(name, changes))
        wanted = tuple(change for change in _addable(changes) if change.path not in too_big)
        trailers = {"Orchestrator-Run": self.run}
        commit = self._snapshot(name, with_trailers(message, trailers), wanted)
        base = self.worktrees.base(name)
        assert base is not None
        ref = self._keep_ref(name, commit or base)
        self.worktrees.committed(name, commit or base)
        return ref

    async def remove(self, worktree: Worktree) -> None:
        """Remove a worktree; what is not committed yet is kept under a ref first. Raises WorkNotKept."""
        await in_background(lambda: self._remove(worktree.name))

    def _remove(self, name: str) -> str | None:
        """Return the ref under which uncommitted work was kept, if there was any."""
        ref = None
        there = self.worktrees.path(name).is_dir() and not self.worktrees.unfinished(name)
        if there and self.worktrees.changes(name):
            ref = self._keep(name, f"Uncommitted work of {name}")
            if left := self.worktrees.changes(name):
                raise WorkNotKept(
                    f"{one_line(str(self.worktrees.path(name)))} is not removed, it holds what cannot be "
                    f"committed: {_some([change.path for change in left])}"
                )
        self.worktrees.delete(name)
        return ref

    # --- landing ----------------------------------------------------------------------------------

    async def amend(self, worktree: Worktree, commit: str, path: str) -> str:
        """The same commit with one more changed file, as it stands in the worktree; message and author stay."""
        return await in_background(lambda: self._amend(worktree.name, commit, path))

    def _amend(self, name: str, commit: str, path: str) -> str:
        changes = tuple(change for change in self.worktrees.changes(name, commit) if change.path == path)
        if not changes:
            return commit
        git = self.repository.git
        tree = self.worktrees.tree(name, changes)
        parent = self.repository.commit(f"{commit}^")
        made = commit_tree(git, tree, [parent], message_of(git, commit), author_of(git, commit))
        self.worktrees.committed(name, made)
        return made

    async def rebase(self, attempt: AttemptId, commit: str) -> tuple[Worktree, str, bool]:
        """Put the attempt's commit onto the tip; return worktree, new commit, and whether the base had moved.

        The attempt's own worktree is used when it is still there and clean, for it is prepared; else a new
        one. The returned worktree's base is the tip. Raises Conflict; the commit stays as it was.
        """
        return await in_background(lambda: self._rebase(attempt, commit))

    def _rebase(self, attempt: AttemptId, commit: str) -> tuple[Worktree, str, bool]:
        tip = self._tip()
        name = _name(attempt)
        own = self.worktrees.path(name).is_dir() and self.worktrees.base(name) == commit
        if not own or self.worktrees.changes(name):
            name += ".landing"
            self._create(name, commit)
        worktree = Worktree(path=str(self.worktrees.path(name)), base=tip, name=name)
        if self.repository.commit(f"{commit}^") == tip:
            return worktree, commit, False
        try:
            return worktree, pick(self.worktrees, name, commit, tip), True
        except Conflict:
            # Nothing is lost: the commit has a ref of its own.
            self.worktrees.move_to(name, commit)
            self._remove(name)
            raise


def _name(attempt: AttemptId) -> str:
    return f"{attempt.subtask}.{attempt.number}"


def _addable(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Without repositories inside the worktree: git would record a pointer and lose the contents."""
    return tuple(change for change in changes if not change.path.endswith("/"))


def _some(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


__all__ = ["ATTEMPT", "BranchMoved", "GitWorkspaces", "branch_name", "branch_ref", "kept_prefix"]
