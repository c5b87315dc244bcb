"""Our own plan files as a task list: read like the others, written back as they are, for a plan has no status."""

from __future__ import annotations

from orchestrator.adapters.formats.task_list import Role, TaskItem, TaskList
from orchestrator.core.planning import plan_from_json

FORMAT = "native"


def read_native(data: bytes) -> TaskList:
    """Read a plan. Raises InvalidPlan."""
    plan = plan_from_json(data)
    items = tuple(
        TaskItem(
            id=subtask.id,
            title=subtask.title,
            line=0,
            role=Role.TASK,
            text=subtask.instructions,
            depends_on=tuple(subtask.depends_on),
            touches=subtask.touches,
        )
        for subtask in plan.subtasks
    )
    return TaskList(format=FORMAT, data=data, items=items, title=plan.goal)
