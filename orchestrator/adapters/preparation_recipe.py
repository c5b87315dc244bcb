"""What a project needs before its checks can run, and how that is made once and used in every worktree."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.adapters.check_runner import Environment, Ran
from orchestrator.core.domain import OrchestratorError

SETUP_SECONDS = 1800.0


class CannotPrepare(OrchestratorError):
    """The set-up of a project failed, so its checks cannot run; the message says which command and how."""

    exit_code = 1


SetUp = Callable[[Sequence[str], Path, dict[str, str]], Awaitable[Ran]]
"""Run one set-up command in a directory, with a network when that is allowed; the variables come on top."""


class Recipe(Protocol):
    """How one ecosystem of a project is set up. `key` names all that the result depends on."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    async def build(self, place: Path, worktree: Path, set_up: SetUp) -> None:
        """Make in `place` what every worktree of this key can share. Raises CannotPrepare."""

    def use(self, place: Path, worktree: Path) -> Environment:
        """Make the worktree use it; called for every worktree, and again for the same one."""


def failed(what: str, ran: Ran) -> CannotPrepare:
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "ERR_" in line] or lines
    how = "ran into its time limit" if ran.exit_code is None else f"ended with exit code {ran.exit_code}"
    return CannotPrepare(f"{what} {how}: {telling[-1][:200] if telling else 'it says nothing'}")


@dataclass(frozen=True, slots=True)
class Built:
    """Finished set-ups in the cache, by key. A build has a place of its own, so an unfinished one is never used."""

    directory: Path

    def find(self, key: str) -> Path | None:
        try:
            place = Path(json.loads((self.directory / f"{key}.json").read_text("utf-8"))["place"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return place if place.is_dir() and place.parent == self.directory else None

    async def make(self, recipe: Recipe, worktree: Path, set_up: SetUp) -> Path:
        """Build it and remember where. Raises CannotPrepare, and leaves nothing then."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self.directory / f"{recipe.key}.{secrets.token_hex(3)}"
        place.mkdir(mode=0o700)
        done = False
        try:
            await recipe.build(place, worktree, set_up)
            done = True
        finally:
            if not done:
                shutil.rmtree(place, ignore_errors=True)
        aside = self.directory / f".{recipe.key}.{os.getpid()}"
        aside.write_text(json.dumps({"schema": "environment", "version": 1, "place": str(place)}), "utf-8")
        aside.replace(self.directory / f"{recipe.key}.json")
        return place
