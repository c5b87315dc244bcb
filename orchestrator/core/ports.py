"""What the shells need from the outside, as Protocols; adapters implement them, tests pass fakes in here.

Paths are absolute strings: the core knows no file system.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from orchestrator.core.domain import (
    AttemptId,
    ModelAlias,
    OrchestratorError,
    Outcome,
    Problem,
    Refusal,
    Route,
    RunId,
    Stage,
    Subtask,
    Verdict,
)
from orchestrator.core.money import ZERO, Usage, Usd

if TYPE_CHECKING:
    # A command that only reads the ledger has no use for the events, and their classes take time to make.
    from orchestrator.core.events import BaselineMeasured, Event, LandingRefused, SubtaskLanded

# --- time ---------------------------------------------------------------------------------------


class Clock(Protocol):
    def now(self) -> str:
        """The time of day as ISO 8601 UTC with microseconds: `2026-11-23T10:00:00.000000Z`."""

    def epoch_seconds(self) -> float:
        """Seconds since 1970-01-01 UTC; may step back."""

    def monotonic(self) -> float:
        """Seconds that never step back, for deadlines and durations."""


# --- models -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One question to a model. `purpose` is `attempt`, `planning`, `answer`: it names the hold in the ledger.

    `least_output_tokens` is the least that is of use: where no cap has room for all of `max_output_tokens`, the call is
    made with less. None: all or nothing. `schema` asks for structured output where the model supports it.
    `deadline_seconds` bounds the whole call with its last token, but no wait for our own limits. `run_cap` and
    `attempt_cap` bound what the run and the attempt may cost in all, `bill_cap` this request with all its failed calls.
    """

    model: ModelAlias
    messages: tuple[Message, ...]
    max_output_tokens: int
    purpose: str
    least_output_tokens: int | None = None
    run: RunId | None = None
    attempt: AttemptId | None = None
    category: str = ""
    schema: Mapping[str, object] | None = None
    schema_name: str = "reply"
    deadline_seconds: float = 600.0
    files: tuple[str, ...] = ()
    run_cap: Usd | None = None
    attempt_cap: Usd | None = None
    bill_cap: Usd | None = None


class Flag(StrEnum):
    """What was odd about a bill. A flagged call was charged at its hold or at the dearer price."""

    NO_USAGE = "no usage in the reply"
    ODD_USAGE = "impossible usage in the reply"
    OTHER_MODEL = "another model answered"
    OVERRUN = "the bill is above its hold"
    CUT = "the reply was cut off"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    text: str
    model: ModelAlias
    answered_by: str
    vendor: str
    usage: Usage | None
    bill: Usd
    flags: tuple[Flag, ...] = ()
    finish_reason: str = "stop"
    calls: int = 1


# The window of what one attempt may cost, by the cap on smart per subtask.
ATTEMPT = "attempt"


class BudgetExceeded(OrchestratorError):
    """A reservation would pass a cap. Nothing was called and nothing was spent."""

    exit_code = 3

    def __init__(self, *, what: str, needs: Usd, left: Usd, cap: Usd, window: str) -> None:
        self.what, self.needs, self.left, self.cap, self.window = what, needs, left, cap, window
        would_do = Usd(cap.nano + needs.nano - left.nano).rounded()
        remedy = {
            "run": f"a --budget of {would_do} would do",
            ATTEMPT: f"set smart_per_subtask to {would_do}",
        }.get(window, f"wait for the next {window}, or raise its budget to {would_do}")
        super().__init__(
            f"{what} may cost up to {needs}, but {left} of the {cap} {window} budget is left: {remedy}, "
            f"or choose a cheaper model"
        )


class ModelUnavailable(OrchestratorError):
    """No deployment of the alias could answer: none configured, no key, or every one failed."""

    exit_code = 4


class RequestRefused(OrchestratorError):
    """The provider refused the request itself (too long, filtered, malformed); another try would not help."""

    exit_code = 1


class Model(Protocol):
    async def complete(self, request: ModelRequest) -> ModelReply:
        """Reserve, call, settle; every provider call has its own durable hold.

        Raises BudgetExceeded, ModelUnavailable or RequestRefused. A cancelled call is settled before the
        cancellation goes on.
        """


# --- the ledger and the journal -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest:
    """The worst case of one provider call, to be promised under every window that applies."""

    amount: Usd
    model: ModelAlias
    deployment: str
    purpose: str
    what: str
    category: str = ""
    repository: str | None = None
    run: RunId | None = None
    attempt: AttemptId | None = None
    run_cap: Usd | None = None
    repository_cap: Usd | None = None
    attempt_cap: Usd | None = None


class Ledger(Protocol):
    async def reserve(self, request: HoldRequest) -> int:
        """Durably promise the amount; return the hold's id. Waits while open holds may free the room.

        Raises BudgetExceeded when the amount can never fit, ModelUnavailable when an overrun stopped the model.
        """

    async def settle(
        self,
        hold: int,
        *,
        bill: Usd | None,
        usage: Usage | None = None,
        answered_by: str = "",
        flags: Sequence[Flag] = (),
    ) -> Usd:
        """Replace the hold by the bill (None: unknown, the whole hold is charged); return what was charged."""

    async def release(self, hold: int, *, reason: str) -> None:
        """Give the hold back: the call provably never left or was refused unprocessed."""

    async def left(self, *, run: RunId | None = None, run_cap: Usd | None = None) -> Mapping[str, Usd]:
        """Dollars neither spent nor held per window: `day` (the budget window) always, `run` when it has a cap."""


class Journal(Protocol):
    async def append(self, run: RunId, events: Sequence[Event], *, durable: bool = True) -> int | None:
        """Durable when it returns; events of one call are one transaction, in order.

        With `durable` false a power loss may take the events, up to the next durable write of any kind.
        Returns the number of the run's last event, counted from 1 (None: nothing written, or not known).
        """

    def events(self, run: RunId, *, after: int = 0) -> Iterable[Event]:
        """The events of the run but for the first `after`, oldest first."""


# --- work ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What an earlier attempt at the same subtask came to, for the next one to learn from."""

    attempt: AttemptId
    model: ModelAlias | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyResult:
    """What a subtask this one depends on has left behind: its commit's file list, or its document."""

    subtask: str
    title: str
    files_changed: tuple[str, ...] = ()
    document: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All that an executor may know of an attempt. `worktree` is its own checkout, prepared and clean."""

    run: RunId
    attempt: AttemptId
    subtask: Subtask
    goal: str
    worktree: str
    route: Route | None
    feedback: tuple[Feedback, ...] = ()
    dependencies: tuple[DependencyResult, ...] = ()
    repository: str = ""
    run_cap: Usd | None = None
    attempt_cap: Usd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """What an executor made. Edits lie in the worktree, never committed; `document` is a text deliverable."""

    summary: str
    document: str | None = None
    answered_by: str | None = None
    bill: Usd = ZERO
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, output_tokens=0))
    calls: int = 0
    files_sent: tuple[str, ...] = ()


class ExecutorFailed(OrchestratorError):
    """The executor could not do the work (unreadable reply, edits that do not apply); `feedback` says why.

    `spent` is what `Produced` would have said of money, so that a failed attempt's bill is not lost.
    """

    exit_code = 1

    def __init__(self, reason: str, *, feedback: str = "", spent: Produced | None = None) -> None:
        self.reason, self.feedback, self.spent = reason, feedback, spent
        super().__init__(reason)


class Executor(Protocol):
    async def execute(self, work: Work) -> Produced:
        """Do the work in `work.worktree`. Raises ExecutorFailed, BudgetExceeded, ModelUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worktree:
    """A checkout of our own: `path` is absolute, `base` the commit it began at."""

    path: str
    base: str
    name: str


class Conflict(OrchestratorError):
    """The attempt's commit does not apply to the moved run branch."""

    exit_code = 1


class Workspaces(Protocol):
    """Worktrees and the run branch of one run; every git call is behind it. Never touches the user's checkout."""

    async def create(self, attempt: AttemptId) -> Worktree: ...

    async def changed_files(self, worktree: Worktree) -> tuple[str, ...]: ...

    async def guard(self, worktree: Worktree, subtask: Subtask) -> tuple[Problem, ...]:
        """Every way in which the changes go beyond the subtask: paths, links, `.git`, sizes, nothing changed."""

    async def commit(self, worktree: Worktree, *, message: str, trailers: Mapping[str, str]) -> str: ...

    async def keep(self, attempt: AttemptId, worktree: Worktree, *, message: str) -> str:
        """Commit whatever is there, under a ref of ours; return the ref."""

    async def remove(self, worktree: Worktree) -> None:
        """Remove a worktree whose work is committed under a ref; refuses to lose anything."""

    async def rebase(self, attempt: AttemptId, commit: str) -> tuple[Worktree, str, bool]:
        """Return (worktree at the rebased commit, that commit, whether the base moved). Raises Conflict."""

    async def amend(self, worktree: Worktree, commit: str, path: str) -> str:
        """Return the same commit with one more changed file, as it stands in the worktree."""

    async def advance(self, commit: str, *, expected: str) -> None:
        """Move the run branch from `expected` to `commit`, atomically."""

    async def landed_commit(self, attempt: AttemptId) -> str | None:
        """The run branch's commit that carries this attempt's trailer, if it is there already."""

    async def tip(self) -> str: ...


class Checker(Protocol):
    async def baseline(self) -> BaselineMeasured:
        """Prepare a worktree of the base, prove that checks run its code, run the suite; cached by commit."""

    async def prepare(self, worktree: Worktree) -> None:
        """Make the worktree able to run the checks (set-up cached by lockfile, included files copied)."""

    async def verify(self, worktree: Worktree, subtask: Subtask, *, full: bool) -> Verdict:
        """Run the subtask's checks (and the whole suite when `full`) and judge. Never raises for a failing check."""


# --- the engine ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt as it is handed to an engine; plain values only, so that it can travel."""

    run: RunId
    attempt: AttemptId
    route: Route | None
    feedback: tuple[Feedback, ...] = ()
    dependencies: tuple[DependencyResult, ...] = ()

    @property
    def key(self) -> str:
        """The idempotency key everywhere: `run/subtask#n`."""
        return f"{self.run}/{self.attempt}"


class AttemptState(StrEnum):
    UNKNOWN = "unknown"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    attempt: AttemptId
    outcome: Outcome


Execute = Callable[[Assignment], Awaitable[Outcome]]


class Engine(Protocol):
    """Runs attempts; knows nothing of edges, retries or money. Submitting a known key again is a no-op."""

    async def submit(self, assignments: Sequence[Assignment]) -> None: ...

    async def cancel(self, attempt: AttemptId) -> None:
        """Best effort; ends in an event."""

    def events(self) -> AsyncIterator[tuple[AttemptEnded, ...]]: ...

    async def known(self, attempt: AttemptId) -> tuple[AttemptState, Outcome | None]:
        """After a restart: finished attempts are adopted with their durable outcome."""

    async def close(self) -> None: ...


class Outcomes(Protocol):
    """Where the one that does an attempt leaves its result; a result that was left is never paid for again."""

    def read(self, attempt: AttemptId) -> Outcome | None: ...

    def write(self, attempt: AttemptId, outcome: Outcome) -> None:
        """Durable when it returns: written aside, flushed, renamed."""


# --- landing and routing, as the runner sees them -------------------------------------------------


class Land(Protocol):
    async def __call__(
        self, attempt: AttemptId, subtask: Subtask, outcome: Outcome
    ) -> SubtaskLanded | LandingRefused:
        """Rebase onto the run branch, verify again when the base moved, advance. Idempotent."""


class Landed(Protocol):
    async def __call__(self, attempt: AttemptId, outcome: Outcome) -> SubtaskLanded | None:
        """The landing of a passed attempt whose work is on the run branch; None when it is not there."""


class RouteAttempt(Protocol):
    async def __call__(self, subtask: Subtask, rung: ModelAlias, stage: Stage) -> Route | Refusal:
        """Route an attempt to at most this rung. A budget band may have a subtask start on a cheaper model, or forbid
        an escalation; what the user chose is exempt."""
