"""Watching a run: a live tree on a terminal, plain lines elsewhere, one JSON object per event for programs.

All of it goes to standard error but the JSON stream. A terminal that hung up ends the view and not the run; a
closed pipe ends both, and the run can be resumed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from orchestrator.core.domain import Ended, RunId, RunState, State, SubtaskId
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    BaselineMeasured,
    CancelRequested,
    Event,
    LandingRefused,
    Noted,
    PauseRequested,
    PlanReplaced,
    RetryRequested,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    SkipRequested,
    SubtaskLanded,
    SubtaskUndone,
)
from orchestrator.core.money import Usd
from orchestrator.core.node import Phase
from orchestrator.core.progress import Progress
from orchestrator.core.serial import encode
from orchestrator.core.text import one_line, safe_text, short_lists
from orchestrator.core.words import counted

if TYPE_CHECKING:
    from orchestrator.wiring import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """The money of a run as the ledger has it; None where nothing caps it."""

    spent: Usd
    held: Usd
    left: Usd | None


AskFunds = Callable[[], Funds]


class View(Protocol):
    progress: Progress

    def __call__(self, event: Event) -> None:
        """Take in an event and show what it changed."""

    def gone(self) -> bool:
        """Whether the reader of a pipe has closed it. A terminal that hung up is not meant."""

    def detach(self) -> None:
        """The terminal is gone: show nothing more."""


class PlainView:
    """A line for each thing that happens."""

    def __init__(self, stream: TextIO, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self._stream: TextIO | None = stream

    def __call__(self, event: Event) -> None:
        self.progress.take_in(event)
        for line in lines(event, self.progress):
            self._say(line)

    def _say(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            print(line, file=self._stream, flush=True)
        except BrokenPipeError:
            self.detach()
            raise
        except (OSError, ValueError):
            self.detach()

    def gone(self) -> bool:
        if self._stream is None:
            return False
        try:
            descriptor = self._stream.fileno()
            if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                return False
        except (OSError, ValueError):
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLERR)
        return bool(poll.poll(0))

    def detach(self) -> None:
        self._stream = None


class JsonView(PlainView):
    """Every event as one JSON object: `event` its name, then all its fields."""

    def __call__(self, event: Event) -> None:
        self.progress.take_in(event)
        self._say(json.dumps({"event": type(event).__name__, **encode(event)}, ensure_ascii=True))


class SilentView:
    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()

    def __call__(self, event: Event) -> None:
        self.progress.take_in(event)

    def gone(self) -> bool:
        return False

    def detach(self) -> None:
        """There is nothing to end."""


@contextmanager
def outliving_its_terminal(view: View) -> Iterator[None]:
    """SIGHUP ends the view and not what runs in the block."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return

    before = signal.signal(signal.SIGHUP, lambda *_: view.detach())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def funds_of(home: Home, progress: Progress) -> AskFunds:
    """Ask the ledger what the run has spent and holds, and what is left of the tightest cap over it."""

    def ask() -> Funds:
        run = RunId(progress.started.run) if progress.started else RunId("")
        totals, left = home.store.standing(run, progress.budget)
        return Funds(
            spent=totals.spent, held=totals.held + totals.ambiguous, left=min(left.values(), default=None)
        )

    return ask


@contextmanager
def open_view(
    home: Home, *, as_json: bool = False, quiet: bool = False, progress: Progress | None = None
) -> Iterator[View]:
    """Give the view that fits where the output goes; it is put away when the block ends.

    `progress` is how far the run is already.
    """
    progress = progress or Progress()
    funds = funds_of(home, progress)

    def total() -> Usd:
        now = funds()
        return now.spent + now.held

    progress.ask_for_total(total)
    if as_json:
        yield JsonView(sys.stdout, progress)
    elif quiet:
        yield SilentView(progress)
    elif _is_live_terminal():
        from orchestrator.cli.live import LiveView

        with LiveView(progress, funds) as live:
            yield live
    else:
        yield PlainView(sys.stderr, progress)


def _is_live_terminal() -> bool:
    return (
        sys.stderr.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and not os.environ.get("NO_COLOR")
        and threading.current_thread() is threading.main_thread()
    )


def lines(event: Event, progress: Progress) -> list[str]:
    """What a plain view says of an event that `progress` has taken in already: no, one or several lines."""
    return [safe_text(line, newlines=False) for line in _lines(event, progress)]


def _lines(event: Event, progress: Progress) -> Iterator[str]:
    match event:
        case RunStarted():
            budget = f", budget {event.budget}" if event.budget is not None else ""
            played = f", {event.scripted}" if event.scripted else ""
            planned = counted(len(event.plan.subtasks), "subtask")
            yield f"run {event.run}: {planned} on {event.branch}{budget}{played}"
            if event.sandbox == "none":
                yield "checks run unsandboxed"
        case BaselineMeasured():
            tests = f"{event.tests_passed} tests pass" if event.tests_passed else "no test passes"
            failed = f", {len(event.tests_failed)} fail" if event.tests_failed else ""
            yield f"before any change: {tests}{failed} ({event.seconds:.0f} s)"
        case AttemptStarted():
            reason = (
                f" ({one_line(short_lists(event.reasons[0]), 120)})"
                if event.attempt.number > 1 and event.reasons
                else ""
            )
            yield f"{event.attempt}: started on {event.model or 'a tool'}{reason}"
        case AttemptFinished():
            yield _finished(event, progress)
        case SubtaskLanded():
            yield f"{event.attempt}: landed" + (
                f" as {event.commit[:10]}" if event.commit else " (a document)"
            )
        case LandingRefused():
            next_step = _next_step(event.attempt.subtask, progress)
            yield f"{event.attempt}: not landed: {one_line(short_lists(event.reason), 200)}; {next_step}"
        case RunResumed():
            budget = f" with a budget of {event.budget}" if event.budget is not None else ""
            yield f"resumed{budget}"
        case RunPaused():
            yield f"paused: {one_line(event.reason, 300)}"
        case RunEnded():
            yield ("cancelled" if event.cancelled else "done") + f": {summary(progress)}"
        case SkipRequested():
            yield f"{event.subtask}: to be skipped"
        case RetryRequested():
            yield f"{event.subtask}: to be tried again" + (f" on {event.model}" if event.model else "")
        case CancelRequested():
            yield f"{event.subtask or 'the run'}: to be cancelled"
        case SubtaskUndone():
            yield f"{event.subtask}: taken back"
        case PauseRequested():
            yield f"pausing: {one_line(event.reason, 200)}"
        case PlanReplaced():
            yield f"planned anew: {one_line(event.reason, 200)}"
        case Noted():
            yield one_line(event.text, 300)


def _finished(event: AttemptFinished, progress: Progress) -> str:
    outcome = event.outcome
    spent = f", {outcome.bill.rounded()}" if outcome.bill else ""
    took = f", {outcome.seconds:.0f} s" if outcome.seconds >= 0.5 else ""
    if outcome.ended is Ended.PASSED:
        verdict = f" ({outcome.verdict.kind.value})" if outcome.verdict else ""
        return f"{event.attempt}: passed{verdict}{spent}{took}"
    said = f": {one_line(short_lists(outcome.reason), 200)}" if outcome.reason else ""
    next_step = _next_step(event.attempt.subtask, progress)
    return f"{event.attempt}: {outcome.ended.value.replace('_', ' ')}{spent}{took}{said}; {next_step}"


def _next_step(subtask: SubtaskId, progress: Progress) -> str:
    if progress.dispatch is None:
        return ""
    node = progress.dispatch.node(SubtaskId(subtask))
    match node.phase:
        case Phase.READY | Phase.PENDING | Phase.STARTING:
            return f"next on {node.target or 'the tool'}"
        case Phase.HELD:
            return f"{node.target} when the first pass is through"
        case Phase.NO_ROOM | Phase.NO_MODEL:
            waiting = progress.dispatch.waiting(node.id)
            return f"waits for {waiting.what.value}" if waiting else ""
        case _:
            state = progress.dispatch.state(node.id)
            return state.value


def summary(progress: Progress) -> str:
    """`5 succeeded, 1 failed, 2 waiting; $0.0123 spent`."""
    counts = progress.counts()
    parts = [f"{counts[state]} {state.value}" for state in State if counts[state]]
    return f"{', '.join(parts)}; {progress.spent.rounded()} spent"


def is_over(progress: Progress) -> bool:
    """Whether nobody works on the run any more, as far as its events tell."""
    state = progress.dispatch.run_state if progress.dispatch else RunState.RUNNING
    return progress.ended is not None and state is not RunState.RUNNING
