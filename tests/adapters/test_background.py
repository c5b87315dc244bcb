"""Blocking work beside a loop: waited for by default, abandoned where nobody needs it any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orchestrator.adapters.background import in_background


class Blocking:
    """Work that says when it has begun and ends when it is let go."""

    def __init__(self) -> None:
        self.loop, self.begun = asyncio.get_running_loop(), asyncio.Event()
        self.go, self.done = threading.Event(), False

    def __call__(self) -> None:
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(20)
        self.done = True


async def cut_off(work: Blocking, *, abandon: bool) -> None:
    task = asyncio.create_task(in_background(work, cancel=work.go.set, abandon=abandon))
    await work.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_waits_for_what_is_half_done():
    work = Blocking()
    await cut_off(work, abandon=False)
    assert work.done


async def test_work_that_may_be_abandoned_holds_up_nobody():
    work = Blocking()
    await cut_off(work, abandon=True)
    assert not work.done
    work.go.set()
