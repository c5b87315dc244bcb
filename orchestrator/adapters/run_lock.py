"""One run at a time per repository, across all checkouts and processes of a user.

The kernel holds the lock (`flock`) and lets go of it when the process dies, however it dies. What stands in the
file is for people: who holds it, since when. Where a file system has no `flock`, the file itself is the lock,
and its holder is known by process id, start time and boot, so that a later process with the same id is not
taken for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from orchestrator.adapters.holder import Holder, is_alive, this_process
from orchestrator.adapters.state import digest
from orchestrator.core.domain import OrchestratorError, RunId
from orchestrator.core.ports import Clock
from orchestrator.core.text import one_line

_LOOKS = 10
_NO_FLOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """Who works on the repository: the run, its process, and since when (ISO 8601 UTC)."""

    run: RunId
    holder: Holder
    since: str


class Identified(Protocol):
    """A repository, as far as its lock goes: `id` is the same from all of its checkouts."""

    @property
    def id(self) -> str: ...


class RunLocked(OrchestratorError):
    """Another run works on this repository."""

    def __init__(self, occupant: Occupant | None) -> None:
        self.occupant = occupant
        if occupant is None:
            # Between its taking the lock and its writing who it is.
            super().__init__("another run has just started in this repository: try again when it has ended")
            return
        run = one_line(occupant.run, 40)
        super().__init__(
            f"run {run} (process {occupant.holder.pid}, since {one_line(occupant.since, 40)}) works on this "
            f"repository: follow it with `orchestrator show {run} --follow`, or end it with "
            f"`orchestrator cancel {run}`"
        )


class RunLock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, repository: Identified, state: Path, *, run: RunId, clock: Clock) -> RunLock:
        """Take the repository's lock for this process. Raises RunLocked at once when another run has it."""
        path = _path(repository, state)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = _text(Occupant(run=run, holder=this_process(), since=clock.now()))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor, path)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_FLOCK:
                raise
            return _acquire_by_name(path.with_suffix(".owner"), text)
        except RunLocked:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
        return cls(path, descriptor)

    def release(self) -> None:
        if self._descriptor is None:
            self._path.unlink(missing_ok=True)
            return
        # The file stays: unlinking it would let a third process lock a file that a second one still opens.
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def occupant(repository: Identified, state: Path) -> Occupant | None:
    """Return the run that works on the repository now, or None."""
    return _occupant_of(_path(repository, state))


def at_work(state: Path) -> frozenset[RunId]:
    """The runs that are at work now, in whatever repository."""
    found = (_occupant_of(path) for path in (state / "locks").glob("*.lock"))
    return frozenset(occupant.run for occupant in found if occupant is not None)


def _occupant_of(path: Path) -> Occupant | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        found = _read(path.with_suffix(".owner"))
        return found if found is not None and is_alive(found.holder) else None
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, path: Path) -> None:
    for patience in range(_LOOKS, -1, -1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            found = _read(path)
            # Someone may only be looking who has the lock, which takes it for a moment.
            if not patience or (found is not None and is_alive(found.holder)):
                raise RunLocked(found) from None
        time.sleep(0.02)


def _acquire_by_name(path: Path, text: bytes) -> RunLock:
    """Take a lock that is the file itself; one left by a process that is gone is put aside first."""
    written = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    written.write_bytes(text)
    try:
        for _ in range(10):
            with contextlib.suppress(FileExistsError):
                os.link(written, path)
                return RunLock(path, None)
            found = _read(path)
            if found is not None and is_alive(found.holder):
                raise RunLocked(found)
            # Renamed, not unlinked: of two that find it stale, one must fail here and look again.
            aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.stale")
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside)
                aside.unlink()
    finally:
        written.unlink(missing_ok=True)
    raise RunLocked(_read(path))


def _path(repository: Identified, state: Path) -> Path:
    return state / "locks" / f"{digest(repository.id)}.lock"


def _text(occupant: Occupant) -> bytes:
    holder = occupant.holder
    plain = {
        "run": occupant.run,
        "pid": holder.pid,
        "started": holder.started,
        "boot": holder.boot,
        "since": occupant.since,
    }
    return json.dumps(plain).encode()


def _read(path: Path) -> Occupant | None:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return Occupant(
            run=RunId(str(plain["run"])),
            holder=Holder(pid=int(plain["pid"]), started=str(plain["started"]), boot=str(plain["boot"])),
            since=str(plain["since"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
