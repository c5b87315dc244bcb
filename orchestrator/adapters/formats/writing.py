"""A plan written as a new task list in a format it did not come from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from orchestrator.core.domain import Plan, Subtask
from orchestrator.core.planning import plan_to_json, topological_order
from orchestrator.core.text import one_line


def written(plan: Plan, format: str, done: Collection[str] = ()) -> bytes:
    """Return the plan as a file of that format; `done` are subtasks that are marked as finished."""
    match format:
        case "native":
            return plan_to_json(plan).encode("utf-8", "surrogatepass")
        case "task-master":
            return _task_master(plan, done).encode()
        case "spec-kit":
            return _spec_kit(plan, done).encode()
        case "agent-os":
            return _agent_os(plan, done).encode()
    raise ValueError(f"no format {format!r}")


def _in_order(plan: Plan) -> Sequence[Subtask]:
    return [plan.subtask(name) for name in topological_order(plan)]


def _task_master(plan: Plan, done: Collection[str]) -> str:
    ordered = _in_order(plan)
    number = {subtask.id: place for place, subtask in enumerate(ordered, 1)}
    tasks = [
        {
            "id": number[subtask.id],
            "title": subtask.title,
            "description": one_line(subtask.instructions, 400) or subtask.title,
            "details": subtask.instructions,
            "testStrategy": "; ".join(f"{check.kind}: {' '.join(check.targets)}" for check in subtask.checks),
            "priority": "medium",
            "dependencies": [number[needed] for needed in subtask.depends_on],
            "status": "done" if subtask.id in done else "pending",
            "subtasks": [],
        }
        for subtask in ordered
    ]
    metadata = {"description": one_line(plan.goal, 400)}
    return json.dumps({"master": {"tasks": tasks, "metadata": metadata}}, indent=2, ensure_ascii=False) + "\n"


def _spec_kit(plan: Plan, done: Collection[str]) -> str:
    ordered = _in_order(plan)
    number = {subtask.id: f"T{place:03}" for place, subtask in enumerate(ordered, 1)}
    lines = [f"# Tasks: {one_line(plan.goal, 200)}", "", "## Phase 1: Work", ""]
    for subtask in ordered:
        files = [path for path in subtask.touches or () if "*" not in path]
        where = f" in {', '.join(f'`{path}`' for path in files)}" if files else ""
        needs = ", ".join(number[needed] for needed in subtask.depends_on)
        after = f" (depends on {needs})" if needs else ""
        parallel = "" if subtask.depends_on else " [P]"
        box = "x" if subtask.id in done else " "
        lines.append(f"- [{box}] {number[subtask.id]}{parallel} {one_line(subtask.title, 200)}{where}{after}")
    return "\n".join(lines) + "\n"


def _agent_os(plan: Plan, done: Collection[str]) -> str:
    """Order is all that version 1 can say: groups in the order of the plan, and the subtasks of each in turn."""
    groups: dict[str, list[Subtask]] = {}
    for subtask in _in_order(plan):
        groups.setdefault(subtask.group or "Work", []).append(subtask)
    lines = ["# Spec Tasks", "", f"> {one_line(plan.goal, 200)}", "", "## Tasks"]
    for major, (title, subtasks) in enumerate(groups.items(), 1):
        box = "x" if all(subtask.id in done for subtask in subtasks) else " "
        lines += ["", f"- [{box}] {major}. {one_line(title, 200)}"]
        for minor, subtask in enumerate(subtasks, 1):
            box = "x" if subtask.id in done else " "
            lines.append(f"  - [{box}] {major}.{minor} {one_line(subtask.title, 200)}")
    return "\n".join(lines) + "\n"
