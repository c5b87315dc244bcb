"""The workers that measure a snapshot: as many as there are processors, each with its share of the files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.adapters.processes import run
from orchestrator.adapters.survey.snapshot import Snapshot
from orchestrator.core.facts import SourceFile

_WORKER = "orchestrator.adapters.survey.worker"
_SECONDS = 600.0
_OUTPUT_BYTES = 512 * 1024 * 1024
# Below this a second interpreter costs more than it saves.
_BYTES_PER_WORKER = 400_000
_MAX_WORKERS = 8
_FILE_SECONDS = 5.0


async def measure(
    snapshot: Snapshot, files: Sequence[SourceFile], *, file_seconds: float = _FILE_SECONDS
) -> dict[str, dict[str, Any]]:
    """One document per file, by path; a file that no worker could measure has only `failed`."""
    total = sum(file.size_bytes for file in files)
    count = min(_processors(), _MAX_WORKERS, total // _BYTES_PER_WORKER + 1)
    ordered = sorted(files, key=lambda file: (-file.size_bytes, file.path))
    shares = [share for start in range(count) if (share := ordered[start::count])]
    documents: dict[str, dict[str, Any]] = {}
    import asyncio

    for told in await asyncio.gather(*(_worker(snapshot, share, file_seconds) for share in shares)):
        documents |= told
    for file in files:
        documents.setdefault(file.path, {"path": file.path, "failed": "the worker that had it ended early"})
    return documents


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


async def _worker(
    snapshot: Snapshot, share: Sequence[SourceFile], seconds: float
) -> dict[str, dict[str, Any]]:
    lines = "".join(
        "\t".join((file.path, file.language, str(int(file.test)), *map(str, snapshot.places[file.path])))
        + "\n"
        for file in share
    )
    completed = await run(
        [sys.executable, "-I", "-B", "-X", "utf8", "-m", _WORKER, str(snapshot.pack), str(seconds)],
        cwd=snapshot.pack.parent,
        env={"PATH": os.defpath},
        timeout_seconds=_SECONDS,
        stdin=lines.encode(),
        max_output_bytes=_OUTPUT_BYTES,
        contained=False,
    )
    documents: dict[str, dict[str, Any]] = {}
    for line in completed.stdout.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            break  # Cut off where the worker was ended; what is missing is reported by name.
        documents[document["path"]] = document
    return documents
