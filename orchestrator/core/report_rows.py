"""The rows of a report: what became of each attempt and of each subtask, and what the ledger has of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Outcome, State, Subtask, Verdict
from orchestrator.core.money import Usd


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt; `refused` is why its work did not land after it had passed, `kept_ref` where it can be looked at."""

    attempt: AttemptId
    model: ModelAlias | None
    outcome: Outcome | None
    bill: Usd
    started_at: str = ""
    ended_at: str = ""
    refused: str = ""
    kept_ref: str | None = None

    @property
    def ran(self) -> bool:
        """Whether it did anything: without room or a model an attempt ends before its first call."""
        outcome = self.outcome
        return outcome is None or bool(outcome.calls) or outcome.ended not in (Ended.NO_ROOM, Ended.NO_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskRow:
    """One subtask; `standing` says why it waits or was blocked, `verdict` the one it landed with.

    `superseded`: an earlier plan had it, and the plan in force has not.
    """

    subtask: Subtask
    state: State
    standing: str
    attempts: tuple[AttemptRow, ...]
    bill: Usd
    seconds: float
    commit: str | None = None
    verdict: Verdict | None = None
    document: str | None = None
    undone: bool = False
    superseded: bool = False

    @property
    def escalated(self) -> bool:
        models = {row.model for row in self.attempts if row.model is not None and row.ran}
        return len(models) > 1


def add_up(amounts: Iterable[Usd]) -> Usd:
    return Usd(sum(amount.nano for amount in amounts))
