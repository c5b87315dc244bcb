"""The shell around a run: performs the commands of `core.dispatch`, feeds events back, and nothing else.

Journal first, then act: an event is durable before the machine takes it in, an attempt is journalled as started
before the engine gets it. Events that other processes wrote to the journal (skip, retry, cancel) are taken in
at the place where the journal has them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    AttemptId,
    Ended,
    Outcome,
    Refusal,
    Route,
    RunId,
    RunState,
    WaitingFor,
)
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Block,
    CancelAttempt,
    Command,
    Event,
    Finish,
    FundsAssessed,
    Land,
    Noted,
    Pause,
    PauseRequested,
    PlanReplaced,
    RunEnded,
    RunPaused,
    Start,
)
from orchestrator.core.lessons import Lessons
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.ports import Assignment, AttemptState, Clock, Engine, Journal, Landed, RouteAttempt
from orchestrator.core.ports import Land as LandAttempt
from orchestrator.ending import Ending, Interruption, ending_of
from orchestrator.landings import Landings

POLL_SECONDS = 0.25
# The time of day that passes while the monotonic clock stands still is time the machine slept.
ASLEEP_SECONDS = 30.0

Replan = Callable[[Dispatch], Awaitable[PlanReplaced | None]]
MoneyLeft = Callable[[], Awaitable[Usd | None]]


class Watch(Protocol):
    def __call__(self, event: Event, /) -> None: ...


@runtime_checkable
class Reader(Protocol):
    """A watch that knows whether anybody still reads what it writes."""

    def gone(self) -> bool: ...


class Runner:
    """One run in this process. `watch` sees every event after the machine has taken it in; when its reader has gone,
    the run is interrupted.

    `money_left` tells the dollars neither spent nor held under the tightest cap, for policy `thrifty`;
    `replan` may offer a new plan when all that is left has failed, until it offers none; `max_seconds` ends the
    starting of attempts, not the attempts.
    """

    def __init__(
        self,
        *,
        run: RunId,
        dispatch: Dispatch,
        journal: Journal,
        engine: Engine,
        land: LandAttempt,
        route: RouteAttempt,
        clock: Clock,
        landed: Landed | None = None,
        watch: Watch | None = None,
        money_left: MoneyLeft | None = None,
        replan: Replan | None = None,
        max_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.run_id = run
        self.dispatch = dispatch
        self._journal = journal
        self._engine = engine
        self._route = route
        self._clock = clock
        self._watch = watch
        self._money_left = money_left
        self._replan = replan
        self._max_seconds = max_seconds
        self._poll_seconds = poll_seconds
        self._lessons = Lessons()
        self._seen = 0
        self._inbox: list[Event] = []
        self._news = asyncio.Event()
        self._polled = False
        self._landings = Landings(
            dispatch, self._lessons.passed, land=land, landed=landed, clock=clock, post=self._post
        )
        # Prepared and not submitted yet; submitted and not ended yet; those of the latter that a sleep met.
        self._assignments: dict[AttemptId, Assignment] = {}
        self._under_way: dict[AttemptId, Assignment] = {}
        self._slept: set[AttemptId] = set()
        self._interruption: Interruption | None = None
        self._interrupted = asyncio.Event()
        self._ending: Ending | None = None
        self._unassessed = 0
        self._attendants: list[asyncio.Task[None]] = []

    def replay(self, events: Iterable[Event]) -> None:
        """Take in what the journal holds already; before `run`."""
        # All of it stays, so looking for garbage meanwhile only costs time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            for event in events:
                self._seen += 1
                self._lessons.take_in(event)
                self.dispatch.handle(event)
        finally:
            if collecting:
                gc.enable()

    def watch(self, watch: Watch) -> None:
        """Let `watch` see every event from now on, after the machine has taken it in."""
        self._watch = watch

    def interrupt(self, reason: str, exit_code: int) -> None:
        """End now and leave the run resumable: what runs is cut off and delivered again by `resume`."""
        self._interruption = self._interruption or Interruption(reason=reason, exit_code=exit_code)
        self._interrupted.set()
        self._news.set()

    def _hang_up(self) -> None:
        """Who reads the output has had enough, as `| head` does."""
        self._watch = None
        self.interrupt("the reader of the output has gone", 141)

    async def run(self, opening: Sequence[Event]) -> Ending:
        """Journal the opening events (RunStarted ..., or RunResumed), then go on until nothing more can be done.

        Raises what broke the program (the store, the disk, the repository); the run can then be resumed.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._attendants = [
                    group.create_task(self._hear_engine()),
                    group.create_task(self._landings.land_in_turn()),
                    group.create_task(self._look_for_requests()),
                ]
                try:
                    ending = await self._go_on(opening)
                finally:
                    for attendant in self._attendants:
                        attendant.cancel()
        except BaseExceptionGroup as broken:
            raise _first(broken) from None
        finally:
            await self._engine.close()
        return ending

    async def _go_on(self, opening: Sequence[Event]) -> Ending:
        taken = await self._record(opening)
        commands = [command for event in taken for command in self._take_in(event)]
        await self._perform(self.dispatch.outstanding(), taking_over=True)
        await self._perform([*commands, *self.dispatch.begin()])
        while self._ending is None or await self._has_more_to_do():
            await self._news.wait()
            self._news.clear()
            if self._interruption is not None:
                return await self._stop(self._interruption)
            if self._polled:
                self._polled = False
                await self._perform(self._requests())
            events, self._inbox = self._inbox, []
            if events:
                # Before what was rejected goes up a rung: its bill is in the ledger already.
                await self._assess_funds()
                await self._handle(events)
        assert self._ending is not None
        return self._ending

    async def _has_more_to_do(self) -> bool:
        """Whether a request came while the end was being journalled: who made it was told that the run is at it."""
        commands = self._requests()
        if self.dispatch.run_state is not RunState.RUNNING or self._interruption is not None:
            return False
        self._ending = None
        await self._perform(commands)
        return self._ending is None

    # --- events --------------------------------------------------------------------------------------

    async def _record(self, events: Sequence[Event]) -> Sequence[Event]:
        """Journal the events; return them with those that others wrote in between, in the journal's order."""
        before = self._seen
        # A start that a power loss takes was never paid for: the first hold of an attempt flushes all before it.
        durable = not all(isinstance(event, AttemptStarted) for event in events)
        last = await self._journal.append(self.run_id, events, durable=durable)
        if last is None or last == before + len(events):
            self._seen += len(events)
            return events
        everything = list(self._journal.events(self.run_id, after=before))
        self._seen += len(everything)
        return everything

    def _take_in(self, event: Event) -> list[Command]:
        self._lessons.take_in(event)
        commands = self.dispatch.handle(event)
        if self._watch is not None:
            try:
                self._watch(event)
            except BrokenPipeError:
                self._hang_up()
        return commands

    async def _handle(self, events: Sequence[Event]) -> None:
        taken = await self._record(events)
        await self._perform([command for event in taken for command in self._take_in(event)])

    def _requests(self) -> list[Command]:
        """What other processes asked for since the last look."""
        fresh = list(self._journal.events(self.run_id, after=self._seen))
        self._seen += len(fresh)
        return [command for event in fresh for command in self._take_in(event)]

    def _post(self, *events: Event) -> None:
        self._inbox.extend(events)
        self._news.set()

    # --- commands ------------------------------------------------------------------------------------

    async def _perform(self, commands: list[Command], *, taking_over: bool = False) -> None:
        """Do what is commanded, and what comes of it, until nothing is left but to wait."""
        while commands and self._ending is None:
            unwanted = {command.attempt for command in commands if isinstance(command, CancelAttempt)}
            latest = {command.attempt: command for command in commands if isinstance(command, Start)}
            events: list[Event] = []
            for command in commands:
                if self._interruption is not None:
                    # Of many commands, none may make an end wait.
                    return
                match command:
                    case Start() if taking_over:
                        events += filter(None, [await self._take_over(command, unwanted)])
                    case Start() if command is latest[command.attempt] and self.dispatch.is_starting(
                        command.attempt
                    ):
                        events.append(await self._prepare(command))
                    case Start():
                        # Taken back, or said again after a request came in between.
                        continue
                    case Land():
                        self._landings.queue(command.attempt)
                    case CancelAttempt():
                        await self._engine.cancel(command.attempt)
                        self._landings.cancel(command.attempt)
                    case Pause() | Finish() if command is not self.dispatch.resting:
                        continue
                    case Pause():
                        events.append(self._paused(command.waiting_for, command.reason))
                    case Finish():
                        events += filter(None, [await self._finish(command)])
                    case Block():
                        continue
            if not events:
                return
            taking_over = False
            taken = await self._record(events)
            if self._assignments:
                assignments, self._assignments = self._assignments, {}
                self._under_way.update(assignments)
                await self._engine.submit(list(assignments.values()))
            commands = [command for event in taken for command in self._take_in(event)]
            self._note_the_end(taken)

    async def _prepare(self, start: Start) -> AttemptStarted | AttemptFinished:
        """Route an attempt: what is to be journalled before it is handed to the engine, or why it is not."""
        subtask = self.dispatch.subtask(start.attempt.subtask)
        route: Route | Refusal | None = None
        if start.model is not None:
            route = await self._route(subtask, start.model, self.dispatch.stage(subtask.id))
        if isinstance(route, Refusal):
            outcome = Outcome(
                ended=Ended.NO_MODEL if route.no_model else Ended.NO_ROOM,
                model=start.model,
                reason=route.message,
                needs=route.would_do,
            )
            return AttemptFinished(attempt=start.attempt, outcome=outcome, at=self._clock.now())
        node = self.dispatch.node(subtask.id)
        needs = (self.dispatch.subtask(other) for other in subtask.depends_on)
        self._assignments[start.attempt] = Assignment(
            run=self.run_id,
            attempt=start.attempt,
            route=route,
            feedback=self._lessons.feedback(subtask.id, start.after, node.notes),
            dependencies=self._lessons.dependencies(needs),
        )
        reasons = start.reasons if route is None else (*start.reasons, *route.reasons)
        model = None if route is None else route.model
        return AttemptStarted(attempt=start.attempt, model=model, reasons=reasons, at=self._clock.now())

    async def _take_over(self, start: Start, unwanted: set[AttemptId]) -> Event | None:
        """Adopt what a run that was cut off left behind; deliver again, under the same number, what is unknown."""
        state, outcome = await self._engine.known(start.attempt)
        if outcome is None and start.attempt in unwanted:
            outcome = Outcome(ended=Ended.CANCELLED, reason="cancelled on request")
        if outcome is not None:
            return AttemptFinished(attempt=start.attempt, outcome=outcome, at=self._clock.now())
        return await self._deliver_again(start) if state is AttemptState.UNKNOWN else None

    async def _deliver_again(self, start: Start) -> Event:
        event = await self._prepare(start)
        if isinstance(event, AttemptFinished):
            return event
        return self._redelivered(start.attempt, "was cut off")

    def _redelivered(self, attempt: AttemptId, why: str) -> Noted:
        text = f"{attempt} {why} and is delivered again"
        return Noted(code="redelivered", text=text, subtask=attempt.subtask, at=self._clock.now())

    # --- the end -------------------------------------------------------------------------------------

    async def _finish(self, command: Finish) -> Event | None:
        if self._replan is not None and not command.cancelled and self.dispatch.failures():
            replaced = await self._unless_interrupted(self._replan(self.dispatch))
            if replaced is not None or self._interruption is not None:
                return replaced
        return RunEnded(cancelled=command.cancelled, at=self._clock.now())

    async def _unless_interrupted(self, work: Awaitable[PlanReplaced | None]) -> PlanReplaced | None:
        """A planner may take minutes to answer; an interruption cuts it off."""
        working = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            stop.cancel()
            working.cancel()
            await asyncio.wait([working])

    def _paused(self, what: WaitingFor, reason: str) -> RunPaused:
        return RunPaused(waiting_for=what, reason=reason, at=self._clock.now())

    def _note_the_end(self, events: Iterable[Event]) -> None:
        for event in events:
            self._ending = ending_of(event, self.dispatch) or self._ending

    async def _stop(self, interruption: Interruption) -> Ending:
        await self._engine.close()
        # What ended before the interruption is journalled as what it is.
        await asyncio.wait(self._attendants[:1], timeout=1.0)
        events, self._inbox = self._inbox, []
        paused = RunPaused(waiting_for=WaitingFor.USER, reason=interruption.reason, at=self._clock.now())
        for event in await self._record([*events, paused]):
            self._take_in(event)
        return Ending(
            state=RunState.PAUSED,
            exit_code=interruption.exit_code,
            waiting_for=WaitingFor.USER,
            reason=interruption.reason,
        )

    # --- attendants ------------------------------------------------------------------------------------

    async def _hear_engine(self) -> None:
        async for batch in self._engine.events():
            at = self._clock.now()
            for ended in batch:
                attempt, outcome = ended.attempt, ended.outcome
                assignment = self._under_way.pop(attempt, None)
                wanted = self.dispatch.node(attempt.subtask).wish is None
                if assignment and outcome.ended is Ended.NO_MODEL and attempt in self._slept and wanted:
                    # Its calls were lost to the sleep: the same try, delivered again.
                    self._slept.discard(attempt)
                    self._under_way[attempt] = assignment
                    await self._engine.submit([assignment])
                    self._post(self._redelivered(attempt, "was cut off while the machine slept"))
                else:
                    self._post(AttemptFinished(attempt=attempt, outcome=outcome, at=at))

    async def _look_for_requests(self) -> None:
        until = None if self._max_seconds is None else self._clock.monotonic() + self._max_seconds
        offset = self._clock.epoch_seconds() - self._clock.monotonic()
        while True:
            await asyncio.sleep(self._poll_seconds)
            self._polled = True
            self._news.set()
            reader: object = self._watch
            if isinstance(reader, Reader) and reader.gone():
                self._hang_up()
            before, offset = offset, self._clock.epoch_seconds() - self._clock.monotonic()
            if offset - before > ASLEEP_SECONDS:
                self._slept.update(self._under_way)
            if until is not None and self._clock.monotonic() >= until:
                until = None
                reason = f"the time limit of {self._max_seconds:g} s is reached"
                self._post(PauseRequested(reason=reason, at=self._clock.now()))

    # --- money -----------------------------------------------------------------------------------------

    async def _assess_funds(self) -> None:
        """Tell the machine when what is left no longer covers what is expected, and when it does again."""
        if self._money_left is None:
            return
        self._unassessed += 1
        if self._unassessed < max(1, self.dispatch.board.unfinished // 50):
            return
        self._unassessed = 0
        left = await self._money_left()
        expected = self.dispatch.expected_left if left is not None else ZERO
        short = left is not None and left < expected
        if short is not self.dispatch.short_of_money:
            at = self._clock.now()
            await self._handle([FundsAssessed(short=short, left=left, expected=expected, at=at)])


def _first(broken: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception people are told about: the first that is no mere cancellation."""
    for error in broken.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, asyncio.CancelledError):
            return error
    return broken
