"""`model_list` -> Catalogue: every entry checked and priced, those without a key set aside by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.adapters.settings_fields import Fields
from orchestrator.adapters.settings_prices import (
    Listed,
    completed,
    is_cost_key,
    listed,
    price_of,
    unbounded_parameter,
)
from orchestrator.adapters.settings_yaml import Scalar, plain
from orchestrator.core.catalogue import Catalogue, Deployment
from orchestrator.core.domain import ModelAlias
from orchestrator.core.money import ZERO, Price, Rates
from orchestrator.core.text import one_line

DEFAULT_OUTPUT_TOKENS = 4096
DEFAULT_LOCAL_CONTEXT = 8192
DEFAULT_TIMEOUT_SECONDS = 600.0

ENTRY_KEYS = ("model_name", "litellm_params", "model_info")
# What we take out of litellm_params; everything else there is passed on unchanged.
_OURS = (
    "model",
    "api_key",
    "api_base",
    "base_url",
    "max_tokens",
    "max_completion_tokens",
    "timeout",
    "rpm",
    "tpm",
    "max_parallel_requests",
    # How LiteLLM's proxy chooses within a pool; ours goes by `order`, then by the place in the file.
    "order",
    "weight",
    "tags",
)
# LiteLLM's own retries and budgets would spend money that no hold covers; ours replace them.
IGNORED_PARAMETERS = (
    "num_retries",
    "max_retries",
    "max_budget",
    "budget_duration",
    "stream_timeout",
    "mock_response",
    "mock_timeout",
)
_LEGACY = "cost_per_token"

# Where a provider's key is looked for when an entry names none; providers not listed here need none.
KEY_VARIABLES = {
    "openrouter": "OPENROUTER_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "xai": "XAI_API_KEY",
    "together_ai": "TOGETHERAI_API_KEY",
    "fireworks_ai": "FIREWORKS_AI_API_KEY",
    "perplexity": "PERPLEXITYAI_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
    "deepinfra": "DEEPINFRA_API_KEY",
    "azure": "AZURE_API_KEY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One entry of `model_list` as written. `model` is LiteLLM's id, on Ollama's native path where it is local."""

    alias: ModelAlias
    model: str
    where: str
    costs: Mapping[str, object]
    free: bool
    key_variable: str | None
    api_base: str | None
    base_variable: str | None
    parameters: Mapping[str, object]
    max_input_tokens: int | None
    max_output_tokens: int | None
    model_output_tokens: int | None
    timeout_seconds: float
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_parallel: int | None
    supports_schema: bool | None
    order: int
    notes: tuple[str, ...]

    @property
    def local(self) -> bool:
        return self.model.startswith("ollama_chat/")


def read_model_list(top: Fields) -> list[Declared]:
    """Every readable entry; faults go to the problems of `top`."""
    return [found for entry in top.entries("model_list") if (found := _declared(entry)) is not None]


def _declared(entry: Fields) -> Declared | None:
    entry.require("model_name", "litellm_params")
    entry.not_nearly(ENTRY_KEYS)
    alias, parameters, info = (
        entry.text("model_name"),
        entry.inside("litellm_params"),
        entry.inside("model_info"),
    )
    if alias is None or parameters is None:
        return None
    parameters.require("model")
    model = parameters.text("model")
    if model is None:
        parameters.not_nearly(("model",))
        _key_variable(parameters, "")
        return None
    if not alias.isprintable() or "," in alias or len(alias) > 60:
        entry.fault("model_name", "an alias is at most 60 printable characters without a comma")
    parameters.boolean("stream")
    notes = []
    if model.startswith("ollama/"):
        model = "ollama_chat/" + model.removeprefix("ollama/")
        notes.append(f"{alias}: ollama/ is called by Ollama's native chat path, ollama_chat/")
    ignored = [key for key in parameters if key in IGNORED_PARAMETERS]
    if ignored:
        notes.append(
            f"{alias}: {', '.join(ignored)} of litellm_params is ignored: our own ledger and retries apply"
        )
    key_variable = _key_variable(parameters, model)
    api_base, base_variable = _api_base(parameters)
    local = model.startswith("ollama_chat/")
    return Declared(
        alias=ModelAlias(alias),
        model=model,
        where=f"{entry.node.file}:{entry.node.line}",
        costs=_costs(parameters) | (_costs(info) if info else {}),
        free=bool(_free(parameters, info)),
        key_variable=key_variable,
        api_base=api_base,
        base_variable=base_variable,
        parameters={
            key: plain(node)
            for key, node in parameters.node.items.items()
            if key not in _OURS and key not in IGNORED_PARAMETERS and not is_cost_key(key) and key != "free"
        },
        max_input_tokens=(parameters.integer("num_ctx", low=512, high=10_000_000) if local else None)
        or (info.integer("max_input_tokens", low=1, high=100_000_000) if info else None),
        max_output_tokens=parameters.integer("max_tokens", low=1, high=10_000_000)
        or parameters.integer("max_completion_tokens", low=1, high=10_000_000),
        model_output_tokens=info.integer("max_output_tokens", low=1, high=10_000_000) if info else None,
        timeout_seconds=float(parameters.number("timeout", low=1, high=86_400) or DEFAULT_TIMEOUT_SECONDS),
        requests_per_minute=parameters.integer("rpm", low=1, high=10_000_000),
        tokens_per_minute=parameters.integer("tpm", low=1, high=10_000_000_000),
        # A local model answers one call at a time; more only push each other out of memory.
        max_parallel=parameters.integer("max_parallel_requests", low=1, high=10_000)
        or (1 if local else None),
        supports_schema=info.boolean("supports_response_schema") if info else None,
        order=parameters.integer("order", low=0, high=1000) or 0,
        notes=tuple(notes),
    )


def _free(parameters: Fields, info: Fields | None) -> bool | None:
    return (info.boolean("free") if info else None) or parameters.boolean("free")


def _costs(fields: Fields) -> dict[str, object]:
    costs: dict[str, object] = {}
    for key in fields:
        if not is_cost_key(key):
            continue
        node = fields.node.items[key]
        if not isinstance(node, Scalar):
            costs[key] = plain(node)
        elif (amount := fields.dollars_per_token(key)) is not None:
            costs[key] = amount
    if (legacy := costs.pop(_LEGACY, None)) is not None:
        costs.setdefault("input_cost_per_token", legacy)
        costs.setdefault("output_cost_per_token", legacy)
    return costs


def _key_variable(parameters: Fields, model: str) -> str | None:
    node = parameters.scalar("api_key")
    if node is None:
        provider = model.partition("/")[0] if "/" in model else _provider_of(model)
        return None if "api_base" in parameters or "base_url" in parameters else KEY_VARIABLES.get(provider)
    name = node.text.removeprefix("os.environ/")
    if name == node.text or not name.isidentifier():
        parameters.fault("api_key", "a key does not belong in a file: write os.environ/NAME")
        return None
    return name


def _provider_of(model: str) -> str:
    """LiteLLM knows these makers by the name of the model alone."""
    if model.startswith("claude"):
        return "anthropic"
    return "openai" if model.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-")) else ""


def _api_base(parameters: Fields) -> tuple[str | None, str | None]:
    """The base URL, and the environment variable that it is to be taken from."""
    key = "api_base" if "api_base" in parameters else "base_url"
    value = parameters.text(key)
    if value is None:
        return None, None
    if value.startswith("os.environ/"):
        return None, value.removeprefix("os.environ/")
    if not value.startswith(("http://", "https://")) or any(char.isspace() for char in value):
        parameters.fault(key, f"{one_line(value, 60)!r} is no http or https address")
    if "@" in value.partition("://")[2].partition("/")[0]:
        parameters.fault(key, "an address with a user name or password does not belong in a file")
    return value, None


# --- pricing ------------------------------------------------------------------------------------


def catalogue_of(
    declared: Iterable[Declared], environ: Mapping[str, str], *, allowed: Iterable[ModelAlias] | None = None
) -> Catalogue:
    """Price every entry and sort out those that cannot be used; `allowed` leaves out every other alias.

    Skipped lines begin with `alias: `.
    """
    names = None if allowed is None else set(allowed)
    wanted = sorted(
        (entry for entry in declared if names is None or entry.alias in names), key=lambda entry: entry.order
    )
    prices = listed(entry.model for entry in wanted)
    pools: dict[ModelAlias, list[Deployment]] = {}
    unusable: dict[ModelAlias, list[Deployment]] = {}
    skipped: list[str] = []
    for entry in wanted:
        shown = f"{entry.alias}: {one_line(entry.model, 80)} ({entry.where})"
        priced = _priced(entry, prices.get(entry.model))
        if isinstance(priced, str):
            skipped.append(f"{shown} is not used: {one_line(priced, 300)}")
            continue
        missing = [
            name
            for name in (entry.key_variable, entry.base_variable)
            if name is not None and not environ.get(name, "").strip()
        ]
        deployment = _deployment(entry, prices.get(entry.model), priced, environ)
        if missing:
            skipped.append(f"{shown} is not used: {' and '.join(missing)} is not set")
            unusable.setdefault(entry.alias, []).append(deployment)
        else:
            pools.setdefault(entry.alias, []).append(deployment)
    return Catalogue(
        pools={alias: tuple(pool) for alias, pool in pools.items()},
        skipped=tuple(skipped),
        unusable={alias: tuple(pool) for alias, pool in unusable.items()},
    )


def _priced(entry: Declared, known: Listed | None) -> Price | str:
    """The price and nothing less: what the file says, else the price map; free only when declared so."""
    if reason := unbounded_parameter(entry.parameters):
        return reason
    if entry.model.endswith(":online"):
        return ":online: OpenRouter charges its web searches apart, so no hold could bound the bill"
    if entry.free:
        return Price(base=Rates(input=ZERO, output=ZERO))
    own = {"input_cost_per_token", "output_cost_per_token"} & set(entry.costs)
    if not own and known is None:
        return (
            "its price is not known: give model_info.input_cost_per_token and output_cost_per_token, "
            "or free: true for a model that costs nothing"
        )
    if known is None:
        costs = entry.costs
    elif len(own) == 2:
        # A cheap own price must not meet a listed cache rate, nor a dear one go without its long-context rates.
        costs = completed(entry.costs, known.costs)
    else:
        costs = {**known.costs, **entry.costs}
    price = price_of(costs, model=entry.model, parameters=entry.parameters)
    if isinstance(price, Price) and not price.base.output and not price.base.input:
        return "its price is zero: declare free: true in model_info if it costs nothing"
    return price


def _deployment(
    entry: Declared, known: Listed | None, price: Price, environ: Mapping[str, str]
) -> Deployment:
    limit = entry.model_output_tokens or (known.max_output_tokens if known else None)
    output = entry.max_output_tokens or min(limit or DEFAULT_OUTPUT_TOKENS, DEFAULT_OUTPUT_TOKENS)
    context = entry.max_input_tokens or (known.max_input_tokens if known else None)
    schema = entry.supports_schema
    own = bool(entry.costs) and {"input_cost_per_token", "output_cost_per_token"} <= set(entry.costs)
    return Deployment(
        alias=entry.alias,
        model=entry.model,
        price=price,
        price_source="declared free" if entry.free else entry.where if own else "LiteLLM's price map",
        free=entry.free,
        key_variable=entry.key_variable,
        api_base=environ.get(entry.base_variable, "") if entry.base_variable else entry.api_base,
        max_input_tokens=context or (DEFAULT_LOCAL_CONTEXT if entry.local else None),
        max_output_tokens=min(output, limit) if limit else output,
        timeout_seconds=entry.timeout_seconds,
        requests_per_minute=entry.requests_per_minute,
        tokens_per_minute=entry.tokens_per_minute,
        max_parallel=entry.max_parallel,
        supports_schema=bool(known and known.supports_schema) if schema is None else schema,
        parameters={**entry.parameters},
    )
