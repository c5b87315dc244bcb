"""The models that may be used, what they cost, and the user's rules for choosing among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.core.domain import ModelAlias
from orchestrator.core.money import Price, Usd, worst_case


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One way to reach a model: one entry of `model_list`, checked and priced.

    `model` is LiteLLM's id (`openrouter/google/gemini-2.5-flash`); `key_variable` names the environment
    variable that holds the key, never the key itself. `parameters` are further LiteLLM parameters passed on
    unchanged. `requests_per_minute` and `tokens_per_minute` are None when no limit is configured.
    """

    alias: ModelAlias
    model: str
    price: Price
    price_source: str
    free: bool = False
    key_variable: str | None = None
    api_base: str | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int = 4096
    timeout_seconds: float = 600.0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_parallel: int | None = None
    supports_schema: bool = False
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def vendor(self) -> str:
        """The maker of the model, as far as the id tells: `anthropic`, `google`, `openai`."""
        parts = self.model.split("/")
        return parts[-2] if len(parts) > 1 else parts[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Every alias with its pool of usable deployments, first preferred; an unusable entry is in `skipped`.

    `unusable` has the priced deployments whose key is missing, in the order of the file: what a scripted
    provider can play and a forecast can price all the same.
    """

    pools: Mapping[ModelAlias, tuple[Deployment, ...]]
    skipped: tuple[str, ...] = ()
    unusable: Mapping[ModelAlias, tuple[Deployment, ...]] = field(default_factory=dict)

    def pool(self, alias: ModelAlias) -> tuple[Deployment, ...]:
        return self.pools.get(alias, ())

    def worst_case(self, alias: ModelAlias, *, input_tokens: int, max_output_tokens: int) -> Usd:
        """The most one call of `alias` can cost, whichever deployment of its pool answers."""
        return max(
            worst_case(deployment.price, input_tokens=input_tokens, max_output_tokens=max_output_tokens)
            for deployment in self.pools[alias]
        )


class Match(StrEnum):
    WORD = "word"
    SUBSTRING = "substring"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRule:
    """`pattern` is RE2; the first rule that matches a request without a tag chooses its model."""

    pattern: str
    model: ModelAlias
    max_cost_per_request: Usd | None = None
    match: Match = Match.WORD
    description: str = ""


class Comparison(StrEnum):
    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetBand:
    """What is preferred while the dollars left in the budget window compare so with `threshold`."""

    comparison: Comparison
    threshold: Usd
    preferred: tuple[ModelAlias, ...]
    max_tokens: int | None = None
    escalation: bool = True

    def holds(self, left: Usd) -> bool:
        match self.comparison:
            case Comparison.ABOVE:
                return left > self.threshold
            case Comparison.AT_LEAST:
                return left >= self.threshold
            case Comparison.BELOW:
                return left < self.threshold
            case Comparison.AT_MOST:
                return left <= self.threshold


class AlertAction(StrEnum):
    LOG = "log"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Said once per window when what is spent and held reaches `threshold`."""

    threshold: Usd
    action: AlertAction
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRules:
    """The user's allowance: `duration` is `1d` or `1mo` (calendar) or `7d`, `30d` (rolling)."""

    max_budget: Usd
    duration: str = "1d"
    timezone: str = "UTC"
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """All that a routing decision looks at beside the request: catalogue, rules, bands, tiers, ladder.

    `tier_models` names the alias a tier starts on; `ladder` is the order of escalation, weakest first.
    """

    catalogue: Catalogue
    rules: tuple[RoutingRule, ...] = ()
    bands: tuple[BudgetBand, ...] = ()
    tier_models: Mapping[str, ModelAlias] = field(default_factory=dict)
    ladder: tuple[ModelAlias, ...] = ()
