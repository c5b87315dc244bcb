"""Runs with calls that were cut off: killed, interrupted, or cancelled behind a reply that had been paid for."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Outcome, SubtaskId, WaitingFor
from orchestrator.core.events import AttemptFinished, AttemptStarted, Event, RunPaused
from orchestrator.core.ledger import Entry, HoldState
from tests.core.report_building import a_run, at, entries, outcome

KILLED = AttemptId(SubtaskId("fix-rounding"), 1)
CANCELLED = AttemptId(SubtaskId("review-payments"), 1)


def killed_run() -> list[Event]:
    """Two attempts at once: one cancelled after a reply, and one under way when the process was killed."""
    return [
        *a_run()[:2],
        AttemptStarted(attempt=CANCELLED, model=ModelAlias("smart"), at=at(1)),
        AttemptStarted(attempt=KILLED, model=ModelAlias("cheap"), at=at(2)),
        AttemptFinished(attempt=CANCELLED, outcome=Outcome(ended=Ended.CANCELLED), at=at(8)),
    ]


def interrupted_run() -> list[Event]:
    """The same, but interrupted: its process had the time to say so."""
    return [*killed_run(), RunPaused(waiting_for=WaitingFor.USER, reason="interrupted", at=at(9))]


def holds() -> list[Entry]:
    """Planning; a reply that was settled and a call that was released; a hold that stays."""
    paid = entries(
        [
            AttemptFinished(attempt=name, outcome=outcome(Ended.PASSED, model=model, tokens=(2_000, 500)))
            for name, model in ((CANCELLED, "smart"), (CANCELLED, "smart"), (KILLED, "cheap"))
        ]
    )
    planning, settled, released, held = (replace(entry, flags=()) for entry in paid)
    return [
        planning,
        settled,
        replace(released, state=HoldState.RELEASED, charged=None, bill=None, input_tokens=None),
        replace(
            held, state=HoldState.AMBIGUOUS, charged=None, bill=None, input_tokens=None, output_tokens=None
        ),
    ]
