"""For every DAG, every sequence of outcomes and every interleaving: what must hold of a run.

Hypothesis draws the plan, the limits and a seed; the seed draws what happens. Drawing every step from Hypothesis
itself takes minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    AttemptId,
    Ended,
    Limits,
    Outcome,
    Plan,
    Policy,
    RunState,
    State,
    SubtaskId,
    Verdict,
    VerdictKind,
)
from orchestrator.core.escalation import Escalation
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    CancelAttempt,
    CancelRequested,
    Command,
    Event,
    Finish,
    FundsAssessed,
    Land,
    LandingRefused,
    Pause,
    PauseRequested,
    PlanReplaced,
    RetryRequested,
    RoomFreed,
    RunEnded,
    RunPaused,
    RunResumed,
    SelectionChanged,
    SkipRequested,
    Start,
    SubtaskLanded,
    SubtaskUndone,
)
from orchestrator.core.globs import overlap
from orchestrator.core.money import Usd
from tests.core.runs import CHEAP_MODEL, SMART_MODEL, plan, subtask

PATTERNS = ("a.py", "b.py", "src/c.py", "src/", "src/*.py", "*.md", "docs/d.md")
ENDINGS = (Ended.PASSED,) * 3 + (
    Ended.REJECTED,
    Ended.REJECTED,
    Ended.ERROR,
    Ended.NO_ROOM,
    Ended.NO_MODEL,
    Ended.CANCELLED,
)


def some_plan(chance: Random, prefix: str = "s") -> Plan:
    subtasks = []
    for number in range(chance.randint(1, 7)):
        needs = sorted(chance.sample(range(number), k=min(number, chance.randint(0, 3))))
        touches = None if chance.random() < 0.15 else tuple(chance.sample(PATTERNS, k=chance.randint(0, 2)))
        subtasks.append(
            subtask(
                f"{prefix}{number}",
                after=" ".join(f"{prefix}{other}" for other in needs),
                touches=touches,
                seconds=chance.randint(1, 50),
            )
        )
    return plan(*subtasks)


ESCALATION = Escalation(tier_models={"cheap": CHEAP_MODEL, "smart": SMART_MODEL})
limits = st.builds(
    Limits,
    parallel=st.integers(1, 4),
    per_model=st.sampled_from([{}, {CHEAP_MODEL: 1}, {CHEAP_MODEL: 2, SMART_MODEL: 1}]),
    attempts_per_rung=st.integers(1, 2),
    max_attempts=st.integers(1, 5),
    conflicts_per_subtask=st.integers(0, 2),
    smart_per_subtask=st.sampled_from([None, Usd.of("0.02")]),
)
escalations = st.builds(
    Escalation,
    policy=st.sampled_from(Policy),
    ladder=st.sampled_from([(), (CHEAP_MODEL,), (CHEAP_MODEL, SMART_MODEL)]),
    tier_models=st.just({"cheap": CHEAP_MODEL, "smart": SMART_MODEL}),
)


@dataclass
class Machine:
    """Plays the runner: keeps what is commanded and not answered, journals, and watches the invariants."""

    dispatch: Dispatch
    limits: Limits
    journal: list[Event] = field(default_factory=list)
    open_starts: list[AttemptId] = field(default_factory=list)
    running: list[AttemptId] = field(default_factory=list)
    landing: list[AttemptId] = field(default_factory=list)
    begun: set[AttemptId] = field(default_factory=set)

    def begin(self) -> None:
        self._obey(self.dispatch.begin())

    def feed(self, event: Event) -> None:
        self.journal.append(event)
        if isinstance(event, AttemptStarted):
            self.begun.add(event.attempt)
        self._obey(self.dispatch.handle(event))
        self.open_starts = [attempt for attempt in self.open_starts if self.dispatch.is_starting(attempt)]
        self.check()

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start():
                    assert command.attempt not in self.begun, "an attempt is started once"
                    states = self.dispatch.states()
                    for other in self.dispatch.subtask(command.attempt.subtask).depends_on:
                        assert states[other] is State.SUCCEEDED, "none starts before its dependencies"
                    if command.attempt not in self.open_starts:
                        self.open_starts.append(command.attempt)
                case Land():
                    self.landing.append(command.attempt)
                case CancelAttempt():
                    assert command.attempt in self.open_starts + self.running + self.landing
                case Finish() | Pause() if command is not self.dispatch.resting:
                    pass
                case Finish():
                    self.feed(RunEnded(cancelled=command.cancelled))
                case Pause():
                    self.feed(RunPaused(waiting_for=command.waiting_for, reason=command.reason))
                case _:
                    pass

    def check(self) -> None:
        active = [*self.open_starts, *self.running]
        assert len(active) <= self.limits.parallel
        touches = [self.dispatch.subtask(attempt.subtask).touches for attempt in [*active, *self.landing]]
        for one, other in combinations(touches, 2):
            assert one is not None and other is not None, "unknown files run alone"
            assert not any(overlap(mine, theirs) for mine in one for theirs in other)

    # --- what can happen ---

    def answer(self, chance: Random, endings: tuple[Ended, ...]) -> bool:
        """Let one thing happen to what is under way; False when nothing is."""
        choices = [
            *(("start", attempt) for attempt in self.open_starts),
            *(("finish", attempt) for attempt in self.running),
            *(("land", attempt) for attempt in self.landing),
        ]
        if not choices:
            return False
        kind, attempt = chance.choice(choices)
        if kind == "start":
            self.open_starts.remove(attempt)
            ended = chance.choice([None, None, None, Ended.NO_ROOM])
            if ended is not None and ended in endings:
                self.feed(AttemptFinished(attempt=attempt, outcome=Outcome(ended=ended, reason="no room")))
                return True
            self.running.append(attempt)
            model = self.dispatch.node(attempt.subtask).target
            self.feed(AttemptStarted(attempt=attempt, model=chance.choice([model, CHEAP_MODEL])))
        elif kind == "finish":
            self.running.remove(attempt)
            ended = chance.choice(endings)
            kinds = (VerdictKind.REJECTED, VerdictKind.UNVERIFIED)
            verdict = Verdict(kind=chance.choice(kinds)) if ended is Ended.REJECTED else None
            outcome = Outcome(ended=ended, verdict=verdict, reason="x", bill=Usd.of("0.01"))
            self.feed(AttemptFinished(attempt=attempt, outcome=outcome))
        else:
            self.landing.remove(attempt)
            if chance.random() < 0.7:
                self.feed(SubtaskLanded(attempt=attempt, commit="c"))
            else:
                conflict = chance.random() < 0.5
                self.feed(LandingRefused(attempt=attempt, reason="moved", conflict=conflict))
        return True

    def request(self, chance: Random) -> None:
        names = list(self.dispatch.states())
        name = chance.choice(names)
        some = tuple(dict.fromkeys(chance.choices(names, k=2)))
        landed = [name for name, state in self.dispatch.states().items() if state is State.SUCCEEDED]
        event: Event = chance.choice(
            [
                SkipRequested(subtask=name),
                CancelRequested(subtask=name),
                CancelRequested(),
                RetryRequested(subtask=name, model=chance.choice([None, SMART_MODEL])),
                RetryRequested(subtask=name),
                FundsAssessed(short=chance.random() < 0.6),
                RoomFreed(),
                PauseRequested(reason="lunch"),
                RunResumed(),
                RunResumed(),
                SelectionChanged(only=chance.choice([None, some])),
                PlanReplaced(plan=some_plan(chance, chance.choice("st")), reason="anew"),
            ]
        )
        if landed and chance.random() < 0.2:
            event = SubtaskUndone(
                subtask=chance.choice(landed),
                commit="c",
                reopened=tuple(dict.fromkeys(chance.choices(landed, k=2))),
                retry=chance.random() < 0.5,
            )
        if isinstance(event, PlanReplaced) and self._loses_a_dependency(event.plan):
            return
        # The runner may have journalled a start before it heard of the request; new plans are its own.
        late = [attempt for attempt in self.open_starts if chance.random() < 0.5]
        if isinstance(event, PlanReplaced):
            late = []
        self.feed(event)
        for attempt in late:
            if attempt not in self.begun and attempt.subtask in self.dispatch.states():
                self.running.append(attempt)
                self.feed(AttemptStarted(attempt=attempt, model=CHEAP_MODEL))

    def _loses_a_dependency(self, new: Plan) -> bool:
        """A plan in which something succeeded or under way depends on what did not: no planner offers one."""
        states = self.dispatch.states()
        return any(
            not set(subtask.depends_on)
            <= {other for other, state in states.items() if state is State.SUCCEEDED}
            for subtask in new.subtasks
            if states.get(subtask.id) in (State.SUCCEEDED, State.RUNNING, State.WAITING)
        )

    def run_out(self, chance: Random, endings: tuple[Ended, ...]) -> None:
        for _ in range(400):
            if not self.answer(chance, endings):
                return
        raise AssertionError("the run does not come to an end")


seeds = st.integers(0, 2**32)


@given(seeds, limits, escalations)
def test_a_run_left_alone_ends_with_every_subtask_in_one_final_state(seed, bounds, escalation):
    chance = Random(seed)
    of = some_plan(chance)
    machine = Machine(Dispatch(of, limits=bounds, escalation=escalation), bounds)
    machine.begin()
    machine.run_out(chance, (Ended.PASSED, Ended.PASSED, Ended.REJECTED, Ended.ERROR))
    assert machine.dispatch.run_state is RunState.DONE
    states = machine.dispatch.states()
    assert all(state.final for state in states.values())
    for task in of.subtasks:
        bad = [other for other in task.depends_on if states[other] is not State.SUCCEEDED]
        # Failure blocks its cone, and nothing else.
        assert (states[task.id] is State.BLOCKED) is bool(bad)


@settings(max_examples=settings.default.max_examples * 4)
@example(
    773930596, Limits(parallel=3, attempts_per_rung=1, max_attempts=1, conflicts_per_subtask=0), ESCALATION
)
@given(seeds, limits, escalations)
def test_whatever_happens_the_run_says_what_it_waits_for_and_can_be_finished(seed, bounds, escalation):
    chance = Random(seed)
    of = some_plan(chance)
    machine = Machine(Dispatch(of, limits=bounds, escalation=escalation), bounds)
    machine.begin()
    for _ in range(chance.randint(0, 40)):
        if chance.random() < 0.25:
            machine.request(chance)
        elif not machine.answer(chance, ENDINGS):
            assert machine.dispatch.run_state is not RunState.RUNNING
            waiting = [machine.dispatch.waiting(name) for name in machine.dispatch.states()]
            assert not (isinstance(machine.dispatch.resting, Finish) and any(waiting))
            if machine.dispatch.run_state is RunState.PAUSED:
                machine.feed(RunResumed())
        if not machine.open_starts:
            replayed(machine, of, bounds, escalation)
    machine.run_out(chance, (Ended.PASSED, Ended.REJECTED))
    machine.feed(SelectionChanged(only=None))
    machine.feed(FundsAssessed(short=False))
    machine.feed(RunResumed())
    machine.run_out(chance, (Ended.PASSED, Ended.REJECTED))
    assert isinstance(machine.dispatch.resting, Finish)
    assert all(state.final for state in machine.dispatch.states().values())
    replayed(machine, of, bounds, escalation)


def replayed(machine: Machine, of: Plan, bounds: Limits, escalation: Escalation) -> None:
    """A machine that is given the journal stands where the first one stands."""
    again = Dispatch(of, limits=bounds, escalation=escalation)
    again.replay(machine.journal)
    assert again.outstanding() == machine.dispatch.outstanding()
    again.begin()
    assert view(again) == view(machine.dispatch)
    assert again.run_state is machine.dispatch.run_state


def view(dispatch: Dispatch) -> dict[SubtaskId, object]:
    return {
        node.id: (dispatch.state(node.id), node.number, node.rung, node.tries, node.failures, node.wish)
        for node in dispatch.board.nodes
    }


@settings(max_examples=settings.default.max_examples // 4 + 1)
@given(seeds, st.integers(1, 2))
def test_a_machine_that_is_given_the_journal_keeps_the_same_files_free_for_who_was_passed(seed, parallel):
    """So many wait for few files that some are passed for long: what is kept for them is not in the journal."""
    chance = Random(seed)
    patterns = ("a.py", "b.py", "src/c.py", "src/")
    of = plan(
        *(
            subtask(
                f"s{number}",
                touches=None
                if chance.random() < 0.05
                else tuple(chance.sample(patterns, chance.randint(1, 2))),
                seconds=chance.randint(1, 50),
            )
            for number in range(40)
        )
    )
    bounds = Limits(parallel=parallel, per_model={CHEAP_MODEL: 2})
    machine = Machine(Dispatch(of, limits=bounds, escalation=ESCALATION), bounds)
    machine.begin()
    for _ in range(120):
        if chance.random() < 0.03:
            name = chance.choice(list(machine.dispatch.states()))
            machine.feed(
                chance.choice([SkipRequested(subtask=name), RetryRequested(subtask=name), RoomFreed()])
            )
        elif not machine.answer(chance, (Ended.PASSED, Ended.PASSED, Ended.PASSED, Ended.REJECTED)):
            break
        if not machine.open_starts and chance.random() < 0.5:
            replayed(machine, of, bounds, ESCALATION)
    machine.run_out(chance, (Ended.PASSED,))
    assert machine.dispatch.run_state is RunState.DONE
