"""The common value of every task-list format: items with the exact bytes that say whether they are done.

A file is never rebuilt from what was understood of it. Its bytes are kept, and a change of status replaces the
bytes of that status and nothing else, so whatever a parser does not know survives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import did_you_mean, one_line

MAX_BYTES = 32 * 1024 * 1024
NOTE = "⚠️ Blocking issue:"


class TaskFileFault(OrchestratorError):
    """A task file cannot be read or written; nothing was changed."""


class Role(StrEnum):
    """GROUP holds others and is finished with them, TASK is one piece of work, STEP a line of a task's text."""

    GROUP = "group"
    TASK = "task"
    STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where the file says that something is done: bytes `start` to `end`, and what stands there when it is or not."""

    start: int
    end: int
    done: bytes
    open: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something unusual that was read all the same. `line` counts from 1, 0 is the whole file."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}" if self.line else self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskItem:
    """One task as the file has it. `id` is the file's own; ids are unique in a list, `depends_on` names them.

    `skipped` says why an open task is not to be run (cancelled, in review); `touches` is None when the file names
    no path. `end` is the byte after the item's last own line, where a note goes; `indent` is what a note begins with.
    """

    id: str
    title: str
    line: int
    role: Role = Role.TASK
    text: str = ""
    done: bool = False
    status: str = ""
    skipped: str = ""
    parent: str | None = None
    depends_on: tuple[str, ...] = ()
    touches: tuple[str, ...] | None = None
    tests: str = ""
    mark: Mark | None = None
    note_at: int | None = None
    note: Mark | None = None
    indent: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskList:
    """A task file: its bytes, its items in the order of the file, and what was unusual.

    `ordered` says that children of one parent are meant in the order of the list.
    """

    format: str
    data: bytes = field(repr=False)
    items: tuple[TaskItem, ...]
    title: str = ""
    ordered: bool = False
    tag: str | None = None
    warnings: tuple[Remark, ...] = ()
    boxes: int = 0

    @cached_property
    def by_id(self) -> Mapping[str, TaskItem]:
        return {item.id: item for item in self.items}

    @cached_property
    def children(self) -> Mapping[str, tuple[TaskItem, ...]]:
        """The tasks and groups directly beneath each item, steps left out."""
        found: dict[str, list[TaskItem]] = {}
        for item in self.items:
            if item.parent is not None and item.role is not Role.STEP:
                found.setdefault(item.parent, []).append(item)
        return {parent: tuple(items) for parent, items in found.items()}

    @cached_property
    def steps(self) -> Mapping[str, tuple[TaskItem, ...]]:
        found: dict[str, list[TaskItem]] = {}
        for item in self.items:
            if item.parent is not None and item.role is Role.STEP:
                found.setdefault(item.parent, []).append(item)
        return {parent: tuple(items) for parent, items in found.items()}

    @cached_property
    def tasks(self) -> tuple[TaskItem, ...]:
        """What can be run: tasks without tasks beneath them."""
        return tuple(item for item in self.items if item.role is Role.TASK and item.id not in self.children)

    @cached_property
    def dependencies(self) -> tuple[tuple[str, str], ...]:
        """Every dependency the file states, as (needed, needing)."""
        return tuple((needed, item.id) for item in self.items for needed in item.depends_on)

    def is_done(self, item: TaskItem) -> bool:
        """Whether the item, or the group it is part of, is marked as done, or all of its parts are."""
        above: TaskItem | None = item
        if item.role is Role.TASK and item.id not in self.children:
            own_steps = self.steps.get(item.id, ())
            if item.mark is None and own_steps:
                return all(step.done for step in own_steps)
            if item.done:
                return True
            if self.format != "task-master" and item.status:
                # A box of its own that is open outweighs a heading above that says done.
                return False
        while above is not None:
            if above.done:
                return True
            above = self.by_id.get(above.parent) if above.parent is not None else None
        parts = self.children.get(item.id, ())
        return bool(parts) and all(self.is_done(part) for part in parts)

    def finished_with(self, done: Collection[str]) -> tuple[str, ...]:
        """Return `done` and the groups above that are complete once these are done, innermost first."""
        finished = dict.fromkeys(done)
        for name in done:
            item = self.by_id.get(name)
            while item is not None and item.parent is not None:
                item = self.by_id.get(item.parent)
                if item is None or item.done or item.mark is None:
                    break
                parts = self.children.get(item.id, ())
                if not all(part.id in finished or self.is_done(part) for part in parts):
                    break
                finished[item.id] = None
        return tuple(finished)

    def with_status(self, changes: Mapping[str, bool], notes: Mapping[str, str] | None = None) -> bytes:
        """Return the file with these items marked done (or open), every other byte as it was.

        A task's own steps go with it. `notes` adds a line beneath an item that stays open, or replaces the one
        that is there. Raises TaskFileFault for an id that is not in the list, or has no place for a status.
        """
        edits: dict[tuple[int, int], bytes] = {}
        for name, done in changes.items():
            item = self._known(name)
            marks = [(item.mark, item.done)] if item.mark is not None else []
            marks += [(step.mark, step.done) for step in self.steps.get(name, ()) if step.mark is not None]
            if not marks:
                raise TaskFileFault(f"{one_line(name, 60)!r} has no place where its status could be written")
            for mark, was in marks:
                if was is not done:
                    edits[mark.start, mark.end] = mark.done if done else mark.open
            if done and item.note is not None:
                edits[item.note.start, item.note.end] = b""
        newline = b"\r\n" if b"\r\n" in self.data[:4096] else b"\n"
        for name, said in (notes or {}).items():
            item = self._known(name)
            if item.note_at is None:
                continue
            line = f"{item.indent}{NOTE} {one_line(said, 300)}".encode("utf-8", "replace") + newline
            if item.note is not None:
                edits[item.note.start, item.note.end] = line
            elif item.note_at and self.data[item.note_at - 1 : item.note_at] != b"\n":
                # The file's last line has no end: the note brings one, and leaves none behind.
                edits[item.note_at, item.note_at] = newline + line.removesuffix(newline)
            else:
                edits[item.note_at, item.note_at] = line
        return apply_edits(self.data, edits)

    def _known(self, name: str) -> TaskItem:
        item = self.by_id.get(name)
        if item is None:
            meant = did_you_mean(name, self.by_id)
            raise TaskFileFault(f"the task file has no task {one_line(name, 60)!r}{meant}")
        return item


def apply_edits(data: bytes, edits: Mapping[tuple[int, int], bytes]) -> bytes:
    """Return `data` with the bytes of each (start, end) replaced; the spans do not overlap."""
    parts: list[bytes] = []
    at = 0
    for (start, end), new in sorted(edits.items()):
        parts += [data[at:start], new]
        at = end
    parts.append(data[at:])
    return b"".join(parts)


def unique_ids(items: Iterable[TaskItem], warnings: list[Remark]) -> tuple[TaskItem, ...]:
    """Return the items with ids that occur twice made different; the first keeps its id."""
    from dataclasses import replace

    seen: set[str] = set()
    times: dict[str, int] = {}
    result: list[TaskItem] = []
    for item in items:
        name = item.id
        while name in seen:
            times[item.id] = times.get(item.id, 1) + 1
            name = f"{item.id}~{times[item.id]}"
        if name != item.id:
            warnings.append(
                Remark(line=item.line, what=f"{one_line(item.id, 40)!r} is there again, read as {name!r}")
            )
            item = replace(item, id=name)
        seen.add(name)
        result.append(item)
    return tuple(result)
