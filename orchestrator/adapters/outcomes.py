"""The durable result of an attempt: one file, written aside, flushed and renamed by the one that did the work.

Between the end of the work and the journal's next commit lies a window in which a crash would lose a result
that was paid for. This file closes it: who restarts adopts what it finds.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from orchestrator.adapters.state import attempt_directory
from orchestrator.core.domain import AttemptId, OrchestratorError, Outcome, RunId
from orchestrator.core.serial import Undecodable, decode, encode
from orchestrator.core.text import one_line

NAME = "outcome.json"
SCHEMA = "orchestrator-outcome"
VERSION = 1


class OutcomeUnreadable(OrchestratorError):
    """The file is there but not what was written; running the attempt again would pay for it twice."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is not a readable outcome ({one_line(why)}): move it away to have the attempt made again"
        )


def write_outcome(directory: Path, outcome: Outcome) -> None:
    """Leave the outcome in the attempt's directory. Durable when it returns; whole or absent after any crash."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "version": VERSION, "outcome": encode(outcome)}
    temporary = directory / f".{NAME}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / NAME)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    parent = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def read_outcome(directory: Path) -> Outcome | None:
    """Return the outcome that was left in the attempt's directory, or None. Raises OutcomeUnreadable."""
    path = directory / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise OutcomeUnreadable(path, str(error)) from None
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise OutcomeUnreadable(path, f"no {SCHEMA}")
        if document.get("version") != VERSION:
            raise OutcomeUnreadable(
                path, f"version {document.get('version')!r}, this orchestrator reads {VERSION}"
            )
        return decode(Outcome, document.get("outcome"), where="outcome")
    except (ValueError, RecursionError, Undecodable) as error:
        raise OutcomeUnreadable(path, str(error)) from None


class OutcomeFiles:
    """The Outcomes port over the state directory of one run."""

    def __init__(self, state: Path, run: RunId) -> None:
        self._state = state
        self._run = run

    def read(self, attempt: AttemptId) -> Outcome | None:
        return read_outcome(attempt_directory(self._state, self._run, attempt))

    def write(self, attempt: AttemptId, outcome: Outcome) -> None:
        write_outcome(attempt_directory(self._state, self._run, attempt), outcome)
