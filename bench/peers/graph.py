"""The graphs that every engine runs: layers of 100 nodes, each node needs 3 of the layer before. No imports of ours."""

from __future__ import annotations

import heapq
import random

LAYER = 100
AT_ONCE = 64


def graph(kind: str, size: int) -> tuple[list[tuple[int, ...]], list[float]]:
    """What each node needs, and its seconds: `even` are 50 ms, `uneven` lognormal around that, `no-op` none."""
    chance = random.Random(1)
    needs = [
        tuple(sorted({place // LAYER * LAYER - LAYER + chance.randrange(LAYER) for _ in range(3)}))
        if place >= LAYER
        else ()
        for place in range(size)
    ]
    if kind == "uneven":
        return needs, [0.05 * chance.lognormvariate(-0.5, 1.0) for _ in range(size)]
    return needs, [0.0 if kind == "no-op" else 0.05] * size


def ideal(needs: list[tuple[int, ...]], seconds: list[float]) -> float:
    """The makespan of longest remaining path first without any overhead."""
    longest = list(seconds)
    wanted_by: list[list[int]] = [[] for _ in needs]
    for node, before in enumerate(needs):
        for other in before:
            wanted_by[other].append(node)
    for node in range(len(needs) - 1, -1, -1):
        longest[node] += max((longest[other] for other in wanted_by[node]), default=0.0)
    missing = [len(before) for before in needs]
    ready = [(-longest[node], node) for node, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < AT_ONCE:
            node = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[node], node))
        now, node = heapq.heappop(running)
        for other in wanted_by[node]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, (-longest[other], other))
    return now
