"""One row of the comparison: LangGraph's StateGraph, 64 nodes at once. Runs in its own environment."""

from __future__ import annotations

import asyncio
import json
import operator
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from graph import AT_ONCE, graph
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    done: Annotated[list[int], operator.add]


def main(kind: str, size: int) -> dict[str, float]:
    needs, seconds = graph(kind, size)
    builder = StateGraph(State)

    def sleeper(length: float) -> Callable[[Any], Awaitable[dict[str, Any]]]:
        async def node(state: Any) -> dict[str, Any]:
            await asyncio.sleep(length)
            return {"done": []}

        return node

    last = set(range(size))
    for place, before in enumerate(needs):
        builder.add_node(f"n{place}", sleeper(seconds[place]))
        last -= set(before)
    for place, before in enumerate(needs):
        if before:
            builder.add_edge([f"n{other}" for other in before], f"n{place}")
        else:
            builder.add_edge(START, f"n{place}")
    for place in last:
        builder.add_edge(f"n{place}", END)
    compiled = builder.compile()
    began, cpu = time.perf_counter(), time.process_time()
    config = {"max_concurrency": AT_ONCE, "recursion_limit": 10 * size}
    asyncio.run(compiled.ainvoke({"done": []}, config))
    return {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
