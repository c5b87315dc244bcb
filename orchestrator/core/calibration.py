"""What attempts really took against what was forecast, from the journal; the odds a forecast stands on.

A cell is one model on one rule of the standard. Until it has `ENOUGH` attempts the printed priors count; after
that its own counts do, with the prior weighing as much as `PRIOR_WEIGHT` attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.domain import (
    SMART,
    AttemptId,
    Ended,
    ExecutorName,
    ModelAlias,
    Plan,
    Subtask,
    SubtaskId,
)
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.suite_time import judging_seconds

if TYPE_CHECKING:
    from orchestrator.core.events import Event

ENOUGH = 30
PRIOR_WEIGHT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """The chance that an attempt passes its checks, before anything is known of this user's work."""

    first: float
    again: float
    basis: str


# Whole issues of public benchmarks, read for small subtasks: a cheap model solved 77 % of those a person does in a
# quarter of an hour, a retry with test output about half of the rest, a smart model 43 to 55 % of what cheap failed.
PRIORS: Mapping[str, Prior] = {
    "entry": Prior(first=0.75, again=0.45, basis="a model starts on what its tier is for"),
    "escalated": Prior(first=0.50, again=0.35, basis="a stronger model takes what a weaker one failed"),
    "out of depth": Prior(first=0.45, again=0.30, basis="a cheap model on what is tagged smart"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One finished attempt by a model, with what was likely before: by its subtask's estimate, the suite included, and
    by the priors (`likely_passed`, a chance).
    """

    model: ModelAlias
    rule: str
    passed: bool
    likely_input: int
    likely_output: int
    likely_seconds: float
    input_tokens: int
    output_tokens: int
    seconds: float
    bill: Usd
    likely_passed: float = 0.0


@dataclass(slots=True)
class Cell:
    """Sums over the attempts of one model on one rule."""

    attempts: int = 0
    passed: int = 0
    likely_input: int = 0
    likely_output: int = 0
    likely_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    bill: Usd = ZERO
    likely_passed: float = 0.0

    def add(self, seen: Observation) -> None:
        self.attempts += 1
        self.passed += seen.passed
        self.likely_input += seen.likely_input
        self.likely_output += seen.likely_output
        self.likely_seconds += seen.likely_seconds
        self.input_tokens += seen.input_tokens
        self.output_tokens += seen.output_tokens
        self.seconds += seen.seconds
        self.bill += seen.bill
        self.likely_passed += seen.likely_passed

    @property
    def counts(self) -> bool:
        return self.attempts >= ENOUGH


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """By what to multiply an estimate: 1.0 while nothing is known."""

    input_tokens: float = 1.0
    output_tokens: float = 1.0
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Cells by (model, rule). An empty one forecasts from the priors alone."""

    cells: Mapping[tuple[ModelAlias, str], Cell] = field(default_factory=dict)

    def odds(
        self, model: ModelAlias, rule: str, *, tier: str, smart: bool, entry: bool, again: bool
    ) -> float:
        """Return the chance that an attempt passes. `smart` says whether the model is the smart tier's."""
        prior = _prior(tier=tier, smart=smart, entry=entry, again=again)
        cell = self.cells.get((model, rule))
        if cell is None or not cell.counts:
            return prior
        return (cell.passed + prior * PRIOR_WEIGHT) / (cell.attempts + PRIOR_WEIGHT)

    def factors(self, model: ModelAlias, rule: str) -> Factors:
        cell = self.cells.get((model, rule))
        if cell is None or not cell.counts:
            return Factors()
        return Factors(
            input_tokens=_ratio(cell.input_tokens, cell.likely_input),
            output_tokens=_ratio(cell.output_tokens, cell.likely_output),
            seconds=_ratio(cell.seconds, cell.likely_seconds),
        )

    @property
    def in_use(self) -> int:
        """How many cells have enough attempts to count."""
        return sum(cell.counts for cell in self.cells.values())


def _prior(*, tier: str, smart: bool, entry: bool, again: bool) -> float:
    kind = "escalated" if not entry else "out of depth" if tier == SMART and not smart else "entry"
    return PRIORS[kind].again if again else PRIORS[kind].first


def _ratio(actual: float, predicted: float) -> float:
    """Actual over predicted within a tenth and ten: beyond that the estimate meant something else."""
    return min(10.0, max(0.1, actual / predicted)) if predicted > 0 and actual > 0 else 1.0


def observations(events: Iterable[Event]) -> list[Observation]:
    """Return what one run's events say of its models; attempts that never reached one say nothing."""
    # Here, because a forecast from priors alone needs no events.
    from orchestrator.core.events import (
        AttemptFinished,
        AttemptStarted,
        BaselineMeasured,
        PlanReplaced,
        RunStarted,
    )

    subtasks: dict[str, Subtask] = {}
    tier_models: Mapping[str, ModelAlias] = {}
    first: dict[SubtaskId, ModelAlias] = {}
    tried: set[tuple[str, ModelAlias]] = set()
    judging = 0.0
    models: dict[AttemptId, ModelAlias | None] = {}
    seen: list[Observation] = []

    def learn(plan: Plan) -> None:
        subtasks.update({subtask.id: subtask for subtask in plan.subtasks})

    for event in events:
        match event:
            case RunStarted(plan=plan) | PlanReplaced(plan=plan):
                if isinstance(event, RunStarted) and event.scripted:
                    # Played from a script: says nothing of any model.
                    return []
                if isinstance(event, RunStarted):
                    tier_models = event.tier_models or {}
                    first = dict(event.entry or {})
                learn(plan)
            case BaselineMeasured(seconds=seconds):
                judging = judging_seconds(seconds)[1]
            case AttemptStarted():
                models[event.attempt] = event.model
            case AttemptFinished(attempt=attempt, outcome=outcome):
                subtask = subtasks.get(attempt.subtask)
                model = outcome.model or models.get(attempt)
                judged = outcome.ended in (Ended.PASSED, Ended.REJECTED)
                if subtask is None or model is None or not judged or not outcome.calls:
                    continue
                if subtask.executor is not ExecutorName.EDIT:
                    continue
                estimate, tier = subtask.estimate, subtask.tag.tier
                likely_passed = _prior(
                    tier=tier,
                    smart=model == tier_models.get(SMART),
                    entry=model == first.setdefault(subtask.id, tier_models.get(tier, model)),
                    again=(subtask.id, model) in tried,
                )
                tried.add((subtask.id, model))
                seen.append(
                    Observation(
                        model=model,
                        rule=subtask.tag.rule,
                        passed=outcome.ended is Ended.PASSED,
                        likely_input=estimate.input_tokens.likely,
                        likely_output=estimate.output_tokens.likely,
                        likely_seconds=estimate.seconds.likely + judging,
                        input_tokens=outcome.usage.input_tokens,
                        output_tokens=outcome.usage.output_tokens,
                        seconds=outcome.seconds,
                        bill=outcome.bill,
                        likely_passed=likely_passed,
                    )
                )
            case _:
                pass
    return seen


def calibrate(seen: Iterable[Observation]) -> Calibration:
    """Add the observations up by model and rule."""
    cells: dict[tuple[ModelAlias, str], Cell] = {}
    for observation in seen:
        cells.setdefault((observation.model, observation.rule), Cell()).add(observation)
    return Calibration(dict(sorted(cells.items())))


Dollars = Callable[[ModelAlias, int, int], Usd | None]
"""What one call of a model costs by its tokens in and out; None where the price is unknown."""


def calibration_rows(calibration: Calibration, dollars: Dollars) -> list[tuple[str, ...]]:
    """Return a table, heading first: predicted against actual for each cell, an attempt, and whether it counts yet.

    `dollars` prices what was predicted, at today's prices; the actual ones are those that were charged.
    """
    rows: list[tuple[str, ...]] = [
        (
            "model",
            "rule",
            "attempts",
            "pass predicted",
            "pass actual",
            "output predicted",
            "output actual",
            "seconds predicted",
            "seconds actual",
            "dollars predicted",
            "dollars actual",
            "counts",
        )
    ]
    for (model, rule), cell in calibration.cells.items():
        count = cell.attempts
        predicted = dollars(model, round(cell.likely_input / count), round(cell.likely_output / count))
        rows.append(
            (
                model,
                rule,
                str(count),
                f"{cell.likely_passed / count:.0%}",
                f"{cell.passed / count:.0%}",
                f"{cell.likely_output / count:.0f}",
                f"{cell.output_tokens / count:.0f}",
                f"{cell.likely_seconds / count:.0f}",
                f"{cell.seconds / count:.0f}",
                "?" if predicted is None else predicted.rounded(),
                Usd(round(cell.bill.nano / count)).rounded(),
                "yes" if cell.counts else f"from {ENOUGH}",
            )
        )
    return rows


def prior_lines() -> list[str]:
    """The table of priors, as it is printed below a forecast."""
    return [
        f"{name}: {prior.first:.0%} pass at the first try, {prior.again:.0%} at the second ({prior.basis})"
        for name, prior in PRIORS.items()
    ]
