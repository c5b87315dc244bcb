"""The ticks of one commit put onto another version of the task file, or taken out of it, task by task.

Text cannot do that: tasks that are done one after the other are ticked on neighbouring lines, and to git a line
beside a changed one is a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.adapters.formats.detection import read_tasks
from orchestrator.adapters.formats.task_list import TaskFileFault, TaskItem, TaskList, apply_edits
from orchestrator.adapters.formats.ticking import plan_tags
from orchestrator.adapters.merging import Carry
from orchestrator.core.domain import Plan


def carrying(plan: Plan) -> Carry | None:
    """Return what carries ticks of this plan's task file; None for a plan that came from no task file."""
    format = plan.made_from.imported_from
    if format is None:
        return None

    def carry(path: str, before: bytes, after: bytes, now: bytes) -> bytes | None:
        for tag in plan_tags(plan, format, now):
            try:
                versions = [
                    read_tasks(path.rpartition("/")[2], data, format=format, tag=tag)
                    for data in (before, after, now)
                ]
                carried = carried_ticks(*versions)
            except TaskFileFault:
                continue
            if carried is not None:
                return carried
        return None

    files = frozenset(subtask.source.partition("#")[0] for subtask in plan.subtasks if subtask.source)
    return Carry(files, carry)


def carried_ticks(before: TaskList, after: TaskList, now: TaskList) -> bytes | None:
    """Return `now` with the ticks that differ between the two others; None when something else differs as well.

    A group is ticked only when all of its parts are, and opened with the first of them.
    """
    if before.by_id.keys() != after.by_id.keys():
        return None
    changed = {name: item for name, item in after.by_id.items() if item.done is not before.by_id[name].done}
    # Whoever edited more than ticks meant that text, which is for git to merge.
    if not changed or _with(before, before, after, changed) != after.data:
        return None
    for name, item in changed.items():
        there = now.by_id.get(name)
        if there is None or there.title != item.title:
            return None
    return _with(now, before, after, changed)


def _with(now: TaskList, before: TaskList, after: TaskList, changed: Mapping[str, TaskItem]) -> bytes:
    marks = {name: item.done for name, item in changed.items()}
    for name in [name for name, item in changed.items() if not item.done]:
        for above in _above(now, name):
            kept_done = above in before.by_id and before.by_id[above].done and after.by_id[above].done
            if above not in marks and now.by_id[above].done and not kept_done:
                marks[above] = False
    done_now = {item.id for item in now.items if now.is_done(item)} | {name for name in marks if marks[name]}
    edits: dict[tuple[int, int], bytes] = {}
    # The innermost first, for a group to know about the groups in it.
    for name, done in sorted(marks.items(), key=lambda entry: -len(_above(now, entry[0]))):
        item = now.by_id[name]
        parts = now.children.get(name, ())
        if done and parts and not all(part.id in done_now for part in parts):
            done_now.discard(name)
            done = False
        if item.mark is None or item.done is done:
            continue
        said = after.by_id.get(name)
        known = said is not None and said.mark is not None and said.done is done
        if known:
            assert said is not None and said.mark is not None
            edits[item.mark.start, item.mark.end] = after.data[said.mark.start : said.mark.end]
        else:
            edits[item.mark.start, item.mark.end] = item.mark.done if done else item.mark.open
    return apply_edits(now.data, edits)


def _above(tasks: TaskList, name: str) -> list[str]:
    found: list[str] = []
    item = tasks.by_id.get(name)
    while item is not None and item.parent is not None and item.parent not in found:
        found.append(item.parent)
        item = tasks.by_id.get(item.parent)
    return [name for name in found if name in tasks.by_id]
