"""The temporary directory of one command, gone after it; what killed processes left of theirs goes later."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "orchestrator-scratch-"


@contextmanager
def scratch_directory(base: Path | None = None) -> Iterator[Path]:
    """A directory with an empty `home` and `tmp` for one command, removed afterwards whatever was put there."""
    place, mark = _made(base)
    try:
        (place / "home").mkdir()
        (place / "tmp").mkdir()
        yield place
    finally:
        shutil.rmtree(place, onerror=_make_writable)
        os.close(mark)


def _made(base: Path | None) -> tuple[Path, int]:
    """A new directory, locked: the kernel lets go of it when this process dies, and then anybody may tidy up."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
        try:
            mark = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(mark, fcntl.LOCK_SH)
        if place.exists():
            return place, mark
        # Somebody tidied up between the two.
        os.close(mark)


def clear_scratch(base: Path | None = None) -> None:
    """Remove the scratch directories of processes that were killed; those of living ones, and of other users, stay."""
    for place in Path(base or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            mark = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(mark).st_uid == os.getuid():
                shutil.rmtree(place, onerror=_make_writable)
        except BlockingIOError:
            continue
        finally:
            os.close(mark)


def _make_writable(function: object, path: str, _error: object) -> None:
    place = Path(path)
    try:
        place.parent.chmod(0o700)
        if place.is_dir() and not place.is_symlink():
            place.chmod(0o700)
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    except OSError:
        return  # A temporary directory that cannot be emptied is not worth the result of the command.
