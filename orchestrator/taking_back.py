"""Taking a landed subtask back, with what was built on it; the rest is checked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.adapters import acceptance
from orchestrator.adapters.formats.carried_ticks import carrying
from orchestrator.adapters.merging import Carry
from orchestrator.adapters.run_lock import RunLock
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import OrchestratorError, RunId, State, Subtask, SubtaskId
from orchestrator.core.events import Event, RunStarted, SubtaskLanded, SubtaskUndone
from orchestrator.core.ports import Checker, Conflict
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
        dispatch = Dispatch.of(started, tier_models=home.settings.table.tier_models)
        dispatch.replay(events[1:])
        dependents = _landed_dependents(dispatch, events, subtask)
        known = subtask in _landed(events) and dispatch.state(subtask) is State.SUCCEEDED
        if known and (commit := await acceptance.taken_back_by(workspaces, subtask)):
            # A process that was killed between the branch and the journal did the work.
            reopened = [name for name in dependents if await acceptance.taken_back_by(workspaces, name)]
            checked = "it was taken back before, and is in the journal now"
        else:
            checker = checker_of(home, workspaces, started)
            undone, reopened, failed = await reverted(
                workspaces, checker, subtask, dispatch.subtask, dependents, note, carrying(started.plan)
            )
            await workspaces.advance(undone.commit, expected=undone.expected)
            await workspaces.remove(undone.worktree)
            commit = undone.commit
            checked = (
                f"the checks fail without it: {', '.join(failed)}" if failed else "the rest passes its checks"
            )
        event = SubtaskUndone(
            subtask=subtask,
            commit=commit,
            reopened=tuple(reopened),
            note=note,
            retry=retry,
            at=home.clock.now(),
        )
        await home.store.append(run, [event])
    return TakenBack(commit=commit, reopened=tuple(reopened), checked=checked)


async def reverted(
    workspaces: GitWorkspaces,
    checker: Checker,
    subtask: SubtaskId,
    plain: Callable[[SubtaskId], Subtask],
    dependents: list[SubtaskId],
    note: str,
    carry: Carry | None,
) -> tuple[acceptance.Undone, list[SubtaskId], list[str]]:
    """Return the reverts, the dependents among them, and the checks that fail after it.

    What builds on the subtask is kept when it applies and passes without it, and goes too when only that passes.
    """
    fallback: tuple[list[SubtaskId], list[str]] | None = None
    for also in ([], dependents) if dependents else ([],):
        try:
            undone = await acceptance.undo(workspaces, subtask, note=note, carry=carry, before=also)
        except Conflict:
            if also is not dependents and dependents:
                continue
            if fallback is None:
                raise
            break
        await checker.prepare(undone.worktree)
        verdict = await checker.verify(undone.worktree, plain(subtask), full=True)
        failed = [check.name for check in verdict.checks if check.passed is False]
        if not failed:
            return undone, also, failed
        fallback = fallback or (also, failed)
    assert fallback is not None
    also, failed = fallback
    # Nothing passes: as little as possible goes.
    return await acceptance.undo(workspaces, subtask, note=note, carry=carry, before=also), also, failed


def _landed(events: Sequence[Event]) -> list[SubtaskId]:
    return [event.attempt.subtask for event in events if isinstance(event, SubtaskLanded) and event.commit]


def _landed_dependents(dispatch: Dispatch, events: Sequence[Event], subtask: SubtaskId) -> list[SubtaskId]:
    """The subtasks that landed on top of `subtask` and depend on it, the last to land first."""
    landed = _landed(events)
    above = {subtask}
    for other in landed:
        if set(dispatch.subtask(other).depends_on) & above:
            above.add(other)
    succeeded = [other for other in landed if dispatch.state(other) is State.SUCCEEDED]
    return [other for other in reversed(list(dict.fromkeys(succeeded))) if other in above - {subtask}]
