"""The composition root: settings in, ready parts out; the only reader of the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.state import database, state_directory
from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from orchestrator.adapters.git import Repository
    from orchestrator.adapters.journal import Store
    from orchestrator.adapters.settings import Settings
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

        return Store.open(database(self.state), clock=self.clock, rules=self.settings.budget)

    @cached_property
    def git(self) -> Repository:
        """The repository the command works on. Raises NotARepository, NotUsable."""
        from orchestrator.adapters.git import Repository

        if self.repository is None:
            raise NotARepository(
                f"{Path.cwd()} is not in a git repository: change to one, or make one with `git init` and a commit"
            )
        return Repository.open(self.repository, self.environ)


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


def _root_around(start: Path) -> Path | None:
    """The nearest directory at or above `start` that holds `.git`; git itself is asked later, when it matters."""
    for directory in (start, *start.parents):
        if (directory / ".git").exists():
            return directory
    return None
