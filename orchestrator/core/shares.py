"""What each tier and each model took of a run, and what the same tokens would have cost on one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.core.catalogue import RoutingTable
from orchestrator.core.domain import Ended, ExecutorName
from orchestrator.core.ledger import Entry, HoldState
from orchestrator.core.money import ZERO, Usage, Usd, bill
from orchestrator.core.report_rows import AttemptRow, SubtaskRow, add_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one tier or one model took."""

    name: str
    bill: Usd = ZERO
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """The same tokens at one alias's prices: what each subtask's last attempt would have cost there."""

    name: str
    bill: Usd


def tier_shares(rows: Iterable[SubtaskRow]) -> tuple[Share, ...]:
    shares: dict[str, Share] = {}
    for row in rows:
        tier = row.subtask.tag.tier
        shares[tier] = _with_attempts(shares.get(tier, Share(name=tier)), row.attempts)
    return tuple(shares.values())


def _with_attempts(share: Share, attempts: Iterable[AttemptRow]) -> Share:
    outcomes = [(row, row.outcome) for row in attempts]
    return Share(
        name=share.name,
        bill=share.bill + add_up(row.bill for row, _ in outcomes),
        calls=share.calls + sum(row.calls for row, _ in outcomes),
        input_tokens=share.input_tokens + sum(row.usage.input_tokens for row, _ in outcomes),
        output_tokens=share.output_tokens + sum(row.usage.output_tokens for row, _ in outcomes),
        seconds=share.seconds + sum(outcome.seconds for _, outcome in outcomes if outcome),
        attempts=share.attempts + sum(row.ran for row, _ in outcomes),
        passed=share.passed + sum(outcome.ended is Ended.PASSED for _, outcome in outcomes if outcome),
    )


def model_shares(rows: Iterable[SubtaskRow], entries: Iterable[Entry]) -> tuple[Share, ...]:
    by_model: dict[str, list[AttemptRow]] = {}
    for row in rows:
        for attempt in row.attempts:
            name = attempt.model or row.subtask.tool or row.subtask.executor.value
            by_model.setdefault(name, []).append(attempt)
    shares = {name: _with_attempts(Share(name=name), attempts) for name, attempts in by_model.items()}
    for entry in entries:
        if entry.attempt is None:
            before = shares.get(entry.model, Share(name=entry.model))
            shares[entry.model] = replace(
                before,
                bill=before.bill + entry.counted,
                calls=before.calls + (entry.state is not HoldState.RELEASED),
                input_tokens=before.input_tokens + (entry.input_tokens or 0),
                output_tokens=before.output_tokens + (entry.output_tokens or 0),
            )
    return tuple(sorted(shares.values(), key=lambda share: -share.bill.nano))


def all_tokens_known(entries: Iterable[Entry]) -> bool:
    """Whether everything that the subtasks are charged for came with its tokens: a hold is no price of any."""
    return all(
        entry.state is HoldState.SETTLED and entry.input_tokens is not None
        for entry in entries
        if entry.attempt is not None and entry.counted
    )


def counterfactuals(rows: Sequence[SubtaskRow], table: RoutingTable) -> tuple[Counterfactual, ...]:
    """All-smart and all-cheap, from the tokens that were really used."""
    found = []
    ends = (table.ladder[-1], table.ladder[0]) if table.ladder else ()
    for alias in dict.fromkeys(ends):
        pool = table.catalogue.pool(alias) or table.catalogue.unusable.get(alias, ())
        if pool:
            usages = [usage for row in rows if (usage := _last_usage(row)) is not None]
            found.append(
                Counterfactual(
                    name=f"all-{alias}", bill=add_up(bill(pool[0].price, usage) for usage in usages)
                )
            )
    return tuple(found)


def _last_usage(row: SubtaskRow) -> Usage | None:
    if row.subtask.executor is ExecutorName.TOOL:
        return None
    for attempt in reversed(row.attempts):
        if attempt.calls:
            return attempt.usage
    return None
