"""The packaged defaults with nothing but OPENROUTER_API_KEY, up to the outgoing request; the real ledger beneath."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.journal import Store
from orchestrator.adapters.metering import CallsFailed, MeteredModel
from orchestrator.adapters.scripted import ScriptedProvider, scripted_catalogue
from orchestrator.adapters.settings import load_settings
from orchestrator.adapters.state import database
from orchestrator.core.catalogue import BudgetRules, Catalogue
from orchestrator.core.domain import ModelAlias, RunId
from orchestrator.core.money import Usd
from orchestrator.core.ports import BudgetExceeded, Flag
from tests.adapters.model_fakes import (
    CHEAP,
    KEY,
    SMART,
    StoppedClock,
    catalogue,
    deployment,
    request,
)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("rules: [{text: hello}]") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    rules = BudgetRules(max_budget=Usd.of(5))
    with Store.open(database(tmp_path), clock=StoppedClock(), rules=rules) as opened:
        yield opened


@pytest.fixture
async def metered(store: Store) -> AsyncIterator[type]:
    made: list[MeteredModel] = []

    class Metered(MeteredModel):
        """On the real store, closed after the test."""

        def __init__(self, models: Catalogue, environ: dict[str, str]) -> None:
            clock = StoppedClock()
            super().__init__(catalogue=models, ledger=store, clock=clock, environ=environ, sleep=clock.sleep)
            made.append(self)

    yield Metered
    for model in made:
        await model.close()


def defaults(environ: dict[str, str], tmp_path: Path) -> Catalogue:
    home = {
        "ORCHESTRATOR_CACHE": str(tmp_path / "cache"),
        "ORCHESTRATOR_CONFIG_DIR": str(tmp_path / "config"),
    }
    settings = load_settings(config=None, repository=None, environ={**environ, **home}, state=tmp_path)
    return settings.table.catalogue


@pytest.mark.parametrize("alias", ["cheap", "smart", "yolo"])
async def test_one_openrouter_key_is_enough_for_every_default_alias(
    provider: ScriptedProvider,
    store: Store,
    metered: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alias: str,
):
    provider.play("rules: [{text: hello}]")
    environ = {"OPENROUTER_API_KEY": KEY}
    models = defaults(environ, tmp_path)
    # Where LiteLLM finds OpenRouter; everything else is as it would be.
    monkeypatch.setenv("OPENROUTER_API_BASE", provider.base_url)
    reply = await metered(models, environ).complete(request(model=ModelAlias(alias), max_output_tokens=150))
    assert reply.text == "hello"
    [chosen] = models.pool(ModelAlias(alias))
    [call] = provider.calls
    body = call.asked.body
    assert f"openrouter/{body['model']}" == chosen.model
    ceiling = chosen.price.ceiling(1)
    assert body["provider"]["max_price"] == {
        "prompt": float(ceiling.input.dollars),
        "completion": float(ceiling.output.dollars),
    }
    assert body["max_tokens"] == 150
    assert call.asked.authorized
    assert {key: body[key] for key in chosen.parameters} == chosen.parameters
    [entry] = store.entries()
    assert entry.charged == reply.bill
    assert Usd(0) < reply.bill <= entry.amount


def test_without_any_key_scripted_models_still_have_the_real_prices(tmp_path: Path):
    models = defaults({}, tmp_path)
    assert not any(models.pools.values())
    played = scripted_catalogue(models, "http://127.0.0.1:9")
    assert set(played.pools) == {"cheap", "smart", "yolo"}
    for alias, [chosen] in played.pools.items():
        assert chosen.price == models.unusable[alias][0].price
        assert chosen.price.base.output > Usd(0)


async def test_a_cap_for_three_calls_makes_three_calls(
    provider: ScriptedProvider, store: Store, metered: type
):
    provider.play("rules: [{text: hello, usage: none}]")
    model = metered(catalogue(deployment(provider.url)), {"TEST_KEY": KEY})
    hold = (await model.complete(request(run=RunId("r")))).bill
    asked = [model.complete(request(run=RunId("r"), run_cap=hold * 3)) for _ in range(6)]
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(end, BudgetExceeded) for end in ended) == 4
    assert len(provider.calls) == 3
    assert sum(entry.charged.nano for entry in store.entries() if entry.charged) == hold.nano * 3


async def test_an_overrun_stops_the_model_and_a_pool_goes_on(
    provider: ScriptedProvider, store: Store, metered: type
):
    provider.play(
        "rules: [{when: {model: dear}, text: x, usage: {input_tokens: 9, output_tokens: 9000}}, {text: y}]"
    )
    environ = {"TEST_KEY": KEY}
    dear = deployment(provider.url, model="openai/dear", alias=SMART)
    model = metered(catalogue(dear), environ)
    first = await model.complete(request(model=SMART))
    assert first.flags == (Flag.OVERRUN,)
    assert first.bill > store.entries()[0].amount
    with pytest.raises(CallsFailed, match="openai/dear"):
        await model.complete(request(model=SMART))
    pool = metered(catalogue(dear, deployment(provider.url, alias=SMART, model="openai/other")), environ)
    assert (await pool.complete(request(model=SMART))).text == "y"


async def test_a_cancelled_call_stays_charged_in_the_store(
    provider: ScriptedProvider, store: Store, metered: type
):
    provider.play("rules: [{text: late, barrier: gate}]")
    model = metered(catalogue(deployment(provider.url, alias=CHEAP)), {"TEST_KEY": KEY})
    call = asyncio.create_task(model.complete(request()))
    assert await asyncio.to_thread(provider.wait_until_held, "gate")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    [entry] = store.entries()
    assert entry.charged == entry.amount
    assert entry.flags == (Flag.CUT,)
    assert store.open_holds() == ()
