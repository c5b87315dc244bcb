"""Waiting until money may have become free: woken by this process, or by any other's commit to the file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    import asyncio

LOOK_EVERY_SECONDS = 0.05
CHECK_HOLDERS_EVERY = 20


class Room:
    """The waiting reservations of one process.

    `version` is SQLite's data_version: it changes with every commit to the file, whoever made it.
    `check_holders` is called now and then while somebody waits, because a hold whose process died never settles.
    """

    def __init__(self, *, version: Callable[[], int], check_holders: Callable[[], None]) -> None:
        self.version = version
        self._check_holders = check_holders
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, dict[asyncio.Future[None], int]] = {}

    async def changed(self, seen: int) -> None:
        """Return when something was freed here, or committed anywhere since `version` was `seen`."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            first = loop not in self._waiting
            waiting = self._waiting.setdefault(loop, {})
            waiting[future] = seen
        if first:
            loop.call_later(LOOK_EVERY_SECONDS, self._look, loop, 1)
        try:
            await future
        finally:
            waiting.pop(future, None)

    def wake(self) -> None:
        """Let everybody look again; called from any thread."""
        with self._lock:
            loops = list(self._waiting)
        for loop in loops:
            try:
                loop.call_soon_threadsafe(self._release, loop, None)
            except RuntimeError:
                with self._lock:
                    self._waiting.pop(loop, None)

    def _look(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        with self._lock:
            if not self._waiting.get(loop):
                self._waiting.pop(loop, None)
                return
        version: int | None = None
        # When the file cannot be read, everybody who waits looks again, and is told so.
        with suppress(OrchestratorError):
            version = self.version()
            if count % CHECK_HOLDERS_EVERY == 0:
                self._check_holders()
        self._release(loop, version)
        loop.call_later(LOOK_EVERY_SECONDS, self._look, loop, count + 1)

    def _release(self, loop: asyncio.AbstractEventLoop, version: int | None) -> None:
        for future, seen in list(self._waiting.get(loop, {}).items()):
            if seen != version and not future.done():
                future.set_result(None)
