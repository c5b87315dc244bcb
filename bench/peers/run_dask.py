"""One row of the comparison: Dask distributed in one process, one worker with 64 threads."""

from __future__ import annotations

import json
import sys
import time

from dask.distributed import Client, LocalCluster
from graph import AT_ONCE, graph


def node(length: float, *before: object) -> None:
    time.sleep(length)


def main(kind: str, size: int) -> dict[str, float]:
    needs, seconds = graph(kind, size)
    cluster = LocalCluster(processes=False, n_workers=1, threads_per_worker=AT_ONCE, dashboard_address=None)
    with cluster, Client(cluster) as client:
        began, cpu = time.perf_counter(), time.process_time()
        futures: list[object] = []
        for place, before in enumerate(needs):
            needed = [futures[other] for other in before]
            futures.append(client.submit(node, seconds[place], *needed, key=f"n{place}", pure=False))
        client.gather(futures)
        return {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
