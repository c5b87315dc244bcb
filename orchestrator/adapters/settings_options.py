"""The configuration's section of our own, `orchestrator:`, and what of it a repository may set without trust."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple, TypeVar

from orchestrator.adapters.denied_files import DENIED
from orchestrator.adapters.settings_fields import Fields
from orchestrator.adapters.settings_routing import alias, known_alias, share
from orchestrator.core.domain import CHEAP, SMART, ModelAlias, Policy
from orchestrator.core.money import Usd

_Amount = TypeVar("_Amount", int, Usd, Decimal)

NAME = "orchestrator"
KEYS = (
    "escalation",
    "tiers",
    "models",
    "parallel",
    "policy",
    "attempts_per_rung",
    "smart_per_subtask",
    "planning_share",
    "checks",
    "setup",
    "check_seconds",
    "sandbox",
    "network_in_setup",
    "deny_files",
    "hook_dispatch",
)
SANDBOXES = ("auto", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The section with every default filled in."""

    ladder: tuple[ModelAlias, ...] = ()
    tier_models: Mapping[str, ModelAlias]
    models: tuple[ModelAlias, ...] | None = None
    parallel: int | None = None
    policy: Policy = Policy.THRIFTY
    attempts_per_rung: int = 2
    smart_per_subtask: Usd | None = None
    planning_share: Decimal = Decimal("0.10")
    commands: Mapping[str, tuple[str, ...]]
    setup: tuple[tuple[str, ...], ...] = ()
    check_seconds: float = 600.0
    sandbox: str = "auto"
    network_in_setup: bool = True
    deny_files: tuple[str, ...] = DENIED
    hook_dispatch: bool = False


class _Tightening(NamedTuple):
    """What anybody's section may set; None where it is silent."""

    models: tuple[ModelAlias, ...] | None
    parallel: int | None
    attempts_per_rung: int | None
    smart_per_subtask: Usd | None
    planning_share: Decimal | None
    check_seconds: float | None
    sandbox: str | None
    network_in_setup: bool | None
    deny_files: tuple[str, ...] | None
    hook_dispatch: bool | None


# Safe from anybody: each can only make a run smaller, slower or more careful.
TIGHTENING = _Tightening._fields


def read_options(top: Fields, aliases: Collection[str]) -> Options:
    """Read the section; what it leaves out has its default."""
    section = top.inside(NAME)
    defaults = Options(
        ladder=tuple(ModelAlias(name) for name in (CHEAP, SMART) if name in aliases),
        tier_models={name: ModelAlias(name) for name in (CHEAP, SMART) if name in aliases},
        commands={},
    )
    if section is None:
        return defaults
    section.only(KEYS)
    ladder = section.texts("escalation")
    for name in ladder or ():
        known_alias(section, "escalation", name, aliases)
    if ladder is not None and len(set(ladder)) != len(ladder):
        section.fault("escalation", "names a model twice")
    values: dict[str, object] = {
        "ladder": None if ladder is None else tuple(ModelAlias(name) for name in ladder),
        "tier_models": _tiers(section, aliases, defaults.tier_models),
        "commands": _commands(section),
        "setup": _setup(section),
        "policy": section.enum("policy", Policy),
        **_tightening(section, aliases)._asdict(),
    }
    return replace(defaults, **{key: value for key, value in values.items() if value is not None})  # type: ignore[arg-type]  # checked above


def tightened(options: Options, over: Fields, aliases: Collection[str]) -> Options:
    """`options` with the stricter of each value that an untrusted section may set."""
    section = over.inside(NAME)
    if section is None:
        return options
    given = _tightening(section, aliases)
    models = given.models
    if options.models is not None and models is not None:
        models = tuple(name for name in options.models if name in models)
    return replace(
        options,
        models=options.models if models is None else models,
        parallel=_least(options.parallel, given.parallel),
        attempts_per_rung=min(
            options.attempts_per_rung, given.attempts_per_rung or options.attempts_per_rung
        ),
        smart_per_subtask=_least(options.smart_per_subtask, given.smart_per_subtask),
        planning_share=_least(options.planning_share, given.planning_share) or Decimal(0),
        check_seconds=min(options.check_seconds, given.check_seconds or options.check_seconds),
        sandbox="auto" if given.sandbox == "auto" else options.sandbox,
        network_in_setup=options.network_in_setup and given.network_in_setup is not False,
        deny_files=tuple(dict.fromkeys((*options.deny_files, *(given.deny_files or ())))),
        hook_dispatch=options.hook_dispatch and given.hook_dispatch is not False,
    )


def _least(ours: _Amount | None, theirs: _Amount | None) -> _Amount | None:
    """The smaller of two bounds, where None is no bound."""
    if ours is None or theirs is None:
        return ours if theirs is None else theirs
    return min(ours, theirs)


def _tightening(section: Fields, aliases: Collection[str]) -> _Tightening:
    models = section.texts("models")
    for name in models or ():
        known_alias(section, "models", name, aliases)
    denied = section.texts("deny_files")
    seconds = section.number("check_seconds", low=1, high=86_400)
    return _Tightening(
        models=None if models is None else tuple(ModelAlias(name) for name in models),
        parallel=section.integer("parallel", low=1, high=64),
        attempts_per_rung=section.integer("attempts_per_rung", low=1, high=5),
        smart_per_subtask=section.usd("smart_per_subtask"),
        planning_share=share(section, "planning_share"),
        check_seconds=None if seconds is None else float(seconds),
        sandbox=section.choice("sandbox", SANDBOXES),
        network_in_setup=section.boolean("network_in_setup"),
        deny_files=None if denied is None else tuple(dict.fromkeys((*DENIED, *denied))),
        hook_dispatch=section.boolean("hook_dispatch"),
    )


def _tiers(
    section: Fields, aliases: Collection[str], defaults: Mapping[str, ModelAlias]
) -> dict[str, ModelAlias] | None:
    tiers = section.inside("tiers")
    if tiers is None:
        return None
    found = dict(defaults)
    for name in tiers:
        chosen = alias(tiers, name, aliases)
        if chosen is not None:
            found[name] = chosen
    return found


def _commands(section: Fields) -> dict[str, tuple[str, ...]] | None:
    checks = section.inside("checks")
    if checks is None:
        return None
    return {name: command for name in checks if (command := checks.command(name)) is not None}


def _setup(section: Fields) -> tuple[tuple[str, ...], ...] | None:
    steps = section.items("setup")
    if steps is None:
        return None
    return tuple(command for step in steps if (command := section.argv("setup", step)) is not None)
