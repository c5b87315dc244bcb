"""What a plan will probably cost and take: low, likely and high, per subtask and in all.

Likely is the expected value over tokens, retries and escalations. Low is one attempt that passes with few tokens,
high what nine in ten stay below. The plan's own range is narrower than the sum of its parts' ranges, because not
everything goes wrong at once. All of it is closed form: the same plan and prices give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from orchestrator.core import graph
from orchestrator.core.calibration import Calibration, Factors, prior_lines
from orchestrator.core.catalogue import RoutingTable
from orchestrator.core.chances import Amount, Chain, along, pert, range_of, total
from orchestrator.core.domain import (
    CHEAP,
    SMART,
    ExecutorName,
    ModelAlias,
    Plan,
    Policy,
    Range,
    Subtask,
    SubtaskId,
    SuiteTime,
)
from orchestrator.core.escalation import Escalation
from orchestrator.core.money import Price, Usd, tokens_cost
from orchestrator.core.planning_order import needs_of, plan_digest
from orchestrator.core.suite_time import judging_seconds
from orchestrator.core.text import one_line
from orchestrator.core.timeline import timeline
from orchestrator.core.words import counted

# A picture of more bars shows nothing.
MAX_BARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dollars:
    low: Usd
    likely: Usd
    high: Usd

    def __str__(self) -> str:
        return f"{self.likely.rounded()} ({self.low.rounded()} to {self.high.rounded()})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskForecast:
    """One subtask. `model` is the rung it starts on, None for a tool; `dollars` None where a price is unknown.

    `escalates_to` are the rungs above it, which see its files only when it fails on those below.
    `attempts` is the expected number, `escalates` the chance that it goes up a rung, `succeeds` that it lands.
    """

    id: SubtaskId
    model: ModelAlias | None
    dollars: Dollars | None
    input_tokens: Range
    output_tokens: Range
    seconds: Range
    attempts: float
    escalates: float
    succeeds: float
    escalates_to: tuple[ModelAlias, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A bar of the Gantt chart: seconds from the start of the run."""

    id: SubtaskId
    start: float
    end: float
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The plan under another policy: `likely` dollars, and how many subtasks would land."""

    name: str
    dollars: Dollars | None
    succeeds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`seconds` is the time from start to end with `parallel` subtasks at once; `digest` names the plan."""

    digest: str
    subtasks: tuple[SubtaskForecast, ...]
    dollars: Dollars | None
    input_tokens: Range
    output_tokens: Range
    seconds: Range
    succeeds: float
    critical_path: tuple[SubtaskId, ...]
    critical_seconds: float
    alternatives: tuple[Alternative, ...]
    schedule: tuple[Span, ...]
    parallel: int
    priors: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def of(self, subtask: SubtaskId) -> SubtaskForecast:
        for row in self.subtasks:
            if row.id == subtask:
                return row
        raise KeyError(subtask)


# A deterministic tool is tried once; what it cannot mend was no finding of it.
_TOOL_CHAIN = Chain((None,), (1.0,), (0.98,))


def forecast(
    plan: Plan,
    table: RoutingTable,
    *,
    suite: SuiteTime | None = None,
    parallel: int = 4,
    attempts_per_rung: int = 2,
    policy: Policy = Policy.THRIFTY,
    override: ModelAlias | None = None,
    calibration: Calibration | None = None,
) -> Forecast:
    """Return the forecast of `plan` at the prices of `table` (use `routing.as_if_keyed` to count models without a key).

    `suite` is what one run of the project's own tests takes, as far as more is known than when the plan was made.
    """
    suite = suite or plan.suite
    forecaster = _Forecaster(
        plan, table, suite.seconds if suite else 0.0, attempts_per_rung, calibration or Calibration()
    )
    smart, cheap = table.tier_models.get(SMART), table.tier_models.get(CHEAP)
    escalation = Escalation(
        policy=policy, ladder=table.ladder, tier_models=table.tier_models, override=override
    )
    rows, dollars = forecaster.rows([escalation.rungs(subtask) for subtask in plan.subtasks])
    alternatives = []
    for name, model in (("all smart", smart), ("all cheap", cheap)):
        if model is not None and override is None:
            its_dollars, succeeds = forecaster.whole((model,))
            alternatives.append(Alternative(name=name, dollars=its_dollars, succeeds=succeeds))
    needs = needs_of(plan)
    ordered = graph.order(needs)
    likely = [float(row.seconds.likely) for row in rows]
    path, critical = graph.longest_path(needs, ordered, likely)
    spans, seconds = _schedule(plan, needs, ordered, rows, max(1, parallel))
    notes = [f"no price is known for {alias}" for alias in sorted(forecaster.unpriced)]
    notes.append(_suite_note(suite))
    known = calibration.in_use if calibration else 0
    return Forecast(
        digest=plan_digest(plan),
        subtasks=tuple(rows),
        dollars=dollars,
        input_tokens=_sum_of([row.input_tokens for row in rows]),
        output_tokens=_sum_of([row.output_tokens for row in rows]),
        seconds=seconds,
        succeeds=sum(row.succeeds for row in rows),
        critical_path=tuple([plan.subtasks[node].id for node in path]),
        critical_seconds=critical,
        alternatives=tuple(alternatives),
        schedule=spans,
        parallel=max(1, parallel),
        priors=(
            *prior_lines(),
            *([f"{counted(known, 'cell')} from your own runs counted instead"] if known else []),
        ),
        notes=tuple(notes),
    )


def _suite_note(suite: SuiteTime | None) -> str:
    if suite is None:
        return "how long the project's own suite takes is not known, so it is not in the seconds"
    return f"the suite counts with {suite.seconds:g} seconds a run ({one_line(suite.basis, 200)})"


class _Forecaster:
    def __init__(
        self,
        plan: Plan,
        table: RoutingTable,
        suite_seconds: float,
        attempts_per_rung: int,
        calibration: Calibration,
    ) -> None:
        self._plan = plan
        self._judging = judging_seconds(suite_seconds)
        self._per_rung = max(1, attempts_per_rung)
        self._calibration = calibration
        self._smart = table.tier_models.get(SMART)
        self._prices: Mapping[ModelAlias, Price] = {
            alias: pool[0].price for alias, pool in table.catalogue.pools.items() if pool
        }
        self.unpriced: set[ModelAlias] = set()
        # Most subtasks of a plan climb the same rungs with the same odds.
        self._chains: dict[tuple[object, ...], Chain] = {}

    def whole(self, rungs: tuple[ModelAlias, ...]) -> tuple[Dollars | None, float]:
        """Return what the plan would cost with every subtask on these rungs, and how many would land."""
        chains = [self._chain(subtask, rungs) for subtask in self._plan.subtasks]
        amounts = [
            self._money(subtask, chain) for subtask, chain in zip(self._plan.subtasks, chains, strict=True)
        ]
        known = [amount for amount in amounts if amount is not None]
        dollars = _dollars(total(known)) if len(known) == len(amounts) else None
        return dollars, sum(chain.succeeds for chain in chains)

    def rows(
        self, rungs: Sequence[tuple[ModelAlias | None, ...]]
    ) -> tuple[list[SubtaskForecast], Dollars | None]:
        """Return a row for each subtask on its rungs, and the dollars of all; None when a price is missing."""
        rows: list[SubtaskForecast] = []
        amounts: list[Amount] = []
        for subtask, ladder in zip(self._plan.subtasks, rungs, strict=True):
            chain = self._chain(subtask, ladder)
            money = self._money(subtask, chain)
            if money is not None:
                amounts.append(money)
            rows.append(self._row(subtask, chain, money))
        if len(amounts) < len(rows):
            return rows, None
        return rows, _dollars(total(amounts))

    def _chain(self, subtask: Subtask, rungs: tuple[ModelAlias | None, ...]) -> Chain:
        if subtask.executor is ExecutorName.TOOL:
            return _TOOL_CHAIN
        key = (subtask.tag.tier, subtask.tag.rule, rungs)
        known = self._chains.get(key)
        if known is not None:
            return known
        models: list[ModelAlias | None] = []
        reached: list[float] = []
        passes: list[float] = []
        still = 1.0
        for number, model in enumerate(rungs):
            for attempt in range(self._per_rung):
                chance = self._calibration.odds(
                    model or ModelAlias(""),
                    subtask.tag.rule,
                    tier=subtask.tag.tier,
                    smart=model == self._smart,
                    entry=number == 0,
                    again=attempt > 0,
                )
                models.append(model)
                reached.append(still)
                passes.append(chance)
                still *= 1.0 - chance
        return self._chains.setdefault(key, Chain(tuple(models), tuple(reached), tuple(passes)))

    def _money(self, subtask: Subtask, chain: Chain) -> Amount | None:
        if subtask.executor is ExecutorName.TOOL:
            return Amount(0.0, 0.0, 0.0, 0.0)
        parts: dict[ModelAlias | None, Amount] = {}
        for model in dict.fromkeys(chain.models):
            price = self._prices.get(model) if model is not None else None
            if price is None or model is None:
                self.unpriced.add(model or ModelAlias(subtask.tag.tier))
                return None
            factors = self._calibration.factors(model, subtask.tag.rule)
            costs = [
                _cost(
                    price, round(tokens_in * factors.input_tokens), round(tokens_out * factors.output_tokens)
                )
                for tokens_in, tokens_out in zip(
                    _three(subtask.estimate.input_tokens), _three(subtask.estimate.output_tokens), strict=True
                )
            ]
            parts[model] = pert(*costs)
        return along([parts[model] for model in chain.models], chain)

    def _row(self, subtask: Subtask, chain: Chain, money: Amount | None) -> SubtaskForecast:
        estimate = subtask.estimate
        tokens_in: list[Amount] = []
        tokens_out: list[Amount] = []
        seconds: list[Amount] = []
        for model in chain.models:
            factors = self._calibration.factors(model, subtask.tag.rule) if model else Factors()
            low, likely, high = (
                (amount + judging) * factors.seconds
                for amount, judging in zip(_three(estimate.seconds), self._judging, strict=True)
            )
            seconds.append(pert(low, likely, high))
            tokens_in.append(
                pert(*(amount * factors.input_tokens for amount in _three(estimate.input_tokens)))
            )
            tokens_out.append(
                pert(*(amount * factors.output_tokens for amount in _three(estimate.output_tokens)))
            )
        return SubtaskForecast(
            id=subtask.id,
            model=chain.models[0],
            dollars=None if money is None else _dollars(money),
            input_tokens=range_of(along(tokens_in, chain)),
            output_tokens=range_of(along(tokens_out, chain)),
            seconds=range_of(along(seconds, chain)),
            attempts=sum(chain.reached),
            escalates=chain.escalates,
            succeeds=chain.succeeds,
            escalates_to=tuple(
                [model for model in dict.fromkeys(chain.models) if model and model != chain.models[0]]
            ),
        )


def _cost(price: Price, input_tokens: int, output_tokens: int) -> float:
    rates = price.rates_for(input_tokens)
    amount = (
        tokens_cost(input_tokens, rates.input) + tokens_cost(output_tokens, rates.output) + price.per_request
    )
    return float(amount.nano)


def _three(amounts: Range) -> tuple[int, int, int]:
    return amounts.low, amounts.likely, amounts.high


def _dollars(amount: Amount) -> Dollars:
    return Dollars(low=Usd(ceil(amount.low)), likely=Usd(ceil(amount.mean)), high=Usd(ceil(amount.high)))


def _sum_of(ranges: Sequence[Range]) -> Range:
    return Range(
        sum(amount.low for amount in ranges),
        sum(amount.likely for amount in ranges),
        sum(amount.high for amount in ranges),
    )


def _schedule(
    plan: Plan, needs: graph.Needs, ordered: Sequence[int], rows: Sequence[SubtaskForecast], parallel: int
) -> tuple[tuple[Span, ...], Range]:
    """Return the Gantt of the likely seconds, and the range of when the last subtask ends."""
    ends: list[int] = []
    spans: tuple[Span, ...] = ()
    touches = [subtask.touches for subtask in plan.subtasks]
    for pick in (
        [row.seconds.low for row in rows],
        [row.seconds.likely for row in rows],
        [row.seconds.high for row in rows],
    ):
        seconds = [float(amount) for amount in pick]
        if len(rows) > MAX_BARS:
            # Without the picture a bound will do: no schedule is shorter than the chain or than the work divided.
            _, longest = graph.longest_path(needs, ordered, seconds)
            ends.append(round(max(longest, sum(seconds) / parallel)))
            continue
        bars, end = timeline(needs, ordered, seconds, touches, parallel=parallel)
        ends.append(round(end))
        if len(ends) == 2:
            spans = tuple(
                [
                    Span(id=plan.subtasks[bar.node].id, start=bar.start, end=bar.end, slot=bar.slot)
                    for bar in bars
                ]
            )
    low, likely, high = sorted(ends)
    return spans, Range(low, likely, high)
