"""Calls that fail, hang, break off or are cancelled: what is charged all the same, and who is asked next."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace

import pytest

from orchestrator.adapters.metering import CallRefused, CallsFailed
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.money import Usd
from orchestrator.core.ports import Flag
from tests.adapters.model_fakes import (
    HELLO,
    RecordingLedger,
    StoppedClock,
    catalogue,
    deployment,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")


def fault(text: str) -> str:
    return f"rules: [{{fault: {text}}}]"


# --- failures and failover ----------------------------------------------------------------------


async def test_a_rate_limited_call_is_released_and_the_next_deployment_takes_it_under_a_new_hold(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(fault("{status: 429, retry_after: 3600}"))
    other.play(HELLO)
    model = metered(catalogue(deployment(provider.url), deployment(other.url)), ledger)
    reply = await model.complete(request())
    assert reply.text == "hello"
    assert ledger.states == ["released", "settled"]
    assert reply.bill == Usd.of("0.00003")
    # The one that wants an hour of rest is left alone by the next request.
    await model.complete(request())
    assert len(provider.calls) == 1
    assert len(other.calls) == 2


async def test_a_retry_waits_as_long_as_it_was_asked_to(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(
        "rules: [{play: once, fault: {status: 429, retry_after: 7}}, "
        "{play: once, fault: {status: 429, headers: {Retry-After: 'Mon, 23 Nov 2026 10:00:20 GMT'}}}, "
        "{play: once, fault: {status: 429, retry_after: soon}}, {text: hello}]"
    )
    clock = StoppedClock()
    reply = await metered(catalogue(deployment(provider.url)), ledger, clock).complete(request())
    assert reply.text == "hello"
    # The date is 13 s after the end of the first wait; garbage falls back to our own backoff.
    assert clock.slept == [7.0, 13.0, 4.0]
    assert ledger.states == ["released", "released", "released", "settled"]


@pytest.mark.parametrize("wish", ["3600", "999999999999999999999", "1e400", "-5", "nan", ""])
async def test_a_storm_of_rate_limits_ends_and_costs_nothing(
    provider: ScriptedProvider, ledger: RecordingLedger, wish: str
):
    provider.play(fault(f"{{status: 429, retry_after: '{wish}'}}"))
    with pytest.raises(CallsFailed) as failed:
        await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert failed.value.bill == Usd(0)
    assert set(ledger.states) == {"released"}
    assert len(provider.calls) <= 8


async def test_a_failed_reply_is_charged_in_full_and_adds_to_the_bill_of_the_answer(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(fault("{status: 500}"))
    other.play(HELLO)
    reply = await metered(catalogue(deployment(provider.url), deployment(other.url)), ledger).complete(
        request()
    )
    first, second = ledger.entries
    assert (first.state, first.bill, first.flags) == ("settled", None, (Flag.CUT,))
    assert second.charged is not None
    assert reply.bill == first.request.amount + second.charged
    assert (reply.calls, reply.flags) == (2, (Flag.CUT,))


async def test_a_request_is_not_tried_again_above_what_it_may_cost_in_all(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{fault: {status: 500}}]")
    cap = Usd.of("0.0005")
    with pytest.raises(CallsFailed, match=r"of at most \$0.0005 is charged") as caught:
        await metered(catalogue(deployment(provider.url)), ledger).complete(request(bill_cap=cap))
    assert ledger.states == ["settled"]
    assert caught.value.bill == ledger.entries[0].charged == ledger.entries[0].request.amount
    assert cap < 2 * caught.value.bill


@pytest.mark.parametrize("what", ["{status: 500}", "{status: 529}", "reset", "{cut: 30}", "{truncate: 30}"])
async def test_what_may_have_been_processed_is_charged_and_tried_once_more_only(
    provider: ScriptedProvider, ledger: RecordingLedger, what: str
):
    provider.play(f"rules: [{{text: a long enough reply, fault: {what}}}]")
    with pytest.raises(CallsFailed, match="was charged") as failed:
        await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert len(provider.calls) == 2
    assert [entry.bill for entry in ledger.entries] == [None, None]
    assert ledger.states == ["settled", "settled"]
    assert failed.value.bill == ledger.entries[0].request.amount * 2
    assert failed.value.calls == 2


class RunningClock(StoppedClock):
    """Real seconds, but nobody really sleeps."""

    def monotonic(self) -> float:
        return self.seconds + time.monotonic()


@pytest.mark.parametrize("what", ["hang", "{drip: 0.02}"])
async def test_one_deadline_bounds_a_hang_and_a_slow_drip(
    provider: ScriptedProvider, ledger: RecordingLedger, what: str
):
    provider.play(f"rules: [{{when: {{contains: warm}}, text: up}}, {{text: {'x' * 2000}, fault: {what}}}]")
    model = metered(catalogue(deployment(provider.url)), ledger, RunningClock())
    await model.complete(request("warm"))
    with pytest.raises(CallsFailed, match="no complete reply within 1 s") as failed:
        await model.complete(request(deadline_seconds=1.0))
    assert failed.value.calls == 1
    entry = ledger.entries[1]
    assert (entry.state, entry.bill, entry.flags) == ("settled", None, (Flag.CUT,))
    assert await asyncio.to_thread(provider.wait_for_calls, 2, finished=True)
    assert provider.calls[1].outcome == "client gone"


async def test_a_refused_connection_and_an_unknown_host_are_released(ledger: RecordingLedger):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}"
        models = catalogue(deployment(refusing), deployment("http://nowhere.invalid"))
        clock = StoppedClock()
        with pytest.raises(CallsFailed, match="unreachable") as failed:
            await metered(models, ledger, clock).complete(request(deadline_seconds=4.0))
    assert ledger.states == ["released", "released"]
    assert failed.value.calls == 0


async def test_a_server_that_speaks_no_tls_is_released(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(HELLO)
    place = deployment(provider.url.replace("http://", "https://"))
    with pytest.raises(CallsFailed, match="unreachable"):
        await metered(catalogue(place), ledger).complete(request(deadline_seconds=4.0))
    assert ledger.states == ["released"]
    assert provider.calls == ()


async def test_a_redirect_is_not_followed_and_the_key_stays_here(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    elsewhere = other.base_url.replace("127.0.0.1", "localhost")
    provider.play(fault(f"{{redirect: '{elsewhere}/chat/completions'}}"))
    other.play(HELLO)
    for model in ("openai/plain-1", "openrouter/some/plain-1"):
        with pytest.raises(CallsFailed, match="redirects to localhost, which is not followed"):
            await metered(catalogue(deployment(provider.url, model=model)), ledger).complete(request())
    assert other.calls == ()
    assert ledger.states == ["released", "released"]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_request_is_not_charged_nor_tried_elsewhere(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger, status: int
):
    provider.play(fault(f"{{status: {status}, message: too many tokens}}"))
    other.play(HELLO)
    with pytest.raises(CallRefused, match=f"HTTP {status}: too many tokens"):
        await metered(catalogue(deployment(provider.url), deployment(other.url)), ledger).complete(request())
    assert ledger.states == ["released"]
    assert other.calls == ()


async def test_a_filtered_request_is_charged_because_somebody_read_it(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(fault("{status: 400, code: content_filter, message: not allowed}"))
    with pytest.raises(CallRefused, match="not allowed"):
        await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert ledger.states == ["settled"]
    assert ledger.entries[0].bill is None


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_a_wrong_key_or_name_goes_on_with_the_next_deployment(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger, status: int
):
    provider.play(fault(f"{{status: {status}}}"))
    other.play(HELLO)
    reply = await metered(catalogue(deployment(provider.url), deployment(other.url)), ledger).complete(
        request()
    )
    assert reply.text == "hello"
    assert ledger.states == ["released", "settled"]


async def test_a_missing_key_goes_on_with_the_next_deployment_and_nothing_is_sent(
    provider: ScriptedProvider, other: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    other.play(HELLO)
    models = catalogue(replace(deployment(provider.url), key_variable="GONE_KEY"), deployment(other.url))
    await metered(models, ledger).complete(request())
    assert provider.calls == ()
    assert ledger.states == ["released", "settled"]


async def test_a_provider_that_litellm_does_not_know_is_told_by_name(ledger: RecordingLedger):
    place = replace(deployment("http://127.0.0.1:9"), model="nosuch-provider/x")
    with pytest.raises(CallsFailed, match="LLM Provider NOT provided"):
        await metered(catalogue(place), ledger).complete(request())
    assert ledger.states == ["released"]


async def test_litellm_sends_every_call_once(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play("rules: [{play: 2, fault: {status: 503}}, {play: 2, fault: {status: 422}}, {text: hello}]")
    model = metered(catalogue(deployment(provider.url, model="openrouter/some/plain-1")), ledger)
    with pytest.raises(CallsFailed):
        await model.complete(request())
    with pytest.raises(CallRefused):
        await model.complete(request())
    assert len(provider.calls) == len(ledger.entries) == 3


# --- cancellation -------------------------------------------------------------------------------


async def test_a_cancelled_call_is_settled_before_the_cancellation_goes_on(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: late, barrier: gate}]")
    call = asyncio.create_task(metered(catalogue(deployment(provider.url)), ledger).complete(request()))
    assert await asyncio.to_thread(provider.wait_until_held, "gate")
    ledger.settling = asyncio.Event()
    call.cancel()
    # Cancelled once more while it is settling: it still settles.
    for _ in range(5):
        await asyncio.sleep(0)
    call.cancel()
    ledger.settling.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    [entry] = ledger.entries
    assert (entry.state, entry.bill, entry.flags) == ("settled", None, (Flag.CUT,))
    assert await asyncio.to_thread(provider.wait_for_calls, 1, finished=True)
    assert provider.calls[0].outcome == "client gone"


async def test_cancelling_the_wait_for_room_leaves_no_hold(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    ledger.room = asyncio.Event()
    call = asyncio.create_task(metered(catalogue(deployment(provider.url)), ledger).complete(request()))
    for _ in range(5):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ledger.entries == []
    assert provider.calls == ()


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_wherever_a_call_is_cancelled_its_hold_is_resolved(
    provider: ScriptedProvider, ledger: RecordingLedger, steps: int
):
    provider.play("rules: [{text: late, barrier: gate}]")
    call = asyncio.create_task(
        metered(catalogue(deployment(provider.url)), ledger).complete(request(f"step {steps}"))
    )
    for _ in range(steps):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert "open" not in ledger.states
    # What came to the provider was charged; what is released never left.
    # A request of the test before may come in late.
    came = [call for call in provider.calls if call.asked.texts == (f"step {steps}",)]
    assert len(came) <= ledger.states.count("settled")
