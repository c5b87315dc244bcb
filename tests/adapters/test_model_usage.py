"""Raw replies of every dialect -> usage; a bound on tokens; secrets taken out of text."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.metering_models import is_same_model
from orchestrator.adapters.models_failures import retry_after_seconds
from orchestrator.adapters.models_usage import OddUsage, finish_of, read_reply, text_of, usage_from
from orchestrator.adapters.scrubbing import REDACTED, scrubbed, secrets_in, secrets_in_url
from orchestrator.adapters.tokens import input_token_bound
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import Message
from tests.adapters.model_fakes import deployment


def sse(*documents: object) -> bytes:
    return b"".join(b"event: x\ndata: " + json.dumps(item).encode() + b"\n\n" for item in documents)


ANTHROPIC_STREAM = sse(
    {
        "type": "message_start",
        "message": {
            "model": "claude-sonnet-4-5-20250929",
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 30,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
)
GEMINI_STREAM = sse(
    {"candidates": [{"content": {"parts": [{"text": "why", "thought": True}, {"text": "hel"}]}}]},
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 60,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 67,
            "cachedContentTokenCount": 20,
        },
        "modelVersion": "gemini-2.5-flash",
    },
)
OLLAMA_STREAM = b"\n".join(
    json.dumps(line).encode()
    for line in (
        {"model": "llama3", "message": {"content": "hel"}, "done": False},
        {
            "model": "llama3",
            "message": {"content": "lo"},
            "done": True,
            "prompt_eval_count": 60,
            "eval_count": 7,
        },
    )
)


@pytest.mark.parametrize(
    ("body", "model", "usage"),
    [
        (
            ANTHROPIC_STREAM,
            "claude-sonnet-4-5-20250929",
            Usage(input_tokens=60, output_tokens=7, cache_read_tokens=20, cache_write_tokens=30),
        ),
        (
            GEMINI_STREAM,
            "gemini-2.5-flash",
            Usage(input_tokens=60, output_tokens=7, cache_read_tokens=20, reasoning_tokens=3),
        ),
        (OLLAMA_STREAM, "llama3", Usage(input_tokens=60, output_tokens=7)),
    ],
    ids=["anthropic", "gemini", "ollama"],
)
def test_streams_of_every_dialect_are_read_to_their_end(body: bytes, model: str, usage: Usage):
    said = read_reply(body, streamed=True)
    assert (said.answered_by, said.ended, said.usage, said.odd) == (model, True, usage, "")
    assert text_of(body) == "hello"
    assert finish_of(body) == "stop"
    cut = read_reply(body[: len(body) // 2], streamed=True)
    assert not cut.ended
    assert text_of(body[: len(body) // 2]) is None


@pytest.mark.parametrize(
    ("plain", "usage"),
    [
        (
            {
                "input_tokens": 10,
                "output_tokens": 2,
                "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 6,
            },
            Usage(input_tokens=21, output_tokens=2, cache_read_tokens=5, cache_write_tokens=6),
        ),
        # DeepSeek names its cache hits apart; xAI leaves reasoning out of the completion.
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 4},
            Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "total_tokens": 20,
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
            Usage(input_tokens=10, output_tokens=10, reasoning_tokens=8),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 15}, Usage(input_tokens=10, output_tokens=5)),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 5,
                "candidatesTokenCount": 1,
                "totalTokenCount": 16,
            },
            Usage(input_tokens=15, output_tokens=1),
        ),
    ],
)
def test_what_vendors_count_differently_becomes_one_usage(plain: dict[str, object], usage: Usage):
    assert usage_from(plain) == usage


@pytest.mark.parametrize(
    ("more", "cost"),
    [
        ({}, "0.00125"),
        ({"is_byok": False, "cost_details": {"upstream_inference_cost": 0.00125}}, "0.00125"),
        # With a vendor's key of one's own, `cost` is OpenRouter's fee alone.
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": 0.025}}, "0.02625"),
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": None}}, "0.00125"),
        ({"is_byok": True, "cost_details": 3}, "0.00125"),
    ],
)
def test_a_cost_stated_by_the_provider_is_kept(more: dict[str, object], cost: str):
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00125, **more}
    assert read_reply(json.dumps({"usage": usage}).encode(), streamed=False).cost == Usd.of(cost)


COUNTS = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=5),
    st.none(),
    st.booleans(),
    st.lists(st.none()),
)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "promptTokenCount",
        "eval_count",
        "cost",
    ]
)


@given(
    st.dictionaries(NAMES, COUNTS | st.dictionaries(st.sampled_from(["cached_tokens"]), COUNTS, max_size=1))
)
def test_any_usage_is_read_or_told_odd_and_never_negative(plain: dict[str, object]):
    body = json.dumps({"choices": [{"finish_reason": "stop"}], "usage": plain}).encode()
    said = read_reply(body, streamed=False)
    if said.usage is None:
        assert said.odd
        return
    usage = said.usage
    assert (
        min(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens) >= 0
    )
    assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens


KEYS = [
    "usage",
    "usageMetadata",
    "choices",
    "candidates",
    "message",
    "content",
    "delta",
    "model",
    "type",
    "done",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "usageMetadata",
                    "choices",
                    "candidates",
                    "message",
                    "content",
                    "delta",
                    "model",
                    "type",
                    "parts",
                    "done",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_no_reply_whatever_crashes_the_reader(document: object, streamed: bool):
    body = json.dumps(document).encode()
    read_reply(body, streamed=streamed)
    text_of(body)


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(body: bytes):
    read_reply(body, streamed=True)
    text_of(body)


def test_deeply_nested_json_is_no_reply():
    assert not read_reply(b"[" * 100_000, streamed=False).ended


def test_usage_that_is_no_object_is_odd():
    with pytest.raises(OddUsage, match="prompt_tokens_details is not an object"):
        usage_from({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": 3})


# --- the token bound ----------------------------------------------------------------------------


@given(st.text(max_size=200) | st.text(alphabet=" \n\tabcdef(){}=_0123456789", max_size=400))
def test_a_prompt_has_never_more_tokens_than_its_bound(text: str):
    import tiktoken_ext.openai_public  # noqa: F401  # registered encodings; litellm brings the data along

    from orchestrator.adapters.models import loaded_litellm

    litellm = loaded_litellm()
    tokens = litellm.token_counter(model="gpt-4o", messages=[{"role": "user", "content": text}])
    assert tokens <= input_token_bound([Message(role="user", content=text)])


def test_text_that_grows_when_normalised_is_bounded_by_the_longer_form():
    ligature = "\ufdfa"
    assert len(ligature.encode()) == 3
    assert input_token_bound([Message(role="user", content=ligature * 10)]) >= 10 * 33


def test_a_schema_counts_in_the_bound():
    messages = [Message(role="user", content="x")]
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert input_token_bound(messages, schema) >= input_token_bound(messages) + len(json.dumps(schema))


# --- names, waits, secrets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("openrouter/anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929", True),
        ("openrouter/google/gemini-2.5-flash", "google/gemini-2.5-flash", True),
        ("openrouter/deepseek/deepseek-r1:free", "deepseek/deepseek-r1", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("gemini/gemini-2.0-flash", "gemini-2.0-flash-001", True),
        ("vertex_ai/claude-sonnet-4-5@20250929", "claude-sonnet-4-5", True),
        ("openai/gpt-4o-mini", "gpt-4o", False),
        ("openai/gpt-4o", "gpt-4", False),
        ("openrouter/google/gemini-2.5-flash", "google/gemini-2.5-pro", False),
        ("anthropic/claude-sonnet-4-5", "claude-opus-4-5", False),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4", False),
        ("openai/gpt-5", "", False),
        ("openai/gpt-4o-2024-08-06", "gpt-4o-20240806", True),
        ("openai/gpt-4o-2024-08-06", "gpt-4o-2024-05-13", False),
        ("mistral/mistral-large-latest", "mistral-large-2411", True),
        ("mistral/mistral-large-2411", "mistral-large-2402", False),
        ("bedrock/anthropic.claude-x-20240620-v1:0", "anthropic.claude-x-20240620", True),
    ],
)
def test_a_model_is_known_by_any_of_its_names(asked: str, answered: str, same: bool):
    assert is_same_model(deployment("http://h", model=asked), answered) is same


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "99999"}, 3600.0),
        ({"retry-after": "9" * 400}, 3600.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:01:00 GMT"}, 60.0),
        ({"retry-after": "Mon, 23 Nov 2020 10:01:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 9999 10:01:00 GMT"}, 3600.0),
        ({"retry-after": "Mon, 99 Foo 2026"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_reply_asks_for(headers: dict[str, str], seconds: float | None):
    # 2026-11-23T10:00:00Z
    assert retry_after_seconds(headers, now_epoch_seconds=1795428000.0) == seconds


@given(st.text(max_size=70))
def test_no_wish_to_wait_crashes(text: str):
    seconds = retry_after_seconds({"retry-after": text}, now_epoch_seconds=1795428000.0)
    assert seconds is None or 0 <= seconds <= 3600


SECRETS = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=40)


@given(SECRETS, st.binary(max_size=4), st.binary(max_size=4))
def test_a_secret_is_taken_out_in_every_form(secret: str, before: bytes, after: bytes):
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    text = f"a {secret} b {quote(secret, safe='')} c {encoded} d"
    shown = scrubbed(text, [secret])
    assert secret not in shown
    assert quote(secret, safe="") not in shown
    # What is left of the Base64 may show the first and last character, which other text shares.
    for start in range(3):
        core = base64.b64encode(b"\0" * start + secret.encode()).decode()
        assert core[4 if start else 0 : -4] not in shown


def test_what_looks_like_a_secret_is_taken_out_whatever_it_is():
    text = "https://user:pa55word@host/x failed with Authorization: Bearer abcdefghijkl"
    assert scrubbed(text, []) == f"https://{REDACTED}@host/x failed with Authorization: Bearer {REDACTED}"


def test_secrets_are_found_by_the_names_of_their_variables():
    environ = {
        "X_API_KEY": "long-enough-1",
        "GH_TOKEN": "long-enough-2",
        "PATH": "/usr/bin:/bin",
        "MONKEY": "no-secret-here",
        "MINE": "long-enough-3",
        "PASSWORD": "short",
    }
    assert secrets_in(environ, variables=["MINE", "GONE"]) == {
        "long-enough-1",
        "long-enough-2",
        "long-enough-3",
    }
    assert secrets_in_url("http://me:long-enough-4@host") == {"long-enough-4"}
    assert secrets_in_url("http://host") == frozenset()
