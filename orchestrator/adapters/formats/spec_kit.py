"""spec-kit `tasks.md`: `- [ ] T001 [P] [US1] text with path (depends on T002)` under phases.

Where the file states dependencies, those are the order. Where it states none, the phases are: set-up and foundation
before the stories, the stories beside each other, what comes after them last; in a phase `[P]` tasks run beside each
other and the rest in turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.adapters.formats.markdown_lines import (
    HEADING,
    Box,
    Line,
    box_of,
    is_note,
    lines_of,
    paths_in,
)
from orchestrator.adapters.formats.task_list import Mark, Remark, Role, TaskItem, TaskList
from orchestrator.core.text import one_line

FORMAT = "spec-kit"

_ID = r"T-?\d{1,7}(?:\.\d{1,4})?[a-z]?\b"
TASK_ID = re.compile(rf"^\**(?P<id>{_ID})\**(?P<range>\s*[~–—-]\s*{_ID})?:?(?P<rest>.*)$")
_LABELS = re.compile(r"^\s*\[(?P<label>[^\[\]]{1,40})\]")
_ONE = re.compile(rf"(?P<first>{_ID})(?:\s*(?:[-–—~]|\bto\b|\bthrough\b)\s*(?P<last>{_ID}))?")
_LIST = rf"{_ID}(?:\s*(?:[-–—~]|\bto\b|\bthrough\b)\s*{_ID})?"
_DEPENDS = re.compile(
    rf"\bdepend(?:s|ing)?\s+on:?\s+(?P<what>{_LIST}(?:\s*(?:,\s*and|,|;|&|\band\b)\s*{_LIST})*)",
    re.IGNORECASE,
)
_WORDED = re.compile(r"\(\s*depends?\s+on\s+(?P<what>[^()]*)\)", re.IGNORECASE)
_PHASE = re.compile(
    r"^Phase\s+(?P<number>[\w.]{1,8})\s*[:.–—-]?\s*(?P<title>.*)$|^(?P<named>.+?)\s+Phase$", re.IGNORECASE
)
_STORY = re.compile(r"\b(?:User\s+Story\s+|US)(?P<number>\d{1,4})\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_MOST_OF_A_RANGE = 500


def read_spec_kit(data: bytes) -> TaskList:
    """Read a tasks.md of spec-kit; anything at all is read, what is unusual is in `warnings`."""
    return _Reader(data).read()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.warnings: list[Remark] = []
        self.lines = lines_of(data, self.warnings)
        self.phases: list[TaskItem] = []
        self.tasks: dict[str, TaskItem] = {}
        self.parallel: set[str] = set()
        self.stories: dict[str, str] = {}
        self.steps: list[TaskItem] = []
        self.current: str | None = None
        self.texts: dict[str, list[str]] = {}
        self.tables: list[tuple[int, str, str]] = []
        self.column: int | None = None
        self.title = ""
        self.boxes = 0

    def read(self) -> TaskList:
        for line in self.lines:
            if line.fenced:
                continue
            if (heading := HEADING.match(line.raw)) is not None:
                self._heading(line, len(heading["level"]), heading["title"].decode("utf-8", "replace"))
            elif (box := box_of(line)) is not None:
                self.boxes += 1
                self._box(box)
            else:
                self._other(line)
        tasks = [self._finished(item) for item in self.tasks.values()]
        held = {item.parent for item in tasks}
        phases: Sequence[TaskItem] = [phase for phase in self.phases if phase.id in held]
        if not any(item.depends_on for item in tasks):
            tasks, phases = self._in_phases(tasks, phases)
        items = sorted((*phases, *tasks, *self.steps), key=lambda item: item.line)
        return TaskList(
            format=FORMAT,
            data=self.data,
            items=tuple(items),
            title=self.title,
            warnings=tuple(sorted(self.warnings, key=lambda warning: warning.line)),
            boxes=self.boxes,
        )

    # --- lines ------------------------------------------------------------------------------------

    def _heading(self, line: Line, level: int, title: str) -> None:
        self.current = None
        self.column = None
        if phase := _PHASE.match(title):
            name = f"phase {len(self.phases) + 1}"
            shown = phase["title"] or phase["named"] or title
            self.phases.append(
                TaskItem(id=name, title=one_line(shown, 200), line=line.number, role=Role.GROUP)
            )
        elif level == 1 and not self.title:
            self.title = one_line(title, 200)

    def _box(self, box: Box) -> None:
        match = TASK_ID.match(box.rest)
        line = box.line
        if match is None:
            # A box beneath a task is one of its steps; another belongs to nothing that could be run.
            owner = self.current if self.current and box.indent else None
            if owner is None:
                self._warn(line, f"a box without a task id, kept and not run: {one_line(box.rest, 60)}")
            else:
                self.texts[owner].append(f"- {box.rest}")
            self.steps.append(_step(box, owner, f"line {line.number}"))
            return
        name, rest = match["id"], match["rest"]
        if name in self.tasks:
            self._warn(line, f"{name} is there again, read as a reference to line {self.tasks[name].line}")
            self.steps.append(_step(box, name, f"{name} at line {line.number}"))
            self.current = None
            return
        while label := _LABELS.match(rest):
            rest = rest[label.end() :]
            if label["label"].upper() == "P":
                self.parallel.add(name)
            elif story := _STORY.fullmatch(label["label"].strip()):
                self.stories[name] = story["number"]
        if match["range"]:
            self._warn(line, f"a range of tasks in one box, read as {name}")
        note_at = line.end
        after = self.lines[line.number] if line.number < len(self.lines) else None
        note = None
        if after is not None and is_note(after):
            note = Mark(start=after.start, end=after.end, done=b"", open=b"")
        self.tasks[name] = TaskItem(
            id=name,
            title=one_line(rest, 200) or name,
            line=line.number,
            done=box.done,
            status=box.sign,
            parent=self.phases[-1].id if self.phases else None,
            mark=box.mark,
            note_at=note_at,
            note=note,
            indent=box.indent + "  ",
        )
        self.texts[name] = [rest.strip()]
        self.current = name

    def _other(self, line: Line) -> None:
        text = line.text.strip()
        if text.startswith("|"):
            self._table(line.number, [cell.strip() for cell in text.strip("|").split("|")])
            return
        self.column = None
        if not text or is_note(line):
            return
        if self.current is not None and line.indent > 0:
            self.texts[self.current].append(text)
        elif self.current is not None:
            self.current = None

    def _table(self, number: int, cells: list[str]) -> None:
        if self.column is None:
            names = [cell.casefold() for cell in cells]
            self.column = next((at for at, name in enumerate(names) if name.startswith("depends on")), -1)
        elif 0 < self.column < len(cells):
            self.tables.append((number, cells[0], cells[self.column]))

    # --- dependencies -----------------------------------------------------------------------------

    def _finished(self, item: TaskItem) -> TaskItem:
        text = "\n".join(self.texts[item.id])
        found: dict[str, None] = {}
        flat = " ".join(text.split())
        for match in _DEPENDS.finditer(flat):
            self._named(match["what"], item, item.line, found)
        for match in _WORDED.finditer(flat):
            if not _ONE.search(match["what"]):
                self._warn_at(
                    item.line, f"a dependency in words, kept as text: {one_line(match['what'], 80)}"
                )
        for line, first, needed in self.tables:
            if (row := TASK_ID.match(first)) and row["id"] == item.id:
                self._named(needed, item, line, found)
        said = _DEPENDS.split(flat, maxsplit=1)[0]
        return replace(item, text=text, depends_on=tuple(found), touches=paths_in(said) or None)

    def _named(self, what: str, item: TaskItem, line: int, found: dict[str, None]) -> None:
        for match in _ONE.finditer(what):
            if match["last"]:
                names = self._between(match["first"], match["last"])
            else:
                names = [match["first"]]
                if names[0] not in self.tasks:
                    self._warn_at(line, f"{item.id} depends on {names[0]}, which is not in the file")
            found.update(dict.fromkeys(name for name in names if name in self.tasks and name != item.id))

    def _between(self, first: str, last: str) -> list[str]:
        low, high = _place(first), _place(last)
        return [name for name in self.tasks if low <= _place(name) <= high][:_MOST_OF_A_RANGE]

    def _in_phases(
        self, tasks: list[TaskItem], held: Sequence[TaskItem]
    ) -> tuple[list[TaskItem], Sequence[TaskItem]]:
        """The order that the phases mean, for a file that states no dependency between tasks."""
        earlier: list[TaskItem] = []
        phases: list[TaskItem] = []
        stories: dict[str, str] = {}
        for phase in held:
            story = _STORY.search(phase.title)
            if story is not None:
                needs = [other.id for other in earlier if not _STORY.search(other.title)][-1:]
                needs += self._story_needs(story["number"], stories)
                stories[story["number"]] = phase.id
            else:
                tail = [other.id for other in earlier if not _STORY.search(other.title)][-1:]
                after = earlier.index(next(p for p in earlier if p.id == tail[0])) + 1 if tail else 0
                needs = [other.id for other in earlier[after:]] or tail
            earlier.append(phase)
            phases.append(replace(phase, depends_on=tuple(dict.fromkeys(needs))))
        ordered: list[TaskItem] = []
        by_phase: dict[str | None, tuple[list[str], list[str]]] = {}
        for item in tasks:
            alone, beside = by_phase.setdefault(item.parent, ([], []))
            if item.id in self.parallel:
                ordered.append(replace(item, depends_on=tuple(alone)))
                beside.append(item.id)
            else:
                ordered.append(replace(item, depends_on=tuple(beside or alone)))
                alone[:], beside[:] = [item.id], []
        return ordered, phases

    def _story_needs(self, number: str, stories: dict[str, str]) -> list[str]:
        return [
            stories[needed["number"]]
            for _, first, said in self.tables
            if (row := _STORY.match(first)) and row["number"] == number
            for needed in _STORY.finditer(said)
            if needed["number"] in stories
        ]

    def _warn(self, line: Line, what: str) -> None:
        self._warn_at(line.number, what)

    def _warn_at(self, line: int, what: str) -> None:
        self.warnings.append(Remark(line=line, what=what))


def _step(box: Box, owner: str | None, name: str) -> TaskItem:
    return TaskItem(
        id=name,
        title=one_line(box.rest, 200) or "(no text)",
        line=box.line.number,
        role=Role.STEP,
        text=box.rest,
        done=box.done,
        status=box.sign,
        parent=owner,
        mark=box.mark,
    )


def _place(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(name))
