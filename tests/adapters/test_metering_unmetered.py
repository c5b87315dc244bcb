"""Ways in which a call could cost more than its hold, or be paid without one: each is closed, with real LiteLLM."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.kept_replies import KeptReplies
from orchestrator.adapters.metering import CallsFailed
from orchestrator.adapters.models import WATCHED_PROVIDERS
from orchestrator.adapters.models_failures import FailureKind, kind_of_status, kind_of_wire
from orchestrator.adapters.models_wire import CURRENT, RecordingTransport, Wire
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from orchestrator.core.money import Usd
from orchestrator.core.ports import Flag
from tests.adapters.model_fakes import (
    RecordingLedger,
    catalogue,
    deployment,
    dollars_per_million,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")

REPLY: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "plain-1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    # Every dialect's own words, so that each finds its usage.
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "input_tokens": 10,
        "output_tokens": 5,
    },
}
EXTRA = {"azure": {"api_version": "2024-10-21"}}


class AnyServer(ThreadingHTTPServer):
    """Answers every POST with `status` and `reply`, and keeps the bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.bodies: list[dict[str, Any]] = []
        self.status, self.reply = 200, REPLY

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AnyServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(json.loads(body))
        answer = json.dumps(self.server.reply).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[AnyServer]:
    with AnyServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("model", ["oobabooga/plain-1", "maritalk/plain-1"])
async def test_a_reply_that_litellm_fetched_past_our_transport_is_kept_and_charged_in_full(
    server: AnyServer, ledger: RecordingLedger, model: str
):
    reply = await metered(catalogue(deployment(server.url, model=model)), ledger).complete(request())
    assert (reply.text, len(server.bodies)) == ("hello", 1)
    assert ledger.states == ["settled"]
    assert ledger.entries[0].charged == ledger.entries[0].request.amount
    assert ledger.entries[0].flags == (Flag.NO_USAGE,)


@pytest.mark.parametrize("model", ["oobabooga/plain-1", "maritalk/plain-1"])
async def test_a_failure_past_our_transport_is_charged_because_nobody_knows_better(
    server: AnyServer, ledger: RecordingLedger, model: str
):
    server.status = 500
    with pytest.raises(CallsFailed):
        await metered(catalogue(deployment(server.url, model=model)), ledger).complete(request())
    assert ledger.states == ["settled"] * len(server.bodies)
    assert all(entry.charged == entry.request.amount for entry in ledger.entries)


@pytest.mark.parametrize(
    "parameters",
    [
        {"extra_body": {"max_tokens": 90_000}},
        {"extra_body": {"max_completion_tokens": 90_000}},
        {"additional_drop_params": ["max_tokens"]},
        {"extra_body": {"n": 4}},
        {"extra_body": {"options": {"candidateCount": 2}}},
    ],
    ids=["raised", "raised by another name", "dropped", "several answers", "several candidates"],
)
async def test_a_request_whose_output_limit_is_not_that_of_its_hold_does_not_leave(
    server: AnyServer, ledger: RecordingLedger, parameters: dict[str, Any]
):
    model = metered(catalogue(deployment(server.url, parameters=parameters)), ledger)
    with pytest.raises(CallsFailed, match="output limit"):
        await model.complete(request())
    assert server.bodies == []
    assert ledger.states == ["released"]


async def test_a_text_of_no_tokens_is_charged_the_whole_hold(server: AnyServer, ledger: RecordingLedger):
    server.reply = {**REPLY, "usage": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}}
    reply = await metered(catalogue(deployment(server.url)), ledger).complete(request())
    assert reply.text == "hello"
    assert ledger.entries[0].charged == ledger.entries[0].request.amount
    assert ledger.entries[0].flags == (Flag.ODD_USAGE,)


async def test_a_model_of_the_same_name_and_another_revision_is_charged_at_the_dearer_price(
    server: AnyServer, ledger: RecordingLedger
):
    server.reply = {**REPLY, "model": "gpt-4o-2024-05-13"}
    place = deployment(server.url, model="openai/gpt-4o-2024-08-06", price=dollars_per_million("2.5", "10"))
    await metered(catalogue(place), ledger).complete(request())
    assert Flag.OTHER_MODEL in ledger.entries[0].flags
    # $5 and $15 per million, for 10 tokens and 5.
    assert ledger.entries[0].charged == Usd.of("0.000125")


async def test_another_model_of_unknown_price_is_charged_the_whole_hold(
    server: AnyServer, ledger: RecordingLedger
):
    server.reply = {**REPLY, "model": "nobody-knows-this-9"}
    await metered(catalogue(deployment(server.url)), ledger).complete(request())
    assert ledger.entries[0].charged == ledger.entries[0].request.amount
    assert Flag.OTHER_MODEL in ledger.entries[0].flags


async def test_a_reply_that_cannot_be_kept_is_still_charged_and_leaves_no_open_hold(
    server: AnyServer, ledger: RecordingLedger, tmp_path: Path
):
    (tmp_path / "full").write_text("a file where the directory should be")
    replies = KeptReplies(lambda attempt: tmp_path / "full")
    model = metered(catalogue(deployment(server.url)), ledger, replies=replies)
    attempt = AttemptId(subtask=SubtaskId("parse"), number=1)
    with pytest.raises(OSError):
        await model.complete(request(run=RunId("r"), attempt=attempt))
    assert ledger.states == ["settled"]
    assert ledger.entries[0].charged is not None and ledger.entries[0].charged > Usd(0)


@pytest.mark.parametrize("status", [409, 424, 425, 499])
def test_a_status_that_does_not_say_that_nothing_was_done_is_charged(status: int):
    assert kind_of_status(status, body=b"") == (FailureKind.BROKEN, False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"code": "json_validate_failed", "failed_generation": "{..."}}',
        b'{"error": {"message": "Could not finish the message because max_tokens was reached."}}',
        b'{"error": {"message": "no"}, "usage": {"prompt_tokens": 9, "completion_tokens": 4}}',
    ],
    ids=["broke its schema", "out of tokens", "with a bill"],
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, FailureKind.REFUSED), (402, FailureKind.REFUSED), (429, FailureKind.RATE_LIMITED)],
)
def test_a_refusal_after_the_work_is_charged(status: int, kind: FailureKind, body: bytes):
    assert kind_of_status(status, body=body) == (kind, False)
    assert kind_of_status(status, body=b'{"error": {"message": "no"}, "usage": {}}')[1]


async def test_a_second_address_that_is_unreachable_does_not_make_the_first_request_unsent():
    import httpx

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/second":
            # What httpcore raises when nobody listens; httpx itself wraps it.
            import httpcore

            raise httpx.ConnectError("refused") from httpcore.ConnectError("refused")
        return httpx.Response(500, stream=httpx.ByteStream(b"{}"))

    wire = Wire()
    token = CURRENT.set(wire)
    try:
        transport = RecordingTransport(httpx.MockTransport(answer))
        await transport.handle_async_request(httpx.Request("POST", "http://a/first", json={}))
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(httpx.Request("POST", "http://a/second", json={}))
    finally:
        CURRENT.reset(token)
    assert wire.sent
    assert kind_of_wire(wire) == (FailureKind.BROKEN, False)


async def test_a_refusal_at_a_second_address_does_not_free_what_the_first_may_have_cost():
    import httpx

    async def answer(request: httpx.Request) -> httpx.Response:
        status = 404 if request.url.path == "/second" else 500
        return httpx.Response(status, stream=httpx.ByteStream(b"{}"))

    wire = Wire()
    token = CURRENT.set(wire)
    try:
        transport = RecordingTransport(httpx.MockTransport(answer))
        for path in ("first", "second"):
            await transport.handle_async_request(httpx.Request("POST", f"http://a/{path}", json={}))
    finally:
        CURRENT.reset(token)
    assert kind_of_wire(wire)[1] is False


async def test_a_cancelled_call_past_our_transport_is_charged(server: AnyServer, ledger: RecordingLedger):
    entered, leave = threading.Event(), threading.Event()

    class Held(dict[str, Any]):
        def items(self) -> Any:
            entered.set()
            leave.wait(10)
            return super().items()

    server.reply = Held(REPLY)
    model = metered(catalogue(deployment(server.url, model="oobabooga/plain-1")), ledger)
    call = asyncio.create_task(model.complete(request()))
    assert await asyncio.to_thread(entered.wait, 20)
    call.cancel()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ledger.states == ["settled"]
    assert ledger.entries[0].flags == (Flag.CUT,)


@pytest.mark.parametrize("provider", sorted(WATCHED_PROVIDERS))
async def test_every_provider_that_is_believed_to_pass_our_transport_does(
    server: AnyServer, ledger: RecordingLedger, provider: str
):
    place = deployment(server.url, model=f"{provider}/plain-1", parameters=EXTRA.get(provider, {}))
    await metered(catalogue(place), ledger).complete(request())
    assert len(server.bodies) == 1
    # Only what was seen on the way has a bill.
    assert ledger.entries[0].usage is not None


async def test_a_reply_that_litellm_cannot_read_still_says_that_its_limit_cut_it_off(
    server: AnyServer, ledger: RecordingLedger
):
    choice = {**REPLY["choices"][0], "finish_reason": "length"}
    server.reply = {**REPLY, "choices": [choice], "usage": {"prompt_tokens": "odd", "completion_tokens": 1}}
    reply = await metered(catalogue(deployment(server.url)), ledger).complete(request())
    assert (reply.text, reply.finish_reason) == ("hello", "length")
    assert ledger.entries[0].flags == (Flag.ODD_USAGE,)
