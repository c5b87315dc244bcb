"""Blocking work beside an event loop, which a cancellation never abandons half done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_background(
    work: Callable[[], Result], *, cancel: Callable[[], None] | None = None, abandon: bool = False
) -> Result:
    """Run `work` in a thread of its own and return what it returns.

    When we are cancelled, `cancel` is called, the work is waited for, and only then the cancellation goes on:
    who cancels may remove a directory next. The loop's shared pool is not used: it is small, and commands take
    minutes. With `abandon` nobody waits for it after a cancellation, nor at the end of the process.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def deliver(result: Result | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only where Result is None

    def body() -> None:
        result: Result | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failed = error
        try:
            loop.call_soon_threadsafe(deliver, result, failed)
        except RuntimeError:
            return  # The loop is closed: nobody waits for the answer any more.

    threading.Thread(target=body, daemon=True).start()
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait({done})
        except asyncio.CancelledError as error:
            if abandon:
                raise
            cancelled = error
            if cancel is not None:
                cancel()
    if cancelled is not None:
        done.exception()
        raise cancelled
    return done.result()
