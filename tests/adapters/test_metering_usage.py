"""What a reply says of its usage, and what is charged for it: never less than it may have cost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.adapters.metering import CallsFailed
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.domain import ModelAlias
from orchestrator.core.money import LongContext, Rates, Usage, Usd
from orchestrator.core.ports import Flag
from tests.adapters.model_fakes import (
    SMART,
    RecordingLedger,
    catalogue,
    deployment,
    dollars_per_million,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")


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
