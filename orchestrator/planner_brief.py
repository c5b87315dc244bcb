"""What the planner works from and hands back: the brief, the sizes a question may have, the plan with its bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.domain import Plan, Provenance, SubtaskId
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.standards import Standard


class File(Protocol):
    """A file as the prompt shows it; `part` says which lines when it is not the whole."""

    @property
    def path(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def part(self) -> str: ...


class PlanCache(Protocol):
    """Plans by the digest of the question that led to them."""

    def get(self, key: str) -> str | None: ...

    def put(self, key: str, document: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a plan is wanted for. `facts` is the survey as text, `lines` the repository's files with their lengths,
    `paths` the globs to which changes are to keep (none: anywhere).

    `current` with `remark` or `answers` asks for a changed plan; `finished` and `failed` for what is left of one,
    without the `unwanted` that a user skipped or cancelled.
    """

    goal: str
    standard: Standard
    instructions: str
    schema: Mapping[str, object]
    made_from: Provenance
    facts: Callable[[int], str]
    commands: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    limit: int = 8
    lines: Mapping[str, int] | None = None
    current: Plan | None = None
    remark: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    finished: tuple[SubtaskId, ...] = ()
    failed: tuple[tuple[SubtaskId, str], ...] = ()
    unwanted: tuple[SubtaskId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and how it came about: dollars, calls, the files that were sent and to whom; all zero from the cache."""

    plan: Plan
    bill: Usd = ZERO
    calls: int = 0
    files: tuple[str, ...] = ()
    vendor: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """How much a question may hold: bytes of files, lines of facts, tokens of answer, and whether it has the schema."""

    file_bytes: int
    fact_lines: int
    output_tokens: int
    schema: bool = True


# From generous to the least that can still give a plan. Less context before refusing.
SIZES = (
    Size(96_000, 120, 12_000),
    Size(64_000, 120, 10_000),
    Size(48_000, 80, 8_000),
    Size(32_000, 80, 8_000),
    Size(24_000, 60, 6_000),
    Size(16_000, 60, 5_000),
    Size(8_000, 40, 4_000),
    Size(4_000, 30, 3_000, schema=False),
    Size(4_000, 20, 2_500, schema=False),
    Size(0, 30, 3_000, schema=False),
    Size(0, 20, 2_000, schema=False),
    Size(0, 10, 1_500, schema=False),
)
