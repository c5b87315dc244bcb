"""What is odd about a configuration that is valid: keys the proxy ignores, gaps, dead rules, caps too small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from orchestrator.adapters import settings_yaml as tree
from orchestrator.adapters.diagnosis import Finding, Level
from orchestrator.adapters.settings import Settings, Source
from orchestrator.adapters.settings_prices import is_cost_key, listed, price_of
from orchestrator.core.catalogue import BudgetBand, Catalogue, Deployment, RoutingTable
from orchestrator.core.money import Price, Usd
from orchestrator.core.patterns import shadowed
from orchestrator.core.routing import (
    LEAST_EDIT_TOKENS,
    affordable_output,
    as_if_keyed,
    band_for,
    unusable_because,
)
from orchestrator.core.text import one_line

AREA = "configuration"

# path -> what we do with a key that the LiteLLM proxy takes no notice of, or understands otherwise.
_OURS = {
    "routing_rules": "the proxy ignores it; our router goes by it",
    "router_settings.routing_rules": "the proxy ignores it; our router goes by it",
    "budget_based_routing": "the proxy ignores it; our router goes by it",
    "router_settings.budget_based_routing": "the proxy ignores it; our router goes by it",
    "orchestrator": "the proxy ignores it; it is our own section",
    "general_settings.max_budget": "the proxy does not enforce it; our ledger does",
    "general_settings.budget_duration": "the proxy ignores it; our ledger goes by it",
    "general_settings.budget_alerts": "the proxy ignores it; our ledger goes by it",
    "general_settings.timezone": "the proxy ignores it; our ledger's day goes by it",
    "general_settings.budget_manager": "nobody reads it; the ledger is always on",
    "proxy_settings": "nobody reads it; the proxy takes host and port on its command line",
    "environment_variables": "only the proxy reads it; we take keys from the environment alone",
    "router_settings.fallbacks": "only the proxy reads it; ours is orchestrator.escalation",
    "router_settings.num_retries": "only the proxy reads it; each of our retries has a hold of its own",
    "litellm_settings.max_budget": "only the proxy reads it; ours is general_settings.max_budget",
    "litellm_settings.fallbacks": "only the proxy reads it; ours is orchestrator.escalation",
    "litellm_settings.success_callback": "only the proxy reads it; our ledger does not rest on callbacks",
    "litellm_settings.failure_callback": "only the proxy reads it; our ledger does not rest on callbacks",
}
_LEGACY_PRICE = "cost_per_token"


def diagnose_settings(settings: Settings, sources: Iterable[Source], *, today: str) -> list[Finding]:
    """Every remark on a valid configuration. `today` is an ISO date."""
    sources = tuple(sources)
    table = as_if_keyed(settings.table)
    findings = [Finding(area=AREA, level=Level.OK, what=f"read {', '.join(settings.sources)}")]
    findings += [Finding(area=AREA, level=Level.NOTE, what=note) for note in settings.notes]
    findings += _proxy_keys(sources)
    findings += _models(settings.table)
    findings += _prices(table.catalogue, today)
    findings += _rules(table)
    findings += _bands(table)
    findings += _alerts(settings)
    return findings


def _note(what: str, remedy: str = "") -> Finding:
    return Finding(area=AREA, level=Level.NOTE, what=what, remedy=remedy)


def _warning(what: str, remedy: str = "") -> Finding:
    return Finding(area=AREA, level=Level.WARNING, what=what, remedy=remedy)


def _proxy_keys(sources: Sequence[Source]) -> list[Finding]:
    findings = []
    for place, source in enumerate(sources, 1):
        for path, meaning in _OURS.items():
            line = _line_of(source.root, path)
            # A routing section under router_settings is seen at the top level too.
            if line is None or _line_of(source.root, f"router_settings.{path}") is not None:
                continue
            # Of a key that a file laid over says again, that one is the user's.
            if all(_line_of(over.root, path) is None for over in sources[place:]):
                findings.append(_note(f"{source.root.file}:{line}: {path}: {meaning}"))
        models = source.root.items.get("model_list")
        for entry in models.items if isinstance(models, tree.Sequence) else ():
            line = _line_of(entry, f"model_info.{_LEGACY_PRICE}") if isinstance(entry, tree.Mapping) else None
            if line is not None:
                findings.append(
                    _note(
                        f"{source.root.file}:{line}: model_info.{_LEGACY_PRICE}: the proxy ignores it; "
                        "we take it for the price of input and output",
                        "write input_cost_per_token and output_cost_per_token",
                    )
                )
        router = source.root.items.get("router_settings")
        fallbacks = router.items.get("fallbacks") if isinstance(router, tree.Mapping) else None
        if isinstance(fallbacks, tree.Sequence) and any(
            isinstance(item, tree.Sequence) for item in fallbacks.items
        ):
            findings.append(
                _warning(
                    f"{source.root.file}:{fallbacks.line}: router_settings.fallbacks: the proxy wants maps, not lists",
                    "write `- cheap: [smart]`",
                )
            )
    return findings


def _line_of(root: tree.Mapping, path: str) -> int | None:
    node: tree.Node = root
    line = None
    for key in path.split("."):
        if not isinstance(node, tree.Mapping) or key not in node.items:
            return None
        line = node.lines[key]
        node = node.items[key]
    return line


def _models(table: RoutingTable) -> list[Finding]:
    catalogue = table.catalogue
    wanted = dict.fromkeys(
        [*table.tier_models.values(), *table.ladder, *(rule.model for rule in table.rules)]
    )
    findings = []
    if not catalogue.pools:
        variables = dict.fromkeys(
            deployment.key_variable
            for pool in catalogue.unusable.values()
            for deployment in pool
            if deployment.key_variable
        )
        findings.append(
            Finding(
                area="models",
                level=Level.ERROR,
                what="no model can be called",
                remedy=f"set {' or '.join(variables)}" if variables else "add a model to model_list",
                no_model=True,
            )
        )
    for alias, pool in catalogue.pools.items():
        ways = ", ".join(one_line(deployment.model, 60) for deployment in pool)
        findings.append(Finding(area="models", level=Level.OK, what=f"{alias}: {ways}"))
    if catalogue.pools:
        for alias in wanted:
            if not catalogue.pool(alias):
                findings.append(
                    Finding(area="models", level=Level.WARNING, what=unusable_because(catalogue, alias))
                )
    for line in catalogue.skipped:
        if not line.endswith(" is not set"):
            findings.append(Finding(area="models", level=Level.WARNING, what=line))
    return findings


def _prices(catalogue: Catalogue, today: str) -> list[Finding]:
    findings = []
    deployments = [
        deployment
        for pools in (catalogue.pools, catalogue.unusable)
        for pool in pools.values()
        for deployment in pool
    ]
    known = listed(deployment.model for deployment in deployments)
    for deployment in {each.model: each for each in deployments}.values():
        entry = known.get(deployment.model)
        if entry is None:
            continue
        if entry.deprecation_date:
            gone = entry.deprecation_date <= today
            findings.append(
                Finding(
                    area="models",
                    level=Level.WARNING if gone else Level.NOTE,
                    what=f"{deployment.alias}: {deployment.model} {'was' if gone else 'will be'} switched off "
                    f"on {entry.deprecation_date}",
                    remedy="name its successor in model_list",
                )
            )
        findings += _cheaper_than_listed(deployment, entry.costs)
    return findings


def _cheaper_than_listed(deployment: Deployment, costs: Mapping[str, object]) -> list[Finding]:
    if deployment.free:
        return []
    price = price_of(
        {key: value for key, value in costs.items() if is_cost_key(key)},
        model=deployment.model,
        parameters=deployment.parameters,
    )
    if not isinstance(price, Price):
        return []
    own, theirs = deployment.price.base, price.base
    if own.input >= theirs.input and own.output >= theirs.output:
        return []
    return [
        _warning(
            f"{deployment.alias}: {deployment.model} is configured at {own.input} and {own.output} per million "
            f"tokens, LiteLLM lists {theirs.input} and {theirs.output}",
            "a price that is too low lets bills pass their holds: check the provider's page",
        )
    ]


def _rules(table: RoutingTable) -> list[Finding]:
    findings = []
    for dead in shadowed(table.rules):
        findings.append(
            _note(
                f"routing rule {dead.rule + 1}: {one_line(dead.alternative, 40)!r} can never win, "
                f"rule {dead.by + 1} matches it first",
                "remove it, or change the order",
            )
        )
    for number, rule in enumerate(table.rules, 1):
        pool = table.catalogue.pool(rule.model)
        cap = rule.max_cost_per_request
        if cap is None or not pool:
            continue
        tokens = affordable_output(pool, input_tokens=0, dollars=cap)
        if tokens < LEAST_EDIT_TOKENS:
            enough = table.catalogue.worst_case(
                rule.model, input_tokens=0, max_output_tokens=LEAST_EDIT_TOKENS
            )
            findings.append(
                _note(
                    f"routing rule {number}: {cap} pays for at most {max(tokens, 0):,} output tokens of {rule.model}, "
                    f"an edit needs {LEAST_EDIT_TOKENS}; it binds requests without a tag only",
                    f"max_cost_per_request from {enough} on, and the prompt's price, would do",
                )
            )
    return findings


def _bands(table: RoutingTable) -> list[Finding]:
    findings = []
    chosen = set()
    for amount in _samples(table.bands):
        band, how = band_for(table.bands, amount)
        if band is None:
            continue
        chosen.add(table.bands.index(band))
        if how != "holds":
            findings.append(
                _note(
                    f"budget_based_routing: no band covers {amount}: "
                    f"`{band.comparison} {band.threshold}` applies to it",
                    "use >= or <= so that the bands meet",
                )
            )
    for index, band in enumerate(table.bands):
        if index not in chosen:
            findings.append(
                _warning(
                    f"budget_based_routing: `{band.comparison} {band.threshold}` never applies: "
                    "bands before it cover all of it",
                    "order the bands from the largest amount to the smallest",
                )
            )
        if band.max_tokens is not None and band.max_tokens < LEAST_EDIT_TOKENS:
            findings.append(
                _note(
                    f"budget_based_routing: `{band.comparison} {band.threshold}` allows {band.max_tokens} output "
                    f"tokens, an edit needs {LEAST_EDIT_TOKENS}: no edit starts in it",
                    f"raise its max_tokens to {LEAST_EDIT_TOKENS} if edits shall go on",
                )
            )
    return findings


def _samples(bands: Sequence[BudgetBand]) -> list[Usd]:
    """Amounts at which the choice of a band can change: the thresholds, and between them."""
    thresholds = sorted({band.threshold.nano for band in bands})
    if not thresholds:
        return []
    between = [(low + high) // 2 for low, high in pairwise(thresholds)]
    ends = [thresholds[0] // 2, thresholds[-1] * 2 + 1]
    return [Usd(nano) for nano in sorted({*thresholds, *between, *ends})]


def _alerts(settings: Settings) -> list[Finding]:
    cap = settings.budget.max_budget
    findings = [
        _note(f"an alert at {alert.threshold} is above max_budget {cap} and will never be raised")
        for alert in settings.budget.alerts
        if alert.threshold > cap
    ]
    if settings.repository_cap is not None and settings.repository_cap > cap:
        findings.append(
            _note(f"the repository's max_budget {settings.repository_cap} is above yours: {cap} holds")
        )
    return findings
