"""A process that spends as fast as it can: `python -m tests.adapters.spending DIRECTORY CAP PRICE TASKS`.

Each provider call is one byte appended to DIRECTORY/provider, which is the provider's own count. Between the
ledger's check and its write lies a pause of one millisecond. It ends when the budget refuses.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from orchestrator.adapters.calendar import iso
from orchestrator.adapters.journal import Store
from orchestrator.core.ports import BudgetExceeded
from tests.adapters.faulty_disk import disk, pause
from tests.adapters.store_building import budget, hold


class RealClock:
    def now(self) -> str:
        return iso(time.time())

    def epoch_seconds(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


async def spend(directory: Path, cap: str, price: str, tasks: int) -> None:
    provider = os.open(directory / "provider", os.O_WRONLY | os.O_APPEND)
    # A year is not crossed by a test as a day might be.
    with Store.open(
        directory / "orchestrator.sqlite3", clock=RealClock(), rules=budget(cap, "365d")
    ) as store:

        async def call_until_refused() -> None:
            while True:
                try:
                    call = await store.reserve(hold(price))
                except BudgetExceeded:
                    return
                os.write(provider, b".")
                await asyncio.sleep(random.random() / 500)
                await store.settle(call, bill=hold(price).amount)

        await asyncio.gather(*(call_until_refused() for _ in range(tasks)))


def main() -> None:
    directory, cap, price, tasks = sys.argv[1:]
    with disk(pause(0.001)):
        print("ready", flush=True)
        sys.stdin.readline()
        asyncio.run(spend(Path(directory), cap, price, int(tasks)))


if __name__ == "__main__":
    main()
