"""Work as numbers, and the two ways to turn an order into a schedule: placing one by one, or dispatching."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from orchestrator.core.graph import dependents

# So many looks at what is free take some milliseconds: as long as a schedule may go on unasked.
STEPS_UNASKED = 100_000


class OutOfTime(Exception):
    """A schedule was given up in its midst."""


class Pace:
    """Asks now and then whether to go on. `keep_going` is asked once for so many steps, however long a schedule is."""

    def __init__(self, keep_going: Callable[[], bool] = lambda: True) -> None:
        self.keep_going = keep_going
        self._left = STEPS_UNASKED

    def take(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            self._left = STEPS_UNASKED
            if not self.keep_going():
                raise OutOfTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be scheduled: nodes 0, 1, 2 ... with their seconds, what they need before, and what they occupy.

    `demands[n]` are pairs (resource, units) held while n runs; `capacities[r]` the units of resource r. What
    a node needs is named once.
    """

    seconds: Sequence[int]
    needs: Sequence[Sequence[int]]
    demands: Sequence[Sequence[tuple[int, int]]]
    capacities: Sequence[int]
    wanted_by: Sequence[Sequence[int]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted_by", dependents(self.needs))


def finish_of(work: Work, starts: Sequence[int]) -> int:
    """When the last node ends, in seconds from the beginning."""
    return max((start + length for start, length in zip(starts, work.seconds, strict=True)), default=0)


class Profile:
    """What is free over time. Places nodes one by one, each as early as it fits."""

    def __init__(self, work: Work, pace: Pace | None = None) -> None:
        self._work = work
        self._pace = pace or Pace()
        self._times = [0]
        self._free = [list(work.capacities)]

    def place(self, feasible: Sequence[int]) -> list[int]:
        """Return the start of every node. Each node must come after all it needs."""
        seconds, needs, demands = self._work.seconds, self._work.needs, self._work.demands
        starts = [0] * len(seconds)
        for node in feasible:
            earliest = 0
            for other in needs[node]:
                ended = starts[other] + seconds[other]
                if ended > earliest:
                    earliest = ended
            length = seconds[node]
            starts[node] = self._take(earliest, length, demands[node]) if length else earliest
        return starts

    def _take(self, earliest: int, length: int, demands: Sequence[tuple[int, int]]) -> int:
        times, free = self._times, self._free
        start = earliest
        place = looked_from = bisect_right(times, earliest) - 1
        while place < len(times) and (times[place] <= start or times[place] < start + length):
            here = free[place]
            for resource, units in demands:
                if here[resource] < units:
                    # The last stretch is all free, so there is always a next one.
                    start = times[place + 1]
                    break
            place += 1
        first, last = self._cut(start), self._cut(start + length)
        # A cut copies what is free of everything, which is quick for each.
        seen = place - looked_from + last - first
        self._pace.take(seen * (1 + len(demands)) + len(self._work.capacities) // 8)
        for here in free[first:last]:
            for resource, units in demands:
                here[resource] -= units
        return start

    def _cut(self, time: int) -> int:
        """Let a stretch begin at `time`; return its place."""
        place = bisect_left(self._times, time)
        if place == len(self._times) or self._times[place] != time:
            self._times.insert(place, time)
            self._free.insert(place, list(self._free[place - 1]))
        return place


class Play:
    """The dispatcher's rule: whenever something ends, start what fits, in order, going past what does not fit.

    Less one thing: it keeps no files free for who is passed too often. An order that was looked for passes nobody so.
    """

    def __init__(self, work: Work, pace: Pace | None = None) -> None:
        self._work = work
        self._pace = pace or Pace()
        self._missing = [len(before) for before in work.needs]

    def starts(
        self, priorities: Sequence[int], waits: Mapping[int, Sequence[int]] | None = None
    ) -> list[int]:
        """Return the start of every node. A node in `waits` starts only when all named there have started."""
        seconds, demands, waits = self._work.seconds, self._work.demands, waits or {}
        rank = [0] * len(seconds)
        for place, node in enumerate(priorities):
            rank[node] = place
        looks = [1 + len(wanted) + len(waits.get(node, ())) for node, wanted in enumerate(demands)]
        free = list(self._work.capacities)
        missing = list(self._missing)
        starts = [-1] * len(seconds)
        running: list[tuple[int, int]] = []
        eligible = sorted(rank[node] for node, count in enumerate(missing) if not count)
        now = 0
        while eligible or running:
            started = True
            while started:
                # Again as long as something starts, because a wait may be over by that.
                started = False
                left: list[int] = []
                self._pace.take(sum([looks[priorities[at]] for at in eligible]))
                for at in eligible:
                    node = priorities[at]
                    held = any(starts[other] < 0 for other in waits.get(node, ()))
                    if held or any(free[resource] < units for resource, units in demands[node]):
                        left.append(at)
                        continue
                    for resource, units in demands[node]:
                        free[resource] -= units
                    starts[node] = now
                    started = bool(waits)
                    heappush(running, (now + seconds[node], node))
                eligible = left
            if not running:
                # Only waits are left, and nobody to wait for: they are dropped.
                waits = {}
                continue
            now = running[0][0]
            while running and running[0][0] == now:
                node = heappop(running)[1]
                for resource, units in demands[node]:
                    free[resource] += units
                for other in self._work.wanted_by[node]:
                    missing[other] -= 1
                    if not missing[other]:
                        insort(eligible, rank[other])
        return starts
