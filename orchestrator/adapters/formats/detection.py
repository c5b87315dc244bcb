"""Which format a task file is in, from its contents first and its name second."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath

from orchestrator.adapters.formats import agent_os, native, spec_kit, task_master
from orchestrator.adapters.formats.task_list import TaskFileFault, TaskList
from orchestrator.core.planning_document import SCHEMA
from orchestrator.core.text import did_you_mean, one_line

FORMATS = (agent_os.FORMAT, task_master.FORMAT, spec_kit.FORMAT, native.FORMAT)
_READERS: Mapping[str, Callable[[bytes], TaskList]] = {
    agent_os.FORMAT: agent_os.read_agent_os,
    spec_kit.FORMAT: spec_kit.read_spec_kit,
    native.FORMAT: native.read_native,
}
_BOX = re.compile(rb"^[ \t]*(?:[-*+][ \t]+)?\[[ xX~/!\-]\][ \t]+(?P<rest>\S.*)$", re.MULTILINE)
_SPEC_KIT_ID = re.compile(rb"^\**T-?\d{1,7}(?:\.\d{1,4})?\b")
_USUAL_NAMES = ("tasks.md", "tasks.markdown")
_TASKS_TITLE = re.compile(rb"^# (?:.*\bTasks?\b.*)$", re.MULTILINE | re.IGNORECASE)
_NUMBERED_HEADING = re.compile(
    rb"^#{2,6}[ \t]+(?:Task (?:Group )?)?\d{1,6}(?:\.\d{1,6})*[.: ]", re.MULTILINE | re.IGNORECASE
)


def detect(name: str, data: bytes) -> str | None:
    """Return the name of the format, None when the file is no task list (a goal in words, say)."""
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"{"):
        if SCHEMA.encode() in head:
            return native.FORMAT
        return task_master.FORMAT if _holds_tasks(data) else None
    boxes = _BOX.findall(data)
    if not boxes:
        usual = PurePath(name).name.casefold() in _USUAL_NAMES or _TASKS_TITLE.search(data)
        return agent_os.FORMAT if usual and _NUMBERED_HEADING.search(data) else None
    named = sum(1 for rest in boxes if _SPEC_KIT_ID.match(rest))
    return spec_kit.FORMAT if 2 * named >= len(boxes) else agent_os.FORMAT


def _holds_tasks(data: bytes) -> bool:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        # Broken, but by its name and beginning meant as tasks: the reader says where it is broken.
        return b'"tasks"' in data
    if not isinstance(value, dict):
        return False
    return any(
        isinstance(held, dict) and isinstance(held.get("tasks"), list) for held in (value, *value.values())
    )


def read_tasks(name: str, data: bytes, *, format: str | None = None, tag: str | None = None) -> TaskList:
    """Read a task file in the format named, else in the one it is in. Raises TaskFileFault, InvalidPlan."""
    chosen = format or detect(name, data)
    if chosen is None:
        raise TaskFileFault(
            f"{one_line(name, 80)} is no task list that is known: name its format with --format "
            f"({', '.join(FORMATS)})"
        )
    if chosen not in FORMATS:
        meant = did_you_mean(chosen, FORMATS) or f": there are {', '.join(FORMATS)}"
        raise TaskFileFault(f"no format {one_line(chosen, 40)!r}{meant}")
    if chosen == task_master.FORMAT:
        return task_master.read_task_master(data, tag=tag)
    if tag is not None:
        raise TaskFileFault(f"--tag is for task-master files, {one_line(name, 80)} is {chosen}")
    return _READERS[chosen](data)
