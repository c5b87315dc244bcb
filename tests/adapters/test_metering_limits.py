"""Requests and tokens per minute, calls at once, and whose turn it is: with real LiteLLM, on a clock moved by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.adapters.metering import CallsFailed, MeteredModel
from orchestrator.adapters.models import CallProgress, CallRequest, ModelCalls
from orchestrator.adapters.models_wire import CURRENT
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.ports import Message, ModelReply
from tests.adapters.model_fakes import (
    CHEAP,
    HELLO,
    KEY,
    SMART,
    RecordingLedger,
    StoppedClock,
    catalogue,
    deployment,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")


class HandClock(StoppedClock):
    """Moves when the test says so; who sleeps wakes when it has moved far enough."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._asleep = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.seconds + seconds, woken))
        async with self._asleep:
            self._asleep.notify_all()
        await woken

    async def until_asked(self, times: int) -> None:
        """Until somebody has gone to sleep so many times in all."""
        async with self._asleep:
            await self._asleep.wait_for(lambda: len(self._sleepers) >= times)

    async def move_to(self, seconds: float) -> None:
        await everybody_waits()
        self.seconds = seconds
        for until, woken in self._sleepers:
            if until <= seconds and not woken.done():
                woken.set_result(None)
        await everybody_waits()


async def everybody_waits() -> None:
    """Let every task go on as far as it gets without the provider."""
    for _ in range(50):
        await asyncio.sleep(0)


def ask(metering: MeteredModel, *names: str, **more: Any) -> list[asyncio.Task[ModelReply]]:
    """A request of each name, in this order; `more` is what they ask for."""
    return [asyncio.create_task(metering.complete(request(name, category=name, **more))) for name in names]


def begun(ledger: RecordingLedger) -> list[str]:
    """The names of the requests that were let through, in order: a hold is the first thing that each one takes."""
    return [entry.request.category for entry in ledger.entries]


# --- how much in a minute -----------------------------------------------------------------------


async def test_requests_per_minute_are_kept(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(HELLO)
    clock = StoppedClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=2)), ledger, clock)
    for _ in range(3):
        await model.complete(request())
    assert clock.slept == [60.0]


async def test_of_many_at_once_as_many_go_on_as_fit(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(HELLO)
    clock = HandClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=2)), ledger, clock)
    calls = ask(model, *"abcdef")
    for minute, pair in enumerate((calls[:2], calls[2:4], calls[4:]), start=1):
        await asyncio.gather(*pair)
        await clock.move_to(60.0 * minute - 1.0)
        assert len(ledger.entries) == 2 * minute
        await clock.move_to(60.0 * minute)
    assert begun(ledger) == [*"abcdef"]


async def test_a_request_counts_from_when_it_is_sent_not_from_when_it_was_let_through(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    clock, ledger.room = HandClock(), asyncio.Event()
    place = deployment(provider.url, requests_per_minute=2, tokens_per_minute=500)
    first, second, third = ask(metered(catalogue(place), ledger, clock), *"abc")
    # The first two still wait for room in the budget when their minute would be over.
    await clock.move_to(70.0)
    ledger.room.set()
    await asyncio.gather(first, second)
    await clock.move_to(129.0)
    assert begun(ledger) == ["a", "b"]
    await clock.move_to(130.0)
    await third


async def test_a_call_notes_when_its_request_leaves(provider: ScriptedProvider):
    class Noting(StoppedClock):
        def monotonic(self) -> float:
            wire = CURRENT.get()
            # Past all that LiteLLM prepares, and before anything came back.
            left.append(wire is not None and wire.reached and wire.status is None)
            return 7.0

    provider.play(HELLO)
    left: list[bool] = []
    calls, progress = ModelCalls(clock=Noting(), environ={"TEST_KEY": KEY}), CallProgress()
    hello = (Message(role="user", content="hello"),)
    call = CallRequest(messages=hello, max_output_tokens=9, input_bound=99, deadline_seconds=60.0)
    await calls.call(deployment(provider.url), call, progress)
    assert (left, progress.sent, progress.sent_at) == ([True], True, 7.0)
    refused = CallProgress()
    await calls.call(deployment("http://127.0.0.1:9"), call, refused)
    assert (refused.sent, refused.sent_at) == (False, None)


async def test_a_request_that_never_left_gives_its_place_back(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    clock, ledger.room, keys = HandClock(), asyncio.Event(), {"TEST_KEY": ""}
    place = deployment(provider.url, requests_per_minute=1)
    model = metered(catalogue(place), ledger, clock, environ=keys)
    first, *others = ask(model, *"abc")
    await everybody_waits()
    assert not ledger.entries
    first.cancel()
    ledger.room.set()
    # The next one takes its place at once, and the one after that takes it when the key turns out to be empty.
    for call in others:
        with pytest.raises(CallsFailed, match="TEST_KEY is not set"):
            await call
    keys["TEST_KEY"] = KEY
    await model.complete(request())
    assert (clock.seconds, len(provider.calls)) == (0.0, 1)


async def test_tokens_per_minute_send_a_request_elsewhere(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    other.play(HELLO)
    clock = StoppedClock()
    models = catalogue(deployment(provider.url, tokens_per_minute=300), deployment(other.url))
    model = metered(models, ledger, clock)
    for _ in range(2):
        await model.complete(request())
    assert (len(provider.calls), len(other.calls), clock.slept) == (1, 1, [])


async def test_a_request_above_a_minutes_tokens_is_told_how_many_it_has(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    model = metered(catalogue(deployment(provider.url, tokens_per_minute=50)), ledger)
    bound = len("hello") + len("user") + 16 + 64
    with pytest.raises(CallsFailed) as failed:
        await model.complete(request())
    assert (
        f"openai/plain-1: the request may take {bound + 100} tokens ({bound} of input, 100 of output), "
        f"above 50 tokens a minute"
    ) in str(failed.value)


# --- whose turn it is ---------------------------------------------------------------------------


async def test_who_came_first_goes_first_and_the_wait_takes_nothing_from_the_deadline(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    clock = HandClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=1)), ledger, clock)
    calls = ask(model, *"abcdefgh", deadline_seconds=10.0)
    for minute, call in enumerate(calls):
        await clock.move_to(60.0 * minute)
        await call
    assert begun(ledger) == [*"abcdefgh"]


async def test_a_request_that_is_tried_again_keeps_its_turn(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{play: once, fault: {status: 429, retry_after: 5}}, {text: hello}]")
    clock = HandClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=1)), ledger, clock)
    first, second = ask(model, "a", "b")
    # The second one sleeps, then the first one in its stead.
    await clock.until_asked(2)
    await clock.move_to(60.0)
    await first
    await clock.move_to(120.0)
    await second
    assert begun(ledger) == ["a", "a", "b"]


async def test_a_waiter_that_is_cancelled_gives_its_place_to_the_next(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    clock = HandClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=1)), ledger, clock)
    first, second, third, fourth = ask(model, *"abcd")
    await first
    await clock.move_to(59.0)
    second.cancel()
    third.cancel()
    await clock.move_to(60.0)
    await fourth
    assert begun(ledger) == ["a", "d"]


async def test_a_small_request_goes_by_a_large_one_that_waits_for_another_deployment(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    other.play(HELLO)
    clock = HandClock()
    models = catalogue(
        deployment(provider.url, tokens_per_minute=300), deployment(other.url, tokens_per_minute=3000)
    )
    model = metered(models, ledger, clock)
    first, second = ask(model, "large", "large too", max_output_tokens=2000)
    await first
    await model.complete(request("small"))
    assert (clock.seconds, len(provider.calls), len(other.calls)) == (0.0, 1, 1)
    await clock.move_to(60.0)
    await second


async def test_a_rest_that_the_provider_asks_for_counts_against_the_deadline(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{fault: {status: 429, retry_after: 40}}]")
    clock = StoppedClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=1)), ledger, clock)
    with pytest.raises(CallsFailed, match="is free again in 40 s, but 10 s are left"):
        await model.complete(request(deadline_seconds=50.0))
    assert clock.slept == [60.0]


async def test_all_who_wait_give_up_when_the_rest_is_longer_than_their_deadline(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{fault: {status: 429, retry_after: 40}}]")
    clock = HandClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=1)), ledger, clock)
    calls = ask(model, *"abcd", deadline_seconds=30.0)
    failures = await asyncio.gather(*calls, return_exceptions=True)
    assert ["is free again in 40 s, but 30 s are left" in str(failure) for failure in failures] == [True] * 4
    assert (clock.seconds, len(provider.calls)) == (0.0, 1)


# --- how many at once ---------------------------------------------------------------------------


async def test_no_more_calls_at_once_than_the_deployment_takes(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: hello, barrier: gate}]")
    model = metered(catalogue(deployment(provider.url, max_parallel=2)), ledger)
    calls = [asyncio.create_task(model.complete(request())) for _ in range(5)]
    assert await asyncio.to_thread(provider.wait_until_held, "gate", 2)
    assert len(ledger.entries) == len(provider.calls) == 2
    provider.release("gate")
    assert [reply.text for reply in await asyncio.gather(*calls)] == ["hello"] * 5


async def test_a_call_too_many_for_one_deployment_goes_to_the_next(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: hello, barrier: gate}]")
    other.play("rules: [{text: hello, barrier: gate}]")
    models = catalogue(deployment(provider.url, max_parallel=1), deployment(other.url, max_parallel=1))
    calls = ask(metered(models, ledger), *"abc")
    assert await asyncio.to_thread(provider.wait_until_held, "gate")
    assert await asyncio.to_thread(other.wait_until_held, "gate")
    assert begun(ledger) == ["a", "b"]
    provider.release("gate")
    other.release("gate")
    await asyncio.gather(*calls)


# --- two entries, one account -------------------------------------------------------------------


async def test_what_entries_of_one_account_use_is_shared_and_the_limits_are_each_ones_own(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    clock = StoppedClock()
    free = deployment(provider.url)
    tight = replace(free, alias=SMART, requests_per_minute=2)
    model = metered(catalogue(free, tight), ledger, clock)
    await model.complete(request())
    await model.complete(request(model=SMART))
    for _ in range(3):
        await model.complete(request())
    assert clock.slept == []
    await model.complete(request(model=SMART))
    assert clock.slept == [60.0]


async def test_calls_at_once_of_one_account_are_counted_together(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: hello, barrier: gate}]")
    two = deployment(provider.url, max_parallel=2)
    model = metered(catalogue(two, replace(two, alias=SMART, max_parallel=1)), ledger)
    calls = ask(model, "a") + ask(model, "b", model=SMART) + ask(model, "c", "d")
    assert await asyncio.to_thread(provider.wait_until_held, "gate", 2)
    assert begun(ledger) == ["a", "c"]
    provider.release("gate")
    await asyncio.gather(*calls)
    assert sorted(begun(ledger)) == [*"abcd"]
    assert {entry.request.model for entry in ledger.entries} == {CHEAP, SMART}
