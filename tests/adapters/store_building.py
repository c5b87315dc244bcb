"""Small builders for the tests of the store: a clock that is set by hand, rules, holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.calendar import iso, seconds_of
from orchestrator.adapters.journal import Store
from orchestrator.core.catalogue import Alert, AlertAction, BudgetRules
from orchestrator.core.domain import AttemptId, ModelAlias, RunId, SubtaskId
from orchestrator.core.money import Usd
from orchestrator.core.ports import HoldRequest

CHEAP = ModelAlias("cheap")
RUN = RunId("20261123-100000-abcd")


@dataclass
class HandClock:
    """Shows what it was set to."""

    seconds: float = 0.0

    def set(self, moment: str) -> None:
        self.seconds = seconds_of(moment)

    def now(self) -> str:
        return iso(self.seconds)

    def epoch_seconds(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def clock_at(moment: str) -> HandClock:
    clock = HandClock()
    clock.set(moment)
    return clock


def usd(text: str) -> Usd:
    return Usd.of(text)


def budget(
    cap: str = "5", duration: str = "1d", timezone: str = "UTC", *, alerts: tuple[tuple[str, str], ...] = ()
) -> BudgetRules:
    return BudgetRules(
        max_budget=usd(cap),
        duration=duration,
        timezone=timezone,
        alerts=tuple(Alert(threshold=usd(at), action=AlertAction(action)) for at, action in alerts),
    )


def open_store(
    directory: Path, rules: BudgetRules | None = None, clock: HandClock | None = None, **more
) -> Store:
    return Store.open(
        directory / "orchestrator.sqlite3",
        clock=clock or clock_at("2026-11-23T10:00:00Z"),
        rules=rules or budget(),
        **more,
    )


def hold(amount: str, **more) -> HoldRequest:
    values = {
        "model": CHEAP,
        "deployment": "vendor/model",
        "purpose": "attempt",
        "what": "attempt parse#1",
        **more,
    }
    return HoldRequest(amount=usd(amount), **values)


def attempt(subtask: str, number: int = 1) -> AttemptId:
    return AttemptId(SubtaskId(subtask), number)
