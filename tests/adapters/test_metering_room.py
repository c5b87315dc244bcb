"""Calls near a cap: as much output as there is room for, and a refusal that names what would do."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from orchestrator.adapters.models import input_token_bound
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.money import Usd, worst_case
from orchestrator.core.ports import BudgetExceeded, HoldRequest
from tests.adapters.model_fakes import (
    HELLO,
    RecordingLedger,
    catalogue,
    deployment,
    dollars_per_million,
    metered,
    request,
)

pytestmark = pytest.mark.usefixtures("connections")

PRICE = dollars_per_million("1", "4")
PROMPT = input_token_bound(request().messages, None)


def cost(output: int) -> Usd:
    return worst_case(PRICE, input_tokens=PROMPT, max_output_tokens=output)


@dataclass
class Capped(RecordingLedger):
    left: Usd = field(default_factory=lambda: cost(60))
    window: str = "run"

    async def reserve(self, request: HoldRequest) -> int:
        if request.amount > self.left:
            raise BudgetExceeded(
                what=request.what, needs=request.amount, left=self.left, cap=Usd.of(1), window=self.window
            )
        return await super().reserve(request)


async def test_a_call_that_does_not_fit_whole_is_made_with_the_output_there_is_room_for(
    provider: ScriptedProvider,
):
    provider.play(HELLO)
    ledger = Capped()
    model = metered(catalogue(deployment(provider.url, price=PRICE)), ledger)
    reply = await model.complete(request(max_output_tokens=100, least_output_tokens=50))
    assert reply.text == "hello"
    assert [entry.request.amount for entry in ledger.entries] == [cost(60)]
    assert provider.calls[0].asked.max_tokens == 60


async def test_below_the_least_that_is_of_use_nothing_is_paid_and_the_message_says_what_would_do(
    provider: ScriptedProvider,
):
    provider.play(HELLO)
    ledger = Capped()
    model = metered(catalogue(deployment(provider.url, price=PRICE)), ledger)
    with pytest.raises(BudgetExceeded) as refused:
        await model.complete(request(max_output_tokens=100, least_output_tokens=80))
    assert refused.value.needs == cost(80)
    would_do = Usd(Usd.of(1).nano + cost(80).nano - cost(60).nano)
    assert f"a --budget of {would_do.rounded()} would do" in str(refused.value)
    with pytest.raises(BudgetExceeded, match=f"may cost up to {str(cost(100)).replace('$', '.')}"):
        await model.complete(request(max_output_tokens=100))
    assert (provider.calls, ledger.entries) == ((), [])


async def test_the_cap_of_an_attempt_names_its_own_option(provider: ScriptedProvider):
    model = metered(catalogue(deployment(provider.url, price=PRICE)), Capped(window="attempt"))
    with pytest.raises(BudgetExceeded, match="set smart_per_subtask to"):
        await model.complete(request(max_output_tokens=100))
