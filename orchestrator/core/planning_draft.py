"""A draft as models and people write it -> the exact shape of a plan's data.

Tolerant where the meaning is plain: names other tools use for our keys, one text where a list is meant, ids that
are not kebab-case. Whatever would change what a plan may do (money, models, commands, keys) is named and refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from orchestrator.core.domain import SUBTASK_ID, Question, same_id
from orchestrator.core.planning_fields import SUBTASK_KEYS, PlanLimits, kind_of, subtask_name
from orchestrator.core.planning_problems import Problems
from orchestrator.core.text import one_line

_PLAN_KEYS = frozenset(("subtasks", "questions", "notes"))
_ALIASES = {
    "tasks": "subtasks",
    "name": "title",
    "description": "instructions",
    "prompt": "instructions",
    "dependencies": "depends_on",
    "dependsOn": "depends_on",
    "depends": "depends_on",
    "files": "touches",
    "verify": "checks",
    "estimates": "estimate",
}
# A plan says what is to be done. What it may cost and with what means is the user's to say.
_NOT_FOR_PLANS = re.compile(
    "(max_|daily_)?(budget|cost)(_usd|_limit)?|cap|api_(key|base)|base_url|keys?|env|environment|model(_alias)?|tier|tag"
    "|commands?|cmd|shell|bash|run|script|exec|setup|hooks?|(no_)?sandbox|permissions|network|settings|config"
    "|attempts|retries|escalation|policy|parallel|accept_unverified"
)
_CHECK_KINDS = {"test": "tests", "tests": "tests", "lint": "lint", "command": "command"}
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def slug(text: str) -> str:
    """Return `text` as lower-case ASCII words joined by '-', at most 80 characters; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _SEPARATORS.sub("-", plain.lower()).strip("-")[:80].strip("-")


class Draft:
    """The parts of a draft in exact shape: `subtasks` as plain objects, `ids` as they were written."""

    def __init__(self, value: Any, problems: Problems, limits: PlanLimits) -> None:
        self.subtasks: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.questions: tuple[Question, ...] = ()
        self.notes: tuple[str, ...] = ()
        self._problems = problems
        self._limits = limits
        self._remarks: dict[str, None] = {}
        self._read(value)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was read leniently or left out, a line each."""
        return tuple(self._remarks)

    def _read(self, value: Any) -> None:
        if isinstance(value, list | tuple):
            value = {"subtasks": value}
        if not isinstance(value, Mapping):
            self._problems.add("plan", f"is {kind_of(value)}, not an object with `subtasks`")
            return
        if set(value) == {"plan"} and isinstance(value["plan"], Mapping | list):
            self._read(value["plan"])
            return
        plan = self._keys(value, _PLAN_KEYS, "plan")
        items = plan.get("subtasks")
        if items is None:
            self._problems.add("plan", "has no `subtasks`")
        elif not isinstance(items, list | tuple):
            self._problems.add("plan", f"`subtasks` is {kind_of(items)}, not a list")
        elif not items:
            self._problems.add("plan", "is empty: it has no subtask")
        elif len(items) > self._limits.max_subtasks:
            self._problems.add(
                "plan", f"too large: {len(items)} subtasks, at most {self._limits.max_subtasks} are allowed"
            )
        else:
            self._read_subtasks(items)
        self.notes = self._lines(plan.get("notes"))
        self.questions = read_questions(plan.get("questions") or [], self._problems, self._limits)

    def _lines(self, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        lines = [value] if isinstance(value, str) else value
        if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
            self._problems.add("plan", "`notes` is not a list of texts")
            return ()
        return tuple(line[:2000] for line in lines[:50])

    def _keys(self, value: Mapping[Any, Any], known: frozenset[str], where: str) -> dict[str, Any]:
        """The entries under our names for them. Foreign ones are left out with a remark, dangerous ones refused."""
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = _ALIASES.get(str(key), str(key))
            if name not in known:
                if _NOT_FOR_PLANS.fullmatch(name.lower()):
                    self._problems.add(where, f"sets {one_line(name, 40)!r}, which a plan cannot")
                else:
                    self._remarks[f"ignored the unknown key {one_line(name, 40)!r}"] = None
                continue
            if name != key:
                self._remarks[f"read {one_line(str(key), 40)!r} as {name!r}"] = None
            if name in found:
                self._problems.add(where, f"gives {name!r} twice, once as {one_line(str(key), 40)!r}")
                continue
            found[name] = item
        return found

    def _read_subtasks(self, items: list[Any] | tuple[Any, ...]) -> None:
        renamed: dict[str, str] = {}
        for place, item in enumerate(items):
            if not isinstance(item, Mapping):
                self._problems.add(subtask_name(item, place), f"is {kind_of(item)}, not an object")
                continue
            subtask = self._keys(item, SUBTASK_KEYS - {"tag", "source"}, subtask_name(item, place))
            written = self._id(subtask, place)
            if written:
                renamed[same_id(written)] = subtask["id"]
                self.ids.append(written)
            self.subtasks.append(subtask)
        for place, subtask in enumerate(self.subtasks):
            self._shape(subtask, renamed, subtask_name(subtask, place))

    def _id(self, subtask: dict[str, Any], place: int) -> str:
        written = subtask.get("id")
        if isinstance(written, bool) or not isinstance(written, str | int | float):
            if written is not None:
                self._problems.add(subtask_name(subtask, place), f"id is {kind_of(written)}, not a text")
            elif isinstance(subtask.get("title"), str) and slug(subtask["title"]):
                subtask["id"] = slug(subtask["title"])
                return str(subtask["id"])
            else:
                self._problems.add(subtask_name(subtask, place), "id is missing")
            subtask.pop("id", None)
            return ""
        text = unicodedata.normalize("NFC", str(written)).strip()
        if len(text) > 200:
            self._problems.add(f"subtask number {place + 1}", f"id has {len(text)} characters, at most 80")
            subtask.pop("id")
            return ""
        subtask["id"] = text if SUBTASK_ID.fullmatch(text) else slug(text)
        if not subtask["id"]:
            self._problems.add(
                f"subtask number {place + 1}", f"id {one_line(text, 60)!r} holds no Latin letter or digit"
            )
            subtask.pop("id")
            return ""
        return text

    def _shape(self, subtask: dict[str, Any], renamed: Mapping[str, str], where: str) -> None:
        for key in ("depends_on", "touches", "notes"):
            value = subtask.get(key)
            if value is None:
                subtask.pop(key, None)
            elif isinstance(value, str):
                subtask[key] = [value] if value.strip() else []
        if isinstance(names := subtask.get("depends_on"), list | tuple):
            written = [str(name).strip() if isinstance(name, str | int | float) else name for name in names]
            subtask["depends_on"] = list(
                dict.fromkeys(
                    renamed.get(same_id(name), name) if isinstance(name, str) else "" for name in written
                )
            )
            for name in written:
                if not isinstance(name, str):
                    self._problems.add(where, f"depends_on holds {kind_of(name)}, not an id")
            if "" in subtask["depends_on"]:
                subtask["depends_on"].remove("")
        for key in ("title", "instructions", "category", "group", "deliverable", "executor", "evidence"):
            if subtask.get(key, "") is None:
                subtask.pop(key)
        if subtask.get("tool") in ("", "none"):
            # What a schema makes models write where they mean nothing.
            subtask.pop("tool")
        if subtask.get("deliverable") == "document" and "touches" not in subtask:
            # A text changes no file, so it need not run alone.
            subtask["touches"] = []
        if isinstance(subtask.get("title"), str):
            subtask["title"] = " ".join(subtask["title"].split())
        if "checks" in subtask:
            subtask["checks"] = self._checks(subtask["checks"], where)
        estimate = subtask.get("estimate")
        if isinstance(estimate, Mapping):
            subtask["estimate"] = {str(key): _amounts(item) for key, item in estimate.items()}
        elif estimate is None:
            subtask.pop("estimate", None)

    def _checks(self, value: Any, where: str) -> Any:
        """`{"tests": [path]}` and a single check instead of a list are read as they are meant."""
        if value is None:
            return []
        checks = value if isinstance(value, list | tuple) else [value]
        shaped: list[Any] = []
        for check in checks:
            if isinstance(check, str):
                self._problems.add(
                    where,
                    f"checks must be typed (tests, lint or command), not a line for a shell: {one_line(check, 60)!r}",
                )
                continue
            if not isinstance(check, Mapping):
                shaped.append(check)
                continue
            if "kind" in check or "type" in check:
                kind = check.get("kind", check.get("type"))
                targets = check.get("targets", check.get("target", check.get("paths", check.get("name"))))
                extra = sorted(
                    str(key)
                    for key in check.keys()
                    - {"kind", "type", "targets", "target", "paths", "name", "description"}
                )
                if extra:
                    self._problems.add(
                        where,
                        f"a check has {one_line(', '.join(extra), 60)!r}: it has a kind and targets only",
                    )
                    continue
                pairs = [(kind, targets)]
            else:
                pairs = list(check.items())
            for kind, targets in pairs:
                if targets is None:
                    targets = []
                shaped.append(
                    {
                        "kind": _CHECK_KINDS.get(kind, kind) if isinstance(kind, str) else kind,
                        "targets": [targets] if isinstance(targets, str) else targets,
                    }
                )
        return shaped


def _amounts(value: Any) -> Any:
    """One number stands for a range around it, and `{"low", "likely", "high"}` for its list; floats are rounded."""
    if isinstance(value, Mapping) and set(value) == {"low", "likely", "high"}:
        value = [value["low"], value["likely"], value["high"]]
    if isinstance(value, list | tuple):
        return [
            round(item) if isinstance(item, float) and abs(item) < 1e15 and item == item else item
            for item in value
        ]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
        return [round(value / 2), round(value), round(value * 2)]
    return value


def read_questions(value: Any, problems: Problems, limits: PlanLimits) -> tuple[Question, ...]:
    """Return the questions; the first option is the default when none is given, and an answer must be a text."""
    if not isinstance(value, list | tuple):
        problems.add("questions", f"are {kind_of(value)}, not a list")
        return ()
    if len(value) > limits.max_questions:
        problems.add("questions", f"are {len(value)}, at most {limits.max_questions}")
        return ()
    found: list[Question] = []
    for place, item in enumerate(value):
        where = f"question {place + 1}"
        if not isinstance(item, Mapping):
            problems.add(where, f"is {kind_of(item)}, not an object")
            continue
        unknown = sorted(str(key) for key in item.keys() - {"id", "text", "options", "default", "answer"})
        if unknown:
            problems.add(where, f"has the unknown key {one_line(unknown[0], 40)!r}")
        options = item.get("options")
        options = [] if options is None else options
        texts = {key: item.get(key) for key in ("id", "text", "default", "answer")}
        wrong = [key for key, text in texts.items() if text is not None and not isinstance(text, str)]
        if (
            wrong
            or not isinstance(options, list | tuple)
            or not all(isinstance(text, str) for text in options)
        ):
            problems.add(where, f"{(wrong or ['options'])[0]} is not made of text")
            continue
        default = texts["default"] if texts["default"] is not None else next(iter(options), None)
        if not texts["text"] or default is None:
            problems.add(where, "needs a text, and a default that is taken when nobody answers")
            continue
        if options and default not in options:
            problems.add(where, f"has the default {one_line(default, 40)!r}, which is not among its options")
            continue
        if len(options) > 9 or max(map(len, (*options, default, texts["text"]))) > 1000:
            problems.add(where, "is too long: at most 9 options and 1000 characters each")
            continue
        name = slug(texts["id"] or texts["text"] or "")[:40].strip("-") or f"question-{place + 1}"
        if any(question.id == name for question in found):
            problems.add(where, f"id {name!r} is used twice")
            continue
        found.append(
            Question(
                id=name, text=texts["text"], options=tuple(options), default=default, answer=texts["answer"]
            )
        )
    return tuple(found)
