"""The budgets of LiteLLM: of its Router, for a provider or a deployment, and of its proxy without a database."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from budgets.provider import DOLLARS_PER_MILLION, OUTPUT_TOKENS, calls_at, provider


async def router(kind: str, url: str, calls: int, at_a_time: int) -> None:
    import litellm

    litellm.suppress_debug_info = True
    budget = calls * OUTPUT_TOKENS * DOLLARS_PER_MILLION / 1e6
    parameters = {
        "model": "openai/bench",
        "api_base": url,
        "api_key": "unused",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": DOLLARS_PER_MILLION / 1e6,
        "max_retries": 0,
    }
    more = {}
    if kind == "provider":
        more["provider_budget_config"] = {"openai": {"time_period": "1d", "budget_limit": budget}}
    else:
        parameters |= {"max_budget": budget, "budget_duration": "1d"}
    found = litellm.Router(
        model_list=[{"model_name": "bench", "litellm_params": parameters}], num_retries=0, **more
    )
    message = [{"role": "user", "content": "hello"}]

    async def call() -> None:
        await found.acompletion(model="bench", messages=message, max_tokens=OUTPUT_TOKENS)

    await asyncio.gather(*(call() for _ in range(at_a_time)), return_exceptions=True)
    # Its counters are written after the reply; give them time, then ask again at rest.
    await asyncio.sleep(3)
    print(calls_at(url), flush=True)
    for _ in range(5):
        try:
            await call()
        except Exception:
            break


def proxied(litellm: str, *, calls: int) -> dict[str, object]:
    """The same calls through a LiteLLM proxy without a database, budget in general_settings and litellm_settings."""
    budget = calls * OUTPUT_TOKENS * DOLLARS_PER_MILLION / 1e6
    with tempfile.TemporaryDirectory() as scratch, provider() as url:
        config = Path(scratch) / "config.yaml"
        parameters = {
            "model": "openai/bench",
            "api_base": url,
            "api_key": "unused",
            "input_cost_per_token": 0.0,
            "output_cost_per_token": DOLLARS_PER_MILLION / 1e6,
        }
        settings = {"max_budget": budget, "budget_duration": "1d"}
        config.write_text(
            json.dumps(
                {
                    "model_list": [{"model_name": "bench", "litellm_params": parameters}],
                    "general_settings": {"master_key": "sk-bench", **settings},
                    "litellm_settings": settings,
                }
            )
        )
        port = random.randint(20_000, 60_000)
        environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with (Path(scratch) / "log").open("w") as log:
            process = subprocess.Popen(
                [litellm, "--config", str(config), "--port", str(port), "--host", "127.0.0.1"],
                stdout=log,
                stderr=log,
                env=environ,
            )
            try:
                return _through(f"http://127.0.0.1:{port}", url, process)
            finally:
                process.terminate()
                process.wait()


def _through(proxy: str, url: str, process: subprocess.Popen[bytes]) -> dict[str, object]:
    from concurrent.futures import ThreadPoolExecutor

    def call(_: int) -> bool:
        body = json.dumps(
            {"model": "bench", "messages": [{"role": "user", "content": "x"}], "max_tokens": OUTPUT_TOKENS}
        )
        headers = {"authorization": "Bearer sk-bench", "content-type": "application/json"}
        request = urllib.request.Request(f"{proxy}/chat/completions", body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60):
                return True
        except OSError:
            return False

    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{proxy}/health/liveliness", timeout=2).close()
            break
        except OSError:
            time.sleep(0.5)
    with ThreadPoolExecutor(100) as pool:
        list(pool.map(call, range(100)))
    time.sleep(3)
    billed = calls_at(url)
    for number in range(5):
        call(number)
    return {"billed": billed, "late": calls_at(url) - billed}
