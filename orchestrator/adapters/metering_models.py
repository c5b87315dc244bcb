"""Whether the model that answered is the one that was asked, and what it costs if it is another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from orchestrator.adapters.settings_prices import is_cost_key, price_of
from orchestrator.core.catalogue import Catalogue, Deployment
from orchestrator.core.money import Price

_DATE = re.compile(r"(?<!\d)(20\d\d-\d\d-\d\d|20\d{6}|\d{6})(?!\d)")
_REVISION = re.compile(r"0\d\d|\d{4}|latest|v\d+")


def is_same_model(deployment: Deployment, answered_by: str) -> bool:
    """Whether a reply's model name means the deployment's model.

    Names differ between vendors and gateways in provider prefix, date or revision, dots and the order of words:
    `anthropic/claude-4.5-sonnet-20250929` is `claude-sonnet-4-5`; `gpt-4o-mini` is not `gpt-4o`. One that names
    another revision than was asked for is another model: revisions have had other prices.
    """
    base = deployment.parameters.get("base_model")
    asked = {deployment.model, base} if isinstance(base, str) else {deployment.model}
    return any(
        _words(name) == _words(answered_by) and not _conflict(_revisions(name), _revisions(answered_by))
        for name in asked
    )


def _bare(name: str) -> str:
    return name.lower().rsplit("/", 1)[-1].partition(":")[0]


def _words(name: str) -> Counter[str]:
    words = re.findall(r"[a-z0-9]+", _DATE.sub("", _bare(name).partition("@")[0]))
    return Counter(word for word in words if not _REVISION.fullmatch(word))


def _revisions(name: str) -> set[str]:
    dates = [date.replace("-", "") for date in _DATE.findall(_bare(name))]
    words = re.findall(r"[a-z0-9]+", _DATE.sub("", _bare(name)))
    return {*dates, *(word for word in words if _REVISION.fullmatch(word) and word != "latest")}


def _conflict(asked: set[str], answered: set[str]) -> bool:
    return bool(asked and answered) and not asked & answered


def prices_of(
    answered_by: str, catalogue: Catalogue, price_map: Mapping[str, Mapping[str, object]]
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
        costs = {key: value for key, value in price_map.get(name, {}).items() if is_cost_key(key)}
        price = price_of(costs, model=name, parameters={})
        if isinstance(price, Price):
            known.append(price)
    return known
