"""The composition root: settings in, ready parts out; the only reader of the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.state import database, state_directory
from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from orchestrator.adapters.git import Repository
    from orchestrator.adapters.journal import Store
    from orchestrator.adapters.place import Place
    from orchestrator.adapters.settings import Settings
    from orchestrator.core.catalogue import RoutingTable
    from orchestrator.core.domain import ModelAlias, RunId
    from orchestrator.core.events import RunStarted
    from orchestrator.core.report import Report
    from orchestrator.core.standards import Standard


class SystemClock:
    """The `Clock` of core.ports over the system's clocks."""

    def now(self) -> str:
        return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def epoch_seconds(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class NotARepository(OrchestratorError):
    """The command needs a git repository and there is none here."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """What every command starts from; each part is opened when it is first asked for.

    `repository` is the root of the user's checkout, None outside one. `scripted` is the script or address of
    scripted models, None for real ones.
    """

    environ: Mapping[str, str]
    config: Path | None = None
    repository: Path | None = None
    scripted: str | None = None
    clock: SystemClock = field(default_factory=SystemClock)

    @cached_property
    def state(self) -> Path:
        return state_directory(self.environ)

    @cached_property
    def settings(self) -> Settings:
        from orchestrator.adapters.settings import load_settings

        return load_settings(
            config=self.config, repository=self.repository, environ=self.environ, state=self.state
        )

    @cached_property
    def standard(self) -> Standard:
        from orchestrator.adapters.settings import load_standard

        return load_standard(repository=self.repository, environ=self.environ)

    @cached_property
    def store(self) -> Store:
        from orchestrator.adapters.journal import Store

        return Store.open(
            database(self.state),
            clock=self.clock,
            rules=self.settings.budget,
            scripted=self.scripted is not None,
        )

    @cached_property
    def git(self) -> Repository:
        """The repository the command works on. Raises NotARepository, NotUsable."""
        from orchestrator.adapters.git import Repository

        if self.repository is None:
            raise NotARepository(
                f"{Path.cwd()} is not in a git repository: change to one, or make one with `git init` and a commit"
            )
        return Repository.open(self.repository, self.environ)

    @cached_property
    def place(self) -> Place | Repository:
        """Which repository this is, for commands that need no more of it. Raises NotARepository, NotUsable."""
        from orchestrator.adapters.place import place_of

        return (self.repository and place_of(self.repository)) or self.git


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAccess:
    """The models a command may call: the configured ones, or all of them played from a script.

    `scripted` is what the screen and the report must say, empty for real models.
    """

    table: RoutingTable
    scripted: str = ""

    @property
    def per_model(self) -> dict[ModelAlias, int]:
        """How many attempts may use an alias at once, where its deployments limit it."""
        return {
            alias: sum(deployment.max_parallel or 0 for deployment in pool)
            for alias, pool in self.table.catalogue.pools.items()
            if pool and all(deployment.max_parallel for deployment in pool)
        }

    @classmethod
    @contextmanager
    def open(cls, home: Home) -> Iterator[ModelAccess]:
        """Give access to the models while the block runs; a script given as a file is played meanwhile."""
        table = home.settings.table
        if home.scripted is None:
            yield cls(table=table)
            return
        from orchestrator.adapters.scripted import ScriptedProvider, running_provider, scripted_catalogue

        said = f"scripted models: {Path(home.scripted).name}"
        if home.scripted.startswith(("http://", "https://")):
            root = running_provider(home.scripted)
            yield cls(
                table=replace(table, catalogue=scripted_catalogue(table.catalogue, root)),
                scripted=said,
            )
            return
        with ScriptedProvider(Path(home.scripted)) as provider:
            yield cls(
                table=replace(table, catalogue=scripted_catalogue(table.catalogue, provider.url)),
                scripted=said,
            )


def open_home(
    config: Path | None = None, repository: Path | None = None, scripted: str | None = None
) -> Home:
    """Return the parts for one command, run in `repository` or in the repository around the current directory."""
    environ = dict(os.environ)
    chosen = config or (Path(environ["ORCHESTRATOR_CONFIG"]) if environ.get("ORCHESTRATOR_CONFIG") else None)
    return Home(
        environ=environ,
        config=chosen,
        repository=repository or _root_around(Path.cwd()),
        scripted=scripted or environ.get("ORCHESTRATOR_SCRIPTED") or None,
    )


def report_of(home: Home, run: RunId) -> Report:
    """The report of a run, from its journal and the ledger. Raises OrchestratorError when there is none."""
    from orchestrator.adapters.report_words import standing_words
    from orchestrator.core.dispatch import Dispatch
    from orchestrator.core.events import RunStarted
    from orchestrator.core.report import build_report

    events = list(home.store.events(run))
    table = home.settings.table
    standings = {}
    stopped = False
    if events and isinstance(events[0], RunStarted):
        stopped = _is_left_alone(home, events[0])
        dispatch = Dispatch.of(events[0], tier_models=table.tier_models)
        dispatch.replay(events[1:])
        standings = {
            subtask: (state, standing_words(dispatch, subtask, going=not stopped))
            for subtask, state in dispatch.states().items()
        }
    return build_report(events, home.store.entries(run=run), standings, table, stopped=stopped)


def _is_left_alone(home: Home, started: RunStarted) -> bool:
    """Whether no process works on the run. For a run of another repository that is not known here."""
    from orchestrator.adapters.run_lock import occupant

    if home.repository is None or started.repository != str(home.place.root):
        return False
    holder = occupant(home.place, home.state)
    return holder is None or holder.run != started.run


def default_parallel() -> int:
    """Subtasks at once when nothing else is said: at most four, at most the cores, a gigabyte of memory each."""
    cores = os.cpu_count() or 1
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**30
    return max(1, min(4, cores, gigabytes))


def _root_around(start: Path) -> Path | None:
    """The nearest directory at or above `start` that holds `.git`; git itself is asked later, when it matters."""
    for directory in (start, *start.parents):
        if (directory / ".git").exists():
            return directory
    return None
