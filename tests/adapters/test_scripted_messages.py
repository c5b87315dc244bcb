"""The scripted provider in the Anthropic dialect: messages, tools, streams, errors, counting."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.adapters.scripted import ScriptedProvider

HELLO = "rules: [{text: hello}]"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(HELLO) as running:
        yield running


def message(provider: ScriptedProvider, **more: Any) -> tuple[int, bytes]:
    body = {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **more}
    address = f"{provider.url}/v1/messages?beta=true"
    question = urllib.request.Request(address, json.dumps(body).encode(), {"x-api-key": "secret-key-1"})
    try:
        with urllib.request.urlopen(question, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


TOOL = """
    rules:
      - when: {contains: ["be brief", tool_result]}
        text: done
      - text: I will look.
        tool_calls: [{name: Read, arguments: {path: a.py}}]
        usage: {input_tokens: 30, output_tokens: 7, cache_read_tokens: 10, cache_write_tokens: 15}
"""


def test_messages_are_answered_with_tools_and_their_results_read(provider: ScriptedProvider):
    provider.play(TOOL)
    first = json.loads(message(provider)[1])
    assert first["content"] == [
        {"type": "text", "text": "I will look."},
        {"type": "tool_use", "id": "toolu_scripted_1_0", "name": "Read", "input": {"path": "a.py"}},
    ]
    assert (first["stop_reason"], first["model"]) == ("tool_use", "claude-x")
    assert first["usage"] == {
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 15,
    }
    result = {"type": "tool_result", "tool_use_id": "toolu_scripted_1_0", "content": "x = 1"}
    second = json.loads(
        message(
            provider,
            system=[{"type": "text", "text": "be brief"}],
            messages=[
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": first["content"]},
                {"role": "user", "content": [result]},
            ],
        )[1]
    )
    assert (second["content"], second["stop_reason"]) == ([{"type": "text", "text": "done"}], "end_turn")
    assert [call.asked.dialect for call in provider.calls] == ["messages", "messages"]


def test_a_stream_of_messages_has_the_events_that_clients_wait_for(provider: ScriptedProvider):
    provider.play(TOOL)
    _, body = message(provider, stream=True)
    events = [
        (lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: ")))
        for lines in (frame.splitlines() for frame in body.decode().split("\n\n") if frame)
    ]
    assert all(kind == data["type"] for kind, data in events)
    assert [kind for kind, data in events if kind != "content_block_delta"] == [
        "message_start",
        "ping",
        *("content_block_start", "content_block_stop") * 2,
        "message_delta",
        "message_stop",
    ]
    deltas = [(data["index"], data["delta"]) for kind, data in events if kind == "content_block_delta"]
    assert "".join(delta["text"] for index, delta in deltas if index == 0) == "I will look."
    arguments = "".join(delta["partial_json"] for index, delta in deltas if index == 1)
    assert json.loads(arguments) == {"path": "a.py"}
    assert events[0][1]["message"]["usage"]["input_tokens"] == 5
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"
    assert events[-2][1]["usage"]["output_tokens"] == 7


def test_an_unscripted_message_and_an_overload_are_errors_of_the_dialect(provider: ScriptedProvider):
    provider.play("rules: [{when: {contains: busy}, fault: {status: 529, message: later}}]")
    status, body = message(provider)
    assert (status, json.loads(body)["error"]["type"]) == (400, "unscripted")
    status, body = message(provider, messages=[{"role": "user", "content": "busy"}])
    assert (status, json.loads(body)["error"]) == (529, {"type": "overloaded_error", "message": "later"})


def test_a_client_may_look_whether_anybody_is_there_and_count(provider: ScriptedProvider):
    provider.play(HELLO)
    with urllib.request.urlopen(urllib.request.Request(provider.url + "/", method="HEAD")) as answer:
        assert answer.status == 200
    counting = f"{provider.base_url}/messages/count_tokens"
    with urllib.request.urlopen(counting, b'{"messages": [{"content": "12345678"}]}') as answer:
        assert json.load(answer) == {"input_tokens": 2}
    assert provider.calls == ()
