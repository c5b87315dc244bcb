"""Ticks in a task file as part of the commit that lands a subtask: they arrive with `accept` and go with `undo`.

The file is edited where the commit is made, on top of everything that landed before: ticks of subtasks that ran
beside each other stand on neighbouring lines and would conflict if each were made in its own attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.adapters.background import in_background
from orchestrator.adapters.formats.detection import read_tasks
from orchestrator.adapters.formats.task_files import read_bytes, replace_file
from orchestrator.adapters.formats.task_list import TaskFileFault
from orchestrator.adapters.formats.task_master import tags_of
from orchestrator.core.domain import Plan, Subtask
from orchestrator.core.ports import Worktree

Tick = Callable[[Subtask, Worktree], Awaitable[str | None]]


def ticking(plan: Plan) -> Tick | None:
    """Return what ticks a subtask's tasks in a worktree; None for a plan that came from no task file.

    What it returns is the path it changed there, None when there was nothing to change: the file is not in the
    repository, or no longer holds that task. That is no reason to refuse work that passed its checks.
    """
    format = plan.made_from.imported_from
    if format is None:
        return None

    async def tick(subtask: Subtask, worktree: Worktree) -> str | None:
        return await in_background(lambda: tick_in(Path(worktree.path), subtask, plan, format))

    return tick


def tick_in(root: Path, subtask: Subtask, plan: Plan, format: str) -> str | None:
    """Tick in the checkout at `root`; return the changed path, relative to it."""
    source, _, ids = subtask.source.partition("#")
    place = root / source
    if not source or not ids or Path(source).is_absolute() or place.is_symlink() or not place.is_file():
        return None
    # A link on the way could lead to the user's own file.
    if not place.resolve().is_relative_to(root.resolve()):
        return None
    data = read_bytes(place)
    names = ids.split(",")
    for tag in plan_tags(plan, format, data):
        try:
            tasks = read_tasks(place.name, data, format=format, tag=tag)
        except TaskFileFault:
            continue
        item = tasks.by_id.get(names[0])
        if item is None or item.title != subtask.title:
            continue
        known = [name for name in names if name in tasks.by_id]
        wanted = tasks.with_status(dict.fromkeys(tasks.finished_with(known), True))
        if wanted == data:
            return None
        replace_file(place, wanted)
        return source
    return None


def plan_tags(plan: Plan, format: str, data: bytes) -> tuple[str | None, ...]:
    """The lists of a task file (task-master has several, by tag) in which the plan's tasks may lie."""
    if plan.made_from.template:
        return (plan.made_from.template,)
    if format != "task-master":
        return (None,)
    try:
        return tags_of(data) or (None,)
    except TaskFileFault:
        return ()
