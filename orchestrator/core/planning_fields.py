"""The plain data of one subtask -> a Subtask, field by field, every fault named.

One shape for drafts and saved plans: an estimate is `{"output_tokens": [low, likely, high], ...}`, a check
`{"kind": "tests", "targets": [...]}`. Equal estimates, tags and checks become one value, because a plan may
hold 100,000 subtasks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
from orchestrator.core.globs import normal, path_fault
from orchestrator.core.planning_problems import Problems
from orchestrator.core.text import did_you_mean, one_line

TOOLS = ("ruff-fix", "ruff-format", "project-format")
"""The deterministic tools a `tool` subtask may name; they cost nothing."""

SUBTASK_KEYS = frozenset(field.name for field in fields(Subtask))
_ESTIMATE_KEYS = ("input_tokens", "output_tokens", "seconds")
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
        self._paths: set[str] = set()

    def read(self, plain: Mapping[str, Any], place: int) -> Subtask | None:
        """Return the subtask, or None when a field is at fault. `plain["tag"]` may be a Tag already."""
        values: dict[str, Any] = {}
        faults: list[str] = []
        if not plain.keys() <= SUBTASK_KEYS:
            for key in sorted(str(key) for key in plain.keys() - SUBTASK_KEYS):
                faults.append(f"unknown key {one_line(key, 40)!r}{did_you_mean(key, SUBTASK_KEYS)}")
        for name, read in _READERS:
            if name in plain:
                try:
                    values[name] = read(self, plain[name])
                except _Fault as fault:
                    faults.append(f"{name} {fault}")
        for name in ("id", "title", "tag", "estimate"):
            if name not in plain:
                faults.append(f"{name} is missing")
        if not faults:
            self._check_whole(values, faults)
        if faults:
            where = subtask_name(plain, place)
            for what in faults:
                self._problems.add(where, what)
            return None
        values.setdefault("instructions", "")
        values.setdefault("category", "")
        return Subtask(**values)

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
        if not title.strip():
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
        evidence = value.get("evidence")
        key = (
            value.get("tier"),
            value.get("rule", ""),
            tuple(evidence) if isinstance(evidence, list) else (),
            value.get("decided_by", "planner"),
            value.get("reason", ""),
        )
        known = self._known(key)
        if known is not None:
            return known  # type: ignore[no-any-return]  # a tag under a key of five
        tier = _text(key[0], 40)
        if not SUBTASK_ID.fullmatch(tier):
            raise _Fault(f"has no tier like `cheap` or `smart`, but {one_line(tier, 40)!r}")
        return self._keep(
            key,
            Tag(
                tier=Tier(tier),
                rule=_text(key[1], 200),
                evidence=_texts(key[2], self._limits.max_items, 400),
                decided_by=_choice(DecidedBy, key[3]),
                reason=_text(key[4], 1000),
            ),
        )

    def _deliverable(self, value: Any) -> Deliverable:
        return _choice(Deliverable, value)

    def _executor(self, value: Any) -> ExecutorName:
        return _choice(ExecutorName, value)

    def _names(self, value: Any) -> tuple[str, ...]:
        return _texts(value, 100_000, 200)

    def _notes(self, value: Any) -> tuple[str, ...]:
        return _texts(value, self._limits.max_items, 4000)

    def _touches(self, value: Any) -> tuple[str, ...] | None:
        if value is None:
            return None
        if isinstance(value, list) and len(value) == 1 and value[0] in self._paths:
            return (value[0],)
        return tuple(dict.fromkeys(self._path(path) for path in _texts(value, self._limits.max_items)))

    def _path(self, path: str) -> str:
        if path in self._paths:
            return path
        path = normal(path)
        if fault := path_fault(path):
            raise _Fault(f"{one_line(path, 60)!r} {fault}")
        self._paths.add(path)
        return path

    def _checks(self, value: Any) -> tuple[Check, ...]:
        if not isinstance(value, list | tuple):
            raise _Fault(f"are {kind_of(value)}, not a list")
        if len(value) > self._limits.max_items:
            raise _Fault(f"are {len(value)}, at most {self._limits.max_items}")
        return self._same(tuple([self._check(item) for item in value]))

    def _check(self, value: Any) -> Check:
        if not isinstance(value, Mapping) or value.keys() != {"kind", "targets"}:
            shown = one_line(str(value), 60)
            raise _Fault(f'must be typed, as {{"kind": "tests", "targets": [path]}}, not {shown!r}')
        kind = _choice(CheckKind, value["kind"])
        targets = _texts(value["targets"], self._limits.max_items)
        known = self._known((kind, targets))
        if known is not None:
            return known  # type: ignore[no-any-return]  # a check under a key of its kind
        match kind:
            case CheckKind.COMMAND:
                if len(targets) != 1:
                    raise _Fault(f"of kind `command` name one command of the settings, not {len(targets)}")
                self._command(targets[0])
            case CheckKind.TESTS | CheckKind.LINT:
                if not targets:
                    raise _Fault(f"of kind `{kind}` name no path")
                for target in targets:
                    self._path(target.partition("::")[0])
        return self._keep((kind, targets), Check(kind=kind, targets=targets))

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
        if not isinstance(value, Mapping) or value.keys() != set(_ESTIMATE_KEYS):
            raise _Fault("must hold input_tokens, output_tokens and seconds, each [low, likely, high]")
        key: tuple[Any, ...] = ()
        for name in _ESTIMATE_KEYS:
            amounts = value[name]
            if not isinstance(amounts, list | tuple) or len(amounts) != 3:
                raise _Fault(f"of {name} is not [low, likely, high]")
            key += (*amounts,)
        # Also told apart by type: 1.0 == 1 == True.
        key = (*key, *map(type, key))
        try:
            known = self._seen.get(key)
        except TypeError:
            raise _Fault("holds something that is not a number") from None
        if known is not None:
            return known  # type: ignore[no-any-return]  # an estimate under a key of nine numbers
        ranges = [_range(name, value[name]) for name in _ESTIMATE_KEYS]
        estimate = Estimate(input_tokens=ranges[0], output_tokens=ranges[1], seconds=ranges[2])
        likely = estimate.output_tokens.likely
        if likely > self._limits.max_likely_output_tokens:
            raise _Fault(
                f"of {likely} output tokens is too large for one attempt, "
                f"at most {self._limits.max_likely_output_tokens}: split the subtask"
            )
        return self._keep(key, estimate)

    def _evidence(self, value: Any) -> tuple[Evidence, ...]:
        if not isinstance(value, list | tuple):
            raise _Fault(f"is {kind_of(value)}, not a list")
        if len(value) > self._limits.max_items:
            raise _Fault(f"has {len(value)} items, at most {self._limits.max_items}")
        found: list[Evidence] = []
        for item in value:
            if not isinstance(item, Mapping) or not {"path"} <= item.keys() <= {"path", "line", "fact"}:
                raise _Fault(f'must be {{"path", "line", "fact"}}, not {one_line(str(item), 60)!r}')
            line = item.get("line", 0)
            if type(line) is not int or not 0 <= line <= _MAX_AMOUNT:
                raise _Fault(f"names the line {one_line(repr(line), 40)}, not a line number")
            path = self._path(_text(item["path"], 2000))
            found.append(Evidence(path=path, line=line, fact=_text(item.get("fact", ""), 1000)))
        return tuple(found)

    # --- one value for equal values -------------------------------------------------------------

    def _known(self, key: Any) -> Any:
        try:
            return self._seen.get(key)
        except TypeError:
            # Unhashable: something in it has the wrong type, which the reading behind this names.
            return None

    def _keep(self, key: Any, value: T) -> T:
        self._seen[key] = value
        return value

    def _same(self, value: T) -> T:
        return self._seen.setdefault(value, value)  # type: ignore[no-any-return]  # equal values have equal types


_READERS = (
    ("id", SubtaskFields._id),
    ("title", SubtaskFields._title),
    ("instructions", SubtaskFields._instructions),
    ("category", SubtaskFields._short),
    ("tag", SubtaskFields._tag),
    ("deliverable", SubtaskFields._deliverable),
    ("depends_on", SubtaskFields._names),
    ("touches", SubtaskFields._touches),
    ("checks", SubtaskFields._checks),
    ("estimate", SubtaskFields._estimate),
    ("evidence", SubtaskFields._evidence),
    ("notes", SubtaskFields._notes),
    ("executor", SubtaskFields._executor),
    ("tool", SubtaskFields._optional),
    ("group", SubtaskFields._short),
    ("source", SubtaskFields._short),
)


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
    if type(value) is not str:
        raise _Fault(f"is {kind_of(value)}, not a text")
    if len(value) > limit:
        raise _Fault(f"has {len(value)} characters, at most {limit} are allowed: {one_line(value, 40)!r}")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise _Fault("holds half a Unicode character (a lone surrogate)")
    return value


def _texts(value: Any, at_most: int, limit: int = 2000) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _Fault(f"is {kind_of(value)}, not a list of texts")
    if not value:
        return ()
    if len(value) > at_most:
        raise _Fault(f"has {len(value)} items, at most {at_most}")
    return tuple([_text(item, limit) for item in value])


Choice = TypeVar("Choice", Deliverable, ExecutorName, CheckKind, DecidedBy)


def _choice(kind: type[Choice], value: Any) -> Choice:
    try:
        return kind(value)
    except ValueError:
        raise _Fault(f"{one_line(str(value), 40)!r} is not one of {', '.join(kind)}") from None


def _range(name: str, amounts: Any) -> Range:
    for amount in amounts:
        if type(amount) is not int or not 0 <= amount <= _MAX_AMOUNT:
            raise _Fault(f"of {name} holds {one_line(repr(amount), 30)}, not a whole number from 0")
    try:
        return Range(*amounts)
    except ValueError as error:
        raise _Fault(f"of {name} is {error}") from None
