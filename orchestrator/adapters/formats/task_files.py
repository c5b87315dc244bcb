"""Task files on disk: read within bounds; written back whole, with a backup, and never over somebody else's change."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.formats import task_master
from orchestrator.adapters.formats.detection import read_tasks
from orchestrator.adapters.formats.task_list import MAX_BYTES, TaskFileFault, TaskList
from orchestrator.adapters.state import digest
from orchestrator.core.text import one_line


class TaskFileChanged(TaskFileFault):
    """The file was changed meanwhile in a way that does not fit what is to be written; nothing was written."""

    exit_code = 1


def read_bytes(path: Path) -> bytes:
    """Return what is in the file. Raises TaskFileFault."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TaskFileFault(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise TaskFileFault(f"{path} has more than {MAX_BYTES:,} bytes, the most a task file may have")
    return data


def read_task_file(path: Path, *, format: str | None = None, tag: str | None = None) -> TaskList:
    """Read a task file; a fault names the file. Without `tag`, task-master's own current tag is taken."""
    data = read_bytes(path)
    try:
        return read_tasks(path.name, data, format=format, tag=tag or _current_tag(path, data, format))
    except TaskFileFault as error:
        raise TaskFileFault(f"{path}: {error}") from None


def _current_tag(path: Path, data: bytes, format: str | None) -> str | None:
    """The tag that task-master itself would use here: it keeps it beside its files."""
    if path.suffix != ".json" or format not in (None, task_master.FORMAT):
        return None
    try:
        state = json.loads((path.parent.parent / "state.json").read_bytes()[:65536])
        current = state.get("currentTag") if isinstance(state, dict) else None
        return current if isinstance(current, str) and current in task_master.tags_of(data) else None
    except (OSError, ValueError, RecursionError, TaskFileFault):
        return None


def write_status(
    path: Path,
    tasks: TaskList,
    changes: Mapping[str, bool],
    notes: Mapping[str, str] | None = None,
    *,
    backups: Path,
) -> bool:
    """Put the statuses into the file; return whether anything was written. What else changed there meanwhile stays.

    `tasks` is the file as it was read; the version that is replaced is kept in `backups`. Raises TaskFileChanged
    when a task that is to be marked is not there any more or is another one.
    """
    # Through a symbolic link the file it leads to is meant, not the link.
    target = path.resolve()
    for _ in range(3):
        now = read_bytes(target)
        current = tasks if now == tasks.data else _merged(path, tasks, now, {*changes, *(notes or {})})
        wanted = current.with_status(changes, notes)
        if wanted == now:
            return False
        keep_backup(backups, target.name, now)
        if replace_file(target, wanted, expected=now):
            return True
    raise TaskFileChanged(f"{path} keeps changing: nothing was written, try again when it is quiet")


def _merged(path: Path, tasks: TaskList, now: bytes, names: set[str]) -> TaskList:
    try:
        current = read_tasks(path.name, now, format=tasks.format, tag=tasks.tag)
    except TaskFileFault as error:
        raise TaskFileChanged(f"{path} was changed meanwhile and cannot be read any more: {error}") from None
    for name in names:
        was, item = tasks.by_id.get(name), current.by_id.get(name)
        if was is None or item is None or item.title != was.title:
            raise TaskFileChanged(
                f"{path} was changed meanwhile: task {one_line(name, 40)} is "
                f"{'gone' if item is None else 'another one'} now; nothing was written"
            )
    return current


def keep_backup(backups: Path, name: str, data: bytes) -> Path:
    """Store what is about to be replaced under its digest; return where."""
    backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = backups / f"{digest(data.hex())}-{name}"
    if not place.exists():
        replace_file(place, data)
    return place


def replace_file(target: Path, data: bytes, *, expected: bytes | None = None) -> bool:
    """Write `data` under a temporary name and rename it; False when the file is not `expected` any more.

    Raises TaskFileFault, with the file as it was.
    """
    name = ""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            Path(name).chmod(target.stat().st_mode & 0o7777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
        if expected is not None and target.read_bytes() != expected:
            return False
        Path(name).replace(target)
        name = ""
        return True
    except OSError as error:
        raise TaskFileFault(
            f"cannot write {target}: {error.strerror or error}; nothing was changed"
        ) from None
    finally:
        if name:
            with contextlib.suppress(OSError):
                Path(name).unlink()
