"""The ledger inside one transaction: read the totals, ask `core.ledger`, write what it decided.

One `Books` lives for one transaction of the writer. Totals are read once per window and kept up to date here,
and their sums are written when the transaction ends, so a batch of calls costs a batch of inserts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw

from orchestrator.adapters.holder import Holder, is_seen
from orchestrator.adapters.tally import (
    MICROSECONDS,
    Tally,
    allowance,
    budget_window,
    scripted_key,
    stopped_deployments,
)
from orchestrator.core import ledger
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.ledger import (
    BUCKET_SECONDS,
    SCRIPTED,
    Granted,
    HoldResolved,
    HoldState,
    RaisedAlert,
    Scope,
    Wait,
    Window,
)
from orchestrator.core.money import ZERO, Usage, Usd
from orchestrator.core.ports import BudgetExceeded, Flag, HoldRequest, ModelUnavailable

# Longer than a call takes: after that, a hold of a process that cannot be looked for is waited for no more.
UNSEEN_SECONDS = 3600


class WindowBlocked(BudgetExceeded):
    """An alert with the action `block` has closed the window for paid calls."""

    def __init__(self, *, what: str, needs: Usd, threshold: Usd, cap: Usd, window: str) -> None:
        super().__init__(what=what, needs=needs, left=ZERO, cap=cap, window=window)
        self.args = (
            f"{what} may cost up to {needs}, but the alert at {threshold} of the {cap} {window} budget "
            f"blocks further calls: wait for the next {window}, or change budget_alerts",
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A hold that was written, and the alerts it set off."""

    hold: int
    alerts: tuple[RaisedAlert, ...] = ()


@dataclass(frozen=True, slots=True)
class Charged:
    amount: Usd
    alerts: tuple[RaisedAlert, ...] = ()


class Books:
    """The entries and running totals, within the transaction that is open on `connection`.

    `urgent` says that the transaction must be flushed before it is acknowledged although its operations alone
    would not need it, `freed` that somebody who waits for room should look again.
    """

    def __init__(
        self, connection: apsw.Connection, rules: BudgetRules, *, now: float, scripted: bool = False
    ) -> None:
        self._connection = connection
        self._scripted = scripted
        self._run = connection.execute
        self._rules = rules
        self._at = int(now * MICROSECONDS)
        self._bucket = int(now // BUCKET_SECONDS) * BUCKET_SECONDS
        self._tally = Tally(connection)
        self._start: int | None = None
        self._sequences: dict[str, int] = {}
        self._stopped: dict[str, str] | None = None
        self._registered: set[int] = set()
        self.urgent = False
        self.freed = False

    # --- windows --------------------------------------------------------------------------------

    def _budget_start(self) -> int:
        """When the budget window began. A new time zone waits until the window in force has ended."""
        if self._start is None:
            now = self._at / MICROSECONDS
            found, write = allowance(self._connection, self._rules, now)
            if write:
                self._run(
                    "INSERT OR REPLACE INTO allowance VALUES (1, ?, ?, ?, ?)",
                    (self._rules.duration, self._rules.timezone, found.start, found.end or 0),
                )
            self._start = found.start
        return self._start

    def _windows(self, request: HoldRequest, start: int) -> list[Window]:
        for cap, whose in (
            (request.repository_cap, request.repository),
            (request.run_cap, request.run),
            (request.attempt_cap, request.run and request.attempt),
        ):
            if cap is not None and whose is None:
                raise ValueError(
                    f"{request.what} has a cap of {cap} and does not say whose: it would hold nothing"
                )
        played = scripted_key(request.run) if self._scripted else ""
        found = [budget_window(self._rules, start, key=played)]
        if request.repository is not None:
            found.append(
                Window(
                    scope=Scope.REPOSITORY,
                    key=played or request.repository,
                    start=start,
                    cap=request.repository_cap,
                    name="repository",
                )
            )
        if request.run is not None:
            found.append(Window(scope=Scope.RUN, key=request.run, start=0, cap=request.run_cap, name="run"))
            if request.attempt is not None:
                found.append(
                    Window(
                        scope=Scope.ATTEMPT,
                        key=f"{request.run}/{request.attempt}",
                        start=0,
                        cap=request.attempt_cap,
                        name="attempt",
                    )
                )
        return found

    # --- the operations -------------------------------------------------------------------------

    def reserve(self, request: HoldRequest, holder: int) -> Held | Wait:
        """Write the hold, or say what it waits for. Raises BudgetExceeded, ModelUnavailable."""
        if self._scripted:
            request = replace(request, deployment=f"{SCRIPTED}{request.deployment}")
        stopped = self._stopped_deployments()
        if request.deployment in stopped:
            raise ModelUnavailable(
                f"{request.deployment} was stopped, {stopped[request.deployment]}: check its price, "
                f"then `orchestrator budget reconcile --allow {request.deployment}`"
            )
        windows = self._windows(request, self._budget_start())
        decision = ledger.reserve(request.amount, [self._tally.standing(window) for window in windows])
        match decision:
            case Wait():
                return decision
            case Granted(alerts):
                return Held(self._hold(request, holder, windows), self._say(alerts))
        obstacle = decision.obstacle
        cap = obstacle.window.cap if obstacle.window.cap is not None else ZERO
        if obstacle.blocked_at is not None:
            raise WindowBlocked(
                what=request.what,
                needs=request.amount,
                threshold=obstacle.blocked_at,
                cap=cap,
                window=obstacle.window.name,
            )
        raise BudgetExceeded(
            what=request.what, needs=request.amount, left=obstacle.left, cap=cap, window=obstacle.window.name
        )

    def _hold(self, request: HoldRequest, holder: int, windows: Sequence[Window]) -> int:
        self._run(
            "INSERT INTO holds (at, bucket, amount, holder, model, deployment, purpose, what, run, attempt,"
            " repository, category, run_cap, repository_cap, attempt_cap) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                self._at,
                self._bucket,
                request.amount.nano,
                holder,
                request.model,
                request.deployment,
                request.purpose,
                request.what,
                request.run,
                str(request.attempt) if request.attempt is not None else None,
                request.repository,
                request.category or None,
                request.run_cap.nano if request.run_cap is not None else None,
                request.repository_cap.nano if request.repository_cap is not None else None,
                request.attempt_cap.nano if request.attempt_cap is not None else None,
            ),
        )
        hold = self._connection.last_insert_rowid()
        self._run("INSERT INTO pending VALUES (?, ?, 0)", (hold, holder))
        self._tally.change(windows, self._bucket, held=request.amount)
        return hold

    def settle(
        self,
        hold: int,
        *,
        bill: Usd | None,
        usage: Usage | None = None,
        answered_by: str = "",
        flags: Sequence[Flag] = (),
        reason: str = "",
        reconciled: bool = False,
    ) -> Charged:
        """Replace the hold by the bill. Raises HoldResolved."""
        amount, bucket, ambiguous, windows, deployment = self._pending(hold)
        result = ledger.settle(
            amount, bill, [self._tally.standing(window) for window in windows], ambiguous=ambiguous
        )
        if result.excess and Flag.OVERRUN not in flags:
            flags = (*flags, Flag.OVERRUN)
        self._resolve(hold, "settled", result.charged, bill, usage, answered_by, flags, reason, reconciled)
        back = {"ambiguous": -amount} if ambiguous else {"held": -amount}
        self._tally.change(windows, bucket, spent=result.charged, **back)
        if result.charged < amount:
            self.freed = True
        if result.excess:
            self.urgent = True
            self._run("INSERT INTO overruns VALUES (?, ?, ?)", (hold, self._at, result.excess.nano))
            why = f"its bill of {result.charged} was above the hold of {amount}"
            self._note("stopped", hold, deployment, why)
            self._stopped_deployments()[deployment] = why
            for window in result.closed:
                self._note(
                    "closed", hold, f"{window.scope} {window.key}".strip(), f"{why} and passed {window.cap}"
                )
        return Charged(result.charged, self._say(result.alerts))

    def release(self, hold: int, *, reason: str, reconciled: bool = False) -> None:
        """Give the hold back. Raises HoldResolved."""
        amount, bucket, ambiguous, windows, _ = self._pending(hold)
        self._resolve(hold, "released", ZERO, None, None, "", (), reason, reconciled)
        back = {"ambiguous": -amount} if ambiguous else {"held": -amount}
        self._tally.change(windows, bucket, **back)
        self.freed = True

    def abandon(self, hold: int, reason: str) -> None:
        """Keep an open hold charged although nobody will settle it: its caller is gone."""
        amount, bucket, ambiguous, windows, _ = self._pending(hold)
        if ambiguous:
            return
        self._run("UPDATE pending SET ambiguous = 1 WHERE hold = ?", (hold,))
        self._note("ambiguous", hold, "", reason)
        self._tally.change(windows, bucket, held=-amount, ambiguous=amount)
        # Nothing became free, but who waits for this hold waits in vain.
        self.freed = True

    def recover(self, alive: Callable[[Holder], bool]) -> int:
        """Abandon the holds of processes that are gone; return how many."""
        count = 0
        processes: list[Any] = self._run(
            "SELECT id, pid, started, boot FROM holders WHERE id IN"
            " (SELECT DISTINCT holder FROM pending WHERE ambiguous = 0)"
        ).fetchall()
        for holder, pid, started, boot in processes:
            process = Holder(pid=pid, started=started, boot=boot)
            if not alive(process):
                count += self.abandon_all(holder, f"process {pid} ended before it settled the call")
            elif not is_seen(process):
                # Should it live after all, its bill still settles what is ambiguous.
                why = f"process {pid} of another container has not settled the call for an hour"
                count += self.abandon_all(holder, why, before=self._at - UNSEEN_SECONDS * MICROSECONDS)
        return count

    def abandon_all(self, holder: int, reason: str, *, before: int = 2**62) -> int:
        open_holds: list[Any] = self._run(
            "SELECT p.hold FROM pending p JOIN holds h ON h.id = p.hold"
            " WHERE p.holder = ? AND p.ambiguous = 0 AND h.at <= ?",
            (holder, before),
        ).fetchall()
        for (hold,) in open_holds:
            self.abandon(hold, reason)
        return len(open_holds)

    def lift(self, deployment: str, reason: str) -> bool:
        """Let a stopped deployment be called again; False when it was not stopped."""
        if self._stopped_deployments().pop(deployment, None) is None:
            return False
        self._note("lifted", None, deployment, reason)
        return True

    def reconciled(self, hold: int, reason: str) -> None:
        self._note("reconciled", hold, "", reason)

    def is_ambiguous(self, hold: int) -> bool:
        """Whether the hold waits to be reconciled. Raises HoldResolved when it is no longer pending."""
        return self._pending(hold)[2]

    def register(self, holder: int, process: Holder) -> None:
        """Make the holder known, once; in the transaction of its hold, so that none is without its process."""
        if holder not in self._registered:
            self._registered.add(holder)
            self._run(
                "INSERT OR IGNORE INTO holders VALUES (?, ?, ?, ?, ?)",
                (holder, process.pid, process.started, process.boot, self._at),
            )

    # --- events ---------------------------------------------------------------------------------

    def append(self, run: str, at: str, records: Sequence[tuple[str, str]]) -> int:
        """Write the events, as (name, JSON), after those the run has; return the number of the last one."""
        first = self._sequences.get(run)
        if first is None:
            first = self._run("SELECT coalesce(max(seq), 0) + 1 FROM events WHERE run = ?", (run,)).get
        self._connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
            [(run, first + place, name, at, text) for place, (name, text) in enumerate(records)],
        )
        self._sequences[run] = first + len(records)
        return first + len(records) - 1

    # --- entries --------------------------------------------------------------------------------

    def close(self) -> None:
        """Write the totals; the last thing before the commit."""
        self._tally.write()

    def _pending(self, hold: int) -> tuple[Usd, int, bool, list[Window], str]:
        row = self._run(
            "SELECT h.amount, h.bucket, p.ambiguous, h.run, h.attempt, h.repository, h.run_cap,"
            " h.repository_cap, h.attempt_cap, h.deployment"
            " FROM pending p JOIN holds h ON h.id = p.hold WHERE p.hold = ?",
            (hold,),
        ).fetchone()
        if row is None:
            kind = self._run("SELECT kind FROM resolutions WHERE hold = ?", (hold,)).get
            raise HoldResolved(hold, HoldState(kind) if kind else None)
        (
            amount,
            bucket,
            ambiguous,
            run,
            attempt,
            repository,
            run_cap,
            repository_cap,
            attempt_cap,
            deployment,
        ) = row
        # A bill belongs to the window of its reservation. When that has ended, there is no cap left to judge.
        current = bucket > self._budget_start() - BUCKET_SECONDS
        start = self._budget_start() if current else bucket
        played = scripted_key(run) if deployment.startswith(SCRIPTED) else ""
        windows = [budget_window(self._rules, start, current=current, key=played)]
        for scope, key, since, cap, name in (
            (
                Scope.REPOSITORY,
                repository and (played or repository),
                start,
                repository_cap if current else None,
                "repository",
            ),
            (Scope.RUN, run, 0, run_cap, "run"),
            (Scope.ATTEMPT, f"{run}/{attempt}" if attempt and run else None, 0, attempt_cap, "attempt"),
        ):
            if key is not None:
                limit = Usd(cap) if cap is not None else None
                windows.append(Window(scope=scope, key=key, start=since, cap=limit, name=name))
        return Usd(amount), bucket, bool(ambiguous), windows, deployment

    def _resolve(
        self,
        hold: int,
        kind: str,
        charged: Usd,
        bill: Usd | None,
        usage: Usage | None,
        answered_by: str,
        flags: Sequence[Flag],
        reason: str,
        reconciled: bool,
    ) -> None:
        known = bill is not None and bill.nano >= 0
        tokens = (
            (
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_tokens,
                usage.reasoning_tokens,
            )
            if usage is not None
            else (None,) * 5
        )
        self._run(
            "INSERT INTO resolutions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                hold,
                kind,
                self._at,
                charged.nano,
                bill.nano if bill is not None and known else None,
                *tokens,
                answered_by,
                "\n".join(dict.fromkeys(flags)),
                reason,
                reconciled,
            ),
        )
        self._run("DELETE FROM pending WHERE hold = ?", (hold,))

    def _say(self, alerts: Sequence[RaisedAlert]) -> tuple[RaisedAlert, ...]:
        for raised in alerts:
            window, alert = raised.window, raised.alert
            self._run(
                "INSERT INTO alerts (at, scope, key, threshold, action, committed) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    self._at,
                    str(window.scope),
                    window.key,
                    alert.threshold.nano,
                    str(alert.action),
                    raised.committed.nano,
                ),
            )
            self._tally.said(window, alert.threshold)
        return tuple(alerts)

    def _note(self, kind: str, hold: int | None, subject: str, reason: str) -> None:
        self._run(
            "INSERT INTO audit (at, kind, hold, subject, reason) VALUES (?, ?, ?, ?, ?)",
            (self._at, kind, hold, subject, reason),
        )

    def _stopped_deployments(self) -> dict[str, str]:
        if self._stopped is None:
            self._stopped = stopped_deployments(self._connection)
        return self._stopped
