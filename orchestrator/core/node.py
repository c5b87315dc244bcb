"""One subtask of a running plan: the phase it is in, and what the dispatcher remembers of its attempts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from orchestrator.core.domain import AttemptId, ModelAlias, State, Subtask, SubtaskId
from orchestrator.core.escalation import Rungs


class Phase(IntEnum):
    """Where a subtask stands; finer than `State`, which is what people are shown."""

    PENDING = 0  # a dependency has not succeeded yet
    ASIDE = 1  # ready, but not among the selected
    READY = 2  # in the ready queue, perhaps parked
    HELD = 3  # an escalation that waits for the first pass
    NO_ROOM = 4
    NO_MODEL = 5
    STARTING = 6  # `Start` was said, nothing heard yet
    RUNNING = 7
    LANDING = 8  # passed; `Land` was said
    SUCCEEDED = 9
    FAILED = 10
    BLOCKED = 11
    CANCELLED = 12
    SKIPPED = 13

    final: bool
    active: bool
    kept_from_starting: bool

    def __init__(self, value: int) -> None:
        # Asked on every move of every subtask, so they are attributes and not computed.
        self.final = value >= 9
        self.active = 6 <= value <= 8
        self.kept_from_starting = self.final or value in (1, 3, 4, 5)


STATE_OF = (
    *[State.WAITING] * 6,
    State.RUNNING,
    State.RUNNING,
    State.WAITING,
    State.SUCCEEDED,
    State.FAILED,
    State.BLOCKED,
    State.CANCELLED,
    State.SKIPPED,
)


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """`place` is the position in the plan; `missing` counts the dependencies that have not succeeded.

    `rung` indexes `rungs`; `tries` counts attempts on this rung, `failures` those on all, `conflicts` the
    landings that met newer work. `wish` is the phase a user asked for while an attempt was under way; `chosen` that
    the user named the model it starts on. `refused_at` is how many attempts of the run had settled when it was last
    refused for want of room or of a model.
    """

    subtask: Subtask
    place: int
    needs: tuple[int, ...]
    wanted_by: list[int]
    rungs: Rungs
    missing: int
    phase: Phase = Phase.PENDING
    detail: str = ""
    because: SubtaskId | None = None
    number: int = 0
    model: ModelAlias | None = None
    rung: int = 0
    tries: int = 0
    failures: int = 0
    conflicts: int = 0
    after: tuple[AttemptId, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    wish: Phase | None = None
    chosen: bool = False
    smart_nano: int = 0
    tokens_used: int = 0
    refused_at: int = -1

    @property
    def id(self) -> SubtaskId:
        return self.subtask.id

    @property
    def attempt(self) -> AttemptId:
        return AttemptId(self.subtask.id, self.number)

    @property
    def target(self) -> ModelAlias | None:
        """The model of the rung it stands on."""
        return self.rungs[self.rung]

    def start_over(self) -> None:
        """Forget the counts that ended the subtask; attempt numbers and what was learned stay."""
        self.tries = self.failures = self.conflicts = 0
        self.wish = self.because = None
        self.detail = ""
