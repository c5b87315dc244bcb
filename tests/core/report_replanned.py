"""A run whose plan was replaced: what was paid for under the plan before is told as well."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Plan, SubtaskId
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    PlanReplaced,
    RunEnded,
    SubtaskLanded,
)
from orchestrator.core.report_rows import SubtaskRow
from tests.core.report_building import a_run, at, outcome, proved
from tests.core.report_plan import a_plan, subtask

SPLIT = SubtaskId("split-command-line")
DROPPED = (SubtaskId("speed-up-statement"), SPLIT, SubtaskId("document-commands"))


def another_plan() -> Plan:
    """What landed stays; one subtask stands in for all that did not."""
    kept = [subtask for subtask in a_plan().subtasks if subtask.id not in DROPPED]
    return replace(
        a_plan(), subtasks=(*kept, subtask("split-one-command", "Split one command off", "cheap/refactoring"))
    )


def a_replanned_run() -> list[Event]:
    attempt = AttemptId(SubtaskId("split-one-command"), 1)
    sent = outcome(
        Ended.PASSED, model="cheap", tokens=(1_500, 400), verdict=proved("ok"), files_sent=("billing/cli.py",)
    )
    events = [
        replace(event, outcome=replace(event.outcome, files_sent=("billing/dropped.py",)))
        if isinstance(event, AttemptFinished) and event.attempt.subtask == SPLIT
        else event
        for event in a_run()[:-1]
    ]
    return [
        *events,
        PlanReplaced(plan=another_plan(), reason="split-command-line failed", at=at(200)),
        AttemptStarted(attempt=attempt, model=ModelAlias("cheap"), at=at(201)),
        AttemptFinished(attempt=attempt, outcome=sent, at=at(210)),
        SubtaskLanded(attempt=attempt, commit="77aa01c2d3e4", at=at(211)),
        RunEnded(at=at(212)),
    ]


def superseded(rows: tuple[SubtaskRow, ...]) -> list[SubtaskId]:
    return [row.subtask.id for row in rows if row.superseded]
