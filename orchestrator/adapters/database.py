"""The one SQLite file of journal and ledger: made whole, opened with care, watched while it is in use.

SQLite comes with apsw, because the one of today's distributions can lose data in WAL mode (fixed in 3.51.3).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from orchestrator.adapters.schema import SCHEMA, VERSION
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

BUSY_SECONDS = 15.0
# A checkpoint costs three flushes, so it waits for some 16 MB; the log is cut back to that afterwards.
CHECKPOINT_PAGES = 4000


class StoreUnusable(OrchestratorError):
    """Journal and ledger cannot be read or written, so nothing may be called. Names the file and what to do."""


class StoreBusy(StoreUnusable):
    """Another process kept the file locked for longer than we wait."""


class StoreDamaged(StoreUnusable):
    """The file is not what was written to it. A copy is kept aside; nothing is started over."""


class StoreReplaced(StoreUnusable):
    """The file was moved, replaced, truncated or deleted while it was in use."""


class StoreFull(StoreUnusable):
    """There was no space to write to; what was acknowledged before is safe."""


def connect(path: Path) -> apsw.Connection:
    """Open the store, made first when there is none. Raises StoreUnusable."""
    with translated(path):
        if not path.exists():
            _create(path)
        _refuse_remains(path)
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
            _check_version(connection, path)
            for pragma in (
                "synchronous=FULL",
                f"wal_autocheckpoint={CHECKPOINT_PAGES}",
                f"journal_size_limit={CHECKPOINT_PAGES * 4096}",
                "foreign_keys=OFF",
                "trusted_schema=OFF",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def _create(path: Path) -> None:
    """Make the file under another name and link it into place, so that nobody ever sees half a store."""
    refuse_leftover_log(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = apsw.Connection(str(temporary))
        try:
            connection.execute("PRAGMA synchronous=FULL").fetchall()
            connection.execute(f"BEGIN; {SCHEMA} COMMIT").fetchall()
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
        finally:
            connection.close()
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        _flush_directory(path.parent)
    finally:
        for name in (temporary, *_companions(temporary)):
            name.unlink(missing_ok=True)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _companions(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def refuse_leftover_log(path: Path) -> None:
    """Raise StoreReplaced when a log lies where no store is: it was lost or moved, this is no first start."""
    wal = _companions(path)[0]
    if wal.exists() and wal.stat().st_size:
        raise StoreReplaced(
            f"{path} is gone but its log {wal.name} is there: put the file back, or move the log away to start anew"
        )


def _refuse_remains(path: Path) -> None:
    # SQLite takes an empty file for a new database and throws its log away: an empty ledger, silently.
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")


def _check_version(connection: apsw.Connection, path: Path) -> None:
    try:
        version = connection.execute("SELECT value FROM meta WHERE key = 'version'").get
    except apsw.SQLError:
        raise damaged(path, "it holds no journal and no ledger") from None
    if version != VERSION:
        raise StoreUnusable(
            f"{path} has format {version!r}, this version of orchestrator reads {VERSION}: "
            f"use the version that wrote it"
        )


def quick_check(connection: apsw.Connection, path: Path) -> None:
    """Raise StoreDamaged when the structure of the file is broken."""
    with translated(path):
        found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise damaged(path, str(found))


def try_to_write(path: Path, *, seconds: float) -> None:
    """Take the file's lock, as a transaction would, and let it go. Raises StoreBusy, or StoreUnusable if it cannot."""
    with translated(path, busy_seconds=seconds):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(int(seconds * 1000))
            connection.execute("BEGIN IMMEDIATE; ROLLBACK").fetchall()
        finally:
            let_go(connection)


def damaged(path: Path, why: str) -> StoreDamaged:
    """Keep a copy of the broken file aside and return the error that says so."""
    kept = path.with_name(f"{path.name}.damaged")
    try:
        if not kept.exists():
            for source in (path, *_companions(path)):
                if source.exists() and not source.name.endswith("-shm"):
                    shutil.copy2(source, kept.with_name(source.name.replace(path.name, kept.name)))
        where = f"a copy as it was found is kept in {kept}"
    except OSError as error:
        where = f"no copy could be kept ({error.strerror})"
    return StoreDamaged(
        f"{path} is damaged ({one_line(why)}); {where}: put a backup in its place, "
        f"or move it away to begin with an empty ledger"
    )


@contextmanager
def translated(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> Iterator[None]:
    """Turn what SQLite and the system raise into one sentence that names the file."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise damaged(path, str(error)) from error
    except apsw.FullError as error:
        raise StoreFull(
            f"disk full: {path} could not be written, nothing was called for it: free some space, then resume"
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StoreBusy(
            f"{path} has been locked by another process for {busy_seconds:g} seconds: end that process, then resume"
        ) from error
    except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError) as error:
        raise StoreUnusable(
            f"cannot write {path} ({one_line(str(error))}): make it and its directory writable, "
            f"or set ORCHESTRATOR_STATE to one that is"
        ) from error
    except (apsw.IOError, apsw.NoLFSError, apsw.ProtocolError) as error:
        raise StoreUnusable(
            f"I/O error on {path} ({one_line(str(error))}): check the disk, then resume"
        ) from error
    except OSError as error:
        raise StoreUnusable(
            f"cannot use {path} ({error.strerror}): check its directory and the disk"
        ) from error


def let_go(connection: apsw.Connection) -> None:
    """Close. The last connection of all also empties the log into the file; if it cannot, the log stays."""
    with contextlib.suppress(apsw.Error):
        connection.close(True)


class FileWatch:
    """Notices that the file, its log or its index is no longer the one that was opened, or has become shorter.

    Processes that share no log and index do not see each other's holds, so this is checked around every
    transaction.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        with translated(path):
            # The log and its index exist from the first reading on.
            connection.execute("SELECT count(*) FROM meta").fetchall()
        self._path = path
        self._names = (path, *_companions(path))
        self._identities = [self._identity(name) for name in self._names]
        self._size = path.stat().st_size

    def check(self) -> None:
        for name, before in zip(self._names, self._identities, strict=True):
            if self._identity(name) != before:
                raise StoreReplaced(
                    f"{name} was moved, replaced or deleted while in use: nothing more is called; "
                    f"put the file back, then resume"
                )
        size = self._path.stat().st_size
        if size < self._size:
            raise StoreReplaced(
                f"{self._path} was truncated from {self._size} to {size} bytes while in use: nothing more "
                f"is called; put a backup in its place, then resume"
            )
        self._size = size

    @staticmethod
    def _identity(name: Path) -> tuple[int, int] | None:
        try:
            found = name.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino
