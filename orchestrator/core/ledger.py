"""The hard-dollar rule, modelled on card payments: reserve the worst case, call, settle by the bill.

Pure decisions over running totals. Whoever keeps the totals (adapters/books.py) reads them inside one
transaction, asks here, and writes what was decided before it commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.catalogue import Alert, AlertAction
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.money import ZERO, Usd

# Every time zone in use is a multiple of this away from UTC, so a local midnight is the edge of a bucket.
BUCKET_SECONDS = 900


# Before the deployments that a script plays: what they cost is nobody's money.
SCRIPTED = "scripted/"


class Scope(StrEnum):
    """Whose allowance a window is. Budget and repository are windows of time, run and attempt whole lives."""

    BUDGET = "budget"
    REPOSITORY = "repository"
    RUN = "run"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An allowance: everything promised in `scope` for `key` since `start` stays under `cap`.

    `start` is in whole seconds since 1970 (0: from the beginning). There is no upper end on purpose: after
    the clock stepped back, what was promised in its future still counts, so no step grants a second allowance.
    `cap` None means counted, not limited. `name` is the word for it in messages: `day`, `run`.
    """

    scope: Scope
    key: str
    start: int
    cap: Usd | None
    name: str
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What has been billed, what open calls may still cost, and the holds of calls that crashed."""

    spent: Usd = ZERO
    held: Usd = ZERO
    ambiguous: Usd = ZERO

    @property
    def certain(self) -> Usd:
        """The part no open call can give back."""
        return self.spent + self.ambiguous

    @property
    def committed(self) -> Usd:
        return Usd(self.spent.nano + self.held.nano + self.ambiguous.nano)

    def plus(self, *, spent: Usd = ZERO, held: Usd = ZERO, ambiguous: Usd = ZERO) -> Totals:
        return Totals(spent=self.spent + spent, held=self.held + held, ambiguous=self.ambiguous + ambiguous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A window and what is committed in it; `said` are the thresholds whose alert this window has had."""

    window: Window
    totals: Totals
    said: frozenset[Usd] = frozenset()

    @property
    def left(self) -> Usd | None:
        """What may still be promised, never below zero; None without a cap."""
        if self.window.cap is None:
            return None
        return max(ZERO, self.window.cap - self.totals.committed)

    def obstacle(self, amount: Usd, total: Usd) -> Obstacle | None:
        """What keeps `amount` from being added to `total`."""
        for alert in self.window.alerts:
            if alert.action is AlertAction.BLOCK and alert.threshold <= total:
                return Obstacle(window=self.window, left=ZERO, blocked_at=alert.threshold)
        if self.window.cap is not None and not total + amount <= self.window.cap:
            return Obstacle(window=self.window, left=max(ZERO, self.window.cap - total))
        return None

    def reached(self, totals: Totals) -> Iterable[RaisedAlert]:
        """The alerts that `totals` sets off for the first time in this window."""
        for alert in self.window.alerts:
            if alert.threshold <= totals.committed and alert.threshold not in self.said:
                yield RaisedAlert(alert=alert, window=self.window, committed=totals.committed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """The window that has no room, with the dollars left in it; `blocked_at` when an alert closed it."""

    window: Window
    left: Usd
    blocked_at: Usd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RaisedAlert:
    alert: Alert
    window: Window
    committed: Usd

    def __str__(self) -> str:
        cap = f" of {self.window.cap}" if self.window.cap is not None else ""
        said = (
            self.alert.message
            or {
                AlertAction.LOG: "noted",
                AlertAction.WARN: "mind the budget",
                AlertAction.BLOCK: "no further paid calls in this window",
            }[self.alert.action]
        )
        return (
            f"{self.window.name} budget: {self.committed}{cap} is spent or held, "
            f"past the alert at {self.alert.threshold}: {said}"
        )


# --- decisions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    """The amount fits under every window: write the hold, then call."""

    alerts: tuple[RaisedAlert, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """It does not fit now, but would if the open holds settled low or were released."""

    obstacle: Obstacle


@dataclass(frozen=True, slots=True)
class Refused:
    """It can never fit: what is spent and ambiguous leaves too little, whatever the open holds come to."""

    obstacle: Obstacle


Decision = Granted | Wait | Refused


def reserve(amount: Usd, standings: Sequence[Standing]) -> Decision:
    """Decide on promising `amount` under every window. Free calls always fit: local models outlast the budget."""
    if amount.nano < 0:
        raise ValueError(f"a hold cannot be negative: {amount}")
    if not amount:
        return Granted()
    never = [standing.obstacle(amount, standing.totals.certain) for standing in standings]
    if obstacle := _tightest(never):
        return Refused(obstacle)
    now = [standing.obstacle(amount, standing.totals.committed) for standing in standings]
    if obstacle := _tightest(now):
        return Wait(obstacle)
    return Granted(
        tuple(
            raised for standing in standings for raised in standing.reached(standing.totals.plus(held=amount))
        )
    )


def _tightest(obstacles: Iterable[Obstacle | None]) -> Obstacle | None:
    found = [obstacle for obstacle in obstacles if obstacle is not None]
    return min(found, key=lambda obstacle: obstacle.left) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a hold turned into. `excess` is the part of the bill above the hold; `closed` the windows it broke."""

    charged: Usd
    excess: Usd = ZERO
    closed: tuple[Window, ...] = ()
    alerts: tuple[RaisedAlert, ...] = ()


def settle(hold: Usd, bill: Usd | None, standings: Sequence[Standing], *, ambiguous: bool) -> Settlement:
    """Decide what a call is charged. An unknown or impossible bill is charged at the whole hold.

    `standings` still contain the hold: as ambiguous when its process died, else as held. A bill above the
    hold is charged in full, because the provider will, and reported as excess.
    """
    charged = hold if bill is None or bill.nano < 0 else bill
    excess = max(ZERO, charged - hold)
    if not excess:
        return Settlement(charged=charged)
    given_back = {"ambiguous": -hold} if ambiguous else {"held": -hold}
    after = [(standing, standing.totals.plus(spent=charged, **given_back)) for standing in standings]
    return Settlement(
        charged=charged,
        excess=excess,
        closed=tuple(
            standing.window
            for standing, totals in after
            if standing.window.cap is not None and totals.certain > standing.window.cap
        ),
        alerts=tuple(raised for standing, totals in after for raised in standing.reached(totals)),
    )


# --- what the ledger tells ----------------------------------------------------------------------


class HoldState(StrEnum):
    OPEN = "open"
    AMBIGUOUS = "ambiguous"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One hold with all that became of it. Times are ISO 8601 UTC; None where it is unknown or not yet.

    `charged` is what counts against the budget: the bill, or the whole hold when the bill is unknown.
    """

    hold: int
    at: str
    amount: Usd
    state: HoldState
    model: str
    deployment: str
    purpose: str
    what: str
    run: str | None = None
    attempt: str | None = None
    repository: str | None = None
    category: str | None = None
    resolved_at: str | None = None
    charged: Usd | None = None
    bill: Usd | None = None
    excess: Usd = ZERO
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    answered_by: str = ""
    flags: tuple[str, ...] = ()
    reason: str = ""
    reconciled: bool = False

    @property
    def scripted(self) -> bool:
        return self.deployment.startswith(SCRIPTED)

    @property
    def counted(self) -> Usd:
        """What counts against the budget: the charge, or the whole hold while it is unresolved."""
        match self.state:
            case HoldState.RELEASED:
                return ZERO
            case HoldState.SETTLED:
                return self.charged or ZERO
        return self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The budget window as it stands; `since` and `until` are ISO 8601 UTC (None: rolling, no fixed end)."""

    window: str
    since: str
    until: str | None
    timezone: str
    cap: Usd
    totals: Totals
    left: Usd
    alerts: tuple[Alert, ...]
    said: tuple[Usd, ...] = ()
    holds: tuple[Entry, ...] = ()
    stopped: tuple[str, ...] = ()
    future: Usd = ZERO


class HoldResolved(OrchestratorError):
    """A hold resolves exactly once; this one has been settled or released before, or was never made."""

    exit_code = 1

    def __init__(self, hold: int, state: HoldState | None) -> None:
        self.hold, self.state = hold, state
        super().__init__(
            f"hold {hold} is already {state}: a hold resolves exactly once"
            if state
            else f"there is no hold {hold}"
        )


class UnknownDuration(OrchestratorError):
    def __init__(self, duration: str) -> None:
        super().__init__(f"budget_duration {duration!r} is not one of 1d, 1mo (calendar), 7d, 30d (rolling)")
