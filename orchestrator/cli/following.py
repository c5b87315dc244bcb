"""Watching a run that another process carries out, from what it writes to the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from orchestrator.cli.progress import View, is_over
from orchestrator.core.domain import RunId
from orchestrator.core.events import Event

LOOK_SECONDS = 0.25


class _Journal(Protocol):
    def events(self, run: RunId, *, after: int = 0) -> Iterable[Event]: ...


def follow(
    journal: _Journal,
    run: RunId,
    view: View,
    *,
    is_live: Callable[[], bool],
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Show everything the run has done and does, until it ends or its process is gone; return the events seen.

    An interruption of the follower leaves the run alone.
    """
    seen = 0
    while True:
        # Asked before reading: what a process wrote last is read even when it has ended meanwhile.
        live = is_live()
        for event in journal.events(run, after=seen):
            seen += 1
            view(event)
        if not live or is_over(view.progress):
            return seen
        wait(LOOK_SECONDS)
