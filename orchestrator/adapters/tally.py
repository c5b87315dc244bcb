"""Running totals inside one transaction: read once per window, kept up to date, written at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from orchestrator.adapters import calendar
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.ledger import BUCKET_SECONDS, Scope, Standing, Totals, Window
from orchestrator.core.money import ZERO, Usd

MICROSECONDS = 1_000_000


@dataclass(slots=True)
class _Kept:
    totals: Totals
    said: frozenset[Usd]


@dataclass(slots=True)
class _Account:
    """What this transaction knows of one scope and key: totals by the start of their window, changes by bucket."""

    kept: dict[int, _Kept] = field(default_factory=dict)
    changes: dict[int, list[int]] = field(default_factory=dict)


class Tally:
    """The standings of all windows as the open transaction sees them, its own changes included."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._accounts: dict[tuple[Scope, str], _Account] = {}

    def standing(self, window: Window) -> Standing:
        account = self._account(window)
        kept = account.kept.get(window.start)
        if kept is None:
            totals = read_totals(self._connection, window)
            for bucket, (spent, held, ambiguous) in account.changes.items():
                if bucket >= first_bucket(window):
                    totals = totals.plus(spent=Usd(spent), held=Usd(held), ambiguous=Usd(ambiguous))
            said = said_alerts(self._connection, window) if window.alerts else frozenset()
            kept = account.kept[window.start] = _Kept(totals, said)
        return Standing(window=window, totals=kept.totals, said=kept.said)

    def change(
        self,
        windows: Iterable[Window],
        bucket: int,
        *,
        spent: Usd = ZERO,
        held: Usd = ZERO,
        ambiguous: Usd = ZERO,
    ) -> None:
        """Add to every window what a hold of this bucket has become."""
        for window in windows:
            account = self._account(window)
            place = 0 if window.scope in (Scope.RUN, Scope.ATTEMPT) else bucket
            change = account.changes.setdefault(place, [0, 0, 0])
            change[0] += spent.nano
            change[1] += held.nano
            change[2] += ambiguous.nano
            for start, kept in account.kept.items():
                if place >= start - start % BUCKET_SECONDS:
                    kept.totals = kept.totals.plus(spent=spent, held=held, ambiguous=ambiguous)

    def said(self, window: Window, threshold: Usd) -> None:
        for kept in self._account(window).kept.values():
            kept.said |= {threshold}

    def write(self) -> None:
        for (scope, key), account in self._accounts.items():
            for bucket, change in account.changes.items():
                if any(change):
                    self._add((str(scope), key, bucket), change)
            account.changes.clear()

    def _add(self, place: tuple[str, str, int], change: Sequence[int]) -> None:
        # Not an upsert: its CHECKs would see the bare difference, which may be negative.
        self._connection.execute(
            "UPDATE totals SET spent = spent + ?, held = held + ?, ambiguous = ambiguous + ?"
            " WHERE scope = ? AND key = ? AND bucket = ?",
            (*change, *place),
        )
        if not self._connection.changes():
            self._connection.execute("INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?)", (*place, *change))

    def _account(self, window: Window) -> _Account:
        place = (window.scope, window.key)
        account = self._accounts.get(place)
        if account is None:
            account = self._accounts[place] = _Account()
        return account


def scripted_key(run: str | None) -> str:
    """Whose allowance the calls of a scripted run take: its own, as large as the real one, and nobody else's."""
    return f"scripted {run or ''}".rstrip()


def first_bucket(window: Window) -> int:
    """The bucket that the start of the window lies in: all of it counts."""
    return window.start - window.start % BUCKET_SECONDS


def budget_window(rules: BudgetRules, start: int, *, current: bool = True, key: str = "") -> Window:
    """The user's allowance since `start`; without a cap when it is not the window in force.

    `key` is empty, or that of a scripted run, which has one of its own.
    """
    return Window(
        scope=Scope.BUDGET,
        key=key,
        start=start,
        cap=rules.max_budget if current else None,
        name=calendar.window_name(rules.duration),
        alerts=rules.alerts if current else (),
    )


def allowance(connection: apsw.Connection, rules: BudgetRules, now: float) -> tuple[calendar.Span, bool]:
    """Return the budget window in force, and whether it has yet to be recorded."""
    found = calendar.span(rules.duration, rules.timezone, now)
    if found.end is None:
        return found, False
    row = connection.execute("SELECT duration, timezone, start, until FROM allowance").fetchone()
    if row is None:
        return found, True
    duration, timezone, start, until = row
    if duration == rules.duration and timezone != rules.timezone and now < until:
        # It lasts as long as it would have, and what already counts in the new zone's day counts too.
        return calendar.Span(min(start, found.start), until), False
    return found, row != (rules.duration, rules.timezone, found.start, found.end)


def read_totals(connection: apsw.Connection, window: Window) -> Totals:
    rows: list[Any] = connection.execute(
        "SELECT coalesce(sum(spent), 0), coalesce(sum(held), 0), coalesce(sum(ambiguous), 0) FROM totals"
        " WHERE scope = ? AND key = ? AND bucket >= ?",
        (str(window.scope), window.key, first_bucket(window)),
    ).fetchall()
    spent, held, ambiguous = rows[0]
    return Totals(spent=Usd(spent), held=Usd(held), ambiguous=Usd(ambiguous))


def said_alerts(connection: apsw.Connection, window: Window) -> frozenset[Usd]:
    rows: list[Any] = connection.execute(
        "SELECT DISTINCT threshold FROM alerts WHERE scope = ? AND key = ? AND at >= ?",
        (str(window.scope), window.key, window.start * MICROSECONDS),
    ).fetchall()
    return frozenset(Usd(threshold) for (threshold,) in rows)


def stopped_deployments(connection: apsw.Connection) -> dict[str, str]:
    """Return the deployments that an overrun stopped and nobody has allowed since, each with its reason."""
    rows = connection.execute(
        "SELECT subject, kind, reason FROM audit WHERE kind IN ('stopped', 'lifted') ORDER BY id"
    )
    found: dict[str, str] = {}
    for subject, kind, reason in rows:
        if kind == "stopped":
            found[subject] = reason
        else:
            found.pop(subject, None)
    return found
