"""Calls through the real LiteLLM to the scripted provider, each under a hold."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from urllib.parse import quote

import pytest

from orchestrator.adapters.metering import CallsFailed
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from orchestrator.core.money import Usage, Usd, worst_case
from orchestrator.core.ports import BudgetExceeded, Message, ModelUnavailable
from tests.adapters.model_fakes import (
    CHEAP,
    HELLO,
    KEY,
    SMART,
    RecordingLedger,
    catalogue,
    deployment,
    dollars_per_million,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")


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
