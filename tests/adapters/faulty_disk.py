"""A disk below SQLite that pauses before it writes, or fails its n-th operation, once or from then on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw


class Disk:
    """Counts what reaches the disk; `before` is called with the name of each operation and its number."""

    def __init__(self, before: Callable[[str, int], None]) -> None:
        self.before = before
        self.counts: dict[str, int] = {}

    def touched(self, operation: str) -> None:
        self.counts[operation] = self.counts.get(operation, 0) + 1
        self.before(operation, self.counts[operation])


class _File(apsw.VFSFile):
    def __init__(self, base: str, name, flags, disk: Disk) -> None:
        super().__init__(base, name, flags)
        self._disk = disk

    def xWrite(self, data, offset):  # noqa: N802  # SQLite's name
        self._disk.touched("write")
        return super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self._disk.touched("sync")
        return super().xSync(flags)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # By name: the unnamed one would be this one.
        self._base = apsw.vfs_names()[0]
        super().__init__("faulty", self._base, makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802
        return _File(self._base, name, flags, self._disk)


@contextmanager
def disk(before: Callable[[str, int], None]) -> Iterator[Disk]:
    """Put the disk below every connection that is opened inside."""
    faulty = Disk(before)
    vfs = _Vfs(faulty)
    try:
        yield faulty
    finally:
        vfs.unregister()


def pause(seconds: float) -> Callable[[str, int], None]:
    """Pause before every write: SQLite writes when it commits, after the ledger has checked and decided."""

    def before(operation: str, number: int) -> None:
        if operation == "write":
            time.sleep(seconds)

    return before


def fail(operation: str, number: int, error: type[Exception], *, forever: bool) -> Callable[[str, int], None]:
    def before(what: str, count: int) -> None:
        if what == operation and (count >= number if forever else count == number):
            raise error("injected")

    return before
