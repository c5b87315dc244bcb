"""The passed attempts of a run on their way to its branch, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import AttemptId, Outcome
from orchestrator.core.events import Event, LandingRefused
from orchestrator.core.ports import Clock, Land, Landed


class Landings:
    """Lands with `land` what is queued, and posts what comes of it.

    `passed` gives the outcome of an attempt; `landed` tells of work that is on the branch already.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        passed: Callable[[AttemptId], Outcome],
        *,
        land: Land,
        landed: Landed | None,
        clock: Clock,
        post: Callable[[Event], None],
    ) -> None:
        self._dispatch = dispatch
        self._passed = passed
        self._land = land
        self._landed = landed
        self._clock = clock
        self._post = post
        self._queue: asyncio.Queue[AttemptId] = asyncio.Queue()
        self._working: asyncio.Task[None] | None = None
        self._under_way: AttemptId | None = None
        self._cut_off = False

    def queue(self, attempt: AttemptId) -> None:
        self._queue.put_nowait(attempt)

    def cancel(self, attempt: AttemptId) -> None:
        """Cut off the landing of an attempt where it is under way."""
        if self._under_way == attempt and self._working is not None and not self._cut_off:
            self._cut_off = True
            self._working.cancel()

    async def land_in_turn(self) -> None:
        """Land what is queued until this is cancelled. Raises what broke the program."""
        self._working = asyncio.current_task()
        while True:
            self._post(await self._land_or_not(await self._queue.get()))

    async def _land_or_not(self, attempt: AttemptId) -> Event:
        """Land the attempt, unless a user wants it no more before its work is on the branch."""
        outcome = self._passed(attempt)
        if self._is_wanted(attempt):
            own = asyncio.current_task()
            assert own is not None
            self._under_way = attempt
            try:
                return await self._land(attempt, self._dispatch.subtask(attempt.subtask), outcome)
            except asyncio.CancelledError:
                # Ours ends this landing alone; anybody else's ends them all.
                if own.cancelling() > self._cut_off:
                    raise
            finally:
                if self._cut_off:
                    own.uncancel()
                self._under_way, self._cut_off = None, False
        there = None if self._landed is None else await self._landed(attempt, outcome)
        within = "internal error: the landing was cancelled from within"
        why = within if self._is_wanted(attempt) else "cancelled on request"
        return there or LandingRefused(attempt=attempt, reason=why, conflict=False, at=self._clock.now())

    def _is_wanted(self, attempt: AttemptId) -> bool:
        return self._dispatch.node(attempt.subtask).wish is None
