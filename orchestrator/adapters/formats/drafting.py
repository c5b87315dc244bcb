"""A task list -> a draft for the plan compiler: what is open, in the order that the list means."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.formats import agent_os, spec_kit
from orchestrator.adapters.formats.task_list import TaskFileFault, TaskItem, TaskList
from orchestrator.core.globs import normal, path_fault
from orchestrator.core.tests_first import LEFT, writes_tests
from orchestrator.core.text import one_line

_MOST_NOTES = 40
_TESTS_FIRST = (agent_os.FORMAT, spec_kit.FORMAT)
_MOST_TEXT = 16_000
_VERIFIES = re.compile(
    r"^(?:verify|ensure|confirm|check|run)\b.{0,100}\b(?:tests?|suite|checks?)\b.{0,60}\b(?:pass(?:es|ing)?|succeeds?|green)\b"
    r"|^(?:verify|ensure|confirm)\b.{0,80}\bpass(?:es|ing)?\W*$",
    re.IGNORECASE,
)
# Priors of a first estimate, from what the words usually mean; the rest gets the compiler's usual one.
_SMALL = re.compile(r"^(?:configure|set ?up|rename|bump|document|delete|remove)\b", re.IGNORECASE)
_LARGE = re.compile(r"^(?:optimi[sz]e|refactor|migrate|rewrite|redesign|rework)\b", re.IGNORECASE)
_DOCUMENT_PATH = re.compile(r"\.(?:md|rst|txt|adoc)$", re.IGNORECASE)
_SMALL_EDIT = {
    "input_tokens": [1_000, 3_000, 9_000],
    "output_tokens": [100, 400, 1_200],
    "seconds": [4, 10, 40],
}
_LARGE_EDIT = {
    "input_tokens": [3_000, 8_000, 25_000],
    "output_tokens": [400, 950, 4_000],
    "seconds": [15, 45, 180],
}
_TESTED = ("py", "js", "ts", "tsx", "jsx", "go")
_TEST_PATH = re.compile(
    r"(^|/)(tests?|__tests__|spec)/|(^|/)test_[^/]*$|[._]test\.[^/]*$|[._-]spec\.[^/]*$|_test\.[^/]*$"
)


class NothingOpen(TaskFileFault):
    """Every task of the list is finished."""

    exit_code = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One subtask to be: the task it does, the tasks that are decided by the same checks, and what it waits for."""

    id: str
    item: TaskItem
    also: tuple[TaskItem, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def covers(self) -> tuple[str, ...]:
        """The file's ids of everything that is done when this is."""
        return (self.item.id, *(item.id for item in self.also))


def nodes_of(tasks: TaskList) -> tuple[Node, ...]:
    """Return the open tasks in the list's order, with what each waits for; finished ones are passed through.

    A task that only says "verify all tests pass" needs no attempt of its own: the checks of the task before it
    decide it, and both are marked together.
    """
    prerequisites = _Prerequisites(tasks)
    open_tasks = [item for item in tasks.tasks if not tasks.is_done(item) and not item.skipped]
    folded = _folded(tasks, open_tasks)
    names = _names(item for item in open_tasks if item.id not in folded)
    also: dict[str, list[TaskItem]] = {}
    for item in open_tasks:
        if item.id in folded:
            also.setdefault(folded[item.id], []).append(item)
    nodes = []
    for item in open_tasks:
        if item.id in folded:
            continue
        needs = dict.fromkeys(
            folded.get(needed, needed)
            for covered in (item, *also.get(item.id, ()))
            for needed in prerequisites.of(covered.id, frozenset(names) | frozenset(folded))
        )
        nodes.append(
            Node(
                id=names[item.id],
                item=item,
                also=tuple(also.get(item.id, ())),
                needs=tuple(names[needed] for needed in needs if needed != item.id),
            )
        )
    return tuple(nodes)


def draft_of(
    tasks: TaskList,
    *,
    source: str,
    limit: int | None = None,
    complexity: Mapping[str, tuple[int, str]] | None = None,
) -> dict[str, Any]:
    """Return plain data for `compile_plan`. `source` is how the plan names the file. Raises NothingOpen."""
    every = nodes_of(tasks)
    nodes = every if limit is None else tuple(_first(every, limit))
    if not tasks.tasks:
        raise TaskFileFault(f"{source}: no task is in it that could be read as {tasks.format}")
    if not nodes:
        raise NothingOpen(f"{source}: nothing is open, all {len(tasks.tasks)} tasks are done or set aside")
    subtasks = [_subtask(tasks, node, source, complexity or {}) for node in nodes]
    taken = {node.id for node in nodes}
    short = {node.item.parent for node in every if node.id not in taken} - {None}
    for node, plain in zip(nodes, subtasks, strict=True):
        if node.item.parent in short:
            plain.setdefault("notes", []).append(LEFT)
    set_aside = [item for item in tasks.tasks if item.skipped and not tasks.is_done(item)]
    notes = [f"{source}: {warning}" for warning in tasks.warnings[:_MOST_NOTES]]
    if len(tasks.warnings) > _MOST_NOTES:
        notes.append(f"{source}: {len(tasks.warnings) - _MOST_NOTES} more remarks")
    done = sum(1 for item in tasks.tasks if tasks.is_done(item))
    if len(nodes) < len(every):
        notes.append(f"the next {len(nodes)} of {len(every)} open tasks")
    if done:
        notes.append(f"{done} finished tasks are left out")
    for item in set_aside[:_MOST_NOTES]:
        notes.append(f"{one_line(item.id, 40)} is {item.skipped}: not run")
    return {"subtasks": subtasks, "notes": [one_line(note, 1000) for note in notes]}


def _subtask(
    tasks: TaskList, node: Node, source: str, complexity: Mapping[str, tuple[int, str]]
) -> dict[str, Any]:
    item = node.item
    parent = tasks.by_id.get(item.parent) if item.parent is not None else None
    plain: dict[str, Any] = {
        "id": node.id,
        "title": item.title,
        "instructions": _instructions(tasks, node, parent),
        "depends_on": list(node.needs),
        "group": one_line(parent.title, 200) if parent is not None else "",
        "source": f"{source}#{','.join(node.covers)}"[:400],
    }
    notes = [f"{other.id} {other.title}: decided by the same checks" for other in node.also]
    # task-master rates its top tasks alone.
    rated = complexity.get(item.id) or complexity.get(item.parent or "")
    if rated is not None:
        score, why = rated
        notes.append(one_line(f"complexity {score} of 10: {why}", 1000))
    touches = _sound(item.touches or ())
    if (tasks.format == "spec-kit" and touches) or (touches and tasks.format == "task-master"):
        plain["touches"] = with_test_globs(touches)
    if _SMALL.match(item.title) or (touches and all(_DOCUMENT_PATH.search(path) for path in touches)):
        plain["estimate"] = _SMALL_EDIT
    elif _LARGE.match(item.title):
        plain["estimate"] = _LARGE_EDIT
    tests = [path for path in touches if _TEST_PATH.search(path) and path in item.title]
    if tests:
        plain["checks"] = [{"kind": "tests", "targets": tests}]
    if notes:
        plain["notes"] = notes
    return plain


def _instructions(tasks: TaskList, node: Node, parent: TaskItem | None) -> str:
    item = node.item
    parts = [item.title if item.title in item.text else f"{item.title}\n{item.text}".strip()]
    if item.title in item.text:
        parts = [item.text]
    if parent is not None:
        context = f"This is task {item.id} of {parent.title!r}."
        parts.append(f"{context}\n{parent.text[:4000]}".strip())
    if item.tests:
        parts.append(f"How it is to be tested: {item.tests}")
    if tasks.format in _TESTS_FIRST and writes_tests(item.title):
        parts.append(
            "Write tests alone, no code. The code they test may not be there yet: then they fail until the task that "
            "writes it. Leave the tests that are there as they are, and passing."
        )
    elif tasks.format in _TESTS_FIRST:
        parts.append(
            "Tests that an earlier task wrote for this must pass with it, as they are; take away only an "
            "expected-failure or skip mark that is needless then."
        )
    text = "\n\n".join(part for part in parts if part)
    return (
        text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "\n(cut here: the rest is in the task file)"
    )


def with_test_globs(paths: Iterable[str]) -> list[str]:
    """Return the paths and, behind each source file, where a test of it would lie: it may change with the file."""
    found: dict[str, None] = {}
    for path in paths:
        found[path] = None
        stem, _, suffix = path.rpartition("/")[2].rpartition(".")
        if stem and suffix in _TESTED and not set(stem) & set("*?[") and not _TEST_PATH.search(path):
            found |= dict.fromkeys((f"**/test_{stem}.*", f"**/{stem}_test.*", f"**/{stem}.test.*"))
    return list(found)


def _sound(paths: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for path in paths:
        try:
            clean = normal(path)
        except ValueError:
            continue
        if not path_fault(clean):
            found[clean] = None
    return list(found)[:100]


def _folded(tasks: TaskList, open_tasks: Sequence[TaskItem]) -> dict[str, str]:
    """Tasks that only verify, each with the open task before it in the same parent."""
    if tasks.format != agent_os.FORMAT:
        return {}
    found: dict[str, str] = {}
    last: dict[str | None, str] = {}
    for item in open_tasks:
        if _VERIFIES.match(item.title) and item.parent in last and not tasks.steps.get(item.id):
            found[item.id] = last[item.parent]
        else:
            last[item.parent] = item.id
    return found


class _Prerequisites:
    """What a task waits for, through groups and through tasks that are not run."""

    def __init__(self, tasks: TaskList) -> None:
        self._tasks = tasks
        self._before: dict[str, str] = {}
        if tasks.ordered:
            siblings: dict[str | None, str] = {}
            for item in tasks.tasks:
                if item.parent in siblings:
                    self._before[item.id] = siblings[item.parent]
                siblings[item.parent] = item.id
        self._last: dict[str, tuple[str, ...]] = {}

    def of(self, name: str, open_names: Collection[str]) -> list[str]:
        """The open tasks that must be done before `name`, in the order in which they are met."""
        found: dict[str, None] = {}
        seen = {name}
        queue = deque(self._stated(name))
        while queue:
            needed = queue.popleft()
            if needed in seen:
                continue
            seen.add(needed)
            if needed in open_names:
                found[needed] = None
            elif needed in self._tasks.children:
                queue.extend(self._lasts(needed))
            else:
                queue.extend(self._stated(needed))
        found.pop(name, None)
        return list(found)

    def _stated(self, name: str) -> list[str]:
        """Its own dependencies and the task before it; without a sibling among them, those of what it is part of."""
        item = self._tasks.by_id.get(name)
        found: list[str] = []
        while item is not None:
            found += item.depends_on
            if item.id in self._before:
                found.append(self._before[item.id])
            parent = item.parent
            if any(self._parent(needed) == parent for needed in found) and parent is not None:
                break
            item = self._tasks.by_id.get(parent) if parent is not None else None
        return found

    def _parent(self, name: str) -> str | None:
        item = self._tasks.by_id.get(name)
        return item.parent if item is not None else None

    def _lasts(self, name: str) -> tuple[str, ...]:
        """The parts of a group that no other part waits for."""
        if name not in self._last:
            parts = self._tasks.children.get(name, ())
            needed = {other for part in parts for other in part.depends_on}
            needed |= {self._before[part.id] for part in parts if part.id in self._before}
            self._last[name] = tuple(part.id for part in parts if part.id not in needed)
        return self._last[name]


def _names(items: Iterable[TaskItem]) -> dict[str, str]:
    """Ids for the plan: those of the file in lower case with hyphens, made different where that makes them one."""
    names: dict[str, str] = {}
    taken: dict[str, int] = {}
    for item in items:
        stem = re.sub(r"[^a-z0-9]+", "-", item.id.lower()).strip("-")[:70].strip("-") or f"line-{item.line}"
        name = stem
        while name in taken:
            taken[stem] += 1
            name = f"{stem}-{taken[stem]}"
        taken[name] = 1
        names[item.id] = name
    return names


def _first(nodes: Sequence[Node], limit: int) -> list[Node]:
    """The first `limit` nodes that can be done one after the other."""
    chosen: list[Node] = []
    taken: set[str] = set()
    left = list(nodes)
    while left and len(chosen) < limit:
        ready = next((node for node in left if set(node.needs) <= taken), None)
        if ready is None:
            break
        chosen.append(ready)
        taken.add(ready.id)
        left.remove(ready)
    return chosen
