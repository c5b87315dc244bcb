"""Whether the model that answered is the one that was asked, and what it costs if it is another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from orchestrator.core.catalogue import Catalogue, Deployment
from orchestrator.core.money import TOKENS_PER_PRICE_UNIT, LongContext, Price, Rates, Usd

_DATE = re.compile(r"(?<!\d)(20\d\d-\d\d-\d\d|20\d{6}|\d{6})(?!\d)")
_REVISION = re.compile(r"0\d\d|\d{4}|latest|v\d+")
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


def is_same_model(deployment: Deployment, answered_by: str) -> bool:
    """Whether a reply's model name means the deployment's model.

    Names differ between vendors and gateways in provider prefix, date or revision, dots and the order of words:
    `anthropic/claude-4.5-sonnet-20250929` is `claude-sonnet-4-5`; `gpt-4o-mini` is not `gpt-4o`.
    """
    base = deployment.parameters.get("base_model")
    asked = {deployment.model, base} if isinstance(base, str) else {deployment.model}
    return any(_words(name) == _words(answered_by) for name in asked)


def _words(name: str) -> Counter[str]:
    bare = name.lower().rsplit("/", 1)[-1].partition(":")[0].partition("@")[0]
    words = re.findall(r"[a-z0-9]+", _DATE.sub("", bare))
    return Counter(word for word in words if not _REVISION.fullmatch(word))


def prices_of(
    answered_by: str, catalogue: Catalogue, price_map: Mapping[str, Mapping[str, Any]]
) -> list[Price]:
    """Every price known for a model of this name: in the catalogue, and in LiteLLM's local price map."""
    words = _words(answered_by)
    known = [
        deployment.price
        for pool in catalogue.pools.values()
        for deployment in pool
        if _words(deployment.model) == words
    ]
    bare = answered_by.rsplit("/", 1)[-1]
    for name in dict.fromkeys((answered_by, bare, f"openrouter/{answered_by}")):
        price = _price(price_map.get(name) or {})
        if price is not None:
            known.append(price)
    return known


def _price(entry: Mapping[str, Any]) -> Price | None:
    base = _rates(entry, "")
    if base is None:
        return None
    steps = []
    for key in entry:
        if match := _ABOVE.fullmatch(key):
            rates = _rates(entry, f"_above_{match[1]}k_tokens", base)
            if rates is not None:
                steps.append(LongContext(above_tokens=int(match[1]) * 1000, rates=rates))
    return Price(base=base, long_context=tuple(steps))


def _rates(entry: Mapping[str, Any], suffix: str, otherwise: Rates | None = None) -> Rates | None:
    def rate(name: str) -> Usd | None:
        value = entry.get(name + suffix)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            return None
        return _per_million(value)

    into, out = rate("input_cost_per_token"), rate("output_cost_per_token")
    if otherwise is not None:
        into, out = into or otherwise.input, out or otherwise.output
    if into is None or out is None:
        return None
    return Rates(
        input=into,
        output=out,
        cache_read=rate("cache_read_input_token_cost"),
        cache_write=rate("cache_creation_input_token_cost"),
    )


def _per_million(dollars_per_token: float) -> Usd:
    from decimal import Decimal

    return Usd.of(Decimal(repr(dollars_per_token)) * TOKENS_PER_PRICE_UNIT)
