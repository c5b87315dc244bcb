"""What a run did to the tasks of its list: which landed with a verdict, which failed and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.domain import OrchestratorError, RunId, State
from orchestrator.core.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.wiring import Home


def of_run(home: Home, run: RunId) -> tuple[list[str], dict[str, str]]:
    """Return (subtasks that landed, {subtask that failed: why}). Raises OrchestratorError without such a run."""
    from orchestrator.core.dispatch import Dispatch
    from orchestrator.core.events import AttemptFinished, RunStarted, SubtaskLanded

    events = list(home.store.events(run))
    if not events or not isinstance(events[0], RunStarted):
        raise OrchestratorError(f"no run {run}: `orchestrator runs` lists them")
    dispatch = Dispatch.of(events[0], tier_models=home.settings.table.tier_models)
    dispatch.replay(events[1:])
    states = dispatch.states()
    judged = {event.attempt.subtask for event in events if isinstance(event, SubtaskLanded) and event.verdict}
    reasons = {
        event.attempt.subtask: event.outcome.reason
        for event in events
        if isinstance(event, AttemptFinished) and event.outcome.reason
    }
    landed = [str(name) for name, state in states.items() if state is State.SUCCEEDED and name in judged]
    failed = {
        str(name): one_line(reasons.get(name, "") or "failed", 200)
        for name, state in states.items()
        if state is State.FAILED
    }
    return landed, failed


def write_live(home: Home, run: RunId) -> Path | None:
    """Put what landed and failed in a run into the user's own task file; return it, None when there is none.

    Raises TaskFileChanged when the file no longer holds the run's tasks.
    """
    from pathlib import Path

    from orchestrator.adapters.formats.task_files import read_task_file, write_status
    from orchestrator.core.events import RunStarted
    from orchestrator.task_plans import covered

    started = next(iter(home.store.events(run)), None)
    if not isinstance(started, RunStarted) or started.plan.made_from.imported_from is None:
        return None
    ids = covered(started.plan)
    source = next(
        (subtask.source.partition("#")[0] for subtask in started.plan.subtasks if subtask.source), ""
    )
    path = Path(started.repository) / source
    landed, failed = of_run(home, run)
    tasks = read_task_file(
        path,
        format=started.plan.made_from.imported_from,
        tag=started.plan.made_from.template or None,
    )
    known = [name for subtask in landed for name in ids.get(subtask, ()) if name in tasks.by_id]
    notes = {ids[name][0]: why for name, why in failed.items() if name in ids and ids[name][0] in tasks.by_id}
    ticked = dict.fromkeys(tasks.finished_with(known), True)
    write_status(path, tasks, ticked, notes, backups=home.state / "backups")
    return path
