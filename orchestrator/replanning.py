"""Planning what is left of a run anew, after failures: bounded in number, priced and held like any planning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import OrchestratorError, Plan, RunId, State
from orchestrator.core.events import Event, Noted, PlanReplaced, RunStarted
from orchestrator.core.planning import MODEL_PLANNER
from orchestrator.core.text import one_line
from orchestrator.plan_making import redrawn
from orchestrator.plans import Wish
from orchestrator.wiring import Home, ModelAccess

OPTION = "replan"


@dataclass(slots=True, kw_only=True)
class Replanning:
    """Offers a new plan at most `times` times, and only for a plan that a model made."""

    home: Home
    access: ModelAccess
    started: RunStarted
    plan: Plan
    times: int

    @classmethod
    def of(cls, home: Home, access: ModelAccess, started: RunStarted, before: Iterable[Event]) -> Replanning:
        """What is left of the run's allowance, given the events it has journalled already."""
        times = int((started.options or {}).get(OPTION, "0"))
        plan = started.plan
        for event in before:
            if isinstance(event, PlanReplaced):
                times, plan = times - 1, event.plan
        return cls(home=home, access=access, started=started, plan=plan, times=times)

    async def __call__(self, dispatch: Dispatch) -> PlanReplaced | None:
        """Ask for a plan of what has failed; None when there is none to be had, with the reason journalled."""
        if self.times <= 0 or self.plan.made_from.planner != MODEL_PLANNER:
            return None
        self.times -= 1
        states = dispatch.states()
        finished = [subtask for subtask, state in states.items() if state is State.SUCCEEDED]
        failed = [
            (subtask, dispatch.detail(subtask) or states[subtask].value) for subtask in dispatch.failures()
        ]
        tried = {subtask for subtask, _ in failed}
        unwanted = [
            subtask
            for subtask, state in states.items()
            if state in (State.SKIPPED, State.CANCELLED) or (state is State.BLOCKED and subtask not in tried)
        ]
        run = RunId(self.started.run)
        wish = Wish(goal=self.plan.goal, budget=self.started.budget, run=run)
        try:
            drawn = await redrawn(
                self.home,
                self.access,
                self.plan,
                _say_nothing,
                wish=wish,
                finished=finished,
                failed=failed,
                unwanted=unwanted,
            )
        except OrchestratorError as error:
            told = f"what failed was not planned anew: {one_line(str(error), 300)}"
            await self.home.store.append(
                run, [Noted(code="replan-failed", text=told, at=self.home.clock.now())]
            )
            return None
        self.plan = drawn.plan
        if len(drawn.plan.subtasks) <= len(finished):
            # Nothing but what nobody wants.
            return None
        names = ", ".join(subtask for subtask, _ in failed)
        return PlanReplaced(
            plan=drawn.plan, reason=f"after the failure of {one_line(names, 200)}", at=self.home.clock.now()
        )


def _say_nothing(text: str) -> None:
    """The run's own view is on the screen."""
