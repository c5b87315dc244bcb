"""Directed graphs over small integers: order, cycles, depth, longest path, reachability.

Plain lists, because a plan of 100,000 subtasks is ordered several times in one command. Nothing here recurses.
"""

from __future__ import annotations

import gc
import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

Needs = Sequence[Sequence[int]]
"""`needs[node]` lists the nodes that come before it; nodes are 0 .. len(needs) - 1."""


@contextmanager
def no_collections() -> Iterator[None]:
    """Building a large plan makes no cycles, and looking for some takes longer than making its million values."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def dependents(needs: Needs) -> list[list[int]]:
    """Return the edges the other way round: for each node the nodes that wait for it, in ascending order."""
    wanted_by: list[list[int]] = [[] for _ in needs]
    for node, before in enumerate(needs):
        for other in before:
            wanted_by[other].append(node)
    return wanted_by


def order(needs: Needs) -> list[int]:
    """Return the topological order that keeps closest to 0, 1, 2 ...; nodes on or behind a cycle are left out."""
    if all(other < node for node, before in enumerate(needs) for other in before):
        return list(range(len(needs)))
    return _order(needs, dependents(needs))


def _order(needs: Needs, wanted_by: Sequence[Sequence[int]], cut: frozenset[int] = frozenset()) -> list[int]:
    missing = [0 if node in cut else len(before) for node, before in enumerate(needs)]
    ready = [node for node, count in enumerate(missing) if count == 0]
    ordered: list[int] = []
    while ready:
        node = heapq.heappop(ready)
        ordered.append(node)
        for other in wanted_by[node]:
            if other in cut:
                continue
            missing[other] -= 1
            if missing[other] == 0:
                heapq.heappush(ready, other)
    return ordered


def cycles(needs: Needs, limit: int = 10) -> list[list[int]]:
    """Return up to `limit` cycles that share no node, each as the nodes in order of need (`a` needs `b` needs ...)."""
    wanted_by = dependents(needs)
    found: list[list[int]] = []
    cut: frozenset[int] = frozenset()
    while len(found) < limit:
        ordered = set(_order(needs, wanted_by, cut))
        stuck = next((node for node in range(len(needs)) if node not in ordered), None)
        if stuck is None:
            return found
        place: dict[int, int] = {}
        path: list[int] = []
        node = stuck
        while node not in place:
            place[node] = len(path)
            path.append(node)
            # A node that is not in the order waits for at least one that is not either.
            node = next(other for other in needs[node] if other not in ordered)
        cycle = path[place[node] :]
        # Begin at the smallest, so that the same cycle always reads the same.
        first = cycle.index(min(cycle))
        found.append(cycle[first:] + cycle[:first])
        cut |= frozenset(cycle)
    return found


def depths(needs: Needs, ordered: Iterable[int]) -> list[int]:
    """Return for each node the number of nodes on the longest chain that ends in it."""
    depth = [1] * len(needs)
    for node in ordered:
        before = needs[node]
        if before:
            depth[node] = 1 + max([depth[other] for other in before])
    return depth


def longest_path(needs: Needs, ordered: Iterable[int], weights: Sequence[float]) -> tuple[list[int], float]:
    """Return the nodes of the heaviest chain, first to last, and its total weight; ties go to the lower node."""
    finish = [0.0] * len(needs)
    came_from = [-1] * len(needs)
    for node in ordered:
        start, before = 0.0, -1
        for other in needs[node]:
            if finish[other] > start or (finish[other] == start and (before < 0 or other < before)):
                start, before = finish[other], other
        finish[node] = start + weights[node]
        came_from[node] = before
    if not finish:
        return [], 0.0
    node = max(range(len(finish)), key=lambda place: (finish[place], -place))
    total = finish[node]
    path: list[int] = []
    while node >= 0:
        path.append(node)
        node = came_from[node]
    return path[::-1], total


def closure(edges: Sequence[Sequence[int]], start: Iterable[int]) -> set[int]:
    """Return `start` and every node reached from it along `edges`."""
    seen = set(start)
    stack = list(seen)
    while stack:
        for other in edges[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return seen


class Precedence:
    """Asks whether one node comes before another on every schedule, within a bound on the total work.

    The bound keeps a hostile plan from costing quadratic time; past it the answer is None, unknown.
    """

    def __init__(self, needs: Needs, ordered: Sequence[int], max_steps: int = 5_000_000) -> None:
        self._needs = needs
        self._rank = [0] * len(needs)
        for place, node in enumerate(ordered):
            self._rank[node] = place
        self._steps_left = max_steps

    def rank(self, node: int) -> int:
        return self._rank[node]

    def before(self, first: int, second: int) -> bool | None:
        """Return whether `second` needs `first`, directly or through others; None when the work bound is reached."""
        if first in self._needs[second]:
            return True
        floor = self._rank[first]
        seen: set[int] = set()
        stack = [second]
        while stack:
            self._steps_left -= 1
            if self._steps_left < 0:
                return None
            for other in self._needs[stack.pop()]:
                if other == first:
                    return True
                if other not in seen and self._rank[other] > floor:
                    seen.add(other)
                    stack.append(other)
        return False
