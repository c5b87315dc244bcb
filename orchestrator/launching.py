"""A run in a process of its own, for callers that must not wait for it: hooks and servers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.core.domain import RunId
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home

GUARD = "ORCHESTRATOR_RUN"
"""Set for everything beneath a run of ours: a hook that sees it stays silent, or runs would start runs."""


def launch(
    home: Home,
    what: str,
    *,
    log: Path,
    budget: Usd | None,
    environ: Mapping[str, str],
    options: Sequence[str] = (),
) -> tuple[RunId, int]:
    """Start `orchestrator run what` in the background; return the run and the process. It journals before it spends."""
    from orchestrator.adapters.processes import spawn_detached
    from orchestrator.session import new_run_id

    run = new_run_id(home.clock)
    argv = [sys.executable, "-m", "orchestrator", "run", "--yes", "--as-run", run, *options]
    argv += ["--budget", str(budget.dollars)] if budget is not None else []
    argv += ["--config", str(home.config)] if home.config is not None else []
    # After `--`: a goal that begins with a hyphen is no option.
    argv += ["--", what]
    process = spawn_detached(argv, cwd=str(home.git.root), env={**environ, GUARD: run}, log=log)
    return run, process


def ended(process: int) -> bool:
    """Whether a process that we launched is over, also where its parent, we, has not asked for its exit code yet."""
    try:
        return os.waitpid(process, os.WNOHANG)[0] == process
    except ChildProcessError:
        return not alive(process)


def alive(process: int) -> bool:
    """Whether a process of that id is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
