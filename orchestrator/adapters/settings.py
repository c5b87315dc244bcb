"""Files and environment -> Settings: the configuration a LiteLLM proxy could load, and our own sections in it.

Looked for: `--config`, `$ORCHESTRATOR_CONFIG`, the user's configuration directory, the packaged default. The
repository's own file is laid over it; until it is trusted it may only tighten.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from orchestrator.adapters import settings_yaml as tree
from orchestrator.adapters.settings_fields import Fields
from orchestrator.adapters.settings_models import Declared, catalogue_of, read_model_list
from orchestrator.adapters.settings_options import NAME, TIGHTENING, Options, read_options, tightened
from orchestrator.adapters.settings_routing import BUDGET_KEYS, read_bands, read_budget, read_rules
from orchestrator.adapters.settings_standard import load_standard as load_standard
from orchestrator.adapters.state import config_directory, digest, packaged
from orchestrator.adapters.trust import is_trusted
from orchestrator.core.catalogue import BudgetRules, Catalogue, RoutingTable
from orchestrator.core.domain import InvalidDocument, OrchestratorError, Policy, Problem
from orchestrator.core.money import Usd
from orchestrator.core.text import one_line

FILE_NAME = "litellm_budget_config.yaml"
VARIABLE = "ORCHESTRATOR_CONFIG"

_ROUTING = ("routing_rules", "budget_based_routing")
_TOP = ("model_list", "general_settings", "router_settings", "litellm_settings", NAME, *_ROUTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that is configured, checked and priced. Built by `load_settings` only.

    `repository_cap` is the repository's own `max_budget`; `planning_share` a share of the budget; `commands` are
    the named checks; `setup` is empty for "detect"; `notes` are one-line remarks, `sources` the files it came from,
    dearest authority last.
    """

    table: RoutingTable
    budget: BudgetRules
    repository_cap: Usd | None
    planning_share: Decimal
    policy: Policy
    parallel: int | None
    attempts_per_rung: int
    smart_per_subtask: Usd | None
    commands: Mapping[str, tuple[str, ...]]
    setup: tuple[tuple[str, ...], ...]
    check_seconds: float
    sandbox: str
    network_in_setup: bool
    deny_files: tuple[str, ...]
    hook_dispatch: bool
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    digest: str
    prices_digest: str
    # The line about what the repository's own file says in vain; empty when nothing is, or the file is trusted.
    ignored: str = ""


class NoConfiguration(OrchestratorError):
    """A configuration that was asked for cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file as it was read, once: what is hashed for trust is what is parsed."""

    path: Path
    content: bytes
    root: tree.Mapping


def load_settings(
    *, config: Path | None, repository: Path | None, environ: Mapping[str, str], state: Path
) -> Settings:
    """Read, check and price the configuration. Raises InvalidDocument (every problem) or NoConfiguration.

    `repository` is the top of the working tree whose own file is laid over, if it has one.
    """
    base = read_source(configuration_file(config, environ))
    over = overlay_of(base, repository)
    trusted = over is not None and is_trusted(state, over.path, over.content)
    root = base.root
    if over is not None and trusted:
        root = _laid_over(base.root, over.root)
    problems: list[Problem] = []
    top = Fields(root, "", problems)
    declared, budget, table, options = _read(top)
    repository_cap = None
    notes = [note for entry in declared for note in entry.notes]
    ignored = ""
    if over is not None:
        own = Fields(over.root, "", problems)
        general = own.inside("general_settings")
        repository_cap = general.usd("max_budget") if general else None
        if not trusted:
            options = tightened(options, own, [entry.alias for entry in declared])
            ignored = _ignored(over)
            notes += [ignored] if ignored else []
    if problems:
        raise InvalidDocument(_in_order(problems))
    catalogue = catalogue_of(declared, environ, allowed=options.models)
    sources = [source for source in (base, over) if source is not None]
    return Settings(
        table=RoutingTable(
            catalogue=catalogue,
            rules=table.rules,
            bands=table.bands,
            tier_models=options.tier_models,
            ladder=tuple(rung for rung in options.ladder if options.models is None or rung in options.models),
        ),
        budget=budget,
        repository_cap=repository_cap,
        planning_share=options.planning_share,
        policy=options.policy,
        parallel=options.parallel,
        attempts_per_rung=options.attempts_per_rung,
        smart_per_subtask=options.smart_per_subtask,
        commands=options.commands,
        setup=options.setup,
        check_seconds=options.check_seconds,
        sandbox=options.sandbox,
        network_in_setup=options.network_in_setup,
        deny_files=options.deny_files,
        hook_dispatch=options.hook_dispatch,
        notes=(*notes, *_skipped(catalogue)),
        sources=tuple(str(source.path) for source in sources),
        digest=digest(*(source.content for source in sources), str(trusted)),
        prices_digest=_prices_digest(catalogue),
        ignored=ignored,
    )


def configuration_file(config: Path | None, environ: Mapping[str, str]) -> Path:
    """The file that is in force before any repository's. Raises NoConfiguration when a named one is missing."""
    named = [
        (config, "--config"),
        (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None, f"${VARIABLE}"),
    ]
    for path, said_by in named:
        if path is not None:
            if not path.exists():
                raise NoConfiguration(
                    f"{said_by} names {path}, which does not exist: `orchestrator init` writes one"
                )
            return path
    own = config_directory(environ) / FILE_NAME
    return own if own.is_file() else packaged("templates", FILE_NAME)


def overlay_of(base: Source, repository: Path | None) -> Source | None:
    """The repository's own configuration, unless it has none or it is the one already read."""
    if repository is None:
        return None
    path = repository / FILE_NAME
    if not path.is_file() or path.resolve() == base.path.resolve():
        return None
    return read_source(path)


def read_source(path: Path) -> Source:
    """Read and parse one file. Raises NoConfiguration or InvalidDocument."""
    try:
        # A fifo or a device would be read for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise NoConfiguration(f"{path} is no regular file: name a YAML file")
        with path.open("rb") as stream:
            content = stream.read(tree.MAX_BYTES + 1)
    except OSError as error:
        raise NoConfiguration(f"{path} cannot be read: {error.strerror}") from None
    root = tree.read_yaml(content, file=_shown(path))
    return Source(path=path, content=content, root=_hoisted(root))


def _read(top: Fields) -> tuple[list[Declared], BudgetRules, RoutingTable, Options]:
    top.require("model_list")
    top.not_nearly(_TOP)
    for name, ours in (("general_settings", BUDGET_KEYS), ("router_settings", _ROUTING)):
        if (section := top.inside(name)) is not None:
            section.not_nearly(ours)
    declared = read_model_list(top)
    # Those of faulty entries too: a rule that names one is not wrong for that.
    entries = top.node.items.get("model_list")
    names = [_model_name(item) for item in entries.items] if isinstance(entries, tree.Sequence) else []
    aliases = list(dict.fromkeys(name for name in names if name))
    table = RoutingTable(
        catalogue=Catalogue(pools={}), rules=read_rules(top, aliases), bands=read_bands(top, aliases)
    )
    return declared, read_budget(top.inside("general_settings")), table, read_options(top, aliases)


def _hoisted(root: tree.Mapping) -> tree.Mapping:
    """The routing sections at the top level, wherever the file has them. Both places at once is an error."""
    router = root.items.get("router_settings")
    if not isinstance(router, tree.Mapping):
        return root
    items, lines = dict(root.items), dict(root.lines)
    for name in _ROUTING:
        if name not in router.items:
            continue
        if name in items:
            raise InvalidDocument(
                [
                    Problem(
                        where=f"{root.file}:{router.lines[name]}",
                        what=f"router_settings.{name}: it stands at the top level too, in line {lines[name]}: "
                        "keep one of the two",
                    )
                ]
            )
        items[name], lines[name] = router.items[name], router.lines[name]
    return tree.Mapping(file=root.file, line=root.line, items=items, lines=lines)


def _laid_over(base: tree.Mapping, over: tree.Mapping) -> tree.Mapping:
    """`over` on `base`: mappings key by key, a model's pool as a whole, any other list as a whole."""
    items, lines = dict(base.items), dict(base.lines)
    for key, node in over.items.items():
        below = items.get(key)
        lines[key] = over.lines[key]
        if key == "model_list" and isinstance(below, tree.Sequence) and isinstance(node, tree.Sequence):
            replaced = {_model_name(item) for item in node.items}
            kept = [item for item in below.items if _model_name(item) not in replaced]
            items[key] = tree.Sequence(file=node.file, line=node.line, items=[*kept, *node.items])
        elif isinstance(below, tree.Mapping) and isinstance(node, tree.Mapping):
            items[key] = _laid_over(below, node)
        else:
            items[key] = node
    return tree.Mapping(file=over.file, line=over.line, items=items, lines=lines)


def _model_name(node: tree.Node) -> str | None:
    name = node.items.get("model_name") if isinstance(node, tree.Mapping) else None
    return name.text if isinstance(name, tree.Scalar) else None


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each once, by file and line."""

    def place(problem: Problem) -> tuple[str, int, str]:
        file, _, line = problem.where.rpartition(":")
        return file, int(line) if line.isdigit() else 0, problem.what

    return sorted(dict.fromkeys(problems), key=place)


def _skipped(catalogue: Catalogue) -> list[str]:
    """One line per missing key with all that it leaves out, and one per entry that is refused."""
    keyless: dict[str, list[str]] = {}
    for alias, pool in catalogue.unusable.items():
        for deployment in pool:
            entry = f"{alias} ({one_line(deployment.model, 60)})"
            keyless.setdefault(deployment.key_variable or "its address", []).append(entry)
    lines = [f"{name} is not set: skipped {', '.join(entries)}" for name, entries in keyless.items()]
    return lines + [line for line in catalogue.skipped if not line.endswith(" is not set")]


def untrusted_keys(source: Source) -> list[str]:
    """The keys of a repository's file that count only when it is trusted."""
    found = []
    for key, node in source.root.items.items():
        free = {NAME: TIGHTENING, "general_settings": ("max_budget",)}.get(key)
        if free is not None and isinstance(node, tree.Mapping):
            found += [
                f"{key}.{inner}"
                for inner, value in node.items.items()
                if inner not in free or (key == NAME and _loosens(inner, value))
            ]
        else:
            found.append(key)
    return found


def _loosens(key: str, value: tree.Node) -> bool:
    """Whether a key that may tighten says the opposite."""
    said = value.text.lower() if isinstance(value, tree.Scalar) else ""
    return said in {
        "sandbox": ("none",),
        "hook_dispatch": ("true", "yes", "on"),
        "network_in_setup": ("true", "yes", "on"),
    }.get(key, ())


def _ignored(over: Source) -> str:
    """One line naming what an untrusted file says in vain."""
    names = one_line(", ".join(untrusted_keys(over)), 200)
    return f"{_shown(over.path)}: ignored until `orchestrator trust`: {names}" if names else ""


def _prices_digest(catalogue: Catalogue) -> str:
    everything = [
        (alias, deployment.model, repr(deployment.price))
        for pools in (catalogue.pools, catalogue.unusable)
        for alias, pool in pools.items()
        for deployment in pool
    ]
    return digest(*(part for entry in sorted(everything) for part in entry))


def _shown(path: Path) -> str:
    """The shortest name that still finds the file from where the user stands."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
