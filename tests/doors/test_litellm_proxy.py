"""The configuration that `init` writes, given to the real LiteLLM proxy. Its calls go to a scripted provider."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.adapters.scripted import ScriptedProvider
from tests.conftest import ROOT, skip_unless

PROXY = ROOT / ".tools" / "litellm-proxy" / "bin" / "litellm"
MASTER_KEY = "sk-of-this-test-only"
SCRIPT = """\
rules:
  - when: {}
    text: scripted pong
"""
# Booting takes 15 to 35 s on a loaded small machine.
BOOT_SECONDS = 240


def _ask(
    port: int, path: str, body: object = None, *, key: str = MASTER_KEY
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        payload = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, payload, headers)
        response = connection.getresponse()
        raw = response.read()
        return response.status, json.loads(raw) if raw.startswith(b"{") else {"text": raw.decode()}
    finally:
        connection.close()


@contextlib.contextmanager
def _proxy(config: Path, provider: ScriptedProvider, log: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        **os.environ,
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "OPENROUTER_API_KEY": "of-this-test-only",
        "OPENROUTER_API_BASE": provider.base_url,
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(PROXY), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=config.parent, env=environ, stdout=output, stderr=output, start_new_session=True
        )
        try:
            deadline = time.monotonic() + BOOT_SECONDS
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError):
                    if _ask(port, "/health/readiness")[0] == 200:
                        break
                # The proxy says in no other way when it is ready.
                time.sleep(0.5)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_proxy_loads_what_init_wrote_and_answers_by_the_alias_cheap(
    working_directory: Path, tmp_path: Path
):
    skip_unless(PROXY.exists(), "no proxy: scripts/install-proxy.sh makes one")
    subprocess.run(["git", "init", "-q", "."], check=True)
    assert cli.run(["init"]) == 0
    config = working_directory / "litellm_budget_config.yaml"
    log = tmp_path / "proxy.log"
    with ScriptedProvider(SCRIPT) as provider, _proxy(config, provider, log) as port:
        models, listing = _ask(port, "/v1/models")
        assert models == 200, log.read_text()
        listed = listing["data"]
        assert isinstance(listed, list)
        assert {model["id"] for model in listed} == {"cheap", "smart", "yolo"}
        for alias, model in (("cheap", "google/gemini-3.6-flash"), ("smart", "anthropic/claude-sonnet-5")):
            question = {"model": alias, "messages": [{"role": "user", "content": "ping"}]}
            status, answer = _ask(port, "/v1/chat/completions", question)
            assert status == 200, (answer, log.read_text())
            assert "scripted pong" in json.dumps(answer)
            assert provider.calls[-1].asked.model == model
        assert _ask(port, "/v1/models", key="sk-wrong")[0] >= 400
