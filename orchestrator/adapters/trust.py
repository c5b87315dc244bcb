"""Which files of a repository the user has agreed to, by path and content, as direnv does it.

A repository's own configuration may name commands and addresses. It counts only while its content is the one that
`orchestrator trust` recorded: whoever can write to the repository cannot write here.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def is_trusted(state: Path, file: Path, content: bytes) -> bool:
    """Whether exactly this content of this file was recorded."""
    return _record(state, file, content).is_file()


def trust(state: Path, file: Path, content: bytes) -> None:
    """Record the content of a file. Durable when it returns; recording it again changes nothing."""
    record = _record(state, file, content)
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = record.with_name(f"{record.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(f"{_real(file)}\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(record)


def distrust(state: Path, file: Path) -> int:
    """Forget every recorded content of a file; return how many there were."""
    forgotten = 0
    for record in sorted((state / "trusted").glob("*")):
        name = record.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
        if name == _real(file):
            record.unlink(missing_ok=True)
            forgotten += 1
    return forgotten


def _record(state: Path, file: Path, content: bytes) -> Path:
    total = hashlib.sha256(os.fsencode(_real(file)))
    total.update(b"\0")
    total.update(content)
    return state / "trusted" / total.hexdigest()


def _real(file: Path) -> str:
    return os.path.realpath(file)
