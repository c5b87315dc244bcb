"""Taking a landed subtask back, with what was built on it; the rest is checked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.adapters import acceptance
from orchestrator.adapters.formats.carried_ticks import carrying
from orchestrator.adapters.run_lock import RunLock
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import OrchestratorError, RunId, State, SubtaskId
from orchestrator.core.events import Event, RunStarted, SubtaskLanded, SubtaskUndone
from orchestrator.core.ports import Conflict
from orchestrator.session import checker_of
from orchestrator.wiring import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """What `undo` did: the run branch's new tip, the dependents that went too, what the checks said after it."""

    commit: str
    reopened: tuple[SubtaskId, ...]
    checked: str


def take_back(home: Home, run: RunId, subtask: SubtaskId, *, note: str, retry: bool) -> TakenBack:
    """Revert a landed subtask on the run branch; dependents whose commits build on it are reverted and reopened."""
    events = list(home.store.events(run))
    if not events or not isinstance(events[0], RunStarted):
        raise OrchestratorError(f"no run {run}: `orchestrator runs` lists them")
    return asyncio.run(_take_back(home, events[0], events, subtask, note=note, retry=retry))


async def _take_back(
    home: Home, started: RunStarted, events: Sequence[Event], subtask: SubtaskId, *, note: str, retry: bool
) -> TakenBack:
    run = RunId(started.run)
    with RunLock.acquire(home.git, home.state, run=run, clock=home.clock):
        workspaces = GitWorkspaces(home.git, run=run, base=started.base_commit, state=home.state)
        checker = checker_of(home, workspaces, started)
        dispatch = Dispatch.of(started, tier_models=home.settings.table.tier_models)
        dispatch.replay(events[1:])
        carry = carrying(started.plan)
        reopened: list[SubtaskId] = []
        try:
            undone = await acceptance.undo(workspaces, subtask, note=note, carry=carry)
        except Conflict:
            reopened = _landed_dependents(dispatch, events, subtask)
            if not reopened:
                raise
            for dependent in reopened:
                taken = await acceptance.undo(workspaces, dependent, note=f"builds on {subtask}", carry=carry)
                await workspaces.advance(taken.commit, expected=taken.expected)
                await workspaces.remove(taken.worktree)
            undone = await acceptance.undo(workspaces, subtask, note=note, carry=carry)
        await checker.prepare(undone.worktree)
        verdict = await checker.verify(undone.worktree, dispatch.subtask(subtask), full=True)
        await workspaces.advance(undone.commit, expected=undone.expected)
        await workspaces.remove(undone.worktree)
        event = SubtaskUndone(
            subtask=subtask,
            commit=undone.commit,
            reopened=tuple(reopened),
            note=note,
            retry=retry,
            at=home.clock.now(),
        )
        await home.store.append(run, [event])
    failed = [check.name for check in verdict.checks if check.passed is False]
    checked = f"the checks fail without it: {', '.join(failed)}" if failed else "the rest passes its checks"
    return TakenBack(commit=undone.commit, reopened=tuple(reopened), checked=checked)


def _landed_dependents(dispatch: Dispatch, events: Sequence[Event], subtask: SubtaskId) -> list[SubtaskId]:
    """The subtasks that landed on top of `subtask` and depend on it, the last to land first."""
    landed = [event.attempt.subtask for event in events if isinstance(event, SubtaskLanded) and event.commit]
    above = {subtask}
    for other in landed:
        if set(dispatch.subtask(other).depends_on) & above:
            above.add(other)
    succeeded = [other for other in landed if dispatch.state(other) is State.SUCCEEDED]
    return [other for other in reversed(list(dict.fromkeys(succeeded))) if other in above - {subtask}]
