"""The workers that measure a snapshot: as many as there are processors, each with its share of the files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.adapters.processes import run
from orchestrator.core.facts import SourceFile

_SECONDS = 600.0
_OUTPUT_BYTES = 512 * 1024 * 1024
# Below this a second interpreter costs more than it saves.
_BYTES_PER_WORKER = 400_000
_MAX_WORKERS = 8
_FILE_SECONDS = 5.0


async def measure(
    root: Path, files: Sequence[SourceFile], *, file_seconds: float = _FILE_SECONDS
) -> dict[str, dict[str, Any]]:
    """One document per file, by path; a file that no worker could measure has only `failed`."""
    total = sum(file.size_bytes for file in files)
    count = max(1, min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
                       _MAX_WORKERS, total // _BYTES_PER_WORKER + 1))  # fmt: skip
    ordered = sorted(files, key=lambda file: (-file.size_bytes, file.path))
    shares = [share for start in range(count) if (share := ordered[start::count])]
    documents: dict[str, dict[str, Any]] = {}
    import asyncio

    for told in await asyncio.gather(*(_worker(root, share, file_seconds) for share in shares)):
        documents |= told
    for file in files:
        documents.setdefault(file.path, {"path": file.path, "failed": "the worker that had it ended early"})
    return documents


async def _worker(root: Path, share: Sequence[SourceFile], seconds: float) -> dict[str, dict[str, Any]]:
    lines = "".join(f"{file.path}\t{file.language}\t{int(file.test)}\n" for file in share)
    completed = await run(
        [
            sys.executable,
            "-I",
            "-B",
            "-X",
            "utf8",
            "-m",
            "orchestrator.adapters.survey.worker",
            str(root),
            str(seconds),
        ],
        cwd=root,
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
