"""What a model wrote -> the plain JSON data in it, or named problems.

Models wrap JSON in prose and fences, leave commas behind, quote with single quotes and write comments. That is
read as it was meant. What cannot be meant one way only (two plans, a key twice, NaN, a text that stops in the
middle) is a problem, never a guess. Nothing here recurses, and the work is linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from orchestrator.core.domain import Problem
from orchestrator.core.planning_problems import MAX_PROBLEMS, Problems
from orchestrator.core.text import one_line

MAX_REPLY_CHARACTERS = 4_000_000
MAX_NESTING = 32

MAX_FRAGMENTS = 2_000
"""Places where JSON may begin that are tried; prose has a few brackets, not thousands."""

_OPENING = re.compile(r"[{\[]")
# A block comment has a bound on its length, or an unclosed one would be read to the end at every try.
_SPACE = re.compile(r"(?:[\s\ufeff\u200b]+|//[^\n]*|\#[^\n]*|/\*(?:[^*]|\*(?!/)){0,2000}\*/)*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_CURLY = re.compile(r"[\u201c\u201d]((?:[^\u201c\u201d\\]|\\.)*)[\u201c\u201d]", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?=\s*:)")
_NUMBER = re.compile(r"[+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_WORD = re.compile(r"[+-]?[A-Za-z_]\w*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_THINKING = re.compile(r"<(think|thinking|reasoning)>", re.IGNORECASE)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_WORDS: dict[str, Any] = {
    "true": True,
    "false": False,
    "null": None,
    "True": True,
    "False": False,
    "None": None,
}
_NOT_A_NUMBER = {"nan", "infinity", "inf"}


@dataclass(frozen=True, slots=True)
class Reading:
    """The value found, or None with at least one problem; `notes` say what was read leniently."""

    value: Any
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def read_reply(text: str) -> Reading:
    """Return the one plan-like JSON value (an object, or a list of subtasks) in a model's reply."""
    problems = Problems()
    if len(text) > MAX_REPLY_CHARACTERS:
        problems.add("reply", f"{len(text)} characters, at most {MAX_REPLY_CHARACTERS} are read")
        return Reading(None, problems.found())
    visible = _without_thinking(text)
    if not visible.strip():
        problems.add("reply", "is empty")
        return Reading(None, problems.found())
    fast = _read_strictly(visible)
    if fast is not None:
        return Reading(fast)
    return _read_leniently(visible)


def _without_thinking(text: str) -> str:
    """The text behind the last closed block of reasoning: plans drafted there are not the answer."""
    opening = _THINKING.match(text.lstrip())
    if opening is None:
        return text
    end = text.rfind(f"</{opening.group(1)}>")
    return text if end < 0 else text[end + len(opening.group()) + 1 :]


def _read_strictly(text: str) -> Any | None:
    """The usual case at C speed: the text is one JSON object or list and nothing in it is odd."""
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.partition("\n")[2].rpartition("```")[0].strip()
    if bare[:1] not in ("{", "[") or _nesting(bare) > MAX_NESTING:
        return None
    try:
        value = json.loads(bare, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if _looks_like_plan(value) and not _has_surrogate(bare) else None


def _nesting(text: str) -> int:
    """The deepest nesting of brackets; those in strings count too, which only sends the text the slow way."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _has_surrogate(text: str) -> bool:
    return (
        "\\ud" in text or "\\uD" in text or (not text.isascii() and bool(re.search("[\ud800-\udfff]", text)))
    )


_PLAN_KEYS = {"subtasks", "tasks", "questions", "plan"}
_SUBTASK_KEYS = {"title", "instructions", "description", "depends_on", "category", "dependencies"}


def _looks_like_plan(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(_PLAN_KEYS & value.keys())
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and bool(_SUBTASK_KEYS & item.keys()) for item in value)
    )


def _read_leniently(text: str) -> Reading:
    """Look at every place where JSON may begin; go on behind what was read, so that the work stays linear."""
    plans: list[tuple[Any, _Reader]] = []
    others = 0
    broken: _Reader | None = None
    furthest: _Reader | None = None
    place = tried = 0
    while (opening := _OPENING.search(text, place)) and tried < MAX_FRAGMENTS:
        tried += 1
        start = opening.start()
        reader = _Reader(text, start)
        value = reader.read()
        place = max(reader.place, start + 1)
        if reader.fatal:
            # A plan that breaks off must not be replaced by a fragment of itself.
            if reader.saw_plan:
                broken = reader
                break
            if furthest is None or reader.place - start > furthest.place - furthest.start:
                furthest = reader
            continue
        if _looks_like_plan(value):
            plans.append((value, reader))
        elif isinstance(value, dict) and value:
            others += 1
    problems = Problems()
    notes: list[str] = []
    if broken is not None:
        broken.report(problems)
        return Reading(None, problems.found())
    if not plans:
        what = "no JSON object with `subtasks` in it"
        if others:
            what += f" ({others} other JSON objects)"
        problems.add("reply", f"{what}; it begins: {one_line(text.strip(), 60)!r}")
        # Worth telling when it was JSON for a while, and not a bracket in prose.
        if furthest is not None and furthest.place - furthest.start >= 16:
            furthest.report(problems)
        return Reading(None, problems.found())
    distinct = [
        plan for number, plan in enumerate(plans) if all(plan[0] != seen[0] for seen in plans[:number])
    ]
    if len(distinct) > 1:
        problems.add("reply", f"holds {len(distinct)} different JSON plans: send exactly one")
        return Reading(None, problems.found())
    value, reader = distinct[0]
    notes.extend(reader.notes)
    reader.report(problems)
    return Reading(None if problems else value, problems.found(), tuple(dict.fromkeys(notes)))


class _Broken(Exception):
    """Reading cannot go on at this place."""


class _Reader:
    """Reads one value from `place` on, with an explicit stack instead of recursion."""

    def __init__(self, text: str, place: int) -> None:
        self._text = text
        self.start = self.place = place
        # What is wrong, with its place and path in the document; told in lines and columns only when it is kept.
        self._faults: list[tuple[int, str, str]] = []
        self.notes: list[str] = []
        self.fatal = False
        self.cut_off = False
        self.saw_plan = False
        # Open containers, each with the key it was met under and the key being filled.
        self._open: list[tuple[Any, str | None]] = []
        self._key: str | None = None

    def read(self) -> Any:
        try:
            return self._read()
        except _Broken as broken:
            self.fatal = True
            self._fault(str(broken))
            return None

    def report(self, problems: Problems) -> None:
        """Add what was wrong, with line and column."""
        for place, path, what in self._faults[:MAX_PROBLEMS]:
            line = self._text.count("\n", 0, place) + 1
            column = place - self._text.rfind("\n", 0, place)
            problems.add(f"reply line {line}, column {column}" + (f", {path}" if path else ""), what)

    def _fault(self, what: str) -> None:
        if len(self._faults) < MAX_PROBLEMS:
            self._faults.append((self.place, self._path(), what))

    def _read(self) -> Any:
        while True:
            value, opened = self._value()
            if opened:
                if len(self._open) > MAX_NESTING:
                    raise _Broken(f"nested deeper than {MAX_NESTING}")
            else:
                done, result = self._store(value)
                if done:
                    return result
            closed, result = self._advance(fresh=opened)
            if closed:
                return result

    def _advance(self, *, fresh: bool) -> tuple[bool, Any]:
        """Go to where the next value begins, closing what ends here; (True, value) at the very end."""
        while True:
            self._skip()
            container, _ = self._open[-1]
            char = self._char()
            if not fresh:
                if char == ",":
                    self.place += 1
                    self._skip()
                    while self._char() == ",":
                        self.place += 1
                        self._skip()
                        self.notes.append("read a doubled comma as one")
                    char = self._char()
                    if char in "]}":
                        self.notes.append("ignored a trailing comma")
                elif char not in "]}":
                    raise _Broken(f"expected ',' or the end of the {_kind(container)}, got {self._here()}")
            if char in "]}":
                if (char == "]") != isinstance(container, list):
                    raise _Broken(f"the {_kind(container)} is closed by {char!r}")
                self.place += 1
                finished, self._key = self._open.pop()
                done, result = self._store(finished)
                if done:
                    return True, result
                fresh = False
                continue
            if isinstance(container, dict):
                self._key = self._read_key()
            return False, None

    def _store(self, value: Any) -> tuple[bool, Any]:
        if not self._open:
            return True, value
        container, _ = self._open[-1]
        if isinstance(container, list):
            container.append(value)
            return False, None
        key = self._key or ""
        if key in container:
            self._fault(f"key {one_line(key, 40)!r} is given twice")
        else:
            container[key] = value
        return False, None

    def _value(self) -> tuple[Any, bool]:
        self._skip()
        char = self._char()
        if char in "{[":
            self.place += 1
            container: Any = {} if char == "{" else []
            self._open.append((container, self._key))
            self._key = None
            return container, True
        if not self._open:
            raise _Broken(f"expected '{{', got {self._here()}")
        if char in "\"'\u201c\u201d":
            return self._string(), False
        found = _NUMBER.match(self._text, self.place)
        if found:
            self.place = found.end()
            return self._number(found.group()), False
        found = _WORD.match(self._text, self.place)
        if found:
            self.place = found.end()
            return self._word(found.group()), False
        raise _Broken(f"expected a value, got {self._here()}")

    def _number(self, text: str) -> Any:
        shown = one_line(text, 30)
        if len(text) > 40:
            self._fault(f"the number {shown} has {len(text)} digits")
            return None
        bare = text.replace("_", "")
        if not any(char in bare for char in ".eE"):
            return int(bare)
        number = float(bare)
        if number in (float("inf"), float("-inf")):
            self._fault(f"{shown} is not a finite number")
            return None
        return number

    def _word(self, word: str) -> Any:
        if word in _WORDS:
            return _WORDS[word]
        if word.lstrip("+-").lower() in _NOT_A_NUMBER:
            self._fault(f"{word} is not a number")
        else:
            self._fault(f"{one_line(word, 40)!r} is not JSON: text needs quotes")
        return None

    def _read_key(self) -> str:
        char = self._char()
        if char in "\"'\u201c\u201d":
            key = self._string()
        elif found := _BARE_KEY.match(self._text, self.place):
            key = found.group()
            self.place = found.end()
            self.notes.append("read keys without quotes")
        else:
            raise _Broken(f"expected a key in quotes, got {self._here()}")
        self._skip()
        if self._char() != ":":
            raise _Broken(f"expected ':' after the key {one_line(key, 40)!r}, got {self._here()}")
        self.place += 1
        if key in ("subtasks", "tasks"):
            self.saw_plan = True
        return key

    def _string(self) -> str:
        char = self._text[self.place]
        pattern = _DOUBLE if char == '"' else _SINGLE if char == "'" else _CURLY
        found = pattern.match(self._text, self.place)
        if found is None:
            self.cut_off = True
            self.place = len(self._text)
            raise _Broken("the reply ends in the middle of a text: it was cut off")
        self.place = found.end()
        if char != '"':
            self.notes.append("read text in other quotes than JSON's")
        inner = found.group(1)
        return _unescaped(inner) if "\\" in inner else inner

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self.place)
        if found and found.end() > self.place:
            if found.group().strip("\ufeff\u200b \t\r\n"):
                self.notes.append("ignored comments")
            self.place = found.end()

    def _char(self) -> str:
        if self.place >= len(self._text):
            self.cut_off = True
            raise _Broken("the reply ends before the plan does: it was cut off")
        return self._text[self.place]

    def _here(self) -> str:
        return repr(one_line(self._text[self.place : self.place + 200], 20))

    def _path(self) -> str:
        path = ""
        for number, (container, _) in enumerate(self._open):
            if isinstance(container, list):
                path += f"[{len(container)}]"
                continue
            name = container.get("id")
            if number and isinstance(name, str):
                path += f" {one_line(name, 40)!r}"
            key = self._open[number + 1][1] if number + 1 < len(self._open) else self._key
            if key:
                path += f"{'.' if path else ''}{one_line(key, 40)}"
        return path


def _kind(container: Any) -> str:
    return "list" if isinstance(container, list) else "object"


def _unescaped(text: str) -> str:
    def meant(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] == "u" and len(code) == 5:
            return chr(int(code[1:], 16))
        # An escape JSON does not know, as in a regular expression: the backslash was meant.
        return _ESCAPES.get(code, code if code in "\"'\\/" else f"\\{code}")

    plain = _ESCAPE.sub(meant, text)
    # Pairs of surrogates become the character they stand for, a lone one the replacement character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
