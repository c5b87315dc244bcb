"""A run with everything faked but the machine, the engine and the files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.engine import LocalEngine
from orchestrator.adapters.outcomes import OutcomeFiles
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    AttemptId,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    Refusal,
    Route,
    RunId,
    Stage,
)
from orchestrator.core.events import (
    Event,
    LandingRefused,
    SubtaskLanded,
)
from orchestrator.core.money import Usd
from orchestrator.core.ports import Assignment
from orchestrator.runner import Runner
from tests.core.runs import TWO_RUNGS, passed, plan, subtask

RUN = RunId("20261123-100000-abcd")
ONCE = Limits(attempts_per_rung=1)


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.asleep = 0.0
        self.looked_at_after_sleep = asyncio.Event()

    def now(self) -> str:
        return "2026-11-23T10:00:00.000000Z"

    def epoch_seconds(self) -> float:
        if self.asleep:
            self.looked_at_after_sleep.set()
        return self.seconds + self.asleep

    def monotonic(self) -> float:
        return self.seconds


class ListJournal:
    """Events in a list. `between` are written by somebody else just before an append of the runner, `behind` after."""

    def __init__(self) -> None:
        self.written: list[Event] = []
        self.between: dict[type, Event] = {}
        self.behind: dict[type, Event] = {}

    async def append(self, run: RunId, events: Sequence[Event], *, durable: bool = True) -> int:
        for event in events:
            if type(event) in self.between:
                self.written.append(self.between.pop(type(event)))
                break
        self.written += events
        last = len(self.written)
        self.written += [self.behind.pop(type(event)) for event in events if type(event) in self.behind]
        await asyncio.sleep(0)
        return last

    def events(self, run: RunId, *, after: int = 0) -> Iterable[Event]:
        return iter(self.written[after:])

    def kinds(self) -> list[str]:
        return [f"{type(event).__name__} {getattr(event, 'attempt', '')}".strip() for event in self.written]


@dataclass
class World:
    """A run with everything faked but the machine, the engine and the files."""

    state: Path
    outcome_of: Callable[[Assignment], Outcome] = lambda assignment: passed()
    journal: ListJournal = field(default_factory=ListJournal)
    clock: FakeClock = field(default_factory=FakeClock)
    assignments: list[Assignment] = field(default_factory=list)
    landings: list[AttemptId] = field(default_factory=list)
    refuse: dict[ModelAlias, Refusal] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    arrived: dict[str, asyncio.Event] = field(default_factory=dict)
    cut_off: list[str] = field(default_factory=list)
    keep_outcomes: bool = True

    def runner(self, of: Plan, *, limits: Limits | None = None, **more: object) -> Runner:
        outcomes = OutcomeFiles(self.state, RUN)

        async def execute(assignment: Assignment) -> Outcome:
            self.assignments.append(assignment)
            await self._wait_at_the_gate(str(assignment.attempt))
            outcome = self.outcome_of(assignment)
            if self.keep_outcomes:
                outcomes.write(assignment.attempt, outcome)
            return outcome

        async def land(
            attempt: AttemptId, subtask: object, outcome: Outcome
        ) -> SubtaskLanded | LandingRefused:
            self.landings.append(attempt)
            await self._wait_at_the_gate(f"landing of {attempt}")
            if str(attempt) in self.conflicts:
                return LandingRefused(attempt=attempt, reason="a.py moved", conflict=True, feedback="moved")
            return SubtaskLanded(attempt=attempt, commit="c1")

        async def route(subtask: object, model: ModelAlias, stage: Stage) -> Route | Refusal:
            refusal = self.refuse.get(model)
            return refusal or Route(
                model=model, max_output_tokens=100, worst_case=Usd(1), reasons=(stage.value,)
            )

        return Runner(
            run=RUN,
            dispatch=Dispatch(of, escalation=TWO_RUNGS, limits=limits),
            journal=self.journal,
            engine=LocalEngine(execute, outcomes, logs=lambda attempt: self.state / "logs" / str(attempt)),
            route=route,
            clock=self.clock,
            poll_seconds=0.001,
            **{"land": land, **more},  # type: ignore[arg-type]
        )

    def again(self, of: Plan, **more: object) -> Runner:
        """A runner in a new process: all it has is the journal and the files."""
        runner = self.runner(of, **more)
        runner.replay(self.journal.written)
        return runner

    async def _wait_at_the_gate(self, name: str) -> None:
        if name in self.arrived:
            self.arrived[name].set()
        if name in self.gates:
            try:
                await self.gates[name].wait()
            except asyncio.CancelledError:
                self.cut_off.append(name)
                raise

    def hold(self, name: str) -> asyncio.Event:
        """Let the attempt, or the `landing of` one, wait once it has arrived until its gate is opened."""
        self.gates[name] = asyncio.Event()
        self.arrived[name] = asyncio.Event()
        return self.arrived[name]


CHAIN = plan(subtask("parse"), subtask("render", after="parse"))


def states(runner: Runner) -> dict[str, str]:
    return {name: state.value for name, state in runner.dispatch.states().items()}
