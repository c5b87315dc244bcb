"""Plans as JSON documents: stable bytes out, strict validation in.

A document has the shape of a draft, with `schema`, `version`, what the plan was made from, and the tag of each
subtask. People edit these files, so one that cannot be run is refused with every problem at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from typing import Any

from orchestrator.core.domain import (
    Check,
    Estimate,
    Evidence,
    Plan,
    Provenance,
    Question,
    Range,
    Subtask,
    SuiteTime,
    Tag,
)
from orchestrator.core.graph import no_collections
from orchestrator.core.planning_draft import read_questions
from orchestrator.core.planning_fields import FILE_LIMITS, PlanLimits, SubtaskFields, kind_of, subtask_name
from orchestrator.core.planning_problems import Problems
from orchestrator.core.planning_structure import check_ids, check_shape, link, unordered_overlaps
from orchestrator.core.text import did_you_mean, one_line

SCHEMA = "orchestrator.plan"
VERSION = 1
MAX_GOAL_CHARACTERS = 64 * 1024
MAX_SUITE_SECONDS = 7 * 24 * 3600

_KEYS = ("schema", "version", "goal", "made_from", "suite", "questions", "notes", "subtasks")
_PROVENANCE = tuple(field.name for field in fields(Provenance))
# Above this a line per subtask: nobody edits such a file by hand.
_SPREAD_SUBTASKS = 2_000


def plan_to_json(plan: Plan) -> str:
    """Return the plan as a JSON document; equal plans give equal text, ending in a newline."""
    head = {
        "schema": SCHEMA,
        "version": VERSION,
        "goal": plan.goal,
        "made_from": {
            name: value
            for name in _PROVENANCE
            if (value := getattr(plan.made_from, name)) or name in ("planner", "commit")
        },
        **({"suite": _plain(plan.suite)} if plan.suite is not None else {}),
        "questions": [_plain(question) for question in plan.questions],
        "notes": list(plan.notes),
    }
    spread = len(plan.subtasks) <= _SPREAD_SUBTASKS
    plain = [_plain(subtask) for subtask in plan.subtasks]
    blocks = [_block(item, indent=6) if spread else json.dumps(item, ensure_ascii=False) for item in plain]
    subtasks = ",\n".join(f"    {block}" for block in blocks)
    return f'{_block(head, indent=2)[:-2]},\n  "subtasks": [\n{subtasks}\n  ]\n}}\n'


def _block(value: Mapping[str, Any], *, indent: int) -> str:
    """An object with a line for each of its keys: short enough to read, and a change is a one-line diff."""
    gap = " " * indent
    lines = ",\n".join(
        f"{gap}{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items()
    )
    return f"{{\n{lines}\n{gap[:-2]}}}"


def _plain(value: Any) -> Any:
    match value:
        case Range():
            return [value.low, value.likely, value.high]
        case Estimate():
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case Subtask() | Tag() | Check() | Evidence() | Question() | SuiteTime():
            return {
                field.name: _plain(item)
                for field in fields(value)
                if (item := getattr(value, field.name)) != field.default or field.default is MISSING
            }
        case tuple():
            return [_plain(item) for item in value]
    return value


def plan_from_json(text: str | bytes, *, commands: Collection[str] | None = None) -> Plan:
    """Return the plan a document holds. Raises InvalidPlan with every problem.

    `commands` are the names a `command` check may use; without them the names are not checked.
    """
    problems = Problems()
    try:
        data = json.loads(text, object_pairs_hook=_Unique(problems).build, parse_constant=_refuse_constant)
    except RecursionError:
        problems.add("plan", "is nested too deeply to be a plan")
    except UnicodeDecodeError as error:
        problems.add("plan", f"is not UTF-8 text: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        problems.add(f"plan line {error.lineno}, column {error.colno}", f"is not JSON: {error.msg}")
    except ValueError as error:
        problems.add("plan", str(error))
    problems.raise_any()
    return plan_from_plain(data, commands=commands)


class _Unique:
    """Makes JSON objects, naming keys that are given twice: of two values one would be lost unseen."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def build(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            where = subtask_name(value, 0) if "id" in value else "plan"
            self._problems.add(where, f"key {one_line(twice, 40)!r} is given twice")
        return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def plan_from_plain(
    data: Any, *, commands: Collection[str] | None = None, limits: PlanLimits = FILE_LIMITS
) -> Plan:
    """Return the plan that decoded JSON stands for. Raises InvalidPlan with every problem."""
    problems = Problems()
    if not isinstance(data, Mapping):
        problems.add("plan", f"is {kind_of(data)}, not an object")
        problems.raise_any()
    if data.get("schema") != SCHEMA:
        problems.add("plan", f"has no `schema: {SCHEMA}`, so it is another kind of document")
        problems.raise_any()
    if data.get("version") != VERSION:
        problems.add(
            "plan",
            f"has version {one_line(repr(data.get('version')), 30)}; this program reads version {VERSION}",
        )
        problems.raise_any()
    for key in data:
        if key not in _KEYS:
            problems.add("plan", f"unknown key {one_line(str(key), 40)!r}{did_you_mean(str(key), _KEYS)}")
    goal = check_goal(data.get("goal"), problems)
    made_from = _provenance(data.get("made_from"), problems)
    notes = data.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        problems.add("plan", "`notes` is not a list of texts")
        notes = []
    questions = read_questions(data.get("questions", []), problems, limits)
    subtasks = _subtasks(data.get("subtasks"), problems, limits, commands)
    suite = _suite(data.get("suite"), problems)
    problems.raise_any()
    return Plan(
        goal=goal,
        subtasks=tuple(subtasks),
        made_from=made_from,
        questions=questions,
        notes=tuple(notes),
        suite=suite,
    )


def check_goal(goal: Any, problems: Problems) -> str:
    """Return the goal, naming what makes it unusable."""
    if not isinstance(goal, str):
        problems.add("plan", f"goal is {kind_of(goal)}, not a text")
        return ""
    if not goal.strip():
        problems.add("plan", "the goal is empty")
    elif len(goal) > MAX_GOAL_CHARACTERS:
        problems.add(
            "plan", f"the goal has {len(goal)} characters, at most {MAX_GOAL_CHARACTERS} are allowed"
        )
    elif not goal.isascii() and any("\ud800" <= char <= "\udfff" for char in goal):
        problems.add("plan", "the goal holds half a Unicode character (a lone surrogate)")
    return goal


def _provenance(value: Any, problems: Problems) -> Provenance:
    empty = Provenance(planner="", commit="")
    if not isinstance(value, Mapping):
        problems.add("plan", f"`made_from` is {kind_of(value)}, not an object")
        return empty
    unknown = [str(key) for key in value if key not in _PROVENANCE]
    if unknown or not all(isinstance(item, str) for item in value.values()):
        problems.add("plan", f"`made_from` holds texts under {', '.join(_PROVENANCE)} only")
        return empty
    missing = [name for name in ("planner", "commit") if name not in value]
    if missing:
        problems.add("plan", f"`made_from` has no {missing[0]!r}")
        return empty
    return Provenance(**value)


def _suite(value: Any, problems: Problems) -> SuiteTime | None:
    if value is None:
        return None
    if (
        not isinstance(value, Mapping)
        or set(value) != {"seconds", "basis"}
        or not isinstance(value["basis"], str)
        or isinstance(value["seconds"], bool)
        or not isinstance(value["seconds"], int | float)
        or not 0 <= value["seconds"] <= MAX_SUITE_SECONDS
    ):
        problems.add(
            "plan",
            f"`suite` holds `seconds`, from 0 to {MAX_SUITE_SECONDS}, and `basis`, a text, or is left out",
        )
        return None
    return SuiteTime(seconds=float(value["seconds"]), basis=value["basis"])


def _subtasks(
    items: Any, problems: Problems, limits: PlanLimits, commands: Collection[str] | None
) -> list[Subtask]:
    if not isinstance(items, list):
        problems.add("plan", f"`subtasks` is {kind_of(items)}, not a list")
        return []
    if not items:
        problems.add("plan", "is empty: it has no subtask")
    if len(items) > limits.max_subtasks:
        problems.add("plan", f"too large: {len(items)} subtasks, at most {limits.max_subtasks} are allowed")
        return []
    with no_collections():
        return _read_subtasks(items, problems, limits, commands)


def _read_subtasks(
    items: list[Any], problems: Problems, limits: PlanLimits, commands: Collection[str] | None
) -> list[Subtask]:
    read = SubtaskFields(problems, limits, commands).read
    subtasks: list[Subtask] = []
    faulty = False
    for place, item in enumerate(items):
        if type(item) is not dict:
            problems.add(f"subtask number {place + 1}", f"is {kind_of(item)}, not an object")
            faulty = True
            continue
        subtask = read(item, place)
        if subtask is None:
            faulty = True
        else:
            subtasks.append(subtask)
    if faulty:
        # Names that are there count, so that a subtask with a fault is not also reported as unknown.
        ids = [item["id"] for item in items if type(item) is dict and isinstance(item.get("id"), str)]
        check_ids(ids, problems)
        wanted = [
            [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
            for names in (
                item.get("depends_on")
                for item in items
                if type(item) is dict and isinstance(item.get("id"), str)
            )
        ]
        check_shape(ids, link(ids, wanted, problems), problems, limits)
        return []
    check_structure(subtasks, problems, limits)
    return subtasks


def check_structure(subtasks: list[Subtask], problems: Problems, limits: PlanLimits) -> None:
    """Name doubled ids, unknown dependencies, cycles, too long chains, and unordered changes of one file."""
    ids = [subtask.id for subtask in subtasks]
    check_ids(ids, problems)
    needs = link(ids, [subtask.depends_on for subtask in subtasks], problems)
    ordered = check_shape(ids, needs, problems, limits)
    if ordered is None:
        return
    for earlier, later, file in unordered_overlaps(subtasks, needs, ordered, problems):
        problems.add(
            "plan",
            f"{ids[earlier]!r} and {ids[later]!r} may both change {one_line(file, 60)!r} and neither waits for "
            f"the other: add {ids[earlier]!r} to depends_on of {ids[later]!r}",
        )
