"""Look ahead: try a bounded number of schedules of a plan before it starts, and keep the best one.

A schedule is found by placing the subtasks one by one, each at the earliest moment where it fits; what is
searched is the order of placing, by moving single subtasks and by pushing everything to the end and back to the
beginning in turn. What comes out is told to the dispatcher as an order, with the few waits without which its own
rule (start whatever fits) would spoil the schedule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from orchestrator.core.conflicts import Conflicts, comparisons
from orchestrator.core.domain import Deliverable, Limits, Plan, SubtaskId
from orchestrator.core.graph import dependents, order
from orchestrator.core.schedule_play import OutOfTime, Pace, Play, Profile, Work, finish_of

# Above these a single schedule, or what comes before the first, takes longer than looking ahead may delay the start:
# subtasks; pairs of patterns to compare; files that subtasks share, counted at each of them; and the cells of a table
# of these files by subtasks, 8 bytes each.
MOST_SUBTASKS = 600
MOST_COMPARISONS = 50_000
MOST_DEMANDS = 100_000
MOST_CELLS = 4_000_000
SCHEDULES = 1000

_FARTHEST_MOVE = 10
# Schedules this much longer than the one in hand are still worth being pushed together.
_PROMISING = 1.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """An order found by looking ahead.

    `first` is most urgent first. `waits` names, for the subtasks that must be kept back for more urgent ones,
    those that have to start before them.
    """

    first: tuple[SubtaskId, ...] = ()
    waits: tuple[tuple[SubtaskId, tuple[SubtaskId, ...]], ...] = ()


def line_up(
    plan: Plan,
    limits: Limits,
    *,
    seed: int,
    schedules: int = SCHEDULES,
    time_left: Callable[[], float] = lambda: 1.0,
) -> Lineup | None:
    """Return a better order to start the plan's subtasks in; None when longest remaining path does as well.

    `time_left` falls from 1 to 0 while this may take; it is asked before every schedule and in the midst of long ones,
    and half of it is left to the waits that a schedule needs. A plan of which one schedule takes too long has none.
    """
    if not 2 < len(plan.subtasks) <= MOST_SUBTASKS or comparisons(_touched(plan)) > MOST_COMPARISONS:
        return None
    conflicts = Conflicts(_touched(plan))
    met = _met(conflicts)
    if not _in_time(conflicts, met):
        return None
    try:
        search = Search(_work(plan, limits, conflicts, met), seed=seed, keep_going=lambda: time_left() > 0.5)
        online = search.best
        search.run(schedules, lambda: time_left() > 0.5)
        if search.best >= online:
            return None
        priorities, waits, finish = search.orders(lambda: time_left() > 0)
    except OutOfTime:
        return None
    names = [subtask.id for subtask in plan.subtasks]
    if finish >= online:
        return None
    return Lineup(
        first=tuple(names[node] for node in priorities),
        waits=tuple(
            (names[node], tuple(names[other] for other in others)) for node, others in sorted(waits.items())
        ),
    )


def work_of(plan: Plan, limits: Limits) -> Work:
    """The plan as the dispatcher sees it: slots, and files that no two subtasks may change at once."""
    conflicts = Conflicts(_touched(plan))
    return _work(plan, limits, conflicts, _met(conflicts))


def _touched(plan: Plan) -> list[tuple[str, ...] | None]:
    return [
        () if subtask.deliverable is Deliverable.DOCUMENT else subtask.touches for subtask in plan.subtasks
    ]


def _in_time(conflicts: Conflicts, met: Mapping[int, Sequence[int]]) -> bool:
    """Whether the files are few enough to try a schedule."""
    held_by = Counter(key for own in conflicts.holds for key in own)
    shared = sum(holders > 1 or key in conflicts.near for key, holders in held_by.items())
    demands = sum(holders * (1 + len(met.get(key, ()))) for key, holders in held_by.items())
    return demands <= MOST_DEMANDS and shared * len(conflicts.holds) <= MOST_CELLS


def _met(conflicts: Conflicts) -> dict[int, list[int]]:
    """For each key those of the others it can meet that can meet more: of two that meet, one has to know the other."""
    near = conflicts.near
    place = {key: (len(others), key) for key, others in near.items()}
    return {
        key: sorted(other for other in others if place[other] > place[key]) for key, others in near.items()
    }


def _work(plan: Plan, limits: Limits, conflicts: Conflicts, met: Mapping[int, Sequence[int]]) -> Work:
    index = {subtask.id: place for place, subtask in enumerate(plan.subtasks)}
    wanted = [dict.fromkeys((*own, *(k for key in own for k in met.get(key, ())))) for own in conflicts.holds]
    met_by = Counter(key for keys in wanted for key in keys)
    # Who holds a file's key takes all its units, who only meets it takes one: meeting alone is no conflict.
    shared = {key: place + 1 for place, key in enumerate(k for k, count in met_by.items() if count > 1)}
    demands = []
    for alone, holds, keys in zip(conflicts.alone, map(set, conflicts.holds), wanted, strict=True):
        slots = limits.parallel if alone else 1
        files = [(shared[key], met_by[key] if key in holds else 1) for key in keys if key in shared]
        demands.append([(0, slots), *files])
    return Work(
        seconds=[max(subtask.estimate.seconds.likely, 1) for subtask in plan.subtasks],
        needs=[tuple({index[other] for other in subtask.depends_on}) for subtask in plan.subtasks],
        demands=demands,
        capacities=[limits.parallel, *(met_by[key] for key in shared)],
    )


def longest_remaining(work: Work) -> list[int]:
    """The priority list of the online rule: longest remaining path first."""
    longest = _remaining(work)
    return sorted(range(len(longest)), key=lambda node: -longest[node])


class Search:
    """Local search over schedules, deterministic by its seed. It begins with the online rule's schedule.

    What is told not to go on before there is any schedule raises OutOfTime.
    """

    def __init__(self, work: Work, *, seed: int, keep_going: Callable[[], bool] = lambda: True) -> None:
        self._work = work
        self._pace = Pace(keep_going)
        self._reversed = Work(
            seconds=work.seconds,
            needs=dependents(work.needs),
            demands=work.demands,
            capacities=work.capacities,
        )
        self._play = Play(work, self._pace)
        self._chance = _Chance(seed)
        self.bound = _bound(work)
        self._left = 0
        self.best_starts = self._play.starts(longest_remaining(work))
        self.best = finish_of(work, self.best_starts)

    def run(self, schedules: int, keep_going: Callable[[], bool] = lambda: True) -> None:
        """Try up to so many schedules, the online rule's included; stop early at the lower bound or when told to."""
        self._left = schedules - 1
        self._pace.keep_going = keep_going
        with suppress(OutOfTime):
            self._search()

    def _search(self) -> None:
        current = self._pushed_together(self.best_starts)
        while self._may_go_on():
            candidate = self._placed(self._work, self._moved(current))
            if finish_of(self._work, candidate) <= _PROMISING * finish_of(self._work, current):
                candidate = self._pushed_together(candidate)
            if finish_of(self._work, candidate) <= finish_of(self._work, current):
                current = candidate

    def orders(
        self, keep_going: Callable[[], bool] = lambda: True
    ) -> tuple[list[int], dict[int, tuple[int, ...]], int]:
        """Return the priority list and the waits with which the dispatcher's rule keeps the best schedule.

        The third is when it then ends: later than the best schedule when there was no time to find all waits.
        OutOfTime when there was none to find that out.
        """
        self._pace.keep_going = keep_going
        starts, seconds = self.best_starts, self._work.seconds
        priorities = sorted(range(len(starts)), key=lambda node: (starts[node], starts[node] + seconds[node]))
        place = {node: place for place, node in enumerate(priorities)}
        waits: dict[int, tuple[int, ...]] = {}
        best = finish_of(self._work, played := self._play.starts(priorities))
        best_waits: dict[int, tuple[int, ...]] = {}
        while best > self.best and keep_going():
            early = min(
                (node for node in priorities if played[node] < starts[node] and node not in waits),
                key=played.__getitem__,
                default=None,
            )
            if early is None:
                break
            before = priorities[: place[early]]
            waits[early] = tuple(other for other in before if played[other] > played[early])
            try:
                played = self._play.starts(priorities, waits)
            except OutOfTime:
                break
            if (finish := finish_of(self._work, played)) < best:
                best, best_waits = finish, dict(waits)
        return priorities, best_waits, best

    # --- moves ---------------------------------------------------------------------------------------

    def _may_go_on(self) -> bool:
        return self._left > 0 and self.best > self.bound and self._pace.keep_going()

    def _placed(self, work: Work, wanted: Sequence[int]) -> list[int]:
        """Place the nodes in the wanted order, as far as what they need allows; remember the best schedule."""
        self._left -= 1
        starts = Profile(work, self._pace).place(_feasible(work, wanted))
        if work is self._work and (finish := finish_of(work, starts)) < self.best:
            self.best, self.best_starts = finish, starts
        return starts

    def _moved(self, starts: Sequence[int]) -> list[int]:
        seconds, chance = self._work.seconds, self._chance
        wanted = sorted(range(len(starts)), key=lambda node: (starts[node], starts[node] + seconds[node]))
        for _ in range(1 + chance.below(2)):
            taken = chance.below(len(wanted))
            node = wanted.pop(taken)
            step = chance.below(2 * _FARTHEST_MOVE + 1) - _FARTHEST_MOVE
            wanted.insert(max(0, min(len(wanted), taken + step)), node)
        return wanted

    def _pushed_together(self, starts: list[int]) -> list[int]:
        """Push all to the end and back to the beginning, as long as that makes the schedule shorter."""
        seconds = self._work.seconds
        while self._left >= 2 and self.best > self.bound:
            latest_first = sorted(
                range(len(starts)), key=lambda node: (-starts[node] - seconds[node], -starts[node])
            )
            back = self._placed(self._reversed, latest_first)
            wanted = sorted(range(len(starts)), key=lambda node: (-back[node] - seconds[node], -back[node]))
            forth = self._placed(self._work, wanted)
            if finish_of(self._work, forth) >= finish_of(self._work, starts):
                break
            starts = forth
        return starts


def _feasible(work: Work, wanted: Sequence[int]) -> list[int]:
    """The order closest to the wanted one in which every node comes after what it needs."""
    rank = [0] * len(wanted)
    for place, node in enumerate(wanted):
        rank[node] = place
    missing = [len(before) for before in work.needs]
    heap = [rank[node] for node, count in enumerate(missing) if not count]
    heapify(heap)
    feasible = []
    while heap:
        node = wanted[heappop(heap)]
        feasible.append(node)
        for other in work.wanted_by[node]:
            missing[other] -= 1
            if not missing[other]:
                heappush(heap, rank[other])
    return feasible


def _remaining(work: Work) -> list[int]:
    longest = list(work.seconds)
    for node in reversed(order(work.needs)):
        for other in work.needs[node]:
            longest[other] = max(longest[other], work.seconds[other] + longest[node])
    return longest


def _bound(work: Work) -> int:
    """No schedule is shorter: the longest chain, and the work on each resource spread over its units."""
    used = [0] * len(work.capacities)
    for seconds, demands in zip(work.seconds, work.demands, strict=True):
        for resource, units in demands:
            used[resource] += seconds * units
    loads = (-(-load // units) for load, units in zip(used, work.capacities, strict=True) if units)
    return max((*_remaining(work), *loads), default=0)


class _Chance:
    """SplitMix64: small, fast, the same everywhere."""

    def __init__(self, seed: int) -> None:
        self._state = seed & 0xFFFFFFFFFFFFFFFF

    def below(self, limit: int) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return (mixed ^ (mixed >> 31)) % limit
