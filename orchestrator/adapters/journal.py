"""The store: journal and ledger of one user in one SQLite file, for all his processes and repositories."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.adapters.books import Books, Held
from orchestrator.adapters.calendar import rolling_days, zone
from orchestrator.adapters.database import FileWatch, StoreUnusable, connect, let_go, quick_check
from orchestrator.adapters.holder import Holder, is_alive, is_seen, this_process
from orchestrator.adapters.records import Opening, Records, RunSpan
from orchestrator.adapters.room import Room
from orchestrator.adapters.writer import Operation, Writer
from orchestrator.core.catalogue import AlertAction, BudgetRules
from orchestrator.core.domain import AttemptId, OrchestratorError, RunId
from orchestrator.core.ledger import Entry, RaisedAlert, Scope, Status, Totals, Wait, Window
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import Clock, Flag, HoldRequest

if TYPE_CHECKING:
    from orchestrator.core.events import Event

T = TypeVar("T")

# Reading this much for a check at the start takes a few hundredths of a second.
CHECKED_BYTES = 32_000_000


class NotAmbiguous(OrchestratorError):
    """Only the hold of a crashed call can be reconciled; any other is settled by the one that made it."""


def tell(raised: RaisedAlert) -> None:
    """Log an alert: `warn` and `block` reach the terminal, `log` only a configured log."""
    import logging

    level = logging.INFO if raised.alert.action is AlertAction.LOG else logging.WARNING
    logging.getLogger("orchestrator.budget").log(level, "%s", raised)


class Store:
    """Ledger and Journal of `core.ports` in one. Safe for many tasks, threads and processes at once."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        rules: BudgetRules,
        on_alert: Callable[[RaisedAlert], None] = tell,
        holder: Holder | None = None,
        alive: Callable[[Holder], bool] = is_alive,
        scripted: bool = False,
    ) -> None:
        zone(rules.timezone)
        rolling_days(rules.duration)
        self.path = path
        self.rules = rules
        self._scripted = scripted
        self._clock = clock
        self._on_alert = on_alert
        self._me = holder or this_process()
        self._alive = alive
        self._reserved = False
        self._holder = secrets.randbits(62)
        connection = connect(path)
        try:
            if path.stat().st_size <= CHECKED_BYTES:
                quick_check(connection, path)
            watch = FileWatch(connection, path)
            self._records = Records(path, watch)
            self._records.audit(rules, clock.epoch_seconds())
            self._room = Room(version=self._records.version, check_holders=self._recover_later)
            self._writer = Writer(
                connection,
                path,
                watch=watch,
                clock=clock,
                rules=rules,
                freed=self._room.wake,
                scripted=scripted,
            )
        except BaseException:
            let_go(connection)
            raise
        self._recover()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        rules: BudgetRules,
        on_alert: Callable[[RaisedAlert], None] = tell,
        holder: Holder | None = None,
        alive: Callable[[Holder], bool] = is_alive,
        scripted: bool = False,
    ) -> Store:
        """Open the store, making it when there is none; holds of processes that are gone become ambiguous.

        `on_alert` is called on the event loop of the call that set the alert off. With `scripted` every run has an
        allowance of its own, beside the user's: what it holds and spends is not money. Raises StoreUnusable.
        """
        return cls(
            path, clock=clock, rules=rules, on_alert=on_alert, holder=holder, alive=alive, scripted=scripted
        )

    def close(self) -> None:
        """Finish what was submitted and let go of the file. Holds still open stay charged, as ambiguous."""
        try:
            if self._reserved:
                self._writer.call(
                    lambda books: books.abandon_all(self._holder, "the store was closed during the call")
                )
        except StoreUnusable:
            # They become ambiguous when somebody opens the store after this process has ended.
            pass
        self._writer.close()
        self._records.close()
        self._room.wake()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- the journal ----------------------------------------------------------------------------

    async def append(self, run: RunId, events: Sequence[Event], *, durable: bool = True) -> int | None:
        """Durable when it returns; events of one call are one transaction, in order.

        What is written with `durable` false survives a crash of the process at once, and a power loss from the
        next durable write on: of the journal, or of any hold.
        Returns the number of the run's last event, counted from 1: more than expected when another process
        wrote in between. None when there was nothing to write.
        """
        from orchestrator.core.events import to_text

        if not events:
            return None
        records = [to_text(event) for event in events]
        at = self._clock.now()
        return await self._do(lambda books: books.append(run, at, records), durable=durable)

    def events(self, run: RunId, *, after: int = 0) -> Iterable[Event]:
        """All events of the run, oldest first; those after the first `after` ones. Raises StoreDamaged."""
        return self._records.events(run, after=after)

    def opening(self, run: RunId) -> Opening | None:
        """How the run began; None when its first event is not a start. Raises StoreDamaged."""
        return self._records.opening(run)

    def runs(self) -> tuple[RunSpan, ...]:
        """Every run in the journal, the youngest first."""
        return self._records.runs()

    def run_ids(self) -> tuple[RunId, ...]:
        return tuple(span.run for span in self.runs())

    # --- the ledger -----------------------------------------------------------------------------

    async def reserve(self, request: HoldRequest) -> int:
        """Durably promise the amount; return the hold's id. Waits while open holds may free the room.

        Raises BudgetExceeded when the amount can never fit, ModelUnavailable when an overrun stopped the model.
        """
        while True:
            seen = self._room.version()
            held = await self.try_reserve(request)
            if isinstance(held, int):
                return held
            await self._room.changed(seen)

    async def try_reserve(self, request: HoldRequest) -> int | Wait:
        """Like `reserve`, but return what it would have to wait for instead of waiting."""

        def perform(books: Books) -> Held | Wait:
            books.register(self._holder, self._me)
            return books.reserve(request, self._holder)

        self._reserved = True
        held = await self._do(perform, lost=self._give_back)
        if isinstance(held, Wait):
            return held
        self._tell(held.alerts)
        return held.hold

    async def settle(
        self,
        hold: int,
        *,
        bill: Usd | None,
        usage: Usage | None = None,
        answered_by: str = "",
        flags: Sequence[Flag] = (),
    ) -> Usd:
        """Replace the hold by the bill (None: unknown, the whole hold is charged); return what was charged.

        Not lost by a crash of this process from then on. After a power loss the whole hold may be charged
        instead, never less: a bill above the hold is flushed first. Raises HoldResolved.
        """
        charged = await self._do(
            lambda books: books.settle(hold, bill=bill, usage=usage, answered_by=answered_by, flags=flags),
            durable=False,
        )
        self._tell(charged.alerts)
        return charged.amount

    async def release(self, hold: int, *, reason: str) -> None:
        """Give the hold back: the call provably never left or was refused unprocessed. Raises HoldResolved."""
        await self._do(lambda books: books.release(hold, reason=reason), durable=False)

    async def left(
        self, *, run: RunId | None = None, run_cap: Usd | None = None, held: bool = True
    ) -> Mapping[str, Usd]:
        """Dollars neither spent nor held per window: `day` (the budget window) always, `run` when it has a cap.

        With `held` false only what cannot come back counts: what open calls hold is left yet.
        """
        return self._left(run, run_cap, held=held)

    def standing(self, run: RunId, run_cap: Usd | None = None) -> tuple[Totals, Mapping[str, Usd]]:
        """What the run has spent and holds, and what `left` says; without a loop, from any thread."""
        window = Window(scope=Scope.RUN, key=run, start=0, cap=run_cap, name="run")
        return self._records.totals(window), self._left(run, run_cap)

    def _left(self, run: RunId | None, run_cap: Usd | None, *, held: bool = True) -> Mapping[str, Usd]:
        now = self._clock.epoch_seconds()
        return self._records.left(
            self.rules, now, run=run, run_cap=run_cap, scripted=self._scripted, held=held
        )

    # --- looking and putting right --------------------------------------------------------------

    def entries(
        self, run: RunId | None = None, since: float | None = None, *, attempt: AttemptId | None = None
    ) -> tuple[Entry, ...]:
        """All holds with what became of them, oldest first; `since` is in seconds since 1970."""
        return self._records.entries(run=run, since=since, attempt=None if attempt is None else str(attempt))

    def open_holds(self) -> tuple[Entry, ...]:
        """The holds that have not resolved: open calls, and the ambiguous ones of crashed processes."""
        return self._records.open_holds()

    def status(self) -> Status:
        """The budget window as it stands."""
        return self._records.status(self.rules, self._clock.epoch_seconds())

    def reconcile(self, hold: int, bill: Usd | None, *, reason: str) -> Usd:
        """Settle an ambiguous hold by hand and keep the reason; return what is charged for it.

        `bill` None accepts the whole hold. Raises NotAmbiguous, HoldResolved.
        """

        def perform(books: Books) -> Usd:
            if not books.is_ambiguous(hold):
                raise NotAmbiguous(
                    f"hold {hold} belongs to a call that is still running: it settles by itself, or becomes "
                    f"ambiguous when its process ends"
                )
            books.reconciled(hold, reason)
            return books.settle(hold, bill=bill, reason=reason, reconciled=True).amount

        return self._writer.call(perform)

    def allow(self, deployment: str, *, reason: str) -> bool:
        """Let a deployment that an overrun stopped be called again; False when it was not stopped."""
        return self._writer.call(lambda books: books.lift(deployment, reason))

    # --- inside ---------------------------------------------------------------------------------

    async def _do(
        self, perform: Callable[[Books], T], *, durable: bool = True, lost: Callable[[T], None] | None = None
    ) -> T:
        """Perform in the writer's next transaction. Cancelled or not, what was submitted is carried out.

        `lost` makes the exception: then a cancelled operation is skipped, or undone by `lost` when it was too
        late for that.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done(value: T | None, error: BaseException | None) -> None:
            if future.done():
                if error is None and lost is not None:
                    lost(value)  # type: ignore[arg-type]  # None only where T is None
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]  # None only where T is None

        operation = Operation(perform=perform, durable=durable, done=done, loop=loop)
        self._writer.submit(operation)
        try:
            return await future
        except asyncio.CancelledError:
            operation.cancelled = lost is not None
            # The answer may have arrived in the very step in which its reader was cancelled.
            if lost is not None and not future.cancelled() and future.exception() is None:
                lost(future.result())
            raise

    def _give_back(self, held: Held | Wait) -> None:
        """Release the hold of a caller that was cancelled before it knew of it: its call never left."""
        if isinstance(held, Held):
            self._tell(held.alerts)
            self._in_background(lambda books: books.release(held.hold, reason="cancelled before the call"))

    def _in_background(self, perform: Callable[[Books], object]) -> None:
        # On a closed or broken store this is left to the next start, which finds the holds of this process.
        with suppress(StoreUnusable):
            self._writer.submit(Operation(perform=perform, durable=False, done=lambda value, error: None))

    def _any_gone(self) -> bool:
        return any(not self._alive(holder) or not is_seen(holder) for holder in self._records.holders())

    def _recover(self) -> None:
        if self._any_gone():
            self._writer.call(lambda books: books.recover(self._alive))

    def _recover_later(self) -> None:
        if self._any_gone():
            self._in_background(lambda books: books.recover(self._alive))

    def _tell(self, alerts: Sequence[RaisedAlert]) -> None:
        for raised in alerts:
            self._on_alert(raised)
