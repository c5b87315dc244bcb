"""Claim: the cap holds to the last call, for any number of processes and calls at a time, also when some are killed.

One loopback server counts the calls it answered; each costs exactly $0.001. Every row runs in processes of its own,
because a LiteLLM Router puts its limiter into a global list. Ours has a pause of 1 ms injected between check and
write. A row that billed nothing is marked suspect. Exit code 1 when a row of ours made more calls than its cap allows.

  ours                8 processes x 50 calls at a time, cap for 100 calls, repeated
  ours, kill -9       the same, with half of the processes killed at random moments
  ours, real path     100 calls at a time through the model adapter (litellm underneath), cap for 10 calls
  litellm ...         100 calls at a time, budget for 10 calls: Router provider_budget_config, deployment max_budget
  litellm proxy       the same through a proxy without a database, when scripts/install-proxy.sh has made one
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from budgets.litellm_budgets import proxied, router
from budgets.provider import DOLLARS_PER_MILLION, OUTPUT_TOKENS, calls_at, provider

PROXY = Path(__file__).resolve().parents[1] / ".tools" / "litellm-proxy" / "bin" / "litellm"


# --- ours ---------------------------------------------------------------------------------------


def slow_disk() -> object:
    """A disk that pauses before each write: SQLite writes when it commits, after the ledger has decided."""
    import apsw

    base = apsw.vfs_names()[0]

    class File(apsw.VFSFile):
        def xWrite(self, data, offset):  # noqa: N802  # SQLite's name
            time.sleep(0.001)
            return super().xWrite(data, offset)

    class Disk(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("slow", base, makedefault=True)

        def xOpen(self, name, flags):  # noqa: N802
            return File(base, name, flags)

    return Disk()


def store(directory: Path, calls: int):
    from orchestrator.adapters.journal import Store
    from orchestrator.core.catalogue import BudgetRules
    from orchestrator.core.money import Usd
    from orchestrator.wiring import SystemClock

    rules = BudgetRules(max_budget=Usd.of("0.001") * calls, duration="30d")
    return Store.open(directory / "orchestrator.sqlite3", clock=SystemClock(), rules=rules)


async def spend(directory: Path, url: str, calls: int, at_a_time: int) -> None:
    """Call until the budget refuses."""
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.money import Usd
    from orchestrator.core.ports import BudgetExceeded, HoldRequest

    price = Usd.of("0.001")
    request = HoldRequest(
        amount=price, model=ModelAlias("cheap"), deployment="bench", purpose="attempt", what="a call"
    )
    host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
    with store(directory, calls) as opened:

        async def until_refused() -> None:
            while True:
                try:
                    hold = await opened.reserve(request)
                except BudgetExceeded:
                    return
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"POST /v1 HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
                await opened.settle(hold, bill=price)

        await asyncio.gather(*(until_refused() for _ in range(at_a_time)))


def ours(kill: bool, *, calls: int, seed: int) -> dict[str, object]:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch, provider() as url:
        directory = Path(scratch)
        store(directory, calls).close()
        command = [sys.executable, __file__, "--role", "spend", scratch, url, str(calls), "50"]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(8)
        ]
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        if kill:
            for victim in chance.sample(processes, 4):
                time.sleep(chance.random() * 0.15)
                victim.kill()
        for process in processes:
            process.communicate(timeout=300)
        with store(directory, calls) as opened:
            totals = opened.status().totals
        billed = calls_at(url)
        allowed = totals.committed.nano // 1_000_000
        return {
            "billed": billed,
            "uncounted": max(0, billed - allowed),
            "ok": billed <= allowed <= calls and (kill or billed == calls == allowed),
        }


# --- one process, 100 calls at a time -----------------------------------------------------------


async def real_path(url: str, calls: int, at_a_time: int) -> None:
    """Ours through the model adapter, as a run uses it."""
    from orchestrator.adapters.metering import MeteredModel
    from orchestrator.core.catalogue import Catalogue, Deployment
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.money import Price, Rates, Usd
    from orchestrator.core.ports import Message, ModelRequest
    from orchestrator.wiring import SystemClock

    alias = ModelAlias("cheap")
    deployment = Deployment(
        alias=alias,
        model="openai/bench",
        price=Price(base=Rates(input=Usd(0), output=Usd.of(DOLLARS_PER_MILLION))),
        price_source="bench",
        key_variable="BENCH_KEY",
        api_base=url,
    )
    request = ModelRequest(
        model=alias,
        messages=(Message(role="user", content="hello"),),
        max_output_tokens=OUTPUT_TOKENS,
        purpose="answer",
    )
    with tempfile.TemporaryDirectory() as scratch, store(Path(scratch), calls) as opened:
        model = MeteredModel(
            catalogue=Catalogue(pools={alias: (deployment,)}),
            ledger=opened,
            clock=SystemClock(),
            environ={"BENCH_KEY": "unused"},
        )
        await asyncio.gather(*(model.complete(request) for _ in range(at_a_time)), return_exceptions=True)
        await asyncio.gather(*(model.complete(request) for _ in range(5)), return_exceptions=True)
        await model.close()


def alone(role: str, *, calls: int) -> dict[str, object]:
    """Run a role in a process of its own, against a server of its own."""
    with provider() as url:
        environ = {
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        }
        process = subprocess.run(
            [sys.executable, __file__, "--role", role, url, str(calls), "100"],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
            timeout=300,
        )
        billed = calls_at(url)
        if process.returncode != 0:
            return {"billed": billed, "note": f"failed: {process.stderr.strip().splitlines()[-1:]}"}
        first = [int(line) for line in process.stdout.split() if line.isdigit()]
        return {"billed": first[0] if first else billed, "late": billed - first[0] if first else 0}


# --- the table ----------------------------------------------------------------------------------


def role(name: str, arguments: list[str]) -> None:
    match name:
        case "spend":
            directory, url, calls, at_a_time = arguments
            disk = slow_disk()
            print("ready", flush=True)
            sys.stdin.readline()
            asyncio.run(spend(Path(directory), url, int(calls), int(at_a_time)))
            del disk
        case "real":
            asyncio.run(real_path(arguments[0], int(arguments[1]), int(arguments[2])))
        case _:
            asyncio.run(router(name, arguments[0], int(arguments[1]), int(arguments[2])))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 repetitions instead of 20")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--proxy",
        metavar="LITELLM",
        default=str(PROXY) if PROXY.exists() else None,
        help="the command of a litellm[proxy] in its own environment; found where scripts/install-proxy.sh puts it",
    )
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        role(options.role[0], options.role[1:])
        return 0
    rows: list[dict[str, object]] = []
    print(f"{'':44} {'cap':>4} {'billed':>7} {'of cap':>7} {'5 late':>7}")

    def row(name: str, cap: int, found: dict[str, object]) -> None:
        billed = int(str(found["billed"]))
        note = found.get("note") or ("" if billed else "suspect: billed nothing")
        rows.append({"what": name, "cap": cap, **found, "note": note})
        print(
            f"{name:44} {cap:4} {billed:7} {billed / cap:6.1f}x {found.get('late', '')!s:>7} {note}",
            flush=True,
        )

    for repetition in range(2 if options.quick else 20):
        row(f"ours, 8 processes x 50, #{repetition + 1}", 100, ours(False, calls=100, seed=repetition))
        row(
            f"ours, 8 processes x 50, kill -9, #{repetition + 1}", 100, ours(True, calls=100, seed=repetition)
        )
    row("ours, real path, 100 at a time", 10, alone("real", calls=10))
    row("litellm Router provider_budget_config, 100", 10, alone("provider", calls=10))
    row("litellm Router deployment max_budget, 100", 10, alone("deployment", calls=10))
    if options.proxy:
        row("litellm proxy without a database, 100", 10, proxied(options.proxy, calls=10))
    else:
        print("litellm proxy without a database: not run, scripts/install-proxy.sh makes one")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    kept = all(
        found.get("ok", int(str(found["billed"])) <= 10)
        for found in rows
        if str(found["what"]).startswith("ours")
    )
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
