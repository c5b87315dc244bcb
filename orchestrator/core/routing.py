"""Which model a request goes to, within which output limit, and why; or why to none. Pure: dollars left come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.core.catalogue import (
    BudgetBand,
    Catalogue,
    Comparison,
    Deployment,
    RoutingRule,
    RoutingTable,
)
from orchestrator.core.domain import CHEAP, Deliverable, Estimate, ModelAlias, Refusal, Route, Subtask, Tag
from orchestrator.core.money import TOKENS_PER_PRICE_UNIT, Usd, tokens_cost, worst_case
from orchestrator.core.patterns import patterns_of
from orchestrator.core.text import did_you_mean, one_line

LEAST_EDIT_TOKENS = 512
LEAST_TEXT_TOKENS = 64

DAY = "day"
_UNBOUNDED = 2**62


class Standard(Protocol):
    """As much of a standard as routing asks."""

    def match(self, text: str) -> Tag | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to be routed.

    `input_tokens` bounds the whole prompt from above. `needs_output_tokens` is the least that is of any use
    (`edit_needs` for an edit), `max_output_tokens` the most that is wanted (None: what the model can).
    `override` is the user's `--model`; `rung` the model that dispatch asks for; `entry` whether this is the attempt
    on which a subtask starts, which a band may make cheaper. Without an executable check (`checkable` false) no
    verdict could ever escalate it. `planning` is the planner's own call.
    """

    text: str
    input_tokens: int
    needs_output_tokens: int = LEAST_TEXT_TOKENS
    max_output_tokens: int | None = None
    tag: Tag | None = None
    override: ModelAlias | None = None
    rung: ModelAlias | None = None
    entry: bool = True
    checkable: bool = True
    planning: bool = False


def edit_needs(estimate: Estimate) -> int:
    """The fewest output tokens with which an edit is worth starting."""
    return max(LEAST_EDIT_TOKENS, estimate.output_tokens.likely)


def least_useful_output(subtask: Subtask) -> int:
    """The fewest output tokens with which an attempt at the subtask is worth paying for."""
    return edit_needs(subtask.estimate) if subtask.deliverable is Deliverable.EDIT else LEAST_TEXT_TOKENS


def route(
    request: Request,
    table: RoutingTable,
    *,
    left: Mapping[str, Usd],
    standard: Standard | None = None,
) -> Route | Refusal:
    """Decide where `request` goes. `left` is what is neither spent nor held per window; bands look at `day` only.

    Reasons stand in the order in which they were applied, also in a Refusal.
    """
    return _Decision(request, table, left, standard).made()


def as_if_keyed(table: RoutingTable) -> RoutingTable:
    """The table in which deployments without a key count as usable: for forecasts and explanations."""
    pools = dict(table.catalogue.pools)
    for alias, deployments in table.catalogue.unusable.items():
        # An alias that has a usable deployment is explained by that one.
        pools[alias] = pools.get(alias) or deployments
    return replace(table, catalogue=replace(table.catalogue, pools=pools))


def usable_ladder(table: RoutingTable) -> tuple[tuple[ModelAlias, ...], list[str]]:
    """The rungs that an escalation can go up by, and a line for each that has no model to call and is passed by.

    What a tier starts on stays: without it nothing of that tier can be done, and that is said when it is needed.
    """
    tiers, catalogue = set(table.tier_models.values()), table.catalogue
    skipped = [alias for alias in table.ladder if alias not in tiers and not catalogue.pool(alias)]
    return (
        tuple(alias for alias in table.ladder if alias not in skipped),
        [f"escalation goes past {alias}: {unusable_because(catalogue, alias)}" for alias in skipped],
    )


def unusable_because(catalogue: Catalogue, alias: ModelAlias) -> str:
    """One clause: why `alias` has no deployment to call, and what to do."""
    variables = [
        deployment.key_variable
        for deployment in catalogue.unusable.get(alias, ())
        if deployment.key_variable is not None
    ]
    if variables:
        return f"model {alias!r} has no key: set {' or '.join(dict.fromkeys(variables))}"
    skipped = [line for line in catalogue.skipped if line.startswith(f"{alias}: ")]
    if skipped:
        return f"model {alias!r} has no usable entry: {one_line(skipped[0].partition(': ')[2], 300)}"
    known = list(dict.fromkeys([*catalogue.pools, *catalogue.unusable]))
    hint = (
        did_you_mean(alias, known) or f": the configuration has {one_line(', '.join(known), 300) or 'none'}"
    )
    return f"no model {one_line(alias, 60)!r}{hint}"


def band_for(bands: Iterable[BudgetBand], left: Usd) -> tuple[BudgetBand | None, str]:
    """Return the band for this amount and how it was found.

    The first that holds; an amount that none covers takes the next lower band, below all of them the strictest.
    """
    bands = tuple(bands)
    for band in bands:
        if band.holds(left):
            return band, "holds"
    lower = [band for band in bands if band.comparison in (Comparison.BELOW, Comparison.AT_MOST)]
    if lower:
        return max(lower, key=lambda band: band.threshold), "is the next lower: none covers the amount"
    if bands:
        return min(bands, key=lambda band: band.threshold), "is the strictest: the amount lies below all"
    return None, "none"


def affordable_output(pool: Iterable[Deployment], *, input_tokens: int, dollars: Usd) -> int:
    """The most output tokens for which no deployment of `pool` can cost more than `dollars`.

    Negative when not even the prompt fits; very large when nothing is charged for output.
    """
    most = _UNBOUNDED
    for deployment in pool:
        price = deployment.price
        rates = price.ceiling(input_tokens)
        fixed = tokens_cost(input_tokens, rates.input) + price.per_request
        if not rates.output:
            most = min(most, _UNBOUNDED if not fixed or fixed <= dollars else -1)
            continue
        rest = dollars - fixed
        tokens = rest.nano * TOKENS_PER_PRICE_UNIT // rates.output.nano if rest.nano >= 0 else -1
        most = min(most, tokens)
    return most


@dataclass(frozen=True, slots=True)
class _Limit:
    """One bound on the output: what imposes it, and what would raise it."""

    tokens: int
    what: str
    remedy: str
    dollars: bool
    left: Usd | None = None


class _Decision:
    def __init__(
        self, request: Request, table: RoutingTable, left: Mapping[str, Usd], standard: Standard | None
    ) -> None:
        self.request, self.table, self.left, self.standard = request, table, left, standard
        self.catalogue = table.catalogue
        self.reasons: list[str] = []
        self.rule: tuple[int, RoutingRule] | None = None
        self.band: BudgetBand | None = None

    def made(self) -> Route | Refusal:
        alias = self._first_choice()
        if isinstance(alias, Refusal):
            return alias
        within = self._within_band(self._unverifiable(alias))
        if isinstance(within, Refusal):
            return within
        alias = within
        pool = self.catalogue.pool(alias)
        if not pool:
            return self._refused(unusable_because(self.catalogue, alias), no_model=True)
        return self._with_output_limit(alias, pool)

    def _first_choice(self) -> ModelAlias | Refusal:
        request, table = self.request, self.table
        if request.override is not None:
            self.reasons.append(f"override: --model {one_line(request.override, 60)}")
            return request.override
        if request.rung is not None:
            stage = "entry rung" if request.entry else "escalation"
            tagged = f" ({request.tag.tier} by {request.tag.rule})" if request.tag else ""
            self.reasons.append(f"{stage}: {request.rung}{tagged}")
            return request.rung
        if request.tag is not None:
            return self._of_tier(request.tag, f"tag: {request.tag.rule}, by the {request.tag.decided_by}")
        hit = patterns_of(table.rules).first(request.text) if table.rules else None
        if hit is not None:
            rule = table.rules[hit.index]
            self.rule = hit.index, rule
            cap = "" if rule.max_cost_per_request is None else f", at most {rule.max_cost_per_request}"
            self.reasons.append(
                f"routing rule {hit.index + 1} (`{one_line(rule.pattern, 60)}`) matches "
                f"{one_line(hit.evidence, 40)!r}: {rule.model}{cap}"
            )
            return rule.model
        if table.rules:
            self.reasons.append("no routing rule matches")
        tag = self.standard.match(request.text) if self.standard else None
        if tag is not None:
            evidence = ", ".join(one_line(word, 40) for word in tag.evidence)
            return self._of_tier(tag, f"standard: {tag.rule} by {evidence} ({tag.reason})")
        if self.standard:
            self.reasons.append("no signal word of the standard occurs")
        usual = table.tier_models.get(CHEAP) or next(iter(table.ladder), ModelAlias(CHEAP))
        self.reasons.append(f"default: {usual}")
        return usual

    def _of_tier(self, tag: Tag, why: str) -> ModelAlias | Refusal:
        alias = self.table.tier_models.get(tag.tier)
        if alias is None:
            self.reasons.append(why)
            return self._refused(
                f"tier {tag.tier!r} has no model: set `tiers: {{{tag.tier}: ALIAS}}` under `orchestrator`",
                no_model=True,
            )
        self.reasons.append(f"{why}: {alias}")
        return alias

    def _unverifiable(self, alias: ModelAlias) -> ModelAlias:
        request = self.request
        if request.checkable or not request.entry or request.override is not None or request.planning:
            return alias
        top = self.table.ladder[-1] if self.table.ladder else alias
        if top == alias or not self.catalogue.pool(top):
            return alias
        cost = self._cost(top, request.needs_output_tokens)
        if all(cost <= left for left in self.left.values()):
            self.reasons.append(f"no executable check could escalate it: {alias} -> {top}")
            self.rule = None
            return top
        self.reasons.append(f"no executable check could escalate it, but {top} needs {cost}: stays {alias}")
        return alias

    def _within_band(self, alias: ModelAlias) -> ModelAlias | Refusal:
        request = self.request
        left = self.left.get(DAY)
        if left is None or not self.table.bands:
            return alias
        band, how = band_for(self.table.bands, left)
        if band is None:
            return alias
        shown = f"{left} of the budget window is left: band `{band.comparison} {band.threshold}` {how}"
        if request.override is not None or request.planning:
            who = "--model" if request.override is not None else "the planner's own call"
            self.reasons.append(f"{shown}, but {who} is exempt from bands")
            return alias
        self.band = band
        if not request.entry:
            if band.escalation:
                self.reasons.append(f"{shown}; it does not forbid escalation")
                return alias
            return self._refused(
                f"{shown} and forbids to escalate to {alias}: wait for the next window, "
                f"or choose the model with `orchestrator retry --model {alias}`"
            )
        if alias in band.preferred:
            self.reasons.append(f"{shown} and prefers {alias}")
            return alias
        usable = [other for other in band.preferred if self.catalogue.pool(other)]
        own = self._full_cost(alias)
        costs = {other: self._full_cost(other) for other in usable}
        if not usable or own is None or all(own <= cost for cost in costs.values() if cost is not None):
            self.reasons.append(f"{shown}; {alias} is not dearer than what it prefers")
            return alias
        chosen = next(other for other in usable if (cost := costs[other]) is not None and cost <= own)
        self.reasons.append(f"{shown} and prefers {', '.join(band.preferred)}: {alias} -> {chosen}")
        # The rule's own cap speaks of the model that it chose.
        self.rule = None
        return chosen

    def _with_output_limit(self, alias: ModelAlias, pool: tuple[Deployment, ...]) -> Route | Refusal:
        request = self.request
        can = min(deployment.max_output_tokens for deployment in pool)
        needs = min(request.needs_output_tokens, can)
        limits = [_Limit(can, f"{alias} answers with", "", False)]
        for deployment in pool:
            if deployment.max_input_tokens is None:
                continue
            room = deployment.max_input_tokens - request.input_tokens
            if room < 0:
                return self._refused(
                    f"a prompt of up to {request.input_tokens:,} tokens does not fit into the "
                    f"{deployment.max_input_tokens:,} of {one_line(deployment.model, 80)}",
                    no_model=True,
                )
            if deployment.model.startswith("ollama"):
                # A local model's window holds the prompt and the answer together.
                limits.append(_Limit(room, "its context window leaves", "raise num_ctx", False))
        if request.max_output_tokens is not None:
            limits.append(_Limit(request.max_output_tokens, "the request asks for", "ask for more", False))
        if self.band is not None and self.band.max_tokens is not None:
            band = f"the band `{self.band.comparison} {self.band.threshold}`"
            remedy = f"raise its max_tokens to {needs}, wait for the next window, or name a --model"
            limits.append(_Limit(self.band.max_tokens, f"{band} allows", remedy, False))
        if self.rule is not None and (cap := self.rule[1].max_cost_per_request) is not None:
            tokens = affordable_output(pool, input_tokens=request.input_tokens, dollars=cap)
            what = f"rule {self.rule[0] + 1} caps a request at {cap}, which leaves"
            limits.append(_Limit(tokens, what, "raise its max_cost_per_request", True))
        for window, left in self.left.items():
            tokens = affordable_output(pool, input_tokens=request.input_tokens, dollars=left)
            remedy = (
                "wait for the next window, or `orchestrator budget set`"
                if window == DAY
                else "raise --budget"
            )
            what = f"{left} is left of the {window} budget, which leaves"
            limits.append(_Limit(tokens, what, remedy, True, None if window == DAY else left))
        tightest = min(limits, key=lambda limit: limit.tokens)
        if tightest.tokens < needs:
            return self._too_little(alias, tightest, needs)
        cost = self._cost(alias, tightest.tokens)
        if tightest.tokens < can:
            self.reasons.append(f"output: {tightest.what} {tightest.tokens:,} tokens")
        self.reasons.append(
            f"worst case: {cost} for {request.input_tokens:,} tokens in and {tightest.tokens:,} out"
        )
        return Route(
            model=alias,
            max_output_tokens=tightest.tokens,
            worst_case=cost,
            reasons=tuple(self.reasons),
        )

    def _too_little(self, alias: ModelAlias, limit: _Limit, needs: int) -> Refusal:
        would_do = self._cost(alias, needs)
        room = f"{limit.tokens:,} output tokens" if limit.tokens >= 0 else "no room even for the prompt"
        amount = f"{would_do} would do" if limit.dollars else f"at most {would_do}"
        remedy = f": {limit.remedy}" if limit.remedy else ""
        if limit.left is not None:
            remedy += f" by {(would_do - limit.left).rounded()}"
        return self._refused(
            f"{limit.what} {room}, but {alias} needs {needs:,} ({amount}){remedy}", would_do=would_do
        )

    def _cost(self, alias: ModelAlias, output_tokens: int) -> Usd:
        return self.catalogue.worst_case(
            alias, input_tokens=self.request.input_tokens, max_output_tokens=output_tokens
        )

    def _full_cost(self, alias: ModelAlias) -> Usd | None:
        """The worst case of this request with all the output that the model may give; None without a model."""
        pool = self.catalogue.pool(alias) or self.catalogue.unusable.get(alias, ())
        wanted = self.request.max_output_tokens
        costs = [
            worst_case(
                deployment.price,
                input_tokens=self.request.input_tokens,
                max_output_tokens=min(deployment.max_output_tokens, _UNBOUNDED if wanted is None else wanted),
            )
            for deployment in pool
        ]
        return max(costs, default=None)

    def _refused(self, message: str, *, would_do: Usd | None = None, no_model: bool = False) -> Refusal:
        return Refusal(message=message, reasons=tuple(self.reasons), would_do=would_do, no_model=no_model)
