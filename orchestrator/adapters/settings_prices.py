"""Prices: LiteLLM's packaged price map, read without importing LiteLLM, and cost keys turned into one Price.

The hold of a call must bound its bill, so every cost key of a model is either taken into the price, or known
never to apply to what we send (text in, text out, no tools, no service tier), or the model is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.money import TOKENS_PER_PRICE_UNIT, ZERO, LongContext, Price, Rates, Usd

MAP_NAME = "model_prices_and_context_window_backup.json"
MAP_SOURCE = "LiteLLM's price map"

_ABOVE = re.compile(r"(?P<base>.+)_above_(?P<thousands>\d+)k_tokens")
_TIERS = ("batches", "flex", "priority", "ultrafast", "balanced", "decisions")
_INPUT, _OUTPUT = "input_cost_per_token", "output_cost_per_token"
_READ, _WRITE = "cache_read_input_token_cost", "cache_creation_input_token_cost"
_TAKEN = {
    _INPUT: "input",
    _OUTPUT: "output",
    "output_cost_per_reasoning_token": "output",
    _READ: "read",
    "explicit_cache_read_input_token_cost": "read",
    "input_cost_per_token_cache_hit": "read",
    _WRITE: "write",
}
# For what we never send or ask for: other media, tools of the provider, another unit beside dollars.
_NEVER = re.compile(
    r".*(audio|image|video|character|pixel|_dbu_|text_message).*"
    r"|(search_context|google_maps_grounding|web_search)_?cost_per_(query|request).*"
    r"|google_maps_grounding_cost_per_query"
    r"|(code_interpreter|computer_use|file_search|vector_store)_.*"
    r"|(ocr|annotation)_cost_per_page.*"
)
_CACHES = re.compile(r"cache_control|enable_prompt_caching\": true")
_COST = re.compile(r".*(cost|pricing|price)(_|$).*")
_SEARCHES_UNASKED = re.compile(r"(^|/)(sonar|.*search)")

# Parameters of a call that change what it costs, or who answers it, beyond what a price per token says.
_UNBOUNDED = {
    "tools": "tools of the provider may be charged apart",
    "functions": "tools of the provider may be charged apart",
    "plugins": "plugins may be charged apart",
    "web_search_options": "searches are charged apart",
    "models": "another model could answer at another price",
    "route": "another model could answer at another price",
    "fallbacks": "another model could answer at another price",
    "context_window_fallbacks": "another model could answer at another price",
    "context_window_fallback_dict": "another model could answer at another price",
    "model_list": "another model could answer at another price",
    "deployment_id": "another model could answer at another price",
    "prompt_id": "another prompt and model could be sent",
    "retry_policy": "each retry would need a hold of its own",
    "litellm_system_prompt": "it makes the prompt longer",
    "initial_prompt_value": "it makes the prompt longer",
    "final_prompt_value": "it makes the prompt longer",
    "inference_geo": "a region may multiply the price",
    "speed": "a speed may multiply the price",
    "audio": "audio is charged apart",
    "modalities": "other media are charged apart",
    "best_of": "several answers are charged for one",
}


_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_RESERVED = _LIMITS | {"model", "messages", "stream"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the price map says of one model: its cost keys, and what else we ask of it."""

    costs: Mapping[str, object]
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    supports_schema: bool = False
    deprecation_date: str = ""


class NoPriceMap(OrchestratorError):
    """LiteLLM is not installed, or its price map cannot be read."""


def price_map_path() -> Path:
    """Where the installed LiteLLM keeps its price map. Does not import LiteLLM. Raises NoPriceMap."""
    from importlib.util import find_spec

    spec = find_spec("litellm")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / MAP_NAME
        if path.is_file():
            return path
    raise NoPriceMap("LiteLLM's price map is not installed: run ./setup.sh")


def listed(models: Iterable[str]) -> dict[str, Listed | None]:
    """Return what the price map lists for each LiteLLM id, None where it lists nothing. Raises NoPriceMap."""
    wanted = sorted(set(models))
    if not wanted:
        return {}
    path = price_map_path()
    try:
        whole = path.read_bytes()
        return {model: _listed(_looked_up(whole, model)) for model in wanted}
    except (OSError, ValueError) as error:
        raise NoPriceMap(f"{path} cannot be read: {error}; reinstall LiteLLM with ./setup.sh") from None


def _looked_up(whole: bytes, model: str) -> dict[str, object] | None:
    provider, _, name = model.partition("/")
    if provider in ("anthropic", "openai"):
        # LiteLLM lists `anthropic/claude-x` as `claude-x` of the provider `anthropic`.
        entry = _entry(whole, name)
        if entry is not None and entry.get("litellm_provider") == provider:
            return entry
    return _entry(whole, model)


def _entry(whole: bytes, name: str) -> dict[str, object] | None:
    """One entry of the map. Reading all 3 MB of it would cost more than everything else that `route` does."""
    key = json.dumps(name).encode()
    at = whole.find(key)
    if at < 0:
        return None
    opened = re.compile(rb"\s*:\s*(?=\{)").match(whole, at + len(key))
    try:
        text = whole[opened.end() : opened.end() + 65_536].decode("utf-8", "replace") if opened else ""
        entry = json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        # Not laid out as expected: the slow way cannot miss it.
        entry = json.loads(whole).get(name)
    return entry if isinstance(entry, dict) else None


def _listed(entry: Mapping[str, object] | None) -> Listed | None:
    if entry is None:
        return None

    def count(*keys: str) -> int | None:
        return next((value for key in keys if isinstance(value := entry.get(key), int) and value > 0), None)

    return Listed(
        costs={key: value for key, value in entry.items() if _COST.fullmatch(key)},
        max_input_tokens=count("max_input_tokens"),
        max_output_tokens=count("max_output_tokens", "max_tokens"),
        supports_schema=entry.get("supports_response_schema") is True,
        deprecation_date=str(entry.get("deprecation_date") or ""),
    )


def is_cost_key(key: str) -> bool:
    return bool(_COST.fullmatch(key))


def unbounded_parameter(parameters: Mapping[str, object]) -> str | None:
    """Say which parameter makes a price per token no bound on the bill; None when none does."""
    extra = _extra(parameters)
    for name in sorted(_RESERVED & extra.keys()):
        return (
            f"extra_body.{name}: it would replace what the hold is made for, so no hold could bound the bill"
        )
    dropped = parameters.get("additional_drop_params")
    for name in sorted(_LIMITS & {str(each) for each in dropped} if isinstance(dropped, list) else ()):
        return f"additional_drop_params: without {name} no hold could bound the bill"
    everything = {**extra, **parameters}
    for name, why in _UNBOUNDED.items():
        if everything.get(name):
            return f"{name}: {why}, so no hold could bound the bill"
    if everything.get("n", 1) not in (1, None):
        return "n: several answers are charged for one, so no hold could bound the bill"
    return None


def _extra(parameters: Mapping[str, object]) -> dict[str, object]:
    extra = parameters.get("extra_body")
    return extra if isinstance(extra, dict) else {}


def price_of(costs: Mapping[str, object], *, model: str, parameters: Mapping[str, object]) -> Price | str:
    """Return the price that bounds every bill under these cost keys, or why there is none.

    Costs are dollars per token, as numbers or decimal texts.
    """
    tier = _extra(parameters).get("service_tier", parameters.get("service_tier"))
    at_tier: set[str] = set()
    levels: dict[int, dict[str, Decimal]] = {0: {}}
    per_request = Decimal(0)
    for key, value in [*costs.items(), *_tiered(costs)]:
        if key in ("tiered_pricing", "off_peak_pricing"):
            continue
        base, level = key, 0
        if above := _ABOVE.fullmatch(key.replace("_above_1hr", "")):
            level = int(above["thousands"]) * 1000
            base = above["base"] + key[key.rindex("k_tokens") + len("k_tokens") :]
        elif above := re.fullmatch(r"(.+)_above_(\d+)k_tokens(_\w+)", key):
            level, base = int(above[2]) * 1000, above[1] + above[3]
        suffix = next((name for name in _TIERS if base.endswith(f"_{name}")), None)
        if suffix is not None:
            if suffix != tier:
                continue
            base = base.removesuffix(f"_{suffix}")
            at_tier.add(base)
        if "_above_1hr" in key:
            # Charged only for a cache of an hour, which we never ask for; a configured one is held at this rate.
            if "1h" not in json.dumps(parameters, default=str):
                continue
            base = base.replace("_above_1hr", "")
        if base == "input_cost_per_request":
            per_request += _decimal(value) or Decimal(0)
        elif kind := _TAKEN.get(base):
            amount = _decimal(value)
            if amount is None or amount < 0:
                return f"{key} is {value!r}, which is no price"
            rates = levels.setdefault(level, {})
            rates[kind] = max(rates.get(kind, amount), amount)
        elif base.startswith("search_context_cost_per_query") and _SEARCHES_UNASKED.search(model):
            per_request += max((_decimal(each) or Decimal(0) for each in _values(value)), default=Decimal(0))
        elif not _NEVER.fullmatch(base) and any(_decimal(each) != 0 for each in _values(value)):
            return f"{key}: no hold could bound what is charged by it"
    ordinary = tier in (None, "default", "auto", "standard", "standard_only")
    if not ordinary and not (tier in _TIERS and {_INPUT, _OUTPUT} <= at_tier):
        return f"service_tier {tier!r}: its price is not known"
    if "write" not in levels[0] and _CACHES.search(json.dumps(parameters, default=str)):
        return f"its {_WRITE} is not known, and its parameters ask for cache writes"
    return _price(levels, per_request)


def completed(own: Mapping[str, object], known: Mapping[str, object]) -> dict[str, object]:
    """A user's own `own` prices, and beside them what `known` lists that they do not say.

    Dearer rates (cache writes, long context) in proportion to the own prices, fees as they are. Rates that are
    cheaper (cache reads, service tiers, hours) stay out: whether they hold where the own prices do is not known.
    """
    listed_costs = dict([*known.items(), *_tiered(known)])
    ratios: dict[str, tuple[Decimal, Decimal]] = {}
    for kind, name in (("input", _INPUT), ("output", _OUTPUT)):
        mine, theirs = _decimal(own.get(name)), _decimal(listed_costs.get(name))
        ratios[kind] = (mine, theirs) if mine is not None and theirs else (Decimal(1), Decimal(1))
    found: dict[str, object] = {}
    for key, value in listed_costs.items():
        if key in ("tiered_pricing", "off_peak_pricing") or key.endswith(
            tuple(f"_{tier}" for tier in _TIERS)
        ):
            continue
        above = _ABOVE.fullmatch(key.replace("_above_1hr", ""))
        taken = _TAKEN.get(above["base"] if above else key.replace("_above_1hr", ""))
        amount = _decimal(value)
        if taken is None or amount is None:
            found[key] = value
        elif taken != "read":
            mine, theirs = ratios["output" if taken == "output" else "input"]
            found[key] = amount * mine / theirs
    return {**found, **own}


def _price(levels: Mapping[int, Mapping[str, Decimal]], per_request: Decimal) -> Price | str:
    base = levels[0]
    for kind, name in (("input", _INPUT), ("output", _OUTPUT)):
        if kind not in base:
            return f"its {name} is not known"

    def rates(level: Mapping[str, Decimal]) -> Rates:
        # A long-context step that names only some rates keeps the base for the others.
        merged = {**base, **level}
        read, write = merged.get("read"), merged.get("write")
        return Rates(
            input=_per_million(merged["input"]),
            output=_per_million(merged["output"]),
            cache_read=None if read is None else _per_million(read),
            cache_write=None if write is None else _per_million(write),
        )

    return Price(
        base=rates(base),
        long_context=tuple(
            LongContext(above_tokens=above, rates=rates(level))
            for above, level in sorted(levels.items())
            if above
        ),
        per_request=Usd.of(per_request) if per_request else ZERO,
    )


def _tiered(costs: Mapping[str, object]) -> list[tuple[str, object]]:
    """Prices by the length of the prompt or the hour of the day, as plain cost keys."""
    found: list[tuple[str, object]] = []
    tiers = costs.get("tiered_pricing")
    for step in tiers if isinstance(tiers, list) else ():
        reach = step.get("range") if isinstance(step, dict) else None
        if not isinstance(reach, list) or not reach or not isinstance(reach[0], int | float):
            return [("tiered_pricing_cost", "unreadable")]
        thousands = int(reach[0]) // 1000
        for key, value in step.items():
            if key != "range":
                found.append((f"{key}_above_{thousands}k_tokens" if thousands else key, value))
    off_peak = costs.get("off_peak_pricing")
    if isinstance(off_peak, dict):
        found += [(key, value) for key, value in off_peak.items() if _COST.fullmatch(key)]
    return found


def _values(value: object) -> list[object]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _decimal(value: object) -> Decimal | None:
    """The number as it was written; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _per_million(per_token: Decimal) -> Usd:
    return Usd.of(per_token * TOKENS_PER_PRICE_UNIT)
