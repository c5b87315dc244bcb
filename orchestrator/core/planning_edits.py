"""The user's changes to a plan: leaving subtasks out, other tags, another order; as functions and as a list to edit.

The list is that of an interactive rebase: a line per subtask, its first word says what is to become of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.core.domain import (
    CHEAP,
    SMART,
    DecidedBy,
    ExecutorName,
    Plan,
    Subtask,
    SubtaskId,
    Tag,
    Tier,
)
from orchestrator.core.planning import (
    InvalidPlan,
    critical_path,
    dependents_of,
    plan_from_json,
    plan_to_json,
)
from orchestrator.core.planning_problems import Problems
from orchestrator.core.text import did_you_mean, one_line

DO, DROP = "do", "drop"
_ACTIONS = (DO, DROP, CHEAP, SMART)
_LINE = re.compile(r"\s*(?P<action>\S+)(?:\s+(?P<id>\S+))?(?P<rest>.*)")

HELP = """
# do      keep the subtask as it is
# drop    leave it out (as does deleting its line)
# cheap   keep it, and start it on the cheap model
# smart   keep it, and start it on the smart model
#
# Lines may be reordered as long as each stands below what it needs. Only the first two words of a line count.
# The plan is checked and priced again when you save. An empty list changes nothing.
"""


class Needed(InvalidPlan):
    """Subtasks were dropped that others, which stay, depend on: `dropped` and those that `stay`."""

    def __init__(self, edited: Edited, plan: Plan) -> None:
        self.edited = edited
        gone = set(edited.dropped)
        problems = Problems()
        for subtask in plan.subtasks:
            if subtask.id in edited.orphans:
                names = ", ".join(repr(str(name)) for name in subtask.depends_on if name in gone)
                problems.add(
                    f"subtask {subtask.id!r}",
                    f"needs {names or 'what needs a dropped subtask'}: drop it too, or keep what it needs",
                )
        super().__init__(problems.found())


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What a list says: the plan with its tags and order, what is dropped, and what would need something dropped."""

    plan: Plan
    dropped: tuple[SubtaskId, ...] = ()
    orphans: tuple[SubtaskId, ...] = ()
    retagged: tuple[SubtaskId, ...] = ()

    def settled(self) -> Plan:
        """The plan without what was dropped. Raises Needed when something that stays depends on it."""
        if self.orphans:
            raise Needed(self, self.plan)
        return drop(self.plan, self.dropped) if self.dropped else self.plan


def drop(plan: Plan, ids: Iterable[str]) -> Plan:
    """Return the plan without these subtasks and all that depends on them. Raises InvalidPlan when none is left."""
    return _left(plan, set(dependents_of(plan, ids)))


def drop_only(plan: Plan, ids: Iterable[str]) -> Plan:
    """Return the plan without these subtasks; what depended on one depends on what that one needed."""
    gone = set(ids)
    needs: dict[str, tuple[SubtaskId, ...]] = {subtask.id: subtask.depends_on for subtask in plan.subtasks}

    def kept(names: Sequence[SubtaskId]) -> tuple[SubtaskId, ...]:
        found: dict[SubtaskId, None] = {}
        stack = list(reversed(names))
        seen: set[str] = set()
        while stack:
            name = stack.pop()
            if name not in gone:
                found[name] = None
            elif name not in seen:
                seen.add(name)
                stack.extend(reversed(needs[name]))
        return tuple(found)

    subtasks = tuple(
        replace(subtask, depends_on=kept(subtask.depends_on)) if gone & set(subtask.depends_on) else subtask
        for subtask in plan.subtasks
    )
    return _left(replace(plan, subtasks=subtasks), gone)


def _left(plan: Plan, gone: Collection[str]) -> Plan:
    subtasks = tuple(subtask for subtask in plan.subtasks if subtask.id not in gone)
    if not subtasks:
        problems = Problems()
        problems.add("plan", "is empty: nothing is left when these are dropped")
        problems.raise_any()
    return replace(plan, subtasks=subtasks)


def retag(subtask: Subtask, tier: Tier) -> Subtask:
    """Return the subtask with the user's tier; its rule stays, so that it is still known what kind of work it is."""
    if subtask.tag.tier == tier:
        return subtask
    reason = f"your choice; {subtask.tag.rule or 'the standard'} says {subtask.tag.tier}"
    return replace(
        subtask,
        tag=Tag(
            tier=tier,
            rule=subtask.tag.rule,
            evidence=subtask.tag.evidence,
            decided_by=DecidedBy.USER,
            reason=reason,
        ),
    )


def edit_list(plan: Plan, price: Callable[[SubtaskId], str]) -> str:
    """Return the plan as a list to edit: `do id  title  $`, in the order of the plan."""
    width = max(len(subtask.id) for subtask in plan.subtasks)
    path, _ = critical_path(plan)
    lines = [
        f"{DO:5} {subtask.id:{width}}  {one_line(subtask.title, 70)}  "
        f"{'tool' if subtask.executor is ExecutorName.TOOL else subtask.tag.tier} {price(subtask.id)}"
        for subtask in plan.subtasks
    ]
    after = [
        f"#   {subtask.id} needs {', '.join(subtask.depends_on)}"
        for subtask in plan.subtasks
        if subtask.depends_on
    ]
    heading = f"# {one_line(plan.goal, 100)}\n#\n"
    needs = "\n# What needs what:\n" + "\n".join(after) + "\n" if after else ""
    chain = f"# Longest chain: {one_line(' -> '.join(path), 300)}\n" if len(path) > 1 else ""
    return heading + "\n".join(lines) + "\n" + HELP + needs + chain


def read_edit_list(plan: Plan, text: str) -> Edited | None:
    """Return what the edited list means, or None when it is empty. Raises InvalidPlan with every fault and its line."""
    problems = Problems()
    known = {subtask.id: subtask for subtask in plan.subtasks}
    actions: dict[SubtaskId, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        where = f"line {number}"
        if found is None:
            continue
        action = _action(found["action"])
        if action is None:
            word = one_line(found["action"], 30)
            problems.add(where, f"{word!r} is not one of {', '.join(_ACTIONS)}{did_you_mean(word, _ACTIONS)}")
        name = SubtaskId(found["id"] or "")
        if name not in known:
            shown = one_line(name, 60)
            problems.add(
                where,
                f"{shown!r} is no subtask of this plan{did_you_mean(shown, known)}"
                if name
                else "names no subtask",
            )
        elif name in actions:
            problems.add(where, f"{name!r} stands in the list twice")
        elif action is not None:
            actions[name] = action
        elif name:
            actions[name] = DO
    problems.raise_any()
    if not actions:
        return None
    kept = [name for name, action in actions.items() if action != DROP]
    dropped = tuple(subtask.id for subtask in plan.subtasks if subtask.id not in kept)
    retagged = []
    subtasks = []
    for name in kept:
        subtask = known[name]
        if actions[name] in (CHEAP, SMART) and subtask.executor is ExecutorName.EDIT:
            subtask = retag(subtask, Tier(actions[name]))
        if subtask is not known[name]:
            retagged.append(name)
        subtasks.append(subtask)
    _check_order(subtasks, problems)
    problems.raise_any()
    if not subtasks:
        problems.add("plan", "is empty: every subtask is dropped; delete all lines to change nothing")
        problems.raise_any()
    waiting = dependents_of(plan, dropped)
    # What is dropped stays in the plan until it is settled whether its dependents go too.
    rest = [subtask for subtask in plan.subtasks if subtask.id in dropped]
    changed = replace(plan, subtasks=tuple(_in_order([*subtasks, *rest])))
    return Edited(
        plan=changed,
        dropped=dropped,
        orphans=tuple(name for name in waiting if name not in dropped),
        retagged=tuple(retagged),
    )


def _action(word: str) -> str | None:
    if word in _ACTIONS:
        return word
    meant = [action for action in _ACTIONS if word and action.startswith(word.lower())]
    return meant[0] if len(meant) == 1 else None


def _check_order(subtasks: Sequence[Subtask], problems: Problems) -> None:
    place = {subtask.id: number for number, subtask in enumerate(subtasks)}
    for number, subtask in enumerate(subtasks):
        for name in subtask.depends_on:
            if place.get(name, -1) > number:
                problems.add(f"subtask {subtask.id!r}", f"stands above {name!r}, which it needs")


def _in_order(subtasks: Sequence[Subtask]) -> list[Subtask]:
    """The subtasks so that each stands below what it needs, otherwise as they are."""
    from orchestrator.core import graph

    place = {subtask.id: number for number, subtask in enumerate(subtasks)}
    needs = [[place[name] for name in subtask.depends_on] for subtask in subtasks]
    return [subtasks[node] for node in graph.order(needs)]


def checked(plan: Plan, commands: Collection[str] | None = None) -> Plan:
    """Return the plan after the checks every plan file goes through. Raises InvalidPlan."""
    return plan_from_json(plan_to_json(plan), commands=commands)
