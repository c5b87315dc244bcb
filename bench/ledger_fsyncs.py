"""Claim: reserve + settle cost at most 2 flushes to disk, and 64 calls at a time at most 0.2 flushes per operation.

Runs the ledger under strace, which counts fsync and fdatasync, and prints the counts with the CPU seconds of the
same work without strace. Also appends events to the journal, for the cost of one. Exit code 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {"one at a time": ("pair", 2.0), "64 at a time": ("operation", 0.2)}


def hold():
    from orchestrator.core.domain import AttemptId, ModelAlias, RunId, SubtaskId
    from orchestrator.core.money import Usd
    from orchestrator.core.ports import HoldRequest

    return HoldRequest(
        amount=Usd.of("0.0001"),
        model=ModelAlias("cheap"),
        deployment="vendor/model",
        purpose="attempt",
        what="attempt parse#1",
        run=RunId("20261123-100000-abcd"),
        attempt=AttemptId(SubtaskId("parse"), 1),
        run_cap=Usd.of(1000),
    )


def opened(directory: Path):
    from orchestrator.adapters.journal import Store
    from orchestrator.core.catalogue import BudgetRules
    from orchestrator.core.money import Usd
    from orchestrator.wiring import SystemClock

    return Store.open(
        directory / "orchestrator.sqlite3", clock=SystemClock(), rules=BudgetRules(max_budget=Usd.of(1000))
    )


async def pairs(directory: Path, count: int, at_a_time: int) -> None:
    from orchestrator.core.money import Usage, Usd

    usage = Usage(input_tokens=1000, output_tokens=100)
    with opened(directory) as store:

        async def calls(number: int) -> None:
            for _ in range(number):
                call = await store.reserve(hold())
                await store.settle(call, bill=Usd.of("0.00005"), usage=usage)

        await asyncio.gather(*(calls(count // at_a_time) for _ in range(at_a_time)))


async def events(directory: Path, count: int, at_a_time: int) -> None:
    from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Outcome, RunId, SubtaskId
    from orchestrator.core.events import AttemptFinished

    run = RunId("20261123-100000-abcd")
    outcome = Outcome(ended=Ended.PASSED, model=ModelAlias("cheap"), seconds=1.5, reason="checks passed")
    with opened(directory) as store:

        async def appends(worker: int) -> None:
            for number in range(count // at_a_time):
                attempt = AttemptId(SubtaskId(f"subtask-{worker}-{number}"), 1)
                await store.append(run, [AttemptFinished(attempt=attempt, outcome=outcome)])

        await asyncio.gather(*(appends(worker) for worker in range(at_a_time)))


def work(kind: str, directory: Path, count: int, at_a_time: int) -> None:
    asyncio.run((events if kind == "events" else pairs)(directory, count, at_a_time))


def flushes(kind: str, count: int, at_a_time: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "strace"
        command = [sys.executable, __file__, "--work", kind, scratch, str(count), str(at_a_time)]
        subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", str(log), *command],
            check=True,
        )
        return sum("sync" in line and "resumed" not in line for line in log.read_text().splitlines())


def cpu_seconds(kind: str, count: int, at_a_time: int) -> tuple[float, float]:
    """CPU and wall seconds of the work alone, in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        cpu, wall = time.process_time(), time.perf_counter()
        work(kind, Path(scratch), count, at_a_time)
        return time.process_time() - cpu, time.perf_counter() - wall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, directory, count, at_a_time = options.work
        work(kind, Path(directory), int(count), int(at_a_time))
        return 0
    if shutil.which("strace") is None:
        raise SystemExit("strace is needed to count flushes")
    size = 640 if options.quick else 6400
    rows = []
    print(
        f"{'':16} {'operations':>10} {'flushes':>8} {'per unit':>18} {'limit':>6} {'CPU us/op':>10} {'us/op':>8}"
    )
    for kind, name, count, at_a_time in (
        ("pairs", "one at a time", size // 4, 1),
        ("pairs", "64 at a time", size, 64),
        ("events", "100 events", size * 10, 100),
    ):
        operations = count * (2 if kind == "pairs" else 1)
        found = flushes(kind, count, at_a_time)
        cpu, wall = cpu_seconds(kind, count, at_a_time)
        unit, limit = LIMITS.get(name, ("event", None))
        per_unit = found / (count if unit == "pair" else operations)
        rows.append(
            {
                "what": name,
                "operations": operations,
                "flushes": found,
                "unit": unit,
                "flushes_per_unit": round(per_unit, 4),
                "limit": limit,
                "cpu_microseconds": round(cpu / operations * 1e6, 1),
            }
        )
        print(
            f"{name:16} {operations:10} {found:8} {per_unit:8.3f} per {unit:9} {limit or '':>6} "
            f"{cpu / operations * 1e6:10.0f} {wall / operations * 1e6:8.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(row["limit"] is None or row["flushes_per_unit"] <= row["limit"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
