"""A script for the scripted provider: YAML text -> rules and their replies, or every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.core.domain import InvalidDocument, Problem
from orchestrator.core.text import did_you_mean


class FaultKind(StrEnum):
    """What goes wrong instead of (or in the middle of) a proper reply."""

    STATUS = "status"
    BODY = "body"
    HANG = "hang"
    DRIP = "drip"
    RESET = "reset"
    CUT = "cut"
    TRUNCATE = "truncate"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    `after_bytes` is how much of the reply's body goes out before RESET, CUT (the connection closes) or TRUNCATE
    (the response ends properly, its text does not); `interval_seconds` separates the bytes of a DRIP.
    """

    kind: FaultKind
    status: int = 200
    message: str = ""
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    after_bytes: int = 0
    interval_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """`arguments` is the JSON text as the model wrote it, well-formed or not."""

    name: str
    arguments: str


class UsageKind(StrEnum):
    ESTIMATED = "estimated"
    NONE = "none"
    GIVEN = "given"
    RAW = "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedUsage:
    """The usage a reply states: estimated from its length, none, given counts (of any type), or raw JSON text."""

    kind: UsageKind = UsageKind.ESTIMATED
    counts: Mapping[str, object] = field(default_factory=dict)
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. `chunk_count` is for streams; `model` what the reply claims to be, None for what was asked."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    model: str | None = None
    usage: ScriptedUsage = field(default_factory=ScriptedUsage)
    finish_reason: str | None = None
    latency_seconds: float = 0.0
    chunk_count: int = 3
    barrier: str | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a rule applies; everything that is given must hold. `calls` are the numbers of matching requests."""

    aliases: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    matches: str | None = None
    last_contains: tuple[str, ...] = ()
    calls: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRule:
    """The first rule that applies answers. `plays` bounds how often (None: always); the last reply repeats."""

    name: str
    when: Condition
    replies: tuple[Reply, ...]
    plays: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    rules: tuple[ScriptRule, ...]
    source: str = "script"


COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
CONDITION_KEYS = ("alias", "model", "contains", "lacks", "matches", "last_contains", "call")
REPLY_KEYS = (
    "text",
    "text_file",
    "json",
    "tool_calls",
    "as_model",
    "usage",
    "finish_reason",
    "latency_seconds",
    "chunks",
    "barrier",
    "fault",
)
_RULE_KEYS = ("name", "when", "play", "replies", *REPLY_KEYS)
_FAULT_KEYS = (*FaultKind, "retry_after", "message", "code", "headers", "content_type")


def load_script(path: Path) -> Script:
    """Read a script file. Raises InvalidDocument with all problems."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidDocument([Problem(where=str(path), what=f"cannot read the script: {reason}")]) from None
    return parse_script(text, source=str(path), directory=path.resolve().parent)


def parse_script(text: str, *, source: str = "script", directory: Path | None = None) -> Script:
    """Return the script the YAML `text` stands for; `directory` is where its `text_file`s lie.

    Raises InvalidDocument with all problems, each with its place in the document.
    """
    import yaml

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        what = f"not YAML: {getattr(error, 'problem', None) or error}"
        raise InvalidDocument([Problem(where=where, what=what)]) from None
    reader = _Reader(source, directory)
    script = reader.script(document)
    if reader.problems:
        raise InvalidDocument(reader.problems)
    return script


class _Reader:
    def __init__(self, source: str, directory: Path | None) -> None:
        self.source, self.directory = source, directory
        self.problems: list[Problem] = []

    def problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where=f"{self.source}: {where}" if where else self.source, what=what))

    def mapping(self, value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.problem(where, f"expected keys and values, got {type(value).__name__}")
            return {}
        for key in value:
            if key not in known:
                self.problem(where, f"unknown key {key!r}{did_you_mean(str(key), known)}")
        return {str(key): item for key, item in value.items()}

    def texts(self, value: object, where: str) -> tuple[str, ...]:
        items = value if isinstance(value, list) else [] if value is None else [value]
        if any(not isinstance(item, str) for item in items):
            self.problem(where, "expected a text or a list of texts")
            return ()
        return tuple(items)

    def text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            self.problem(where, f"expected a text, got {type(value).__name__}")
            return ""
        return value

    def number(self, value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            self.problem(where, f"expected a number of at least 0, got {value!r}")
            return 0.0
        return float(value)

    def whole(self, value: object, where: str, *, least: int = 0) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.problem(where, f"expected a whole number of at least {least}, got {value!r}")
            return least
        return value

    def script(self, document: object) -> Script:
        top = self.mapping(document, "", ("rules", "defaults", "about"))
        defaults = self.mapping(top.get("defaults") or {}, "defaults", ("usage", "latency_seconds", "chunks"))
        rules = top.get("rules")
        if not isinstance(rules, list) or not rules:
            self.problem("rules", "expected a list of rules")
            return Script(rules=(), source=self.source)
        read = [self.rule(rule, place, defaults) for place, rule in enumerate(rules)]
        return Script(rules=tuple(read), source=self.source)

    def rule(self, value: object, place: int, defaults: Mapping[str, object]) -> ScriptRule:
        where = f"rules[{place}]"
        rule = self.mapping(value, where, _RULE_KEYS)
        plain_name = rule.get("name")
        name = where if plain_name is None else self.text(plain_name, f"{where}.name")
        given = {key: rule[key] for key in REPLY_KEYS if key in rule}
        listed = rule.get("replies")
        if listed is not None and given:
            self.problem(where, f"give either `replies` or `{next(iter(given))}`, not both")
        if listed is not None and (not isinstance(listed, list) or not listed):
            self.problem(f"{where}.replies", "expected a list of replies")
            listed = []
        replies = tuple(
            self.reply({**defaults, **self.mapping(reply, f"{where}.replies[{n}]", REPLY_KEYS)}, where)
            for n, reply in enumerate([given] if listed is None else listed)
        )
        for each in [given] if listed is None else listed:
            if isinstance(each, dict) and not any(key in each for key in _ANSWERS):
                self.problem(where, f"has nothing to answer: give one of {', '.join(_ANSWERS)}")
        match rule.get("play", "repeat"):
            case "repeat":
                plays = None
            case "once":
                plays = len(replies)
            case other:
                plays = self.whole(other, f"{where}.play (`once`, `repeat` or a number)", least=1)
        return ScriptRule(
            name=name, when=self.condition(rule.get("when"), f"{where}.when"), replies=replies, plays=plays
        )

    def condition(self, value: object, where: str) -> Condition:
        given = self.mapping({} if value is None else value, where, CONDITION_KEYS)
        pattern = given.get("matches")
        if pattern is not None:
            self._check_pattern(self.text(pattern, f"{where}.matches"), f"{where}.matches")
        calls = given.get("call")
        numbers = calls if isinstance(calls, list) else [] if calls is None else [calls]
        return Condition(
            aliases=self.texts(given.get("alias"), f"{where}.alias"),
            models=self.texts(given.get("model"), f"{where}.model"),
            contains=self.texts(given.get("contains"), f"{where}.contains"),
            lacks=self.texts(given.get("lacks"), f"{where}.lacks"),
            last_contains=self.texts(given.get("last_contains"), f"{where}.last_contains"),
            matches=pattern if isinstance(pattern, str) else None,
            calls=tuple(self.whole(number, f"{where}.call", least=1) for number in numbers),
        )

    def _check_pattern(self, pattern: str, where: str) -> None:
        import re2

        quiet = re2.Options()
        quiet.log_errors = False
        try:
            re2.compile(pattern, quiet)
        except re2.error as error:
            self.problem(where, f"not a regular expression: {error}")

    def reply(self, given: Mapping[str, Any], where: str) -> Reply:
        read: dict[str, Callable[[Any], object]] = {
            "tool_calls": lambda value: self.tool_calls(value, f"{where}.tool_calls"),
            "as_model": lambda value: self.text(value, f"{where}.as_model"),
            "usage": lambda value: self.usage(value, f"{where}.usage"),
            "finish_reason": lambda value: self.text(value, f"{where}.finish_reason"),
            "latency_seconds": lambda value: self.number(value, f"{where}.latency_seconds"),
            "chunks": lambda value: self.whole(value, f"{where}.chunks", least=1),
            "barrier": lambda value: self.text(value, f"{where}.barrier"),
            "fault": lambda value: self.fault(value, f"{where}.fault"),
        }
        renamed = {"as_model": "model", "chunks": "chunk_count"}
        values: dict[str, Any] = {
            renamed.get(key, key): read[key](given[key]) for key in read if given.get(key) is not None
        }
        return Reply(text=self.reply_text(given, where), **values)

    def reply_text(self, given: Mapping[str, Any], where: str) -> str:
        import json

        if "json" in given:
            return json.dumps(given["json"], ensure_ascii=False, indent=2)
        if "text_file" in given:
            name = self.text(given["text_file"], f"{where}.text_file")
            try:
                return ((self.directory or Path()) / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self.problem(f"{where}.text_file", f"cannot read {name}: {error}")
                return ""
        return self.text(given["text"], f"{where}.text") if "text" in given else ""

    def tool_calls(self, value: object, where: str) -> tuple[ToolCall, ...]:
        import json

        calls = []
        for place, item in enumerate(value if isinstance(value, list) else [value]):
            call = self.mapping(item, f"{where}[{place}]", ("name", "arguments"))
            arguments = call.get("arguments", {})
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            calls.append(ToolCall(name=self.text(call.get("name"), f"{where}[{place}].name"), arguments=text))
        return tuple(calls)

    def usage(self, value: object, where: str) -> ScriptedUsage:
        if value == "estimated":
            return ScriptedUsage()
        if value == "none":
            return ScriptedUsage(kind=UsageKind.NONE)
        given = self.mapping(value, f"{where} (`estimated`, `none` or counts)", (*COUNTS, "raw"))
        if "raw" in given:
            return ScriptedUsage(kind=UsageKind.RAW, raw=self.text(given["raw"], f"{where}.raw"))
        return ScriptedUsage(kind=UsageKind.GIVEN, counts=given)

    def fault(self, value: object, where: str) -> Fault | None:
        given = self.mapping({value: True} if isinstance(value, str) else value, where, _FAULT_KEYS)
        kinds = [kind for kind in FaultKind if kind in given]
        # `status` beside `body` is the status of that body.
        if kinds == [FaultKind.STATUS, FaultKind.BODY]:
            kinds = [FaultKind.BODY]
        if len(kinds) != 1:
            self.problem(where, f"expected one of {', '.join(FaultKind)}")
            return None
        kind = kinds[0]
        headers = {str(key): str(item) for key, item in (given.get("headers") or {}).items()}
        if "retry_after" in given:
            headers["Retry-After"] = str(given["retry_after"])
        if "content_type" in given:
            headers["Content-Type"] = str(given["content_type"])
        status, after, interval = 200, 0, 0.02
        match kind:
            case FaultKind.STATUS:
                status = self.whole(given["status"], f"{where}.status", least=200)
            case FaultKind.BODY:
                status = self.whole(given.get("status", 200), f"{where}.status", least=200)
            case FaultKind.REDIRECT:
                status, headers["Location"] = 307, self.text(given["redirect"], f"{where}.redirect")
            case FaultKind.RESET | FaultKind.CUT | FaultKind.TRUNCATE:
                after = 0 if given[kind] is True else self.whole(given[kind], f"{where}.{kind}")
            case FaultKind.DRIP:
                interval = interval if given[kind] is True else self.number(given[kind], f"{where}.drip")
            case FaultKind.HANG:
                pass
        return Fault(
            kind=kind,
            status=status,
            message=str(given.get("message", "")),
            code=str(given.get("code", "")),
            headers=headers,
            body=str(given.get("body", "")),
            after_bytes=after,
            interval_seconds=interval,
        )


_ANSWERS = ("text", "text_file", "json", "tool_calls", "fault")
