"""task-master `tasks.json`: tagged or legacy, ids as numbers or texts, subtasks, every unknown field kept.

The document is walked by position, so that a status can be replaced where it stands: re-writing JSON would change
indents, the order of keys and how characters are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.adapters.formats.task_list import (
    Mark,
    Remark,
    Role,
    TaskFileFault,
    TaskItem,
    TaskList,
    unique_ids,
)
from orchestrator.core.text import did_you_mean, one_line

FORMAT = "task-master"
USUAL_TAG = "master"
DONE = ("done", "completed")
NOT_RUN = {"cancelled": "cancelled", "canceled": "cancelled", "deferred": "deferred", "review": "in review"}

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(strict=False)
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class _Member:
    """One member of an object: its value, and where that stands in the text."""

    value: Any
    start: int
    end: int


def tags_of(data: bytes) -> tuple[str, ...]:
    """The tags of a tagged file in its order; empty for a legacy file. Raises TaskFileFault."""
    text, start = _decoded(data)
    members = _members(text, start)
    return tuple(_tagged(text, members)) if not _is_list_at(text, members.get("tasks")) else ()


def read_task_master(data: bytes, *, tag: str | None = None) -> TaskList:
    """Read the tasks of one tag: the one asked for, else `master`, else the first. Raises TaskFileFault."""
    text, start = _decoded(data)
    warnings: list[Remark] = []
    members = _members(text, start)
    chosen = None
    if _is_list_at(text, members.get("tasks")):
        tasks = members["tasks"]
        if tag is not None:
            raise TaskFileFault(f"the file has no tags: leave out --tag {one_line(tag, 40)}")
    else:
        tagged = _tagged(text, members)
        if not tagged:
            raise TaskFileFault('no tasks: the file has neither `"tasks": [...]` nor tags that hold them')
        chosen = tag or (USUAL_TAG if USUAL_TAG in tagged else next(iter(tagged)))
        if chosen not in tagged:
            meant = did_you_mean(chosen, tagged) or f" (there: {one_line(', '.join(tagged), 200)})"
            raise TaskFileFault(f"no tag {one_line(chosen, 40)!r}{meant}")
        tasks = tagged[chosen]
        if tag is None and len(tagged) > 1:
            warnings.append(
                Remark(line=0, what=f"{len(tagged)} tags, {chosen!r} is read: --tag chooses another")
            )
    items = list(_items(_Text(text, data), tasks, warnings))
    unique = _linked(unique_ids(items, warnings), warnings)
    return TaskList(
        format=FORMAT,
        data=data,
        items=unique,
        title=f"tag {chosen}" if chosen else "",
        tag=chosen,
        warnings=tuple(sorted(warnings, key=lambda warning: warning.line)),
    )


def complexity_of(data: bytes) -> Mapping[str, tuple[int, str]]:
    """Scores from 1 to 10 with their reasons, by task id, from a complexity report; empty when it is none."""
    try:
        report = json.loads(data)
        analysis = report["complexityAnalysis"]
        return {
            str(entry["taskId"]): (int(entry["complexityScore"]), str(entry.get("reasoning", "")))
            for entry in analysis
            if isinstance(entry.get("complexityScore"), int | float)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


# --- walking by position ----------------------------------------------------------------------------


class _Text:
    """The text with the byte offset and line of a position, for positions that are asked in rising order."""

    def __init__(self, text: str, data: bytes) -> None:
        self.text = text
        self._ascii = len(text) == len(data)
        self._at, self._byte, self._line_at, self._line = 0, 0, 0, 1

    def byte(self, position: int) -> int:
        if self._ascii:
            return position
        if position < self._at:
            self._at = self._byte = 0
        self._byte += len(self.text[self._at : position].encode("utf-8"))
        self._at = position
        return self._byte

    def line(self, position: int) -> int:
        if position < self._line_at:
            self._line_at, self._line = 0, 1
        self._line += self.text.count("\n", self._line_at, position)
        self._line_at = position
        return self._line


def _decoded(data: bytes) -> tuple[str, int]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TaskFileFault(f"not UTF-8 at byte {error.start + 1}: task-master files are JSON") from None
    start = _skip(text, 1 if text.startswith("\ufeff") else 0)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise TaskFileFault(f"not JSON: {one_line(str(error), 120)}") from None
    if not isinstance(value, dict) or _skip(text, end) != len(text):
        raise TaskFileFault("not a task-master file: it must be one JSON object")
    return text, start


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _members(text: str, start: int) -> dict[str, _Member]:
    """The members of the object at `start`, which is known to be sound; of equal keys the last counts."""
    found: dict[str, _Member] = {}
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        value, end = _DECODER.raw_decode(text, at)
        found[key] = _Member(value, at, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _elements(text: str, start: int) -> Iterator[_Member]:
    at = _skip(text, start + 1)
    while text[at] != "]":
        value, end = _DECODER.raw_decode(text, at)
        yield _Member(value, at, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _is_list_at(text: str, member: _Member | None) -> bool:
    return member is not None and isinstance(member.value, list)


def _tagged(text: str, members: Mapping[str, _Member]) -> dict[str, _Member]:
    found = {}
    for name, member in members.items():
        if isinstance(member.value, dict) and isinstance(member.value.get("tasks"), list):
            found[name] = _members(text, member.start)["tasks"]
    return found


# --- items ------------------------------------------------------------------------------------------


def _items(text: _Text, tasks: _Member, warnings: list[Remark]) -> Iterator[TaskItem]:
    for number, member in enumerate(_elements(text.text, tasks.start), 1):
        if not isinstance(member.value, dict):
            warnings.append(
                Remark(line=text.line(member.start), what="a task that is no object, kept and not run")
            )
            continue
        members = _members(text.text, member.start)
        name = _name(members, number)
        yield _item(text, member, members, name, None, warnings)
        subtasks = members.get("subtasks")
        if subtasks is None or not isinstance(subtasks.value, list):
            continue
        for place, part in enumerate(_elements(text.text, subtasks.start), 1):
            if not isinstance(part.value, dict):
                line = text.line(part.start)
                warnings.append(Remark(line=line, what="a subtask that is no object, kept and not run"))
                continue
            inner = _members(text.text, part.start)
            local = _name(inner, place)
            whole = local if local.startswith(f"{name}.") else f"{name}.{local}"
            yield _item(text, part, inner, whole, name, warnings)


def _name(members: Mapping[str, _Member], number: int) -> str:
    value = members["id"].value if "id" in members else None
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        return str(number)
    return str(value).strip()[:200]


def _item(
    text: _Text,
    whole: _Member,
    members: Mapping[str, _Member],
    name: str,
    parent: str | None,
    warnings: list[Remark],
) -> TaskItem:
    line = text.line(whole.start)
    said = members.get("status")
    status = said.value.strip().lower() if said is not None and isinstance(said.value, str) else ""
    done = status in DONE
    if said is not None:
        raw = text.text[said.start : said.end].encode("utf-8")
        start, end = text.byte(said.start), text.byte(said.end)
        mark = Mark(start=start, end=end, done=raw if done else b'"done"', open=b'"pending"' if done else raw)
    else:
        # A new first member; the object may be empty.
        comma = b", " if members else b""
        at = text.byte(whole.start + 1)
        mark = Mark(start=at, end=at, done=b'"status": "done"' + comma, open=b"")
        warnings.append(Remark(line=line, what=f"task {one_line(name, 40)} has no status, read as pending"))
    texts = {key: _text(members, key) for key in ("description", "details")}
    tests = _text(members, "testStrategy") or _text(members, "test_strategy")
    extra = {key: _text(members, key) for key in ("priority", "acceptanceCriteria", "category", "complexity")}
    title = _text(members, "title") or texts["description"] or f"task {name}"
    return TaskItem(
        id=name,
        title=one_line(title, 200) or f"task {name}",
        line=line,
        role=Role.TASK,
        text="\n\n".join(part for part in (*texts.values(), extra.pop("acceptanceCriteria")) if part),
        done=done,
        status=status,
        skipped=NOT_RUN.get(status, ""),
        parent=parent,
        touches=_files(members) or None,
        tests=tests,
        mark=mark,
        fields={"dependencies": json.dumps(_dependencies(members)), **{k: v for k, v in extra.items() if v}},
    )


def _text(members: Mapping[str, _Member], key: str) -> str:
    value = members[key].value if key in members else None
    if isinstance(value, str):
        return _mended(value.strip())
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return _mended("\n".join(f"- {part}" for part in value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _mended(text: str) -> str:
    """Half surrogate pairs, which JSON can spell and no other text may hold, are shown as such."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _files(members: Mapping[str, _Member]) -> tuple[str, ...]:
    value = members["relevantFiles"].value if "relevantFiles" in members else None
    if not isinstance(value, list):
        return ()
    paths = [entry.get("path") for entry in value if isinstance(entry, dict)]
    return tuple(dict.fromkeys(path for path in paths if isinstance(path, str) and path))


def _dependencies(members: Mapping[str, _Member]) -> list[Any]:
    value = members["dependencies"].value if "dependencies" in members else None
    if not isinstance(value, list):
        return []
    return [entry for entry in value[:_MOST] if isinstance(entry, int | str) and not isinstance(entry, bool)]


def _linked(items: tuple[TaskItem, ...], warnings: list[Remark]) -> tuple[TaskItem, ...]:
    known = {item.id for item in items}
    linked = []
    for item in items:
        found: dict[str, None] = {}
        for stated in json.loads(item.fields["dependencies"]):
            name = _meant(stated, item, known)
            if name is None:
                what = f"{one_line(item.id, 40)} depends on {one_line(str(stated), 40)}, which is not in the file"
                warnings.append(Remark(line=item.line, what=what))
            elif name in (item.id, item.parent):
                what = f"{one_line(item.id, 40)} depends on itself or on what it is part of: left out"
                warnings.append(Remark(line=item.line, what=what))
            else:
                found[name] = None
        linked.append(replace(item, depends_on=tuple(found)))
    return tuple(linked)


def _meant(stated: int | str, item: TaskItem, known: set[str]) -> str | None:
    """The id that a dependency names: among the subtasks of the same task first, unless it is dotted."""
    name = str(stated).strip()
    candidates = [name]
    if item.parent is not None:
        local = f"{item.parent}.{name}"
        candidates = [name, local] if "." in name else [local, name]
    return next((candidate for candidate in candidates if candidate in known), None)
