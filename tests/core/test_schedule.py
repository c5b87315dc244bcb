from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import combinations, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import Ended, Limits, Outcome, Plan, SubtaskId, WaitingFor
from orchestrator.core.events import AttemptFinished, AttemptStarted, Command, Land, Start, SubtaskLanded
from orchestrator.core.globs import overlap
from orchestrator.core.schedule import Lineup, Search, line_up, longest_remaining, work_of
from orchestrator.core.schedule_play import (
    STEPS_UNASKED,
    OutOfTime,
    Pace,
    Play,
    Profile,
    Work,
    finish_of,
)
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
    limits = Limits(parallel=2, attempts_per_rung=1)
    dispatch = Dispatch(of, escalation=TWO_RUNGS, lineup=lineup, limits=limits)
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


def some_large_plan(count: int) -> Plan:
    """A plan that needs about as many waits as it has subtasks."""
    chance = Random(4)
    return plan(
        *[
            subtask(
                f"s{number}",
                after=" ".join(f"s{chance.randrange(number)}" for _ in range(chance.randrange(3)) if number),
                touches=tuple(f"f{chance.randrange(10)}" for _ in range(2)),
                seconds=chance.randrange(1, 60),
            )
            for number in range(count)
        ]
    )


def test_the_time_allowed_bounds_all_of_it_also_finding_the_waits():
    """A plan that needs a hundred waits; every schedule that is tried or played takes a hundredth of the time."""
    of = some_large_plan(100)
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


@given(st.integers(0, 2**32))
def test_what_is_looked_ahead_over_conflicts_where_the_files_do(seed):
    of = some_plan(Random(seed))
    work = work_of(of, Limits(parallel=5))
    for (one, mine), (other, theirs) in combinations(enumerate(of.subtasks), 2):
        used = Counter(dict(work.demands[one])) + Counter(dict(work.demands[other]))
        meet = any(overlap(left, right) for left in mine.touches or () for right in theirs.touches or ())
        alone = mine.touches is None or theirs.touches is None
        assert any(units > work.capacities[resource] for resource, units in used.items()) is (meet or alone)


class Looked(list[tuple[int, int]]):
    """What a subtask occupies; it counts how many entries are looked at, in all of them."""

    entries = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        Looked.entries += len(self)
        return super().__iter__()


def crowded(files: int, parallel: int) -> Work:
    """600 subtasks of which each changes so many of 2,000 files: one schedule takes long."""
    chance = Random(files)
    demands = [
        Looked([(0, 1), *((1 + file, 1) for file in chance.sample(range(2000), k=files))]) for _ in range(600)
    ]
    return Work(
        seconds=[chance.randrange(10, 600) for _ in range(600)],
        needs=[()] * 600,
        demands=demands,
        capacities=[parallel, *([1] * 2000)],
    )


@pytest.mark.parametrize(("files", "parallel"), [(50, 4), (50, 64), (200, 4)])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda work, pace: Play(work, pace).starts(range(600)),
        lambda work, pace: Play(work, pace).starts(range(600), {599: tuple(range(599))}),
        lambda work, pace: Profile(work, pace).place(range(600)),
        lambda work, pace: Search(work, seed=1, keep_going=pace.keep_going),
    ],
)
def test_a_schedule_that_takes_long_asks_in_its_midst_and_is_given_up_when_told(files, parallel, schedule):
    work = crowded(files, parallel)
    asked = [Looked.entries]

    def keep_going() -> bool:
        asked.append(Looked.entries)
        return len(asked) < 5

    with pytest.raises(OutOfTime):
        schedule(work, Pace(keep_going))
    assert len(asked) == 5
    # What is seen at once, all that could start, is not taken apart.
    at_once = 600 * (files + 1)
    assert all(after - before <= STEPS_UNASKED + at_once for before, after in pairwise(asked))


def test_no_time_at_all_leaves_the_order_as_it_is_wherever_it_runs_out():
    """The time is over at the first question, the second ...: never a worse order, never a question after the last."""
    of = some_large_plan(100)
    limits = Limits(parallel=4)
    for last in range(1, 30):
        asked = 0

        def time_left(last: int = last) -> float:
            nonlocal asked
            asked += 1
            return 1.0 if asked < last else 0.0

        line_up(of, limits, seed=1, time_left=time_left)
        # Once by the search, and once by the waits when a better order was found.
        assert asked <= last + 2


@pytest.mark.parametrize(
    "touches",
    [
        lambda n: (f"**/*n{n}*.py",),
        lambda n: tuple(f"f{(n * 31 + k * 97) % 20_000}" for k in range(200)),
        lambda n: (*(f"g{n // 2}-{k}" for k in range(200)), "z.py"),
    ],
)
def test_a_plan_too_large_for_a_single_schedule_is_not_looked_ahead_over(touches):
    def time_left() -> float:
        raise AssertionError("asked")

    of = plan(*(subtask(f"s{n}", touches=touches(n), seconds=n % 7 + 1) for n in range(600)))
    assert line_up(of, Limits(parallel=4), seed=1, time_left=time_left) is None


def test_a_glob_over_many_paths_is_looked_ahead_over():
    chance = Random(1)
    of = plan(
        *(
            subtask(
                f"s{n}", touches=("src/**",) if n % 2 else (f"src/{n}.py",), seconds=chance.randrange(1, 600)
            )
            for n in range(600)
        )
    )
    assert sum(map(len, work_of(of, Limits()).demands)) <= 3 * 600
