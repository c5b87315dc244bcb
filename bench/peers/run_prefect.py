"""One row of the comparison: Prefect with its ephemeral server, 64 threads."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

os.environ["PREFECT_HOME"] = tempfile.mkdtemp()
os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

from graph import AT_ONCE, graph
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner


@task
def node(length: float) -> None:
    time.sleep(length)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE))
def layered(kind: str, size: int) -> float:
    needs, seconds = graph(kind, size)
    began = time.perf_counter()
    futures: list[object] = []
    for place, before in enumerate(needs):
        futures.append(node.submit(seconds[place], wait_for=[futures[other] for other in before]))
    for future in futures:
        future.result()
    return time.perf_counter() - began


def main(kind: str, size: int) -> dict[str, float]:
    cpu = time.process_time()
    return {"wall": layered(kind, size), "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    found = json.dumps(main(sys.argv[1], int(sys.argv[2])))
    print(found)
