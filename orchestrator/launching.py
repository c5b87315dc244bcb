"""A run in a process of its own, for callers that must not wait for it: hooks and servers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

if TYPE_CHECKING:
    from orchestrator.core.domain import RunId
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home

GUARD = "ORCHESTRATOR_RUN"
"""Set for everything beneath a run of ours: a hook that sees it stays silent, or runs would start runs."""


class DidNotStart(OrchestratorError):
    """The process in the background ended before its run began; `exit_code` is its own where that is known."""

    def __init__(self, why: str, *, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(f"the run did not start: {why}")


def launch(
    home: Home,
    what: str,
    *,
    log: Path,
    budget: Usd | None,
    environ: Mapping[str, str],
    options: Sequence[str] = (),
    run: RunId | None = None,
) -> tuple[RunId, int]:
    """Start `orchestrator run what` in the background; return the run and the process. It journals before it spends.

    `run` is the run's name where it has one already.
    """
    from orchestrator.adapters.processes import spawn_detached
    from orchestrator.session import new_run_id

    run = run or new_run_id(home.clock)
    argv = [sys.executable, "-m", "orchestrator", "run", "--yes", "--as-run", run, *options]
    argv += ["--budget", str(budget.dollars)] if budget is not None else []
    argv += ["--config", str(home.config)] if home.config is not None else []
    # After `--`: a goal that begins with a hyphen is no option.
    argv += ["--", what]
    process = spawn_detached(argv, cwd=str(home.git.root), env={**environ, GUARD: run}, log=log)
    return run, process


def await_start(
    home: Home, run: RunId, process: int, *, log: Path, seconds: float, journalled: bool = False
) -> None:
    """Return once the run works on the repository, at the latest after `seconds`. Raises DidNotStart when it ends.

    Most of what refuses a run does so before it works on the repository; a suite that proves nothing, before its
    journal begins: with `journalled` that is waited for.
    """
    from orchestrator.adapters.run_lock import occupant

    def begun() -> bool:
        return any(True for _ in home.store.events(run))

    until = time.monotonic() + seconds
    while time.monotonic() < until and not begun():
        code = exit_code(process)
        # It may have begun and ended since we looked.
        if code is not None and not begun():
            said = log.read_text("utf-8", "replace").strip().splitlines()
            why = said[-1].removeprefix("error: ") if said else "it said nothing"
            raise DidNotStart(one_line(why, 300), exit_code=code if code > 0 else 1)
        holder = None if journalled else occupant(home.git, home.state)
        if holder is not None and holder.run == run:
            return
        time.sleep(0.05)


def ended(process: int) -> bool:
    """Whether a process that we launched is over."""
    return exit_code(process) is not None


def exit_code(process: int) -> int | None:
    """The exit code of a process that we launched, asked for once it is over; None while it runs.

    Negative for one that a signal ended, or that somebody else has asked before us.
    """
    try:
        found, status = os.waitpid(process, os.WNOHANG)
    except ChildProcessError:
        return None if alive(process) else -1
    return os.waitstatus_to_exitcode(status) if found == process else None


def alive(process: int) -> bool:
    """Whether a process of that id is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
