"""Checkouts of our own, in the state directory: made under a lock, watched by an index of ours, removed last.

Beside the checkout `<name>` lie `<name>.json`, where git keeps its record of it, and `<name>.index`, the index we
compare it with. What an executor does to the checkout's `.git` file or to its index changes neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pathspec

from orchestrator.adapters.file_lock import locked
from orchestrator.adapters.git import Repository
from orchestrator.adapters.git_command import Git, GitFailed, version
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.ports import Worktree
from orchestrator.core.text import one_line

# What tools leave behind; a file of these names is only ever a change when git tracks it already.
JUNK = (
    "__pycache__/", "*.py[cod]", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/", ".tox/", ".nox/",
    ".venv/", "node_modules/", "*.egg-info/", ".eggs/", ".coverage", ".coverage.*", "htmlcov/", ".nyc_output/",
    ".turbo/", ".parcel-cache/", ".DS_Store", ".gradle/",
)  # fmt: skip
_JUNK = pathspec.GitIgnoreSpec.from_lines(JUNK)
# Uncommitted files above this are not taken into the repository when they are kept; their directory stays.
MOST_KEPT_BYTES = 50 << 20
_TRIES = 6


class WorktreeGone(OrchestratorError):
    """A worktree of ours is not there any more, or was never made."""

    exit_code = 1


class WorkNotKept(OrchestratorError):
    """A worktree holds something that cannot be committed, so it is not removed."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file that differs from the base. `mode` is git's (octal text), `000000` when the file is gone."""

    path: str
    old_mode: str
    mode: str

    @property
    def deleted(self) -> bool:
        return self.mode == "000000"


@dataclass(frozen=True, slots=True)
class Worktrees:
    """The worktrees of one run in `directory`; `lock` is one file for each repository and user."""

    repository: Repository
    directory: Path
    lock: Path

    # --- places -----------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        return self.directory / name

    def index(self, name: str) -> Path:
        return self.directory / f"{name}.index"

    def _record(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _temporary(self, name: str) -> Path:
        return self.directory / f".{name}.new"

    def names(self) -> tuple[str, ...]:
        """Every worktree that is there or half there, by its directory or by its record."""
        if not self.directory.is_dir():
            return ()
        directories = {place.name for place in self.directory.iterdir() if place.is_dir()}
        records = {place.name.removesuffix(".json") for place in self.directory.glob("*.json")}
        return tuple(sorted(directories | records))

    def git_dir(self, name: str) -> Path | None:
        """Where git keeps its record of the worktree; None when it has none."""
        try:
            known = json.loads(self._record(name).read_bytes())["git_dir"]
            if known and Path(known).is_dir():
                return Path(known)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # A crash came between making it and recording it: git's own records still know.
        wanted = os.fsencode(self.path(name) / ".git")
        for entry in (self.repository.common_dir / "worktrees").glob("*/gitdir"):
            try:
                if entry.read_bytes().rstrip(b"\n") == wanted:
                    return entry.parent
            except OSError:
                continue  # Somebody else's worktree is being removed.
        return None

    def base(self, name: str) -> str | None:
        try:
            return str(json.loads(self._record(name).read_bytes())["base"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def unfinished(self, name: str) -> bool:
        """Whether making it was cut short: nobody has worked in it, and nothing in it is worth keeping."""
        try:
            return json.loads(self._record(name).read_bytes())["ready"] is False
        except (OSError, ValueError, KeyError, TypeError):
            return not any(place.name != ".git" for place in self.path(name).iterdir())

    def watched(self, name: str) -> Git:
        """Git for comparing and committing: the shared directory and our index, nothing the executor can reach."""
        common = self.repository.common_dir
        return self.repository.git.at(git_dir=common, work_tree=self.path(name), index=self.index(name))

    def inside(self, name: str) -> Git:
        """Git with the worktree's own HEAD, and our index. Raises WorktreeGone."""
        git_dir = self.git_dir(name)
        if git_dir is None or not self.path(name).is_dir():
            raise WorktreeGone(f"the worktree {one_line(str(self.path(name)))} is gone")
        return self.repository.git.at(git_dir=git_dir, work_tree=self.path(name), index=self.index(name))

    # --- making -----------------------------------------------------------------------------------

    def create(self, name: str, commit: str) -> Worktree:
        """Check `commit` out, detached, in a new directory. Raises GitFailed and leaves nothing then."""
        path = self.path(name)
        if path.exists() or path.is_symlink():
            raise OrchestratorError(f"{one_line(str(path))} is in the way: move it, then resume the run")
        with locked(self.lock):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget(name)
            # Only the record is made under the lock; the files are written beside others.
            self._retry(
                lambda: self.repository.git.text(
                    "worktree", "add", "--quiet", "--detach", "--no-checkout", "--", str(path), commit
                )
            )
            git_dir = self.git_dir(name)
            assert git_dir is not None
            self._write(name, git_dir, commit, ready=False)
        try:
            self.inside(name).text("read-tree", "--reset", "-u", commit)
        except GitFailed:
            self.delete(name)
            raise
        self._show_index(name, git_dir)
        self._write(name, git_dir, commit)
        return Worktree(path=str(path), base=commit, name=name)

    def move_to(self, name: str, commit: str) -> None:
        """Check another commit out in a worktree whose work is committed; other files stay as they are."""
        git = self.inside(name)
        git.text("update-ref", "--no-deref", "HEAD", commit)
        git.text("read-tree", "--reset", "-u", commit)
        self.committed(name, commit)

    def _write(self, name: str, git_dir: Path | None, base: str, *, ready: bool = True) -> None:
        temporary = self._temporary(name)
        temporary.write_text(
            json.dumps(
                {
                    "schema": "worktree",
                    "version": 1,
                    "git_dir": str(git_dir or ""),
                    "base": base,
                    "ready": ready,
                }
            )
        )
        temporary.replace(self._record(name))

    def _show_index(self, name: str, git_dir: Path) -> None:
        """Let the checkout have an index too, for checks that ask git; we never read it."""
        # With its times: git takes an index as old as a file it describes for a reason to read that file again.
        shutil.copy2(self.index(name), git_dir / "index")

    def _retry(self, work: Callable[[], str]) -> str:
        """Git's own commands, of the user or of other tools, meet us at the same files now and then."""
        import time

        for attempt in range(_TRIES):
            try:
                return work()
            except GitFailed as error:
                passing = (
                    "failed to read",
                    "File exists",
                    "Unable to create",
                    "could not lock",
                    "cannot lock",
                )
                if attempt == _TRIES - 1 or not any(text in error.said for text in passing):
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable")

    # --- looking ----------------------------------------------------------------------------------

    def changes(self, name: str, base: str | None = None) -> tuple[Change, ...]:
        """What differs from `base` (else from what it was last committed as), sorted by path.

        What git ignores and what tools leave behind is left out. Renamed files are there under both names.
        """
        self._need_index(name)
        base = base or self._known_base(name)
        found = self._by_status(name, base)
        if found is None:
            found = self._by_comparison(name, base)
        found += self._filled_submodules(name)
        return tuple(sorted(found, key=lambda change: change.path))

    def _by_status(self, name: str, base: str) -> list[Change] | None:
        """All in one call, when the worktree stands at `base` and nothing is in our index yet; else None."""
        git_dir = self.git_dir(name)
        try:
            if git_dir is None or (git_dir / "HEAD").read_text().strip() != base:
                return None
        except (OSError, UnicodeDecodeError):
            return None
        options = (
            "--porcelain=v2",
            "-z",
            "--no-renames",
            "--untracked-files=all",
            "--ignore-submodules=none",
        )
        found = []
        for entry in self.inside(name).paths("status", *options):
            if entry.startswith("? "):
                path = entry[2:]
                if not _JUNK.match_file(path):
                    found.append(Change(path=path, old_mode="000000", mode=self._mode(name, path)))
            elif entry.startswith("1 ."):
                fields = entry.split(" ", 8)
                found.append(Change(path=fields[8], old_mode=fields[3], mode=fields[5]))
            else:
                return None
        return found

    def _by_comparison(self, name: str, base: str) -> list[Change]:
        git = self.watched(name)
        # Fails when files differ, which is what we are about to see.
        git.completed("update-index", "-q", "--refresh")
        options = ("--raw", "-z", "--no-renames", "--ignore-submodules=none")
        found = list(_raw(git.output("diff-index", *options, base)))
        excludes = [f"--exclude={pattern}" for pattern in JUNK]
        for path in git.paths("ls-files", "-z", "--others", "--exclude-standard", *excludes):
            found.append(Change(path=path, old_mode="000000", mode=self._mode(name, path)))
        return found

    def _filled_submodules(self, name: str) -> Iterator[Change]:
        """Ours stay empty; git would not look into what is put there, and it would be lost unseen."""
        root = self.path(name)
        if not (root / ".gitmodules").is_file():
            return
        for entry in self.watched(name).paths("ls-files", "-z", "--stage"):
            head, _, path = entry.partition("\t")
            place = root / path
            if (
                head.startswith("160000 ")
                and not place.is_symlink()
                and place.is_dir()
                and any(place.iterdir())
            ):
                yield Change(path=path, old_mode="160000", mode="160000")

    def files(self, name: str) -> tuple[str, ...]:
        """All files that are there and are tracked, or would be; links are files."""
        git = self.watched(name)
        self._need_index(name)
        excludes = [f"--exclude={pattern}" for pattern in JUNK]
        listed = git.paths("ls-files", "-z", "--cached", "--others", "--exclude-standard", *excludes)
        root = self.path(name)
        return tuple(sorted(path for path in set(listed) if _is_file(root / path)))

    def _known_base(self, name: str) -> str:
        base = self.base(name)
        if base is None:
            raise WorktreeGone(f"nothing is known of {one_line(str(self.path(name)))}: it is left as it is")
        return base

    def _need_index(self, name: str) -> None:
        """Make our index anew when a crash or a hand has taken it; its base is on record."""
        if self.index(name).exists():
            self.index(name).with_name(f"{name}.index.lock").unlink(missing_ok=True)
            return
        self.watched(name).text("read-tree", self._known_base(name))

    def _mode(self, name: str, path: str) -> str:
        if path.endswith("/"):
            return "160000"
        try:
            mode = (self.path(name) / path).lstat().st_mode
        except OSError:
            return "000000"
        return "120000" if stat.S_ISLNK(mode) else "100755" if mode & stat.S_IXUSR else "100644"

    def tampering(self, name: str) -> str | None:
        """What was done to the worktree's link to its repository, or None when it is as we made it."""
        git_dir, link = self.git_dir(name), self.path(name) / ".git"
        if git_dir is None:
            return "git's record of the worktree is gone"
        try:
            if not stat.S_ISREG(link.lstat().st_mode):
                return "the worktree's .git file was replaced"
            if link.read_bytes().strip() != b"gitdir: " + os.fsencode(git_dir):
                return "the worktree's .git file was changed"
            head = (git_dir / "HEAD").read_text().strip()
        except (OSError, UnicodeDecodeError):
            return "the worktree's .git file is gone"
        return None if head == self.base(name) else "the worktree's HEAD was moved"

    # --- committing -------------------------------------------------------------------------------

    def tree(self, name: str, changes: tuple[Change, ...]) -> str:
        """Write the base with these changes as a tree; return its name. Our index then stands at that tree."""
        git = self.watched(name)
        self._need_index(name)
        # First what is gone: a file below a directory that became a link is in git's way.
        gone = b"".join(os.fsencode(change.path) + b"\0" for change in changes if change.deleted)
        if gone:
            git.output("update-index", "-z", "--force-remove", "--stdin", stdin=gone)
        files = (change for change in changes if change.mode not in ("000000", "160000"))
        listing = b"".join(os.fsencode(change.path) + b"\0" for change in files)
        if listing:
            options = ("--pathspec-from-file=-", "--pathspec-file-nul")
            # --force: what is listed is wanted, also where a directory above it is ignored.
            sparse = ("--sparse",) if version(git.environ.get("PATH", os.defpath)) >= (2, 34) else ()
            git.output("add", "--all", "--force", *sparse, *options, stdin=listing)
        return git.text("write-tree")

    def committed(self, name: str, commit: str) -> None:
        """Let the worktree's own HEAD and index follow a commit that was made of our index."""
        git_dir = self.git_dir(name)
        if git_dir is not None:
            self.inside(name).text("update-ref", "--no-deref", "HEAD", commit)
            self._show_index(name, git_dir)
        self._write(name, git_dir, commit)

    def too_big(self, name: str, changes: tuple[Change, ...]) -> tuple[str, ...]:
        """Changed files that are too large to be kept in the repository."""
        found = []
        for change in changes:
            try:
                if (self.path(name) / change.path).lstat().st_size > MOST_KEPT_BYTES:
                    found.append(change.path)
            except OSError:
                continue  # Deleted files are changes too.
        return tuple(found)

    # --- removing ---------------------------------------------------------------------------------

    def delete(self, name: str) -> None:
        """Remove a worktree in which nothing is left to lose; the caller has made sure of that."""
        with locked(self.lock):
            self._discard(name)

    def _discard(self, name: str) -> None:
        path, index = self.path(name), self.index(name)
        if path.exists() and (base := self.base(name)) is not None:
            # Half removed, it must not look like work in which files were deleted.
            self._write(name, self.git_dir(name), base, ready=False)
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path, onerror=_make_writable)
        self._forget(name)
        ours = (index, index.with_name(f"{index.name}.lock"), self._temporary(name), self._record(name))
        for left in ours:
            left.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _forget(self, name: str) -> None:
        """Remove git's record of this worktree, and of no other: `git worktree prune` would take the user's too."""
        git_dir = self.git_dir(name)
        if git_dir is not None and git_dir.parent == self.repository.common_dir / "worktrees":
            shutil.rmtree(git_dir)
            # As git itself does after the last one; it stays while there are others.
            with contextlib.suppress(OSError):
                git_dir.parent.rmdir()


def _is_file(place: Path) -> bool:
    try:
        mode = place.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _raw(listing: bytes) -> Iterator[Change]:
    fields = listing.split(b"\0")
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        old, new = head.decode().lstrip(":").split()[:2]
        yield Change(path=os.fsdecode(path), old_mode=old, mode=new)


def _make_writable(function: Callable[..., object], path: str, _error: object) -> None:
    """Go's module cache and some tests make directories read-only."""
    place = Path(path)
    place.parent.chmod(0o700)
    if not place.is_symlink() and place.is_dir():
        place.chmod(0o700)
    function(path)
