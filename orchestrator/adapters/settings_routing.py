"""The routing sections and the budget of the configuration: rules, bands, caps, alerts."""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal

from orchestrator.adapters.settings_fields import Fields, decimal_of
from orchestrator.core.catalogue import (
    Alert,
    AlertAction,
    BudgetBand,
    BudgetRules,
    Comparison,
    Match,
    RoutingRule,
)
from orchestrator.core.domain import ModelAlias
from orchestrator.core.money import Usd
from orchestrator.core.patterns import fault_in
from orchestrator.core.text import did_you_mean, one_line

DEFAULT_BUDGET = Usd.of(5)
DURATIONS = ("1d", "1mo", "7d", "30d")
BUDGET_KEYS = ("max_budget", "budget_duration", "budget_alerts", "timezone")
RULE_KEYS = ("pattern", "model", "max_cost_per_request", "match", "description")
BAND_KEYS = (
    "budget_remaining",
    "preferred_models",
    "max_tokens",
    "escalation",
    "routing_strategy",
    "description",
)
MAX_RULES = 20_000

_BAND = re.compile(r"(?P<sign>>=|<=|>|<)\s*\$?\s*(?P<amount>[0-9][0-9_]*(?:\.[0-9]+)?)")
_DEFAULT_ALERTS = (
    (Decimal("0.50"), AlertAction.LOG),
    (Decimal("0.80"), AlertAction.WARN),
    (Decimal("0.96"), AlertAction.WARN),
)


def read_rules(top: Fields, aliases: Collection[str]) -> tuple[RoutingRule, ...]:
    rules = []
    entries = top.entries("routing_rules")
    if len(entries) > MAX_RULES:
        top.fault("routing_rules", f"{len(entries):,} rules are more than {MAX_RULES:,}")
        return ()
    for entry in entries:
        entry.only(RULE_KEYS)
        entry.require("pattern", "model")
        pattern, model = entry.text("pattern"), alias(entry, "model", aliases)
        if pattern is not None and (fault := fault_in(pattern)):
            entry.fault("pattern", f"{one_line(pattern, 60)!r}: {one_line(fault, 200)}")
        cap = entry.usd("max_cost_per_request")
        match = entry.enum("match", Match)
        if pattern is None or model is None:
            continue
        rules.append(
            RoutingRule(
                pattern=pattern,
                model=model,
                max_cost_per_request=cap,
                match=match or Match.WORD,
                description=entry.text("description") or "",
            )
        )
    return tuple(rules)


def read_bands(top: Fields, aliases: Collection[str]) -> tuple[BudgetBand, ...]:
    bands = []
    for entry in top.entries("budget_based_routing"):
        entry.only(BAND_KEYS)
        entry.require("budget_remaining", "preferred_models")
        remaining = entry.text("budget_remaining")
        found = _BAND.fullmatch(remaining.strip()) if remaining is not None else None
        if remaining is not None and found is None:
            entry.fault("budget_remaining", f"{one_line(remaining, 40)!r} is no comparison such as '> 0.50'")
        preferred = tuple(
            ModelAlias(name)
            for name in entry.texts("preferred_models") or ()
            if known_alias(entry, "preferred_models", name, aliases)
        )
        if entry.texts("preferred_models") == ():
            entry.fault("preferred_models", "names no model")
        most = entry.integer("max_tokens", low=1, high=10_000_000)
        escalation = entry.boolean("escalation")
        if found and preferred:
            bands.append(
                BudgetBand(
                    comparison=Comparison(found["sign"]),
                    threshold=Usd.of(found["amount"].replace("_", "")),
                    preferred=preferred,
                    max_tokens=most,
                    escalation=escalation is not False,
                )
            )
    return tuple(bands)


def read_budget(general: Fields | None) -> BudgetRules:
    """The user's allowance; without one, $5.00 a day with alerts at 50, 80 and 96 percent."""
    if general is None:
        return BudgetRules(max_budget=DEFAULT_BUDGET, alerts=_default_alerts(DEFAULT_BUDGET))
    cap = general.usd("max_budget")
    cap = DEFAULT_BUDGET if cap is None else cap
    zone = general.text("timezone")
    if zone is not None and not _is_zone(zone):
        general.fault("timezone", f"{one_line(zone, 40)!r} is no time zone such as Europe/Berlin or UTC")
    alerts = _alerts(general, cap) if "budget_alerts" in general else _default_alerts(cap)
    return BudgetRules(
        max_budget=cap,
        duration=general.choice("budget_duration", DURATIONS) or "1d",
        timezone=zone or "UTC",
        alerts=alerts,
    )


def _alerts(general: Fields, cap: Usd) -> tuple[Alert, ...]:
    alerts = []
    for entry in general.entries("budget_alerts"):
        entry.only(("threshold", "action", "message"))
        entry.require("threshold")
        node = entry.scalar("threshold")
        if node is not None and node.text.strip().endswith("%"):
            share = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*", node.text)
            if share is None:
                entry.fault("threshold", f"{one_line(node.text, 40)!r} is no share such as 80%")
            threshold = cap.scaled(Decimal(share[1]) / 100) if share else None
        else:
            threshold = entry.usd("threshold")
        action = entry.enum("action", AlertAction)
        if threshold is not None:
            alerts.append(
                Alert(
                    threshold=threshold,
                    action=action or AlertAction.WARN,
                    message=entry.text("message") or "",
                )
            )
    return tuple(alerts)


def _default_alerts(cap: Usd) -> tuple[Alert, ...]:
    return tuple(Alert(threshold=cap.scaled(share), action=action) for share, action in _DEFAULT_ALERTS)


def _is_zone(name: str) -> bool:
    if name == "UTC":
        return True
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def alias(fields: Fields, key: str, aliases: Collection[str]) -> ModelAlias | None:
    name = fields.text(key)
    if name is None or not known_alias(fields, key, name, aliases):
        return None
    return ModelAlias(name)


def known_alias(fields: Fields, key: str, name: str, aliases: Collection[str]) -> bool:
    if name in aliases:
        return True
    hint = (
        did_you_mean(name, aliases)
        or f", model_list has {one_line(', '.join(sorted(aliases)), 200) or 'none'}"
    )
    fields.fault(key, f"no model {one_line(name, 60)!r}{hint}")
    return False


def share(fields: Fields, key: str) -> Decimal | None:
    """A share from 0 to 1, also written as a percentage."""
    node = fields.scalar(key)
    if node is None:
        return None
    text = node.text.strip()
    percent = text.endswith("%")
    value = decimal_of(type(node)(file=node.file, line=node.line, text=text.removesuffix("%"), kind="str"))
    if value is not None and percent:
        value /= 100
    if value is None or not 0 <= value <= 1 or node.kind in ("bool", "null", "timestamp"):
        fields.fault(key, f"{one_line(text, 40)!r} is no share from 0 to 1")
        return None
    return value
