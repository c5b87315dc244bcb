"""What LiteLLM sends to vendors whose dialects the scripted provider does not speak, and what it makes of replies."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.metering import CallRefused
from orchestrator.adapters.models import close_connections
from orchestrator.core.catalogue import Deployment
from orchestrator.core.money import Usage
from tests.adapters.model_fakes import KEY, RecordingLedger, catalogue, deployment, metered, request

GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 10,
    },
    "modelVersion": "gemini-2.5-flash",
}
OLLAMA = {
    "model": "llama3",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": "hi"},
    "done": True,
    "prompt_eval_count": 5,
    "eval_count": 2,
}


class Vendor(ThreadingHTTPServer):
    """Answers everything with one reply and keeps what it was asked: path, headers, body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: object = {}
        self.compresses = False
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Vendor

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        data = json.dumps(self.server.reply).encode()
        self.send_response(200)
        if self.server.compresses:
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with Vendor() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
async def connections(vendor: Vendor) -> AsyncIterator[None]:
    vendor.asked.clear()
    vendor.compresses = False
    yield
    await close_connections()


def at(vendor: Vendor, model: str, **more: Any) -> Deployment:
    return replace(deployment(vendor.url, model=model, **more), api_base=vendor.url)


async def test_gemini_counts_its_thoughts_apart_and_its_key_is_in_a_header(vendor: Vendor):
    vendor.reply, ledger = GEMINI, RecordingLedger()
    place = at(vendor, "gemini/gemini-2.5-flash", parameters={"reasoning_effort": "disable"})
    reply = await metered(catalogue(place), ledger).complete(request())
    assert (reply.text, reply.flags) == ("hi", ())
    assert reply.usage == Usage(input_tokens=5, output_tokens=5, reasoning_tokens=3)
    [(path, headers, body)] = vendor.asked
    assert path.endswith(":generateContent")
    assert headers["x-goog-api-key"] == KEY
    assert body["generationConfig"]["max_output_tokens"] == 100
    assert body["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 0


async def test_usage_is_read_from_a_reply_that_is_compressed_against_our_wish(vendor: Vendor):
    vendor.reply, vendor.compresses, ledger = GEMINI, True, RecordingLedger()
    reply = await metered(catalogue(at(vendor, "gemini/gemini-2.5-flash")), ledger).complete(request())
    assert (reply.text, reply.usage) == ("hi", Usage(input_tokens=5, output_tokens=5, reasoning_tokens=3))
    assert vendor.asked[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(("length", "context"), [(5, 1024), (3000, 4096), (7900, 8192)])
async def test_ollama_gets_a_context_that_holds_prompt_and_reply(vendor: Vendor, length: int, context: int):
    vendor.reply, ledger = OLLAMA, RecordingLedger()
    place = replace(at(vendor, "ollama_chat/llama3", max_input_tokens=8192), key_variable=None)
    reply = await metered(catalogue(place), ledger).complete(request("x" * length))
    assert (reply.text, reply.usage) == ("hi", Usage(input_tokens=5, output_tokens=2))
    [(path, headers, body)] = vendor.asked
    assert path == "/api/chat"
    assert body["options"] == {"num_ctx": context, "num_predict": 100}
    assert KEY not in json.dumps(headers)


async def test_a_prompt_that_ollama_would_cut_is_refused_by_us(vendor: Vendor):
    ledger = RecordingLedger()
    place = replace(at(vendor, "ollama_chat/llama3", max_input_tokens=8192), key_variable=None)
    with pytest.raises(CallRefused, match=r"may take 8284 tokens, its context holds 8192: send less"):
        await metered(catalogue(place), ledger).complete(request("x" * 8100))
    assert vendor.asked == []
    assert ledger.states == ["released"]


@pytest.mark.slow
def test_loading_litellm_reads_no_env_file_says_nothing_and_connects_nowhere(tmp_path: Path):
    (tmp_path / ".env").write_text(
        "OPENAI_API_KEY=from-the-repository\nOPENAI_BASE_URL=http://evil.invalid\n"
    )
    code = (
        "import os, sys\n"
        "seen = []\n"
        "hook = lambda event, args: seen.append((event, args)) if event in "
        "('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen') else None\n"
        "sys.addaudithook(hook)\n"
        "from orchestrator.adapters.models import loaded_litellm\n"
        "loaded_litellm()\n"
        "assert not seen, seen\n"
        "assert 'OPENAI_API_KEY' not in os.environ and 'OPENAI_BASE_URL' not in os.environ\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
