"""One holder at a time among all processes and threads of the user, given up by any death."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

_WAIT_SECONDS = 120.0


class StillLocked(OrchestratorError):
    exit_code = 1

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{one_line(str(path))} is held by another orchestrator for {_WAIT_SECONDS:.0f} s: "
            f"end that one, or try again"
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, made when missing and never removed. Raises StillLocked after two minutes."""
    import time

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline, pause = time.monotonic() + _WAIT_SECONDS, 0.001
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StillLocked(path) from None
                time.sleep(pause)
                pause = min(2 * pause, 0.05)
        yield
    finally:
        os.close(file)
