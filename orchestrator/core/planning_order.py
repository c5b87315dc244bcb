"""Questions to a plan that is there: its order, its longest chain, what needs what, its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from orchestrator.core import graph
from orchestrator.core.domain import Deliverable, ExecutorName, Plan, Subtask, SubtaskId
from orchestrator.core.planning_document import plan_to_json


def needs_of(plan: Plan) -> list[list[int]]:
    """Return for each subtask, by its place in the plan, the places of those it needs."""
    place = {subtask.id: number for number, subtask in enumerate(plan.subtasks)}
    return [[place[name] for name in subtask.depends_on] for subtask in plan.subtasks]


def topological_order(plan: Plan) -> tuple[SubtaskId, ...]:
    """Return the ids so that each comes after those it needs, otherwise in the order of the plan."""
    with graph.no_collections():
        return tuple([plan.subtasks[node].id for node in graph.order(needs_of(plan))])


def critical_path(
    plan: Plan, seconds: Callable[[Subtask], float] | None = None
) -> tuple[tuple[SubtaskId, ...], float]:
    """Return the chain of subtasks that takes longest, first to last, and its seconds (the likely ones by default)."""
    weights = [
        float(subtask.estimate.seconds.likely) if seconds is None else seconds(subtask)
        for subtask in plan.subtasks
    ]
    with graph.no_collections():
        needs = needs_of(plan)
        path, total = graph.longest_path(needs, graph.order(needs), weights)
    return tuple([plan.subtasks[node].id for node in path]), total


def closure(plan: Plan, ids: Iterable[str]) -> tuple[SubtaskId, ...]:
    """Return these subtasks and everything they need, in the order of the plan. Raises KeyError for an unknown id."""
    return _reached(plan, needs_of(plan), ids)


def dependents_of(plan: Plan, ids: Iterable[str]) -> tuple[SubtaskId, ...]:
    """Return these subtasks and everything that waits for them, in the order of the plan. Raises KeyError."""
    return _reached(plan, graph.dependents(needs_of(plan)), ids)


def _reached(plan: Plan, edges: graph.Needs, ids: Iterable[str]) -> tuple[SubtaskId, ...]:
    place: dict[str, int] = {subtask.id: number for number, subtask in enumerate(plan.subtasks)}
    found = graph.closure(edges, [place[name] for name in ids])
    return tuple([plan.subtasks[node].id for node in sorted(found)])


def plan_digest(plan: Plan) -> str:
    """Return a short stable name of the plan's content: it seeds the forecast and tells edited plans apart."""
    return hashlib.sha256(plan_to_json(plan).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def unchecked(plan: Plan) -> tuple[SubtaskId, ...]:
    """Return the edits without a check of their own: only the project's suite can judge them."""
    return tuple(subtask.id for subtask in plan.subtasks if not subtask.checks and needs_check(subtask))


def needs_check(subtask: Subtask) -> bool:
    """Whether a verdict on the subtask needs a check: it edits files, and no tool decides what they become."""
    return subtask.deliverable is Deliverable.EDIT and subtask.executor is ExecutorName.EDIT
