"""Files beneath one directory, reached one component at a time and never through a link.

A model names the paths, and whatever ran in the worktree may have left links there. Every directory on the way
is therefore opened with O_NOFOLLOW relative to the one before, so that no later swap can lead outside.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

LONGEST_PATH = 1024
LONGEST_NAME = 255
LARGEST_FILE = 10_000_000


class PathRefused(OrchestratorError):
    """A path that may not be read or written; the message names it and says why."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"{one_line(path, 120) or 'an empty path'}: {why}")


def components(path: str) -> tuple[str, ...]:
    """Split a relative path into its names. Raises PathRefused for any path that is not plainly beneath."""
    if not path or "\0" in path:
        raise PathRefused(path, "not a path")
    if len(path.encode("utf-8", "surrogatepass")) > LONGEST_PATH:
        raise PathRefused(path, f"longer than {LONGEST_PATH} bytes")
    if path.startswith(("/", "~")) or "\\" in path or (len(path) > 1 and path[1] == ":"):
        raise PathRefused(path, "not relative to the repository")
    names = tuple(path.split("/"))
    for name in names:
        if name in ("", ".", ".."):
            raise PathRefused(path, "has empty, `.` or `..` parts")
        if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
            raise PathRefused(path, f"a name longer than {LONGEST_NAME} bytes")
        # What a case-insensitive or 8.3 file system would take for .git is .git everywhere.
        if name.casefold().rstrip(" .") in (".git", "git~1"):
            raise PathRefused(path, "belongs to git")
    return names


class Beneath:
    """Reads and writes files beneath `root`, an absolute path that is trusted itself."""

    def __init__(self, root: str) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None when there is no such file. Raises PathRefused."""
        names = components(path)
        try:
            with self._directory(path, names[:-1]) as directory:
                handle = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PathRefused(path, _why(error)) from None
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise PathRefused(path, "is a directory" if stat.S_ISDIR(status.st_mode) else "not a file")
        with os.fdopen(handle, "rb") as file:
            if status.st_size > LARGEST_FILE:
                raise PathRefused(path, f"larger than {LARGEST_FILE} bytes")
            return file.read(LARGEST_FILE + 1)

    def write(self, path: str, data: bytes) -> None:
        """Write the file, whole or not at all; an existing one keeps its mode. Raises PathRefused."""
        names = components(path)
        if len(data) > LARGEST_FILE:
            raise PathRefused(path, f"would be larger than {LARGEST_FILE} bytes")
        try:
            with self._directory(path, names[:-1], create=True) as directory:
                mode = self._mode(path, names[-1], directory)
                # Beside the file and never a link, so that the rename replaces exactly this name.
                aside = f".{names[-1][:200]}.orchestrator"
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                with os.fdopen(os.open(aside, flags, mode, dir_fd=directory), "wb") as file:
                    file.write(data)
                    os.fchmod(file.fileno(), mode)
                os.rename(aside, names[-1], src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            raise PathRefused(path, _why(error)) from None

    def delete(self, path: str) -> None:
        """Delete the file. Raises PathRefused, also when there is none."""
        names = components(path)
        try:
            with self._directory(path, names[:-1]) as directory:
                self._mode(path, names[-1], directory)
                os.unlink(names[-1], dir_fd=directory)
        except OSError as error:
            raise PathRefused(path, _why(error)) from None

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, with its mode; refuses to replace one. Raises PathRefused."""
        before, after = components(old), components(new)
        if self.read(old) is None:
            raise PathRefused(old, "there is no such file")
        if self.read(new) is not None:
            raise PathRefused(new, "is there already")
        try:
            with (
                self._directory(old, before[:-1]) as source,
                self._directory(new, after[:-1], create=True) as target,
            ):
                self._refuse_case_variant(new, after[-1], target)
                os.rename(before[-1], after[-1], src_dir_fd=source, dst_dir_fd=target)
        except OSError as error:
            raise PathRefused(old, _why(error)) from None

    def _mode(self, path: str, name: str, directory: int) -> int:
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            self._refuse_case_variant(path, name, directory)
            return 0o644
        if stat.S_ISLNK(status.st_mode):
            raise PathRefused(path, "is a link")
        if not stat.S_ISREG(status.st_mode):
            raise PathRefused(path, "not a file")
        return stat.S_IMODE(status.st_mode)

    def _refuse_case_variant(self, path: str, name: str, directory: int) -> None:
        for existing in os.listdir(directory):
            if existing != name and existing.casefold() == name.casefold():
                raise PathRefused(path, f"differs only in case from {existing}, which is there already")

    @contextlib.contextmanager
    def _directory(self, path: str, names: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        current = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names:
                try:
                    inner = os.open(name, flags, dir_fd=current)
                except FileNotFoundError:
                    if not create:
                        raise
                    self._refuse_case_variant(path, name, current)
                    os.mkdir(name, 0o755, dir_fd=current)
                    inner = os.open(name, flags, dir_fd=current)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)


def _why(error: OSError) -> str:
    import errno

    match error.errno:
        case errno.ELOOP:
            return "is a link, or lies behind one"
        case errno.ENOTDIR:
            return "lies behind a link or a file that is no directory"
        case errno.EISDIR:
            return "is a directory"
        case errno.ENOENT:
            return "there is no such file"
    return (error.strerror or str(error)).lower()
