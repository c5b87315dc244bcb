"""Agent OS `tasks.md`, versions 1 and 2, as the templates write it and as people and agents have changed it since.

Version 1 has no dependencies: the order of the list is meant. Version 2 groups tasks and says which groups a group
needs. A task is a number: `1.` holds `1.1`, `1.0` of a group holds `1.1`; boxes without a number are steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestrator.adapters.formats.markdown_lines import (
    HEADING,
    Box,
    Line,
    box_of,
    clean_title,
    is_note,
    lines_of,
    paths_in,
    sign_mark,
    without_sign,
)
from orchestrator.adapters.formats.task_list import Mark, Remark, Role, TaskItem, TaskList, unique_ids
from orchestrator.core.text import one_line

FORMAT = "agent-os"

_GROUP = re.compile(
    r"^Task Group (?P<number>\d{1,6}(?:\.\d{1,6})*)\s*(?:[:.–—-]\s*)?(?P<title>.*)$", re.IGNORECASE
)
_PHASE = re.compile(r"^(?:Phase|Stage)\s+(?P<number>\d{1,6})\b\s*[:.–—-]?\s*(?P<title>.*)$", re.IGNORECASE)
_NUMBERED = re.compile(
    r"^(?P<bold>\*\*)?(?P<word>(?:Sub-?)?Task\s+)?(?P<number>\d{1,6}(?:\.\d{1,6}){0,4})"
    r"(?P<after>[.:)](?!\d))?(?P<close>\*\*)?(?P<colon>:)?(?:\s+(?P<title>.*))?$",
    re.IGNORECASE,
)
_BOLD_NUMBER = re.compile(
    r"^\*\*(?:Task\s+)?(?P<number>\d{1,6}(?:\.\d{1,6}){1,4})[.:]?\*\*:?\s+(?P<title>\S.*)$"
)
_NEEDS = re.compile(
    r"^[-*+]?\s*\*\*(?:Dependenc(?:y|ies)|Depends on)\s*:?\*\*\s*:?\s*(?P<what>.*)$", re.IGNORECASE
)
_LABEL = re.compile(r"^\*\*[^*]{1,60}:\*\*|^\*\*[^*]{1,60}\*\*:")
_PARENTHESIS = re.compile(r"\([^()]*\)")
_RANGE = re.compile(
    r"(?P<first>\d{1,6}(?:\.\d{1,6})*)(?:\s*(?:-|–|—|~|\bto\b|\bthrough\b)\s*(?P<last>\d{1,6}(?:\.\d{1,6})*))?"
)
_MOST_OF_A_RANGE = 200


@dataclass(slots=True)
class _Open:
    """An item while its lines are still being read."""

    item: TaskItem
    level: int = 0
    heading: bool = False
    lines: list[str] = field(default_factory=list)
    needs: list[tuple[int, str]] = field(default_factory=list)


def read_agent_os(data: bytes) -> TaskList:
    """Read a tasks.md; anything at all is read, what is unusual is in `warnings`."""
    return _Reader(data).read()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.warnings: list[Remark] = []
        self.lines = lines_of(data, self.warnings)
        self.found: list[_Open] = []
        self.group: _Open | None = None
        self.phase: _Open | None = None
        self.current: _Open | None = None
        self.numbers: dict[str, str] = {}
        self.loose: list[Box] = []
        self.title = ""
        self.boxes = 0

    def read(self) -> TaskList:
        for line in self.lines:
            if line.fenced:
                self._text(line)
            elif (heading := HEADING.match(line.raw)) is not None:
                self._heading(line, len(heading["level"]), heading["title"].decode("utf-8", "replace"))
            elif (box := box_of(line)) is not None:
                self.boxes += 1
                self._box(box)
            else:
                self._other(line)
        items = unique_ids([self._finished(entry) for entry in self.found], self.warnings)
        items = tuple(_with_marks(items, self.lines))
        items = self._linked(items)
        if self.loose:
            items = self._with_loose(items)
        return TaskList(
            format=FORMAT,
            data=self.data,
            items=items,
            title=self.title,
            ordered=True,
            warnings=tuple(sorted(self.warnings, key=lambda warning: warning.line)),
            boxes=self.boxes,
        )

    # --- lines ------------------------------------------------------------------------------------

    def _heading(self, line: Line, level: int, title: str) -> None:
        shown = without_sign(title)
        if group := _GROUP.match(shown):
            self.numbers = {}
            self.group = self._open(line, f"group {group['number']}", group["title"], Role.GROUP, level=level)
            self.current = None
            return
        if phase := _PHASE.match(shown):
            name = f"phase {phase['number']}"
            self.phase = self._open(line, name, phase["title"] or shown, Role.GROUP, level=level)
            self.group = self.current = None
            return
        numbered = _NUMBERED.match(shown)
        if (
            numbered
            and numbered["title"]
            and (numbered["word"] or numbered["after"] or "." in numbered["number"])
        ):
            self.current = self._task(line, numbered["number"], numbered["title"], level=level)
            return
        if not self.title and level == 1:
            self.title = one_line(shown, 200)
        if self.current is not None and not (self.current.heading and level > self.current.level):
            self.current = None
        if self.group is not None and level <= self.group.level:
            self.group = None
        self._text(line)

    def _box(self, box: Box) -> None:
        numbered = _NUMBERED.match(box.rest)
        if numbered is not None and (
            numbered["after"] or numbered["word"] or numbered["close"] or "." in numbered["number"]
        ):
            title = numbered["title"] or ""
            if numbered["bold"] and not numbered["close"]:
                title = f"**{title}"
            self.current = self._task(box.line, numbered["number"], clean_title(title), box=box)
            if not box.bullet:
                self._warn(box.line, "a box without a bullet, read as a task")
            return
        if self.current is not None and (self.current.heading or self._beneath(box)):
            self._step(box, self.current)
            return
        self.loose.append(box)

    def _beneath(self, box: Box) -> bool:
        """Whether a box without a number belongs to the list item above it: it stands deeper, or just under it."""
        assert self.current is not None
        return len(box.indent) > len(self.current.item.indent) - 2 or not self.found

    def _step(self, box: Box, owner: _Open) -> None:
        owner.lines.append(f"- {box.rest}" if not box.done else f"- {box.rest} (done)")
        if not box.bullet:
            self._warn(box.line, "a box without a bullet, read as a step")
        step = TaskItem(
            id=f"{owner.item.id}:{box.line.number}",
            title=one_line(box.rest, 200),
            line=box.line.number,
            role=Role.STEP,
            text=box.rest,
            done=box.done,
            status=box.sign,
            parent=owner.item.id,
            mark=box.mark,
        )
        self.found.append(_Open(item=step))

    def _other(self, line: Line) -> None:
        text = line.text.strip()
        if bold := _BOLD_NUMBER.match(text):
            self._task(line, bold["number"], bold["title"])
            return
        if needs := _NEEDS.match(text):
            owner = self._owner()
            if owner is not None:
                owner.needs.append((line.number, needs["what"]))
        if _LABEL.match(text) and self.current is not None and not self.current.heading and line.indent == 0:
            self.current = None
        self._text(line)

    def _text(self, line: Line) -> None:
        owner = self._owner()
        if owner is not None and not is_note(line):
            owner.lines.append(line.text.rstrip())

    def _owner(self) -> _Open | None:
        return self.current or self.group or self.phase

    # --- items ------------------------------------------------------------------------------------

    def _open(
        self, line: Line, name: str, title: str, role: Role, *, level: int = 0, parent: str | None = None
    ) -> _Open:
        done, _ = sign_mark(line)
        item = TaskItem(
            id=name,
            title=one_line(without_sign(title), 200) or name,
            line=line.number,
            role=role,
            done=done,
            status="done" if done else "",
            parent=parent,
            note_at=line.end,
            indent="  ",
        )
        entry = _Open(item=item, level=level, heading=level > 0)
        self.found.append(entry)
        return entry

    def _task(self, line: Line, number: str, title: str, *, level: int = 0, box: Box | None = None) -> _Open:
        parent = self._parent(number)
        entry = self._open(line, number, title, Role.TASK, level=level, parent=parent)
        if box is not None:
            entry.item = replace(
                entry.item, done=box.done, status=box.sign, mark=box.mark, indent=box.indent + "  "
            )
        self.numbers[number] = number
        self.current = entry
        return entry

    def _parent(self, number: str) -> str | None:
        scope = self.group.item.id if self.group is not None else None
        parts = number.split(".")
        if self.group is not None and parts[-1] == "0":
            return scope
        while len(parts) > 1:
            parts.pop()
            prefix = ".".join(parts)
            if self.group is not None:
                if f"{prefix}.0" in self.numbers and f"{prefix}.0" != number:
                    return f"{prefix}.0"
            elif prefix in self.numbers:
                return prefix
        if scope is None and self.phase is not None:
            return self.phase.item.id
        return scope

    def _finished(self, entry: _Open) -> TaskItem:
        text = "\n".join(entry.lines).strip("\n")
        stated = [what for _, what in entry.needs]
        fields = {
            "dependencies": "; ".join(stated),
            "lines": ",".join(str(number) for number, _ in entry.needs),
        }
        touches = paths_in(f"{entry.item.title}\n{text}") or None
        return replace(
            entry.item, text=entry.item.text or text, touches=touches, fields=fields if stated else {}
        )

    def _linked(self, items: tuple[TaskItem, ...]) -> tuple[TaskItem, ...]:
        known = {item.id for item in items if item.role is not Role.STEP}
        return tuple(
            replace(item, depends_on=tuple(self._needs(item, known)))
            if item.fields.get("dependencies")
            else item
            for item in items
        )

    def _needs(self, item: TaskItem, known: set[str]) -> Iterable[str]:
        said = item.fields["dependencies"]
        line = int(item.fields["lines"].partition(",")[0])
        bare = _PARENTHESIS.sub(" ", said)
        if re.match(r"\s*(none|n/a|-|–|no\b)", bare, re.IGNORECASE) or not bare.strip():
            return []
        grouped = item.id.startswith("group ")
        found: dict[str, None] = {}
        for match in _RANGE.finditer(bare):
            for number in _expanded(match["first"], match["last"]):
                names = (
                    [f"group {number}", number] if grouped else [number, f"group {number}", f"phase {number}"]
                )
                name = next((name for name in names if name in known and name != item.id), None)
                if name is not None:
                    found[name] = None
                elif match["last"] is None:
                    self.warnings.append(
                        Remark(line=line, what=f"depends on {one_line(number, 20)}, which is not in the file")
                    )
        if not found and not re.search(r"\d", bare):
            self.warnings.append(
                Remark(line=line, what=f"a dependency in words, kept as text: {one_line(said, 80)}")
            )
        return found

    def _with_loose(self, items: tuple[TaskItem, ...]) -> tuple[TaskItem, ...]:
        """Boxes that belong to no task: all of the tasks when nothing has a number, else kept and not run."""
        if any(item.role is Role.TASK for item in items):
            for box in self.loose:
                self._warn(
                    box.line, f"a box that belongs to no task, kept and not run: {one_line(box.rest, 60)}"
                )
            extra = [_loose_step(box) for box in self.loose]
            return tuple(sorted((*items, *extra), key=lambda item: item.line))
        if self.loose:
            self._warn(self.loose[0].line, "boxes without numbers, read as tasks in the order of the file")
        made: list[TaskItem] = []
        owner, place, number = "", -1, 0
        depth = 0
        for box in self.loose:
            if place >= 0 and len(box.indent) > depth:
                made.append(replace(_loose_step(box), parent=owner))
                made[place] = replace(made[place], text=f"{made[place].text}\n- {box.rest}".strip())
                continue
            number += 1
            owner, place, depth = str(number), len(made), len(box.indent)
            made.append(
                replace(
                    _loose_step(box),
                    id=owner,
                    role=Role.TASK,
                    text="",
                    touches=paths_in(box.rest) or None,
                    note_at=box.line.end,
                    indent=box.indent + "  ",
                )
            )
        return tuple(sorted((*items, *made), key=lambda item: item.line))

    def _warn(self, line: Line, what: str) -> None:
        self.warnings.append(Remark(line=line.number, what=what))


def _loose_step(box: Box) -> TaskItem:
    return TaskItem(
        id=f"line {box.line.number}",
        title=one_line(box.rest, 200) or "(no text)",
        line=box.line.number,
        role=Role.STEP,
        text=box.rest,
        done=box.done,
        status=box.sign,
        mark=box.mark,
    )


def _expanded(first: str, last: str | None) -> list[str]:
    """The numbers of a range: `1-5`, `2.1-2.4`; the two ends alone when they do not fit together."""
    if last is None:
        return [first]
    stem, _, low = first.rpartition(".")
    other, _, high = last.rpartition(".")
    if (stem == other or not other) and 0 <= int(high) - int(low) <= _MOST_OF_A_RANGE:
        return [f"{stem}.{number}" if stem else str(number) for number in range(int(low), int(high) + 1)]
    return [first, last]


def _with_marks(items: tuple[TaskItem, ...], lines: list[Line]) -> Iterable[TaskItem]:
    """Give a heading without boxes of its own the place of its done sign, and every item its note."""
    parents = {item.parent for item in items}
    for item in items:
        if item.role is not Role.STEP:
            line = lines[item.line - 1]
            if item.mark is None:
                done, mark = sign_mark(line)
                if done or item.id not in parents:
                    item = replace(item, mark=mark)
            after = lines[item.line] if item.line < len(lines) else None
            if after is not None and is_note(after):
                item = replace(item, note=Mark(start=after.start, end=after.end, done=b"", open=b""))
        yield item
