"""`orchestrator budget scenario`: options into steps, priced steps into lines that can be checked by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import typer

from orchestrator.core.catalogue import RoutingTable
from orchestrator.core.domain import CHEAP, SMART, ModelAlias
from orchestrator.core.money import Price, Rates, Usd
from orchestrator.core.scenario import (
    DAYS,
    FLAT_PRICES,
    Scenario,
    Size,
    Step,
    all_smart,
    day_steps,
    price_steps,
    split,
)
from orchestrator.core.serial import encode
from orchestrator.core.text import one_line

NAMES = (*(day.name for day in DAYS), "all-smart", "split", "mix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    name: str | None
    requests: int
    tokens: Size
    decomposition: Size
    cheap_share: Decimal
    mix: Mapping[ModelAlias, int]


def size(text: str, option: str) -> Size:
    found = re.fullmatch(r"\s*([0-9_,]{1,12})\s*/\s*([0-9_,]{1,12})\s*", text)
    if not found:
        raise typer.BadParameter(
            f"{one_line(text, 40)!r} is no pair of tokens such as 3000/1000", param_hint=option
        )
    tokens_in, tokens_out = (int(part.replace("_", "").replace(",", "") or "0") for part in found.groups())
    return Size(input_tokens=tokens_in, output_tokens=tokens_out)


def share(text: str) -> Decimal:
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*(%?)\s*", text)
    value = Decimal(found[1]) / (100 if found[2] else 1) if found else Decimal(-1)
    if not 0 <= value <= 1:
        raise typer.BadParameter(
            f"{one_line(text, 40)!r} is no share such as 80%", param_hint="--cheap-share"
        )
    return value


def counts(text: str | None) -> dict[ModelAlias, int]:
    found: dict[ModelAlias, int] = {}
    for part in text.split(",") if text is not None else ():
        match = re.fullmatch(r"\s*([^=\s]+)\s*=\s*([0-9]{1,7})\s*", part)
        if not match:
            raise typer.BadParameter(
                f"{one_line(part, 40)!r} is no ALIAS=N such as cheap=8", param_hint="--mix"
            )
        found[ModelAlias(match[1])] = int(match[2])
    return found


def prices(texts: Sequence[str]) -> dict[ModelAlias, Price]:
    """Prices given by hand, in dollars per million tokens; one number stands for both directions."""
    found: dict[ModelAlias, Price] = {}
    for text in texts:
        match = re.fullmatch(r"\s*([^=\s]+)\s*=\s*\$?([0-9.]+)\s*(?:/\s*\$?([0-9.]+))?\s*", text)
        try:
            if match is None:
                raise ValueError
            rates = Rates(input=Usd.of(match[2]), output=Usd.of(match[3] or match[2]))
        except ValueError:
            raise typer.BadParameter(
                f"{one_line(text, 40)!r} is no ALIAS=IN/OUT such as smart=3/15", param_hint="--price"
            ) from None
        found[ModelAlias(match[1])] = Price(base=rates)
    return found


def priced(wanted: Wanted, table: RoutingTable, given: Mapping[ModelAlias, Price]) -> list[Scenario]:
    """The scenarios that were asked for. Raises BadParameter for an unknown name or a model without a price."""
    smart = table.tier_models.get(SMART, ModelAlias(SMART))
    cheap = table.tier_models.get(CHEAP, ModelAlias(CHEAP))
    cheap_requests = int(wanted.requests * wanted.cheap_share)
    known = {day.name: day_steps(day) for day in DAYS} | {
        "all-smart": all_smart(wanted.requests, wanted.tokens, smart=smart),
        "split": split(
            wanted.requests,
            wanted.tokens,
            decomposition=wanted.decomposition,
            cheap_requests=cheap_requests,
            smart=smart,
            cheap=cheap,
        ),
        "mix": tuple(
            Step(what="the requests", count=count, model=model, size=wanted.tokens)
            for model, count in wanted.mix.items()
        ),
    }
    if wanted.name is not None and wanted.name not in known:
        raise typer.BadParameter(f"no scenario {one_line(wanted.name, 40)!r}: there are {', '.join(NAMES)}")
    if wanted.name == "mix" and not wanted.mix:
        raise typer.BadParameter("say which: --mix cheap=8,smart=2", param_hint="--mix")
    default = [*(day.name for day in DAYS), "all-smart", "split", *(["mix"] if wanted.mix else [])]
    names = default if wanted.name is None else [wanted.name]
    days = {day.name for day in DAYS}
    models = {step.model for name in names if name not in days for step in known[name] if step.count}
    found = {model: _price(model, table, given) for model in sorted(models)}
    # The days are reckoned at the flat prices of their time, unless others are given.
    flat = {ModelAlias(tier): price for tier, price in FLAT_PRICES.items()} | dict(given)
    return [price_steps(name, known[name], flat if name in days else found) for name in names]


def _price(model: ModelAlias, table: RoutingTable, given: Mapping[ModelAlias, Price]) -> Price:
    if model in given:
        return given[model]
    from orchestrator.core.routing import as_if_keyed, unusable_because

    # A key makes no difference to what something costs.
    pool = as_if_keyed(table).catalogue.pool(model)
    if not pool:
        raise typer.BadParameter(
            f"{unusable_because(table.catalogue, model)}; or give --price {model}=IN/OUT"
        )
    return pool[0].price


def lines(scenarios: Sequence[Scenario]) -> Iterator[str]:
    days = {day.name: day for day in DAYS}
    for scenario in scenarios:
        day = days.get(scenario.name)
        about = (
            f": {day.about}, {day.requests} requests, {day.simple_percent} % of them simple, at flat prices"
            if day
            else ""
        )
        yield f"{scenario.name}{about}"
        for step in scenario.steps:
            yield f"  {one_line(step.arithmetic, 200)}"
        cents = _cents(scenario.total)
        yield f"  together {scenario.total}{'' if cents == str(scenario.total) else f', about {cents}'}"
    compared = [scenario for scenario in scenarios if scenario.name not in days]
    first = compared[0] if compared else scenarios[0]
    for scenario in compared[1:]:
        if first.total:
            yield f"{scenario.name} costs {scenario.total.share(first.total):.1%} of {first.name}"


def _cents(amount: Usd) -> str:
    """Rounded to the nearest cent, as bills are read."""
    return f"${amount.dollars.quantize(Decimal('0.01'))}"


def as_json(scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    return [
        {
            "scenario": scenario.name,
            "total": encode(scenario.total),
            "steps": [
                {
                    "what": step.step.what,
                    "model": step.step.model,
                    "count": step.step.count,
                    "input_tokens": step.step.size.input_tokens,
                    "output_tokens": step.step.size.output_tokens,
                    "each": encode(step.each),
                    "total": encode(step.total),
                }
                for step in scenario.steps
            ],
        }
        for scenario in scenarios
    ]
