"""Calls through the real LiteLLM to the scripted provider, each under a hold."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest

from orchestrator.adapters.metering import CallRefused, CallsFailed
from orchestrator.adapters.models import close_connections
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.domain import AttemptId, ModelAlias, RunId, SubtaskId
from orchestrator.core.money import LongContext, Rates, Usage, Usd, worst_case
from orchestrator.core.ports import BudgetExceeded, Flag, Message, ModelUnavailable
from tests.adapters.model_fakes import (
    CHEAP,
    KEY,
    SMART,
    RecordingLedger,
    StoppedClock,
    catalogue,
    deployment,
    dollars_per_million,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")

HELLO = "rules: [{text: hello, usage: {input_tokens: 10, output_tokens: 5}}]"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(HELLO) as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(HELLO) as running:
        yield running


@pytest.fixture
async def connections() -> AsyncIterator[None]:
    yield
    await close_connections()


@pytest.fixture
def ledger() -> RecordingLedger:
    return RecordingLedger()


def fault(text: str) -> str:
    return f"rules: [{{fault: {text}}}]"


# --- a reply ------------------------------------------------------------------------------------


async def test_a_reply_is_charged_by_its_usage_and_its_hold_was_the_worst_case(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    place = deployment(provider.url)
    reply = await metered(catalogue(place), ledger).complete(request())
    assert (reply.text, reply.answered_by, reply.model, reply.calls) == ("hello", "plain-1", "cheap", 1)
    # 10 tokens at $1 and 5 at $4 per million.
    assert reply.bill == Usd.of("0.00003")
    [entry] = ledger.entries
    assert entry.state == "settled"
    assert entry.usage == reply.usage == Usage(input_tokens=10, output_tokens=5)
    assert entry.flags == reply.flags == ()
    bound = len("hello") + len("user") + 16 + 64
    assert entry.request.amount == worst_case(place.price, input_tokens=bound, max_output_tokens=100)
    [call] = provider.calls
    assert call.asked.max_tokens == 100
    assert call.asked.authorized


async def test_the_hold_names_what_it_is_for_and_the_caps_of_the_request_win(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    model = metered(
        catalogue(deployment(provider.url)),
        ledger,
        repository="/repo",
        run_cap=Usd.of(2),
        repository_cap=Usd.of(3),
        attempt_cap=Usd.of(1),
    )
    attempt = AttemptId(SubtaskId("parse"), 1)
    await model.complete(request(run=RunId("r"), attempt=attempt, category="cheap/bug-fixes"))
    await model.complete(request(run_cap=Usd.of("0.5"), attempt_cap=Usd.of("0.25")))
    first, second = (entry.request for entry in ledger.entries)
    assert (first.what, first.run, first.repository) == ("attempt parse#1", "r", "/repo")
    assert (first.deployment, first.category) == ("openai/plain-1", "cheap/bug-fixes")
    assert (first.run_cap, first.repository_cap, first.attempt_cap) == (Usd.of(2), Usd.of(3), Usd.of(1))
    assert (second.run_cap, second.attempt_cap) == (Usd.of("0.5"), Usd.of("0.25"))


async def test_nothing_is_called_without_a_hold(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(HELLO)
    ledger.refuse = BudgetExceeded(
        what="the test call", needs=Usd.of(1), left=Usd.of(0), cap=Usd.of(5), window="day"
    )
    with pytest.raises(BudgetExceeded, match="may cost up to"):
        await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert provider.calls == ()


async def test_a_model_that_an_overrun_stopped_is_passed_over(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    ledger.refuse = ModelUnavailable("openai/plain-1 was stopped by an overrun")
    with pytest.raises(CallsFailed, match="stopped by an overrun"):
        await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert provider.calls == ()


async def test_an_alias_without_a_usable_entry_says_which_key_is_missing(ledger: RecordingLedger):
    models = replace(catalogue(), skipped=("smart: OPENROUTER_API_KEY is not set",))
    with pytest.raises(ModelUnavailable, match=r"no usable model for 'smart' \(smart: OPENROUTER_API_KEY"):
        await metered(models, ledger).complete(request(model=SMART))


async def test_the_output_limit_of_the_deployment_bounds_hold_and_request(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    place = deployment(provider.url, max_output_tokens=40)
    await metered(catalogue(place), ledger).complete(request(max_output_tokens=4000))
    assert provider.calls[0].asked.max_tokens == 40


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


# --- usage --------------------------------------------------------------------------------------

ODD = {
    "NaN": '{raw: \'{"prompt_tokens": NaN, "completion_tokens": 1}\'}',
    "Infinity": '{raw: \'{"prompt_tokens": 1, "completion_tokens": Infinity}\'}',
    "1e400": '{raw: \'{"prompt_tokens": 1e400, "completion_tokens": 1}\'}',
    "negative": "{input_tokens: -1, output_tokens: 1}",
    "a text": "{input_tokens: '12', output_tokens: 1}",
    "a fraction": "{input_tokens: 1.5, output_tokens: 1}",
    "a flag": "{input_tokens: true, output_tokens: 1}",
    "a list": "{raw: '[1, 2]'}",
    "nothing in it": "{raw: '{}'}",
    "no prompt": "{input_tokens: 0, output_tokens: 0}",
    "more cached than sent": "{input_tokens: 5, output_tokens: 1, cache_read_tokens: 6}",
    "above every context": "{input_tokens: 900000000000, output_tokens: 1}",
    "above its own context": "{input_tokens: 8193, output_tokens: 1}",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("usage", list(ODD.values()), ids=list(ODD))
async def test_impossible_usage_keeps_the_hold_charged_and_the_reply(
    provider: ScriptedProvider, ledger: RecordingLedger, usage: str, stream: bool
):
    provider.play(f"rules: [{{text: hello, usage: {usage}}}]")
    place = deployment(provider.url, max_input_tokens=8192, parameters={"stream": stream})
    reply = await metered(catalogue(place), ledger).complete(request())
    assert (reply.text, reply.usage, reply.flags) == ("hello", None, (Flag.ODD_USAGE,))
    [entry] = ledger.entries
    assert (entry.state, entry.bill, entry.flags) == ("settled", None, (Flag.ODD_USAGE,))
    assert reply.bill == entry.request.amount


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("usage", ["none", "{raw: 'null'}"])
async def test_a_reply_without_usage_keeps_the_hold_charged(
    provider: ScriptedProvider, ledger: RecordingLedger, usage: str, stream: bool
):
    provider.play(f"rules: [{{text: hello, usage: {usage}}}]")
    place = deployment(provider.url, parameters={"stream": stream})
    reply = await metered(catalogue(place), ledger).complete(request())
    assert (reply.text, reply.flags) == ("hello", (Flag.NO_USAGE,))
    assert ledger.entries[0].bill is None
    assert reply.bill == ledger.entries[0].request.amount


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_anthropic_itself_is_called_and_billed_by_its_own_way_of_counting(
    provider: ScriptedProvider, ledger: RecordingLedger, stream: bool
):
    provider.play(
        "rules: [{text: hello, as_model: claude-sonnet-4-5-20250929, "
        "usage: {input_tokens: 100, output_tokens: 50, cache_read_tokens: 60, cache_write_tokens: 30}}]"
    )
    price = dollars_per_million("3", "15", read="0.3", write="3.75")
    place = deployment(
        provider.url, model="anthropic/claude-sonnet-4-5", price=price, parameters={"stream": stream}
    )
    reply = await metered(catalogue(replace(place, api_base=provider.url)), ledger).complete(request())
    assert (reply.text, reply.flags) == ("hello", ())
    assert reply.usage == Usage(
        input_tokens=100, output_tokens=50, cache_read_tokens=60, cache_write_tokens=30
    )
    # 10 fresh at $3, 60 read at $0.30, 30 written at $3.75, 50 out at $15 per million.
    assert reply.bill == Usd.of("0.0009105")
    assert provider.calls[0].asked.dialect == "messages"
    assert provider.calls[0].asked.stream is stream


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_cached_and_reasoning_tokens_are_billed_at_their_rates(
    provider: ScriptedProvider, ledger: RecordingLedger, stream: bool
):
    provider.play(
        "rules: [{text: hello, usage: {input_tokens: 100, output_tokens: 50, cache_read_tokens: 60, "
        "cache_write_tokens: 30, reasoning_tokens: 40}}]"
    )
    price = dollars_per_million("1", "4", read="0.1", write="1.25")
    place = deployment(provider.url, price=price, parameters={"stream": stream})
    reply = await metered(catalogue(place), ledger).complete(request("x" * 400))
    assert reply.usage == Usage(
        input_tokens=100, output_tokens=50, cache_read_tokens=60, cache_write_tokens=30, reasoning_tokens=40
    )
    # 10 fresh at $1, 60 read at $0.10, 30 written at $1.25, 50 out at $4 per million.
    assert reply.bill == Usd.of("0.0002535")
    # Held at the dearest input rate: all of the prompt might have been written to the cache.
    bound = 400 + len("user") + 16 + 64
    assert ledger.entries[0].request.amount == Usd.of("0.00000125") * bound + Usd.of("0.0004")


async def test_a_long_prompt_is_held_and_billed_at_the_long_context_rates(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: hello, usage: {input_tokens: 300, output_tokens: 10}}]")
    price = replace(
        dollars_per_million("1", "4"),
        long_context=(LongContext(above_tokens=200, rates=Rates(input=Usd.of(2), output=Usd.of(8))),),
    )
    reply = await metered(catalogue(deployment(provider.url, price=price)), ledger).complete(
        request("x" * 400)
    )
    assert reply.bill == Usd.of("0.00068")
    assert ledger.entries[0].request.amount == Usd.of("0.000002") * 484 + Usd.of("0.0008")


@pytest.mark.parametrize(("answers", "bill"), [("plain-9", "0.00015"), ("plain-0", "0.00003")])
async def test_another_model_is_flagged_and_never_cheaper(
    provider: ScriptedProvider, ledger: RecordingLedger, answers: str, bill: str
):
    provider.play(f"rules: [{{text: x, as_model: {answers}, usage: {{input_tokens: 10, output_tokens: 5}}}}]")
    models = catalogue(
        deployment(provider.url),
        deployment(provider.url, alias=SMART, model="openai/plain-9", price=dollars_per_million("5", "20")),
        deployment(
            provider.url,
            alias=ModelAlias("free"),
            model="openai/plain-0",
            price=dollars_per_million("0", "0"),
        ),
    )
    reply = await metered(models, ledger).complete(request(max_output_tokens=1000))
    assert (reply.answered_by, reply.flags) == (answers, (Flag.OTHER_MODEL,))
    assert reply.bill == ledger.entries[0].bill == Usd.of(bill)


async def test_another_model_is_charged_by_the_price_map_when_the_catalogue_does_not_know_it(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: x, as_model: gpt-4o, usage: {input_tokens: 1000, output_tokens: 100}}]")
    reply = await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert Flag.OTHER_MODEL in reply.flags
    # gpt-4o: $2.50 and $10 per million.
    assert reply.bill == Usd.of("0.0035")
    assert Flag.OVERRUN in reply.flags


async def test_a_bill_above_its_hold_is_charged_and_flagged(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{text: x, usage: {input_tokens: 10, output_tokens: 5000}}]")
    reply = await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert reply.flags == (Flag.OVERRUN,)
    assert reply.bill == Usd.of("0.02001") > ledger.entries[0].request.amount


@pytest.mark.parametrize(
    ("stated", "bill"), [("0.5", "0.5"), ("0", "0.00003"), ("-1", "0.00003"), ("NaN", "0.00003")]
)
async def test_a_cost_that_the_provider_states_counts_only_when_it_is_dearer(
    provider: ScriptedProvider, ledger: RecordingLedger, stated: str, bill: str
):
    raw = f'{{"prompt_tokens": 10, "completion_tokens": 5, "cost": {stated}}}'
    provider.play(f"rules: [{{text: x, usage: {{raw: '{raw}'}}}}]")
    reply = await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert reply.bill == Usd.of(bill)


@pytest.mark.parametrize("what", ["{cut: 300}", "{truncate: 300}", "{reset: 300}"])
async def test_a_stream_that_breaks_off_is_no_reply_and_is_charged(
    provider: ScriptedProvider, ledger: RecordingLedger, what: str
):
    provider.play(f"rules: [{{text: {'hello ' * 40}, fault: {what}}}]")
    place = deployment(provider.url, parameters={"stream": True})
    with pytest.raises(CallsFailed, match="was charged"):
        await metered(catalogue(place), ledger).complete(request())
    assert [(entry.state, entry.bill, entry.flags) for entry in ledger.entries] == [
        ("settled", None, (Flag.CUT,))
    ] * 2


async def test_a_reply_without_any_message_is_charged_by_its_usage(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    body = json.dumps(
        {"id": "1", "model": "plain-1", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    )
    provider.play(f"rules: [{{fault: {{body: '{body}'}}}}]")
    with pytest.raises(CallsFailed):
        await metered(catalogue(deployment(provider.url)), ledger).complete(request())
    assert [entry.bill for entry in ledger.entries] == [Usd.of("0.00003")] * 2


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


# --- limits -------------------------------------------------------------------------------------


async def test_requests_per_minute_are_kept(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(HELLO)
    clock = StoppedClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=2)), ledger, clock)
    for _ in range(3):
        await model.complete(request())
    assert clock.slept == [60.0]


async def test_requests_per_minute_are_kept_by_many_at_once(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    clock = StoppedClock()
    model = metered(catalogue(deployment(provider.url, requests_per_minute=2)), ledger, clock)
    await asyncio.gather(*(model.complete(request()) for _ in range(6)))
    # Two at once, and each pair a minute after the one before.
    assert clock.seconds >= 120.0
    assert len(provider.calls) == 6


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
    lonely = metered(catalogue(deployment(provider.url, tokens_per_minute=50)), ledger)
    with pytest.raises(CallsFailed, match="above 50 tokens a minute"):
        await lonely.complete(request())


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


# --- what is sent -------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


async def test_a_schema_is_sent_where_it_is_supported_and_counts_in_the_hold(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    for supports in (True, False):
        model = metered(catalogue(deployment(provider.url, supports_schema=supports)), ledger)
        await model.complete(request(schema=SCHEMA, schema_name="plan"))
    with_schema, plain = (call.asked.body for call in provider.calls)
    assert with_schema["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "plan", "schema": SCHEMA, "strict": True},
    }
    assert "response_format" not in plain
    assert ledger.entries[0].request.amount > ledger.entries[1].request.amount


async def test_a_refused_schema_is_asked_for_again_without(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play("rules: [{play: once, fault: {status: 400, message: no json_schema here}}, {text: '{}'}]")
    model = metered(catalogue(deployment(provider.url, supports_schema=True)), ledger)
    reply = await model.complete(request(schema={"type": "object", "properties": {"b": {}}}))
    assert reply.text == "{}"
    first, second = (call.asked.body for call in provider.calls)
    assert first["response_format"]["json_schema"]["strict"] is False
    assert "response_format" not in second
    assert ledger.states == ["released", "settled"]


async def test_openrouter_may_not_choose_a_vendor_dearer_than_the_hold(
    provider: ScriptedProvider, ledger: RecordingLedger
):
    provider.play(HELLO)
    place = deployment(
        provider.url,
        model="openrouter/google/gemini-2.5-flash",
        price=dollars_per_million("0.3", "2.5", read="0.03", write="0.38"),
        parameters={"reasoning_effort": "none", "extra_body": {"provider": {"sort": "price"}}},
    )
    await metered(catalogue(place), ledger, environ={"TEST_KEY": KEY}).complete(request())
    body = provider.calls[0].asked.body
    assert body["model"] == "google/gemini-2.5-flash"
    assert body["provider"] == {"sort": "price", "max_price": {"prompt": 0.38, "completion": 2.5}}
    assert body["max_tokens"] == 100
    assert body["reasoning_effort"] == "none"


async def test_no_key_of_the_environment_goes_to_a_local_server(
    provider: ScriptedProvider, ledger: RecordingLedger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    provider.play("rules: [{fault: {status: 401, message: 'what key is {authorization}'}}]")
    place = replace(deployment(provider.url), key_variable=None)
    with pytest.raises(CallsFailed, match="what key is Bearer no-key"):
        await metered(catalogue(place), ledger, environ={}).complete(request())


# --- secrets ------------------------------------------------------------------------------------


async def test_no_form_of_the_key_comes_back_in_an_error_or_in_the_ledger(
    provider: ScriptedProvider,
    ledger: RecordingLedger,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    key = "sk/canary+51f0e2a7c9=="
    forms = [
        key,
        quote(key, safe=""),
        *(base64.b64encode(prefix + key.encode()).decode() for prefix in (b"", b"u:", b"us:", b"user:")),
    ]
    shown = " and ".join(forms)
    provider.play(
        json.dumps({"rules": [{"fault": {"status": 500, "message": f"bad: {shown} {{authorization}}"}}]})
    )
    model = metered(catalogue(deployment(provider.url)), ledger, environ={"TEST_KEY": key})
    with caplog.at_level("DEBUG"), pytest.raises(CallsFailed) as failed:
        await model.complete(request())
    assert "bad: [redacted] and [redacted]" in str(failed.value)
    everything = "\n".join(
        [str(failed.value), repr(ledger.entries), repr(provider.calls), *capfd.readouterr()]
    )
    assert not [form for form in forms if form in everything or form.rstrip("=")[4:-4] in everything]
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None


async def test_messages_keep_their_roles_and_order(provider: ScriptedProvider, ledger: RecordingLedger):
    provider.play(HELLO)
    asked = replace(
        request(),
        messages=(Message(role="system", content="be brief"), Message(role="user", content="ünï ☃")),
    )
    await metered(catalogue(deployment(provider.url, alias=CHEAP)), ledger).complete(asked)
    assert provider.calls[0].asked.body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ünï ☃"},
    ]
