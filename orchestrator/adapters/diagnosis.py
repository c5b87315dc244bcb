"""What `doctor` finds: one finding per fact, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact. `remedy` says what to do next; `repair` does it, where that is safe, and says what it did.

    `no_model` marks the one error that leaves everything but model calls working.
    """

    area: str
    level: Level
    what: str
    remedy: str = ""
    repair: Callable[[], str] | None = None
    no_model: bool = False


def exit_code(findings: list[Finding]) -> int:
    """0 without an error, 4 when all that is wrong is that no model can be called, else 2."""
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    if not errors:
        return 0
    return 4 if all(finding.no_model for finding in errors) else 2
