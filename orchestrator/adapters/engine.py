"""The engine of one machine: attempts are tasks in the running event loop, their results files that last."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

from orchestrator.core.domain import AttemptId, Ended, OrchestratorError, Outcome
from orchestrator.core.ports import Assignment, AttemptEnded, AttemptState, Execute, Outcomes
from orchestrator.core.text import one_line

CLOSE_SECONDS = 4.0
TRACEBACK = "traceback.txt"


class LocalEngine:
    """Runs `execute` for every assignment; nothing of a run's order, retries or money is known here.

    `outcomes` is where attempts leave their results, asked after a restart. `logs` gives the directory of an
    attempt's own files; a traceback of our own mistakes goes there.
    """

    def __init__(
        self, execute: Execute, outcomes: Outcomes, *, logs: Callable[[AttemptId], Path] | None = None
    ) -> None:
        self._execute = execute
        self._outcomes = outcomes
        self._logs = logs
        self._tasks: dict[AttemptId, asyncio.Task[None]] = {}
        self._cancelled: set[AttemptId] = set()
        self._ended: list[AttemptEnded] = []
        self._news = asyncio.Event()
        self._failure: BaseException | None = None
        self._closed = False

    async def submit(self, assignments: Sequence[Assignment]) -> None:
        for assignment in assignments:
            if assignment.attempt not in self._tasks:
                task = asyncio.create_task(self._run(assignment))
                self._tasks[assignment.attempt] = task
                task.add_done_callback(partial(self._cut_off, assignment.attempt))

    async def cancel(self, attempt: AttemptId) -> None:
        task = self._tasks.get(attempt)
        if task is not None and not task.done():
            self._cancelled.add(attempt)
            task.cancel()

    async def events(self) -> AsyncIterator[tuple[AttemptEnded, ...]]:
        """Batches of ended attempts, until the engine is closed. Raises what broke the program, not the work."""
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._ended = tuple(self._ended), []
            for ended in batch:
                self._tasks.pop(ended.attempt, None)
                self._cancelled.discard(ended.attempt)
            if batch:
                yield batch
            if self._failure is not None:
                raise self._failure
            if self._closed and not self._ended:
                return

    async def known(self, attempt: AttemptId) -> tuple[AttemptState, Outcome | None]:
        if attempt in self._tasks:
            return AttemptState.RUNNING, None
        left = self._outcomes.read(attempt)
        return (AttemptState.UNKNOWN, None) if left is None else (AttemptState.FINISHED, left)

    async def close(self) -> None:
        """Cancel what runs, wait for it to put its things away, and end. What was cut off is not reported."""
        self._closed = True
        running = [task for task in self._tasks.values() if not task.done()]
        for task in running:
            task.cancel()
        if running:
            _, left = await asyncio.wait(running, timeout=CLOSE_SECONDS)
            if left and self._failure is None:
                self._failure = StuckAttempts(
                    [str(attempt) for attempt in self._tasks if self._is_running(attempt)]
                )
        self._news.set()

    def _is_running(self, attempt: AttemptId) -> bool:
        task = self._tasks.get(attempt)
        return task is not None and not task.done()

    async def _run(self, assignment: Assignment) -> None:
        attempt = assignment.attempt
        try:
            outcome = await self._execute(assignment)
        except (OSError, OrchestratorError) as error:
            # The disk, the store, the repository: nothing that another attempt would do better.
            self._failure = error
            self._news.set()
            return
        except Exception as error:
            outcome = self._our_mistake(attempt, error)
        self._report(attempt, outcome)

    def _report(self, attempt: AttemptId, outcome: Outcome) -> None:
        self._ended.append(AttemptEnded(attempt=attempt, outcome=outcome))
        self._news.set()

    def _cut_off(self, attempt: AttemptId, task: asyncio.Task[None]) -> None:
        # A task cancelled before its first step never runs, so this is not for `_run` to say. Nothing is said
        # when the process ends: then the same number is delivered again after a restart.
        if not task.cancelled():
            # What `_run` itself could not cope with, as a log that cannot be written.
            self._failure = task.exception() or self._failure
            self._news.set()
        elif attempt in self._cancelled:
            self._report(attempt, Outcome(ended=Ended.CANCELLED, reason="cancelled on request"))
        elif not self._closed:
            self._report(attempt, Outcome(ended=Ended.ERROR, reason="internal error: cancelled from within"))

    def _our_mistake(self, attempt: AttemptId, error: Exception) -> Outcome:
        """A fault of this program in one attempt must not take the run with it; it is reported as what it is."""
        where = ""
        if self._logs is not None:
            directory = self._logs(attempt)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = directory / TRACEBACK
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
            where = f"; the traceback is in {path}"
        said = one_line(f"{type(error).__name__}: {error}", 200)
        return Outcome(ended=Ended.ERROR, reason=f"internal error: {said}{where}")


class StuckAttempts(OrchestratorError):
    """Attempts that did not end within the grace after a cancellation."""

    exit_code = 1

    def __init__(self, attempts: Sequence[str]) -> None:
        super().__init__(
            f"still not ended {CLOSE_SECONDS:g} s after cancellation: {', '.join(attempts)}; the run can be resumed"
        )
