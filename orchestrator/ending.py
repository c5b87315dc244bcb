"""How far a run came in this process, and the exit code that says so."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import RunState, WaitingFor
from orchestrator.core.events import Event, RunEnded, RunPaused


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How far a run came: `exit_code` is that of the command that ran it."""

    state: RunState
    exit_code: int
    waiting_for: WaitingFor | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    reason: str
    exit_code: int


def ending_of(event: Event, dispatch: Dispatch) -> Ending | None:
    """What a run has come to with this event, which `dispatch` has taken in; None when it goes on."""
    match event:
        case RunPaused():
            code = {WaitingFor.BUDGET: 3, WaitingFor.MODEL: 4}.get(event.waiting_for)
            if code is None:
                code = 0 if dispatch.selection_done and not dispatch.failed else 1
            return Ending(
                state=RunState.PAUSED, exit_code=code, waiting_for=event.waiting_for, reason=event.reason
            )
        # A request that came in between gave the run something to do again.
        case RunEnded() if dispatch.run_state is not RunState.RUNNING:
            state = RunState.CANCELLED if event.cancelled else RunState.DONE
            code = 1 if event.cancelled or dispatch.failed else 0
            return Ending(state=state, exit_code=code, reason=event.reason)
    return None
