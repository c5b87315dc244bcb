from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import Ended, Limits, Outcome, Plan, SubtaskId, WaitingFor
from orchestrator.core.events import AttemptFinished, AttemptStarted, Command, Land, Start, SubtaskLanded
from orchestrator.core.schedule import Lineup, Search, line_up, longest_remaining, work_of
from orchestrator.core.schedule_play import Play, Profile, Work, finish_of
from tests.core.runs import TWO_RUNGS, finished, passed, plan, started, starts, subtask
from tests.core.test_dispatch_properties import some_plan


def assert_possible(work: Work, planned: list[int]) -> None:
    for node, before in enumerate(work.needs):
        assert all(planned[node] >= planned[other] + work.seconds[other] for other in before)
    for moment in set(planned):
        used = [0] * len(work.capacities)
        for node, start in enumerate(planned):
            if start <= moment < start + work.seconds[node]:
                for resource, units in work.demands[node]:
                    used[resource] += units
        assert all(units <= most for units, most in zip(used, work.capacities, strict=True))


def dispatched(of: Plan, limits: Limits, lineup: Lineup | None) -> dict[SubtaskId, int]:
    """When the real machine starts every subtask, if each takes as long as was estimated."""
    dispatch = Dispatch(of, limits=limits, escalation=TWO_RUNGS, lineup=lineup)
    now, began, running = 0, {}, []

    def obey(commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Start):
                name = command.attempt.subtask
                began[name] = now
                heappush(running, (now + of.subtask(name).estimate.seconds.likely, command.attempt))
                obey(dispatch.handle(AttemptStarted(attempt=command.attempt, model=command.model)))
            elif isinstance(command, Land):
                obey(dispatch.handle(SubtaskLanded(attempt=command.attempt, commit="c")))

    obey(dispatch.begin())
    while running:
        now, attempt = heappop(running)
        obey(dispatch.handle(AttemptFinished(attempt=attempt, outcome=passed())))
    return began


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_looking_ahead_never_makes_it_longer_and_keeps_to_what_is_possible(seed, parallel):
    of = some_plan(Random(seed))
    limits = Limits(parallel=parallel)
    work = work_of(of, limits)
    online = Play(work).starts(longest_remaining(work))
    assert_possible(work, online)
    search = Search(work, seed=seed)
    search.run(60)
    assert_possible(work, search.best_starts)
    assert search.best <= finish_of(work, online)
    priorities, waits, _ = search.orders()
    played = Play(work).starts(priorities, waits)
    assert_possible(work, played)
    assert finish_of(work, played) <= search.best


# `late` is long and can begin after 10 seconds; starting `early` on its file at once would keep it until 40.
WORTH_A_WAIT = plan(
    subtask("first", seconds=10, touches=("x.py",)),
    subtask("late", after="first", seconds=50, touches=("a.py",)),
    subtask("last", after="late", seconds=30, touches=("c.py",)),
    subtask("early", seconds=40, touches=("a.py",)),
)


def makespan(of: Plan, began: dict[SubtaskId, int]) -> int:
    return max(start + of.subtask(name).estimate.seconds.likely for name, start in began.items())


def test_the_dispatcher_keeps_back_what_would_spoil_the_schedule():
    limits = Limits(parallel=3)
    assert makespan(WORTH_A_WAIT, dispatched(WORTH_A_WAIT, limits, None)) == 120
    lineup = line_up(WORTH_A_WAIT, limits, seed=1)
    assert lineup is not None
    ((kept_back, others),) = lineup.waits
    assert kept_back == "early" and "late" in others
    assert makespan(WORTH_A_WAIT, dispatched(WORTH_A_WAIT, limits, lineup)) == 100


def test_a_subtask_that_is_kept_back_says_for_whom_and_goes_when_that_one_cannot_start():
    of = plan(subtask("a"), subtask("b", after="a", touches=("x",)), subtask("c", touches=("x",)))
    lineup = Lineup(
        first=(SubtaskId("a"), SubtaskId("b"), SubtaskId("c")),
        waits=((SubtaskId("c"), (SubtaskId("b"),)),),
    )
    dispatch = Dispatch(of, escalation=TWO_RUNGS, lineup=lineup, limits=Limits(attempts_per_rung=1))
    assert starts(dispatch.begin()) == ["a#1"]
    assert dispatch.waiting(SubtaskId("c")) == (WaitingFor.SLOT, "kept free for b, which is more urgent")
    dispatch.handle(started("a#1"))
    outcome = Outcome(ended=Ended.NO_MODEL, reason="no key")
    assert starts(dispatch.handle(finished("a#1", outcome))) == ["c#1"]


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_machine_dispatches_as_it_was_played(seed, parallel):
    of = some_plan(Random(seed))
    limits = Limits(parallel=parallel)
    work = work_of(of, limits)
    search = Search(work, seed=seed)
    search.run(40)
    priorities, waits, _ = search.orders()
    names = [task.id for task in of.subtasks]
    lineup = Lineup(
        first=tuple(names[node] for node in priorities),
        waits=tuple((names[node], tuple(names[other] for other in others)) for node, others in waits.items()),
    )
    began = dispatched(of, limits, lineup)
    # What ends at the same moment is told one after the other, which may cost a little.
    assert makespan(of, began) <= 1.5 * search.best


def test_the_search_is_the_same_for_the_same_seed_and_stops_when_told():
    of = some_plan(Random(7))
    one, other = line_up(of, Limits(parallel=2), seed=3), line_up(of, Limits(parallel=2), seed=3)
    assert one == other
    assert line_up(of, Limits(parallel=2), seed=3, time_left=lambda: 0.0) is None


def test_placing_one_by_one_fills_gaps():
    work = Work(
        seconds=[4, 2, 3],
        needs=[(), (), (0,)],
        demands=[[(0, 1)], [(0, 1)], [(0, 2)]],
        capacities=[2],
    )
    assert Profile(work).place([0, 2, 1]) == [0, 0, 4]


def test_the_time_allowed_bounds_all_of_it_also_finding_the_waits():
    """A plan that needs a hundred waits; every schedule that is tried or played takes a hundredth of the time."""
    chance = Random(4)
    of = plan(
        *[
            subtask(
                f"s{number}",
                after=" ".join(f"s{chance.randrange(number)}" for _ in range(chance.randrange(3)) if number),
                touches=tuple(f"f{chance.randrange(10)}" for _ in range(2)),
                seconds=chance.randrange(1, 60),
            )
            for number in range(100)
        ]
    )
    asked: list[float] = []

    def time_left() -> float:
        asked.append(1.0 - len(asked) / 100)
        return asked[-1]

    limits = Limits(parallel=4)
    lineup = line_up(of, limits, seed=1, time_left=time_left)
    assert lineup is not None
    assert len(asked) <= 102
    place = {task.id: number for number, task in enumerate(of.subtasks)}
    waits = {place[name]: [place[other] for other in others] for name, others in lineup.waits}
    work = work_of(of, limits)
    played = Play(work).starts([place[name] for name in lineup.first], waits)
    assert finish_of(work, played) < finish_of(work, Play(work).starts(longest_remaining(work)))
