"""Makes a bare worktree able to run the checks, and says with which tools they run."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.adapters.check_runner import Environment
from orchestrator.core.ports import Worktree


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Prepares the worktrees of one repository. A project without dependencies needs nothing."""

    async def prepare(self, worktree: Worktree) -> Environment:
        return Environment(said="no set-up needed")
