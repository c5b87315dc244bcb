"""What an attempt may leave in its worktree: files under its `touches`, and nothing that acts or points outside."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pathspec

from orchestrator.adapters.worktrees import Change
from orchestrator.core.domain import Deliverable, Problem, Subtask
from orchestrator.core.globs import segments
from orchestrator.core.text import one_line

# Files that make other programs run something; they change only where a subtask names them itself.
CONTROL = (
    ".gitattributes", ".gitconfig", ".lfsconfig", ".mailmap", ".worktreeinclude", ".envrc", ".pre-commit-config.yaml",
    ".husky/", ".githooks/", ".github/workflows/", ".gitlab-ci.yml", ".devcontainer/", ".vscode/", ".idea/",
    ".claude/", ".cursor/", ".codex/", ".agents/", ".opencode/", ".mcp.json", ".gemini/", ".agent-os/", "agent-os/",
    "litellm_budget_config.yaml", "CLAUDE.md", "AGENTS.md", "GEMINI.md", ".npmrc", ".yarnrc", ".yarnrc.yml",
    "pip.conf", ".cargo/",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """The most one attempt may change; bytes count new contents only."""

    files: int = 500
    file_bytes: int = 5 << 20
    total_bytes: int = 25 << 20


def judge(
    changes: Sequence[Change],
    subtask: Subtask,
    *,
    root: Path,
    filtered: frozenset[str] = frozenset(),
    limits: GuardLimits | None = None,
) -> tuple[Problem, ...]:
    """Every way in which the changes go beyond the subtask; no file is read, and no link is followed.

    `filtered` are changed paths that a filter would have to rewrite which is not run here: one that only the
    repository configures (git-crypt, say), or one that is not installed (git-lfs).
    """
    limits = limits or GuardLimits()
    if subtask.deliverable is Deliverable.DOCUMENT:
        return tuple(
            Problem(where=_shown(change.path), what="was changed, but the subtask is to deliver a text only")
            for change in changes
        )
    if not changes:
        return (Problem(where="", what="nothing was changed"),)
    problems: list[Problem] = []
    if len(changes) > limits.files:
        problems.append(
            Problem(where="", what=f"{len(changes)} files were changed, at most {limits.files} may be")
        )
        changes = changes[: limits.files]
    named = _Named(subtask.touches)
    total = 0
    for change in changes:
        where = _shown(change.path)
        problems += [Problem(where=where, what=what) for what in _faults(change, named, root)]
        if change.path in filtered:
            what = "is rewritten by a filter which you have not configured for all repositories: change it by hand"
            problems.append(Problem(where=where, what=what))
        size = _size(root / change.path)
        total += size
        if size > limits.file_bytes:
            what = f"has {size:,} bytes, at most {limits.file_bytes:,} are allowed"
            problems.append(Problem(where=where, what=what))
    if total > limits.total_bytes:
        what = f"{total:,} bytes were written, at most {limits.total_bytes:,} are allowed"
        problems.append(Problem(where="", what=what))
    problems += [
        Problem(where=_shown(place), what="is a git repository put into the worktree")
        for place in _embedded(changes, root)
    ]
    return tuple(problems)


class _Named:
    """Which paths a subtask names: in a plan, a plain name without a slash is the file at the root."""

    def __init__(self, touches: Sequence[str] | None) -> None:
        self.anything = touches is None
        self.spec = _spec(touches or ())
        self.patterns = [(set(segments(pattern)), _spec((pattern,))) for pattern in touches or ()]

    def allows(self, path: str) -> bool:
        return self.anything or self.spec.match_file(path)

    def allows_control(self, path: str) -> bool:
        """Whether a pattern spells out what makes the file special: `src/**` names no `.gitattributes`."""
        parts = path.split("/")
        special = {parts[-1], *(part for part in parts if part in _CONTROL_NAMES)}
        return any(fixed & special and spec.match_file(path) for fixed, spec in self.patterns)


def _spec(patterns: Sequence[str]) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines("/" + "/".join(segments(pattern)) for pattern in patterns)


_CONTROL = pathspec.GitIgnoreSpec.from_lines(CONTROL)
_CONTROL_NAMES = {pattern.split("/")[0] for pattern in CONTROL}


def _faults(change: Change, named: _Named, root: Path) -> Iterator[str]:
    path = change.path
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        yield "has a name that is not UTF-8"
        return
    if any(_is_dot_git(part) for part in path.split("/")):
        yield "lies in .git"
        return
    if "160000" in (change.mode, change.old_mode):
        yield "is a submodule or a repository of its own, and may not change"
        return
    if path == ".gitmodules":
        yield "says where submodules come from, and may not change"
        return
    if not named.allows(path):
        yield "is outside what the subtask may touch"
    elif _CONTROL.match_file(path) and not named.allows_control(path):
        yield "makes other programs act, and is not named by the subtask's touches"
    if change.mode == "120000":
        yield from _link_faults(path, root)
    elif not change.deleted:
        yield from _file_faults(path, root)


def _link_faults(path: str, root: Path) -> Iterator[str]:
    try:
        target = os.readlink(root / path)  # noqa: PTH115  # as written: a Path is made normal
    except OSError:
        yield "is a link that cannot be read"
        return
    shown = one_line(target)
    if posixpath.isabs(target):
        yield f"is a link to the absolute path {shown}"
        return
    aim = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if aim == ".." or aim.startswith("../"):
        yield f"is a link out of the worktree, to {shown}"
    elif any(_is_dot_git(part) for part in aim.split("/")):
        yield f"is a link into .git, to {shown}"
    elif not _stays(root, aim):
        yield f"is a link that leads out of the worktree over another link, to {shown}"


def _stays(root: Path, path: str) -> bool:
    try:
        return (root / path).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def _file_faults(path: str, root: Path) -> Iterator[str]:
    place = root
    for part in path.split("/")[:-1]:
        place = place / part
        if place.is_symlink():
            yield f"lies below the link {_shown(str(place.relative_to(root)))}"
            return
    try:
        found = (root / path).lstat()
    except OSError:
        yield "cannot be read"
        return
    if not stat.S_ISREG(found.st_mode):
        yield "is neither a file, a link nor a directory"
    elif found.st_nlink > 1:
        # Its other name may lie outside: what is written here is written there.
        yield "has a second name (a hard link)"
    elif found.st_mode & (stat.S_ISUID | stat.S_ISGID):
        yield "runs with the rights of another user (setuid)"


def _is_dot_git(part: str) -> bool:
    """`.git` as any file system may read it: case, ignorable characters, Windows' short name and endings."""
    plain = "".join(char for char in part if char.isprintable()).casefold().partition(":")[0].rstrip(". ")
    return plain in (".git", "git~1")


def _size(place: Path) -> int:
    try:
        return place.lstat().st_size
    except OSError:
        return 0


def _embedded(changes: Sequence[Change], root: Path) -> Iterator[str]:
    """Directories that git would take for a bare repository, whose configuration and hooks it would obey."""
    for change in changes:
        directory, _, name = change.path.rpartition("/")
        if name == "HEAD" and not change.deleted:
            place = root / directory
            if (place / "objects").is_dir() and (place / "refs").is_dir():
                yield directory or "."


def _shown(path: str) -> str:
    return one_line(path, 200)
