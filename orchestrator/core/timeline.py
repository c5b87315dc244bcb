"""When each subtask would run: the dispatch rule played forward on expected seconds, for the Gantt of a forecast."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.core import graph
from orchestrator.core.conflicts import Conflicts


@dataclass(frozen=True, slots=True)
class Bar:
    """One subtask in time: seconds from the start of the run, and which of the parallel slots it takes."""

    node: int
    start: float
    end: float
    slot: int


def remaining_paths(needs: graph.Needs, ordered: Sequence[int], seconds: Sequence[float]) -> list[float]:
    """Return for each node the seconds of the longest chain from its start to the end of the plan."""
    remaining = list(seconds)
    wanted_by = graph.dependents(needs)
    for node in reversed(ordered):
        after = wanted_by[node]
        if after:
            remaining[node] += max([remaining[other] for other in after])
    return remaining


def timeline(
    needs: graph.Needs,
    ordered: Sequence[int],
    seconds: Sequence[float],
    touches: Sequence[Iterable[str] | None],
    *,
    parallel: int,
) -> tuple[list[Bar], float]:
    """Return the bars in order of start, and when the last one ends.

    Ready subtasks go by longest remaining path; one whose files are being changed waits and is passed by.
    """
    conflicts = Conflicts(touches)
    rank = remaining_paths(needs, ordered, seconds)
    wanted_by = graph.dependents(needs)
    missing = [len(before) for before in needs]
    ready = [(-rank[node], node) for node in range(len(needs)) if not missing[node]]
    heapq.heapify(ready)
    running: list[tuple[float, int, int]] = []
    slots = list(range(parallel))
    busy: set[int] = set()
    alone = False
    now = 0.0
    bars: list[Bar] = []
    while ready or running:
        passed_by: list[tuple[float, int]] = []
        while ready and slots and not alone:
            entry = heapq.heappop(ready)
            node = entry[1]
            if (conflicts.alone[node] and running) or not busy.isdisjoint(conflicts.meets[node]):
                passed_by.append(entry)
                continue
            slot = heapq.heappop(slots)
            alone = conflicts.alone[node]
            busy.update(conflicts.holds[node])
            bars.append(Bar(node, now, now + seconds[node], slot))
            heapq.heappush(running, (now + seconds[node], node, slot))
        for entry in passed_by:
            heapq.heappush(ready, entry)
        now, node, slot = heapq.heappop(running)
        heapq.heappush(slots, slot)
        alone = False
        busy.difference_update(conflicts.holds[node])
        for other in wanted_by[node]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, (-rank[other], other))
    return bars, now
