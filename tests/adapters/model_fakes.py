"""What tests of model calls share: a ledger and a clock at the ports, prices, deployments, requests, a script."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.adapters.metering import MeteredModel
from orchestrator.core.catalogue import Catalogue, Deployment
from orchestrator.core.domain import ModelAlias, RunId
from orchestrator.core.money import Price, Rates, Usage, Usd
from orchestrator.core.ports import Flag, HoldRequest, Message, ModelRequest

KEY = "sk-canary-51f0e2a7c9"
CHEAP, SMART = ModelAlias("cheap"), ModelAlias("smart")
HELLO = "rules: [{text: hello, usage: {input_tokens: 10, output_tokens: 5}}]"


def dollars_per_million(
    into: str, out: str, *, read: str | None = None, write: str | None = None, request: str = "0"
) -> Price:
    return Price(
        base=Rates(
            input=Usd.of(into),
            output=Usd.of(out),
            cache_read=None if read is None else Usd.of(read),
            cache_write=None if write is None else Usd.of(write),
        ),
        per_request=Usd.of(request),
    )


def deployment(
    url: str, *, alias: ModelAlias = CHEAP, model: str = "openai/plain-1", **more: Any
) -> Deployment:
    more.setdefault("price", dollars_per_million("1", "4"))
    return Deployment(
        alias=alias, model=model, api_base=f"{url}/v1", price_source="test", key_variable="TEST_KEY", **more
    )


def catalogue(*deployments: Deployment) -> Catalogue:
    pools: dict[ModelAlias, tuple[Deployment, ...]] = {}
    for each in deployments:
        pools[each.alias] = (*pools.get(each.alias, ()), each)
    return Catalogue(pools=pools)


def request(text: str = "hello", *, model: ModelAlias = CHEAP, **more: Any) -> ModelRequest:
    more.setdefault("max_output_tokens", 100)
    return ModelRequest(model=model, messages=(Message(role="user", content=text),), purpose="test", **more)


class StoppedClock:
    """Moves only when somebody sleeps on it."""

    def __init__(self) -> None:
        self.seconds, self.slept = 0.0, []  # type: float, list[float]

    def now(self) -> str:
        return "2026-11-23T10:00:00.000000Z"

    def epoch_seconds(self) -> float:
        # 2026-11-23T10:00:00Z
        return 1795428000.0 + self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass(kw_only=True)
class Entry:
    """A hold and what became of it: `settled`, `released` or open."""

    request: HoldRequest
    state: str = "open"
    charged: Usd | None = None
    bill: Usd | None = None
    usage: Usage | None = None
    answered_by: str = ""
    flags: tuple[Flag, ...] = ()
    reason: str = ""


@dataclass
class RecordingLedger:
    """Grants every hold and remembers it; a hold that is resolved twice is an error."""

    entries: list[Entry] = field(default_factory=list)
    room: asyncio.Event | None = None
    refuse: Exception | None = None
    settling: asyncio.Event | None = None

    async def reserve(self, request: HoldRequest) -> int:
        if self.room is not None:
            await self.room.wait()
        if self.refuse is not None:
            raise self.refuse
        self.entries.append(Entry(request=request))
        return len(self.entries) - 1

    async def settle(
        self,
        hold: int,
        *,
        bill: Usd | None,
        usage: Usage | None = None,
        answered_by: str = "",
        flags: Sequence[Flag] = (),
    ) -> Usd:
        if self.settling is not None:
            await self.settling.wait()
        entry = self._open(hold)
        entry.state, entry.bill, entry.usage = "settled", bill, usage
        entry.answered_by, entry.flags = answered_by, tuple(flags)
        entry.charged = entry.request.amount if bill is None else bill
        return entry.charged

    async def release(self, hold: int, *, reason: str) -> None:
        entry = self._open(hold)
        entry.state, entry.reason = "released", reason

    async def left(self, *, run: RunId | None = None, run_cap: Usd | None = None) -> Mapping[str, Usd]:
        return {}

    def _open(self, hold: int) -> Entry:
        entry = self.entries[hold]
        assert entry.state == "open", f"hold {hold} is already {entry.state}"
        return entry

    @property
    def states(self) -> list[str]:
        return [entry.state for entry in self.entries]


def metered(
    models: Catalogue, ledger: RecordingLedger, clock: StoppedClock | None = None, **more: Any
) -> MeteredModel:
    clock = clock or StoppedClock()
    more.setdefault("environ", {"TEST_KEY": KEY})
    return MeteredModel(catalogue=models, ledger=ledger, clock=clock, sleep=clock.sleep, **more)
