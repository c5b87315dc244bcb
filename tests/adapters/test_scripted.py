"""The scripted provider over plain HTTP: rules, faults, barriers, the record, and its command line."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.scripted import (
    ScriptedProvider,
    ScriptedProviderFailed,
    running_provider,
    scripted_catalogue,
)
from orchestrator.core.catalogue import Catalogue
from tests.adapters.model_fakes import CHEAP, SMART, catalogue, deployment

HELLO = "rules: [{text: hello}]"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(HELLO) as running:
        yield running


def ask(url: str, text: str = "hi", *, key: str | None = None, **more: Any) -> tuple[int, bytes]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    question = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(question, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def text_in(body: bytes) -> str:
    text: str = json.loads(body)["choices"][0]["message"]["content"]
    return text


def say(provider: ScriptedProvider, text: str = "hi", *, alias: str | None = None, **more: Any) -> str:
    status, body = ask(f"{provider.url}/{alias}/v1" if alias else provider.base_url, text, **more)
    return text_in(body) if status == 200 else f"{status}: {json.loads(body)['error']['message']}"


# --- rules --------------------------------------------------------------------------------------


def test_the_first_rule_that_applies_answers(provider: ScriptedProvider):
    provider.play("""
        rules:
          - {when: {alias: smart, contains: [plan, goal]}, text: a plan}
          - {when: {model: "gpt-*"}, text: by model}
          - {when: {matches: "(?i)fix .*line [0-9]+"}, text: by pattern}
          - {when: {last_contains: again, lacks: never}, text: by the last message}
          - {when: {alias: [cheap, smart]}, text: by alias}
    """)
    assert say(provider, "plan for the goal", alias="smart") == "a plan"
    assert say(provider, "plan for the goal", alias="cheap") == "by alias"
    assert say(provider, "x", model="gpt-4o") == "by model"
    assert say(provider, "Fix the typo on line 23") == "by pattern"
    assert say(provider, "again") == "by the last message"
    assert say(provider, "again, never") == (
        "400: scripted provider: no rule of the script applies to call 6 "
        "(alias none, model m, last message 'again, never')"
    )
    assert [call.rule for call in provider.calls][-2:] == ["rules[3]", None]


def test_rules_count_their_plays(provider: ScriptedProvider):
    provider.play("""
        rules:
          - {name: second, when: {call: 2, contains: a}, text: the second}
          - {name: once, play: once, text: once}
          - {name: list, play: 3, replies: [{text: one}, {text: two}]}
          - {name: rest, replies: [{text: last}, {text: always}]}
    """)
    said = [say(provider, "a") for _ in range(8)]
    assert said == ["once", "the second", "one", "two", "two", "last", "always", "always"]
    assert [(call.rule, call.play) for call in provider.calls][2:5] == [("list", 1), ("list", 2), ("list", 3)]


def test_usage_is_estimated_from_the_lengths_and_a_limit_cuts_the_reply(provider: ScriptedProvider):
    provider.play("rules: [{text: 'twelve bytes'}]")
    _, body = ask(provider.base_url, "12345", max_tokens=2)
    document = json.loads(body)
    assert document["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert document["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "twelve b"},
        "finish_reason": "length",
    }


def test_a_stream_carries_text_tools_finish_and_usage_when_asked(provider: ScriptedProvider):
    provider.play(
        "rules: [{text: hello you, chunks: 2, tool_calls: [{name: look, arguments: {path: a.py}}]}]"
    )
    _, body = ask(provider.base_url, stream=True, stream_options={"include_usage": True})
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "hello you"
    [call] = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert call["function"] == {"name": "look", "arguments": '{"path": "a.py"}'}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1] == "tool_calls"
    assert chunks[-1]["usage"]["prompt_tokens"] == 1
    _, without = ask(provider.base_url, stream=True)
    assert b'"usage"' not in without


def test_two_plays_of_a_script_are_the_same_byte_for_byte(provider: ScriptedProvider):
    plays = []
    for _ in range(2):
        provider.play("rules: [{text: hello}]")
        plays.append([ask(provider.base_url), ask(provider.base_url, stream=True)])
    assert plays[0] == plays[1]


# --- faults -------------------------------------------------------------------------------------


def test_a_status_with_headers_and_an_echo_of_the_key(provider: ScriptedProvider):
    provider.play(
        "rules: [{fault: {status: 429, retry_after: 7, code: slow, message: 'no {authorization}'}}]"
    )
    connection = http.client.HTTPConnection(provider.url.removeprefix("http://"))
    connection.request("POST", "/v1/chat/completions", '{"messages": []}', {"x-api-key": "k-1"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert json.loads(answer.read())["error"] == {
        "message": "no k-1",
        "type": "invalid_request_error",
        "code": "slow",
    }
    connection.close()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset", ConnectionResetError),
        ("{cut: 20}", http.client.IncompleteRead),
        ("{cut: 0}", http.client.IncompleteRead),
        ("{reset: 20}", (ConnectionResetError, http.client.IncompleteRead)),
    ],
)
def test_connections_break(provider: ScriptedProvider, fault: str, error: type[Exception]):
    provider.play(f"rules: [{{text: a reply of some length, fault: {fault}}}]")
    with pytest.raises(error):
        ask(provider.base_url)
    assert provider.wait_for_calls(1, finished=True)


def test_a_truncated_reply_ends_properly_in_the_middle(provider: ScriptedProvider):
    provider.play("rules: [{text: a reply of some length, fault: {truncate: 20}}]")
    status, body = ask(provider.base_url)
    assert (status, len(body)) == (200, 20)


def test_a_body_may_be_anything(provider: ScriptedProvider):
    provider.play("rules: [{fault: {body: '<html>busy</html>', status: 503, content_type: text/html}}]")
    assert ask(provider.base_url) == (503, b"<html>busy</html>")


def test_a_client_that_leaves_a_hanging_call_is_noticed(provider: ScriptedProvider):
    provider.play("rules: [{fault: hang}]")
    connection = http.client.HTTPConnection(provider.url.removeprefix("http://"))
    connection.request("POST", "/v1/chat/completions", '{"messages": []}')
    assert provider.wait_for_calls(1)
    assert provider.calls[0].outcome is None
    connection.close()
    assert provider.wait_for_calls(1, finished=True)
    assert provider.calls[0].outcome == "client gone"


def test_stopping_ends_hanging_and_held_replies():
    with (
        ScriptedProvider("rules: [{when: {contains: b}, barrier: gate, text: x}, {fault: hang}]") as provider,
        ThreadPoolExecutor() as pool,
    ):
        calls = [pool.submit(ask, provider.base_url, text) for text in "ab"]
        assert provider.wait_for_calls(2)
        provider.__exit__(None, None, None)
        for call in calls:
            assert isinstance(call.exception(), ConnectionError | http.client.HTTPException | OSError)


# --- barriers and the record --------------------------------------------------------------------


def test_a_barrier_holds_replies_until_they_are_released(provider: ScriptedProvider):
    provider.play("rules: [{text: hello, barrier: one}]")
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(say, provider) for _ in range(3)]
        assert provider.wait_until_held("one", 3)
        assert not any(call.done() for call in calls)
        provider.release("one", 1)
        assert provider.wait_for_calls(1, finished=True)
        assert sum(call.outcome is None for call in provider.calls) == 2
        control = urllib.request.Request(f"{provider.url}/control/release/one", b"")
        with urllib.request.urlopen(control) as answer:
            assert json.load(answer) == {}
        assert [call.result() for call in calls] == ["hello"] * 3
    assert say(provider) == "hello"


def test_the_record_has_every_question_and_no_key(tmp_path: Path):
    log = tmp_path / "calls.jsonl"
    with ScriptedProvider(HELLO, log=log) as provider:
        say(provider, "what is sk-canary-0123456789?", key="sk-canary-0123456789")
        say(provider, "again")
        say(provider, "again")
        with urllib.request.urlopen(f"{provider.url}/control/calls") as answer:
            listed = json.load(answer)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["event"], line["call"]) for line in lines] == [
        (event, number) for number in (1, 2, 3) for event in ("received", "finished")
    ]
    assert lines[0]["authorization"] == "redacted"
    assert lines[2]["authorization"] is None
    assert lines[0]["body"]["messages"][0]["content"] == "what is redacted?"
    assert "sk-canary" not in log.read_text()
    # The same question has the same digest: how a test proves that nothing is asked twice.
    assert lines[0]["digest"] != lines[2]["digest"] == lines[4]["digest"] == listed[2]["digest"]
    assert lines[1] == {
        "event": "finished",
        "call": 1,
        "outcome": "replied",
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def test_many_questions_at_once_are_all_answered_and_numbered(provider: ScriptedProvider):
    provider.play("rules: [{play: 20, text: early}, {text: late}]")
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda _: say(provider), range(60)))
    assert sorted(said) == ["early"] * 20 + ["late"] * 40
    assert sorted(call.number for call in provider.calls) == list(range(1, 61))


def test_what_is_no_request_is_refused(provider: ScriptedProvider):
    provider.play(HELLO)
    for body in (b"", b"[]", b"{", b"\xff"):
        question = urllib.request.Request(provider.base_url + "/chat/completions", body, method="POST")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(question)
        with error.value:
            assert b"not a JSON object" in error.value.read()
    assert provider.calls == ()


# --- the catalogue and the command line ---------------------------------------------------------


def test_every_alias_is_answered_at_its_real_price_and_dead_ones_come_back():
    cheap = deployment("https://real", model="openrouter/google/gemini-2.5-flash", requests_per_minute=3)
    smart = deployment(
        "https://real", alias=SMART, model="anthropic/claude-sonnet-4-5", parameters={"top_p": 1}
    )
    real = replace(catalogue(cheap, replace(cheap, model="gemini/second")), unusable={SMART: (smart,)})
    played = scripted_catalogue(real, "http://127.0.0.1:9/v1")
    [first], [second] = played.pool(CHEAP), played.pool(SMART)
    assert (first.model, first.api_base) == ("openai/google/gemini-2.5-flash", "http://127.0.0.1:9/cheap/v1")
    assert (second.model, second.price, second.key_variable) == (
        "openai/claude-sonnet-4-5",
        smart.price,
        None,
    )
    assert first.requests_per_minute is None
    assert scripted_catalogue(Catalogue(pools={CHEAP: ()}), "http://h").pools == {}


def test_a_port_that_is_taken_is_told(provider: ScriptedProvider):
    port = int(provider.url.rpartition(":")[2])
    with pytest.raises(ScriptedProviderFailed, match=f"cannot listen on 127.0.0.1:{port}"):
        ScriptedProvider(HELLO, port=port).__enter__()
    with pytest.raises(ScriptedProviderFailed, match="not running"):
        ScriptedProvider(HELLO).release("x")


def test_a_running_provider_is_told_from_any_other_server(provider: ScriptedProvider):
    assert running_provider(provider.url) == running_provider(f"{provider.base_url}/") == provider.url
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        with pytest.raises(ScriptedProviderFailed, match="another server answers there"):
            running_provider(f"http://localhost:{other.server_port}")
        thread.join()
    for url, told in (
        (f"http://127.0.0.1:{other.server_port}", "is no scripted provider"),
        ("http://127.0.0.1.example.test:8100", "runs on this machine"),
        ("http://localhost@example.test/v1", "runs on this machine"),
        ("http://localhost:many", "is no address"),
    ):
        with pytest.raises(ScriptedProviderFailed, match=told):
            running_provider(url)


def test_it_runs_on_its_own_and_prints_its_address(tmp_path: Path):
    script, log = tmp_path / "script.yaml", tmp_path / "log.jsonl"
    script.write_text(HELLO, encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator.adapters.scripted", str(script), "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert text_in(ask(f"{url}/v1")[1]) == "hello"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 0
    assert len(log.read_text().splitlines()) == 2


def test_a_script_with_faults_is_one_line_and_exit_code_2(tmp_path: Path):
    script = tmp_path / "script.yaml"
    script.write_text("rules: [{txt: x}]", encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator.adapters.scripted", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {script}: rules[0]: unknown key 'txt', did you mean 'text'?")
