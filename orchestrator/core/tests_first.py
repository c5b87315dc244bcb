"""Tests that a task list wants written before their code: they fail until it is there, and must pass when it is.

Agent OS and spec-kit both begin a piece of work with its tests. Told from the plan alone, so that a plan that was
changed means what it says now.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.core.domain import Plan, Subtask, SubtaskId
from orchestrator.core.planning_order import closure

_WRITES_TESTS = re.compile(
    r"^(?:write|add|create)\b.{0,60}\btests?\b|^(?:contract|integration|unit|acceptance|e2e|end-to-end)\s+tests?\b",
    re.IGNORECASE,
)

LEFT = "the rest of its group is left for a later run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """`of` are earlier subtasks whose tests this one's code is for; `may_fail`: they may still fail after it.

    A subtask that writes such tests has none in `of`, and its new tests may fail.
    """

    of: tuple[SubtaskId, ...] = ()
    may_fail: bool = False


def writes_tests(title: str) -> bool:
    """Whether a task's title says that it writes tests."""
    return _WRITES_TESTS.match(title) is not None


def only_some(plan: Plan, chosen: Collection[str]) -> Plan:
    """Return the plan with these subtasks alone; where a group loses some, its others say so in their notes."""
    short = {subtask.group for subtask in plan.subtasks if subtask.id not in chosen and subtask.group}
    kept = tuple(subtask for subtask in plan.subtasks if subtask.id in chosen)
    return replace(
        plan,
        subtasks=tuple(
            replace(subtask, notes=(*subtask.notes, LEFT))
            if subtask.group in short and LEFT not in subtask.notes
            else subtask
            for subtask in kept
        ),
    )


def ahead_of_code(plan: Plan) -> Mapping[SubtaskId, Ahead]:
    """Return the subtasks of an imported list that write tests ahead of their code, and those that write that code."""
    groups: dict[str, list[Subtask]] = {}
    for subtask in plan.subtasks if plan.made_from.imported_from else ():
        if subtask.group:
            groups.setdefault(subtask.group, []).append(subtask)
    found: dict[SubtaskId, Ahead] = {}
    for members in groups.values():
        if any(writes_tests(subtask.title) for subtask in members):
            found |= _of_group(plan, members)
    return found


def _of_group(plan: Plan, members: Sequence[Subtask]) -> Mapping[SubtaskId, Ahead]:
    needs = {subtask.id: frozenset(closure(plan, [subtask.id])) for subtask in members}
    code = [subtask.id for subtask in members if not writes_tests(subtask.title)]
    # Tests that come after code are tests of that code, and pass.
    writers = {
        subtask.id
        for subtask in members
        if writes_tests(subtask.title) and not needs[subtask.id].intersection(code)
    }
    # Who comes last is not in a plan that has only some of the group.
    left = any(LEFT in subtask.notes for subtask in members)
    after = {name: tuple(other for other in needs[name] if other in writers) for name in code}
    found: dict[SubtaskId, Ahead] = dict.fromkeys(writers if left else (), Ahead(may_fail=True))
    for name, of in after.items():
        if of:
            beside = {other for other in code if set(after[other]) & set(of)}
            of = tuple(sorted(of))
            found[name] = Ahead(of=of, may_fail=left or not beside <= needs[name])
            found |= {writer: Ahead(may_fail=True) for writer in of}
    return found
