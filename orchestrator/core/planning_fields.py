"""The plain data of one subtask -> a Subtask, field by field, every fault named.

One shape for drafts and saved plans: an estimate is `{"output_tokens": [low, likely, high], ...}`, a check
`{"kind": "tests", "targets": [...]}`. Equal estimates, tags and checks become one value, because a plan may
hold 100,000 subtasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from orchestrator.core.domain import (
    SUBTASK_ID,
    Check,
    CheckKind,
    DecidedBy,
    Deliverable,
    Estimate,
    Evidence,
    ExecutorName,
    Range,
    Subtask,
    SubtaskId,
    Tag,
    Tier,
)
from orchestrator.core.globs import is_plain, normal, path_fault
from orchestrator.core.planning_problems import Problems
from orchestrator.core.text import did_you_mean, one_line

TOOLS = ("ruff-fix", "ruff-format", "project-format")
"""The deterministic tools a `tool` subtask may name; they cost nothing."""

SUBTASK_KEYS = frozenset(field.name for field in fields(Subtask))
_ESTIMATE_KEYS = ("input_tokens", "output_tokens", "seconds")
_EVIDENCE_KEYS = frozenset(("path", "line", "fact"))
_STRINGS = frozenset((str,))
# Named, because `list | tuple` would be made anew at each of a million tests.
_LISTS = (list, tuple)
_INTEGERS = frozenset((int,))
_TAG_KEYS = frozenset(("tier", "rule", "evidence", "decided_by", "reason"))
_MAX_AMOUNT = 10**12
_COMMAND_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_./@-")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLimits:
    """What a plan may hold. Characters for texts; `max_depth` counts subtasks on the longest chain."""

    max_subtasks: int = 100_000
    max_depth: int = 5_000
    max_title: int = 200
    max_instructions: int = 20_000
    max_items: int = 200
    max_likely_output_tokens: int = 200_000
    max_questions: int = 20


FILE_LIMITS = PlanLimits()
MODEL_LIMITS = PlanLimits(
    max_subtasks=40, max_depth=20, max_items=50, max_likely_output_tokens=16_000, max_questions=3
)


class _Fault(Exception):
    """One field cannot be read; the others of the subtask still are."""


class SubtaskFields:
    """Reads subtasks of one plan; problems go to `problems` under the name of the subtask."""

    def __init__(
        self, problems: Problems, limits: PlanLimits, commands: Collection[str] | None = None
    ) -> None:
        self._problems = problems
        self._limits = limits
        self._commands = commands
        self._seen: dict[Any, Any] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {
            name: getattr(self, f"_{method}") for name, method in _METHODS.items()
        }

    def read(self, plain: Mapping[str, Any], place: int) -> Subtask | None:
        """Return the subtask, or None when a field is at fault. `plain["tag"]` may be a Tag already."""
        readers = self._readers
        faults: list[str] = []
        try:
            values = {key: readers[key](value) for key, value in plain.items()}
        except (KeyError, _Fault):
            # Again field by field, so that all that is wrong is named.
            values = self._read_each(plain, faults)
        for name in ("id", "title", "tag", "estimate"):
            if name not in plain:
                faults.append(f"{name} is missing")
        if not faults and ("executor" in values or "tool" in values or not values.get("touches", True)):
            self._check_whole(values, faults)
        if faults:
            where = subtask_name(plain, place)
            for what in faults:
                self._problems.add(where, what)
            return None
        values.setdefault("instructions", "")
        values.setdefault("category", "")
        return Subtask(**values)

    def _read_each(self, plain: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in plain.items():
            read = self._readers.get(key)
            if read is None:
                faults.append(f"unknown key {one_line(str(key), 40)!r}{did_you_mean(str(key), SUBTASK_KEYS)}")
                continue
            try:
                values[key] = read(value)
            except _Fault as fault:
                faults.append(f"{key} {fault}")
        return values

    def _check_whole(self, values: dict[str, Any], faults: list[str]) -> None:
        tool = values.get("tool")
        if values.get("executor") is ExecutorName.TOOL:
            if tool not in TOOLS:
                faults.append(f"tool {one_line(str(tool), 40)!r} is not one of {', '.join(TOOLS)}")
        elif tool is not None:
            faults.append("names a tool, but its executor is not `tool`")
        if values.get("deliverable") is Deliverable.DOCUMENT:
            if values.get("executor") is ExecutorName.TOOL:
                faults.append("a tool edits files: its deliverable cannot be a document")
        elif values.get("touches") == ():
            faults.append("touches no file, so it has nothing to edit: name its files, or deliver a document")

    # --- fields ---------------------------------------------------------------------------------

    def _id(self, value: Any) -> SubtaskId:
        if not isinstance(value, str):
            raise _Fault(f"is {kind_of(value)}, not a text")
        if not SUBTASK_ID.fullmatch(value) or len(value) > 80:
            raise _Fault(
                f"{one_line(value, 60)!r} is not lower-case words joined by '-', at most 80 characters"
            )
        return SubtaskId(value)

    def _title(self, value: Any) -> str:
        title = _text(value, self._limits.max_title)
        if not title or title.isspace():
            raise _Fault("is empty")
        return title

    def _instructions(self, value: Any) -> str:
        return _text(value, self._limits.max_instructions)

    def _short(self, value: Any) -> str:
        return _text(value, 400)

    def _optional(self, value: Any) -> str | None:
        return None if value is None else _text(value, 400)

    def _tag(self, value: Any) -> Tag:
        if isinstance(value, Tag):
            return value
        if not isinstance(value, Mapping):
            raise _Fault(f"is {kind_of(value)}, not an object")
        if not value.keys() <= _TAG_KEYS:
            raise _Fault(f"has unknown keys {sorted(str(key) for key in value.keys() - _TAG_KEYS)}")
        try:
            raw = (*value, *value.values())
            known = self._seen.get(raw)
        except TypeError:
            # It has a list in it, or something that is no text and is named below.
            raw, known = (), None
        if known is not None:
            return known  # type: ignore[no-any-return]  # a tag under a key that begins with its tier
        tier = _text(value.get("tier"), 40)
        rule, reason = _text(value.get("rule", ""), 200), _text(value.get("reason", ""), 1000)
        evidence = _texts(value.get("evidence", ()), self._limits.max_items, 400)
        decided_by = _choice(DecidedBy, value.get("decided_by", "planner"))
        if not SUBTASK_ID.fullmatch(tier):
            raise _Fault(f"has no tier like `cheap` or `smart`, but {one_line(tier, 40)!r}")
        tag = Tag(tier=Tier(tier), rule=rule, evidence=evidence, decided_by=decided_by, reason=reason)
        return self._keep(raw, tag) if raw else tag

    def _deliverable(self, value: Any) -> Deliverable:
        return _choice(Deliverable, value)

    def _executor(self, value: Any) -> ExecutorName:
        return _choice(ExecutorName, value)

    def _names(self, value: Any) -> tuple[str, ...]:
        # Ids that are in the plan are of a good length: what is not is named where it is linked.
        if type(value) is list and _STRINGS.issuperset(map(type, value)):
            return tuple(value)
        return _texts(value, self._limits.max_subtasks, 400)

    def _notes(self, value: Any) -> tuple[str, ...]:
        return _texts(value, self._limits.max_items, 4000)

    def _touches(self, value: Any) -> tuple[str, ...] | None:
        if value is None:
            return None
        paths = _texts(value, self._limits.max_items)
        if len(paths) == 1:
            return (self._path(paths[0]),)
        return tuple(dict.fromkeys(map(self._path, paths)))

    def _path(self, path: str) -> str:
        if is_plain(path):
            return path
        path = normal(path)
        if fault := path_fault(path):
            raise _Fault(f"{one_line(path, 60)!r} {fault}")
        return path

    def _checks(self, value: Any) -> tuple[Check, ...]:
        if not isinstance(value, _LISTS):
            raise _Fault(f"are {kind_of(value)}, not a list")
        if len(value) > self._limits.max_items:
            raise _Fault(f"are {len(value)}, at most {self._limits.max_items}")
        return (self._check(value[0]),) if len(value) == 1 else tuple(map(self._check, value))

    def _check(self, value: Any) -> Check:
        if type(value) is not dict or len(value) != 2 or "kind" not in value or "targets" not in value:
            shown = one_line(str(value), 60)
            raise _Fault(f'must be typed, as {{"kind": "tests", "targets": [path]}}, not {shown!r}')
        kind = _choice(CheckKind, value["kind"])
        targets = _texts(value["targets"], self._limits.max_items)
        if kind is CheckKind.COMMAND:
            if len(targets) != 1:
                raise _Fault(f"of kind `command` name one command of the settings, not {len(targets)}")
            self._command(targets[0])
        elif not targets:
            raise _Fault(f"of kind `{kind}` name no path")
        else:
            for target in targets:
                self._path(target.partition("::")[0] if "::" in target else target)
        return Check(kind=kind, targets=targets)

    def _command(self, name: str) -> None:
        if not name or name[0] == "-" or not set(name) <= _COMMAND_CHARACTERS:
            raise _Fault(
                f"name a command of the settings; {one_line(name, 60)!r} is a shell line, and a plan runs none"
            )
        if self._commands is not None and name not in self._commands:
            have = ", ".join(sorted(self._commands)) or "none"
            raise _Fault(
                f"name the command {one_line(name, 40)!r}, which is not in the settings"
                f"{did_you_mean(name, self._commands) or f' (there: {have})'}"
            )

    def _estimate(self, value: Any) -> Estimate:
        try:
            input_tokens, output_tokens, seconds = map(value.__getitem__, _ESTIMATE_KEYS)
        except (AttributeError, KeyError, TypeError):
            input_tokens = None
        if input_tokens is None or len(value) != 3:
            raise _Fault("must hold input_tokens, output_tokens and seconds, each [low, likely, high]")
        estimate = Estimate(
            input_tokens=self._range("input_tokens", input_tokens),
            output_tokens=self._range("output_tokens", output_tokens),
            seconds=self._range("seconds", seconds),
        )
        likely = estimate.output_tokens.likely
        if likely > self._limits.max_likely_output_tokens:
            raise _Fault(
                f"of {likely} output tokens is too large for one attempt, "
                f"at most {self._limits.max_likely_output_tokens}: split the subtask"
            )
        return estimate

    def _range(self, name: str, amounts: Any) -> Range:
        try:
            low, likely, high = key = tuple(amounts)
        except (TypeError, ValueError):
            raise _Fault(f"of {name} is not [low, likely, high]") from None
        if type(low) is type(likely) is type(high) is int:
            # Not looked up before the types are known, because True == 1 == 1.0.
            known = self._seen.get(key)
            if known is not None:
                return known  # type: ignore[no-any-return]  # a range under a key of three integers
            if 0 <= low <= likely <= high <= _MAX_AMOUNT:
                return self._keep(key, Range(low, likely, high))
        shown = one_line(str(list(key)), 60)
        raise _Fault(f"of {name} is {shown}, not low <= likely <= high in whole numbers from 0")

    def _evidence(self, value: Any) -> tuple[Evidence, ...]:
        if not isinstance(value, _LISTS):
            raise _Fault(f"is {kind_of(value)}, not a list")
        if len(value) > self._limits.max_items:
            raise _Fault(f"has {len(value)} items, at most {self._limits.max_items}")
        return (self._fact(value[0]),) if len(value) == 1 else tuple(map(self._fact, value))

    def _fact(self, item: Any) -> Evidence:
        try:
            path, line, fact = item["path"], item.get("line", 0), item.get("fact", "")
            known = len(item) == 3 and "line" in item and "fact" in item
        except (AttributeError, KeyError, TypeError):
            path, line, fact, known = None, 0, "", False
        if path is None or not (known or item.keys() <= _EVIDENCE_KEYS):
            raise _Fault(f'must be {{"path", "line", "fact"}}, not {one_line(str(item), 60)!r}')
        if type(line) is not int or not 0 <= line <= _MAX_AMOUNT:
            raise _Fault(f"names the line {one_line(repr(line), 40)}, not a line number")
        if type(path) is not str:
            raise _Fault(f"names {kind_of(path)} as its path")
        return Evidence(path=self._path(path), line=line, fact=_text(fact, 1000))

    # --- one value for equal values -------------------------------------------------------------

    def _keep(self, key: Any, value: T) -> T:
        self._seen[key] = value
        return value


_METHODS = {
    "category": "short",
    "depends_on": "names",
    "group": "short",
    "source": "short",
    "tool": "optional",
} | {name: name for name in SUBTASK_KEYS - {"category", "depends_on", "group", "source", "tool"}}


def subtask_name(plain: Any, place: int) -> str:
    """How problems call a subtask: by its id when it has one, else by its place, counted from 1."""
    name = plain.get("id") if isinstance(plain, Mapping) else None
    if isinstance(name, str | int) and str(name).strip():
        return f"subtask {one_line(str(name), 60)!r}"
    return f"subtask number {place + 1}"


def kind_of(value: Any) -> str:
    """The JSON name of a value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
    return "an object"


def _text(value: Any, limit: int) -> str:
    if type(value) is str and len(value) <= limit and value.isascii():
        return value
    if type(value) is not str:
        raise _Fault(f"is {kind_of(value)}, not a text")
    if len(value) > limit:
        raise _Fault(f"has {len(value)} characters, at most {limit} are allowed: {one_line(value, 40)!r}")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise _Fault("holds half a Unicode character (a lone surrogate)")
    return value


def _texts(value: Any, at_most: int, limit: int = 2000) -> tuple[str, ...]:
    if not isinstance(value, _LISTS):
        raise _Fault(f"is {kind_of(value)}, not a list of texts")
    if len(value) > at_most:
        raise _Fault(f"has {len(value)} items, at most {at_most}")
    if len(value) == 1:
        return (_text(value[0], limit),)
    return tuple([_text(item, limit) for item in value])


Choice = TypeVar("Choice", Deliverable, ExecutorName, CheckKind, DecidedBy)


_CHOICES = {kind: {str(member): member for member in kind} for kind in Choice.__constraints__}


def _choice(kind: type[Choice], value: Any) -> Choice:
    try:
        return _CHOICES[kind][value]  # type: ignore[no-any-return]  # made of the members of that kind
    except (KeyError, TypeError):
        raise _Fault(f"{one_line(str(value), 40)!r} is not one of {', '.join(kind)}") from None
