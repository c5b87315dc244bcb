"""The nouns of the orchestrator, as frozen values that are checked where they are built."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from orchestrator.core.money import ZERO, Usage, Usd

SubtaskId = NewType("SubtaskId", str)
RunId = NewType("RunId", str)
ModelAlias = NewType("ModelAlias", str)
Tier = NewType("Tier", str)

CHEAP = Tier("cheap")
SMART = Tier("smart")

SUBTASK_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class OrchestratorError(Exception):
    """A failure of the program or of its use, told in one sentence: what, exact numbers, what next."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in a document or a plan. `where` is `file:line` or a path in the document."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class InvalidDocument(OrchestratorError):
    """A document with faults, all of them at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def same_id(subtask_id: str) -> str:
    """The form in which two ids that differ only in case or in Unicode composition are the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", subtask_id).casefold())


# --- attempts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class AttemptId:
    """One try at a subtask, counted from 1. The same number is the same try, delivered again."""

    subtask: SubtaskId
    number: int

    def __str__(self) -> str:
        return f"{self.subtask}#{self.number}"

    @classmethod
    def parse(cls, text: str) -> AttemptId:
        subtask, _, number = text.rpartition("#")
        if not subtask or not number.isdigit():
            raise ValueError(f"{text!r} is not an attempt id like parse#1")
        return cls(SubtaskId(subtask), int(number))


# --- the plan -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """Low, likely and high of one quantity; `low <= likely <= high`."""

    low: int
    likely: int
    high: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.likely <= self.high:
            raise ValueError(f"not a range: {self.low} <= {self.likely} <= {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one attempt is expected to take: tokens in and out, and seconds without those of the checks."""

    input_tokens: Range
    output_tokens: Range
    seconds: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A fact that led to a subtask: `path` is relative to the repository, `line` counts from 1 (0: the file)."""

    path: str
    line: int
    fact: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.fact}" if self.line else f"{self.path}: {self.fact}"


class DecidedBy(StrEnum):
    PLANNER = "planner"
    STANDARD = "standard"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """Why a subtask is cheap or smart: the rule of the standard, what in the text matched, who decided."""

    tier: Tier
    rule: str
    evidence: tuple[str, ...] = ()
    decided_by: DecidedBy = DecidedBy.PLANNER
    reason: str = ""


class Deliverable(StrEnum):
    EDIT = "edit"
    DOCUMENT = "document"


class CheckKind(StrEnum):
    TESTS = "tests"
    LINT = "lint"
    COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A typed check: `targets` are test paths or node ids, paths to lint, or one name declared in the settings."""

    kind: CheckKind
    targets: tuple[str, ...]


class ExecutorName(StrEnum):
    EDIT = "edit"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtask:
    """One node of the plan, small enough for one executor and one verdict.

    `touches` are globs of the files it may change; None means unknown, so it runs alone.
    `tool` names a deterministic tool (`ruff-fix`, `ruff-format`, `project-format`) for a `tool` subtask.
    """

    id: SubtaskId
    title: str
    instructions: str
    category: str
    tag: Tag
    estimate: Estimate
    deliverable: Deliverable = Deliverable.EDIT
    depends_on: tuple[SubtaskId, ...] = ()
    touches: tuple[str, ...] | None = None
    checks: tuple[Check, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    executor: ExecutorName = ExecutorName.EDIT
    tool: str | None = None
    group: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something the planner wants decided; `answer` is the default until the user gives another."""

    id: str
    text: str
    options: tuple[str, ...]
    default: str
    answer: str | None = None


IMPORTED = "import:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Digests and names of everything a plan was made from; equal provenance, equal plan.

    `planner` is `model`, `offline`, or `import:` and the format of a task list.
    """

    planner: str
    commit: str
    goal: str = ""
    survey: str = ""
    standard: str = ""
    template: str = ""
    prices: str = ""
    model: str = ""

    @property
    def imported_from(self) -> str | None:
        """The format of the task list that the plan was imported from; None for a plan that a planner made."""
        return self.planner.removeprefix(IMPORTED) if self.planner.startswith(IMPORTED) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteTime:
    """Seconds of one run of the project's own tests, and what the figure stands on."""

    seconds: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked DAG of subtasks. Built by `core.planning` only, which names every problem at once.

    `suite` is what its forecast takes the project's tests to need; None where nobody looked.
    """

    goal: str
    subtasks: tuple[Subtask, ...]
    made_from: Provenance
    questions: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    suite: SuiteTime | None = None

    def subtask(self, subtask_id: SubtaskId) -> Subtask:
        for subtask in self.subtasks:
            if subtask.id == subtask_id:
                return subtask
        raise KeyError(subtask_id)


# --- routing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which model a request goes to, with the most it may cost, and every reason in order of application."""

    model: ModelAlias
    max_output_tokens: int
    worst_case: Usd
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request gets no route, with the cap that binds and the amount that would do, when one would.

    `no_model` tells a missing model (alias, key, context) from missing room in a cap or the budget.
    """

    message: str
    reasons: tuple[str, ...]
    would_do: Usd | None = None
    no_model: bool = False


# --- verdicts and outcomes ----------------------------------------------------------------------


class VerdictKind(StrEnum):
    PROVED = "proved"
    UNBROKEN = "unbroken"
    UNVERIFIED = "unverified"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One command that ran: `passed` is None when it could not run. `output` is capped and shown escaped."""

    name: str
    command: tuple[str, ...]
    passed: bool | None
    exit_code: int | None
    seconds: float
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All checks of one attempt and what they add up to; `evidence` says why it is no better and no worse.

    `full` says that the whole suite ran, not only the tests the change affects.
    """

    kind: VerdictKind
    checks: tuple[CheckResult, ...] = ()
    evidence: tuple[str, ...] = ()
    full: bool = False

    @property
    def lands(self) -> bool:
        return self.kind in (VerdictKind.PROVED, VerdictKind.UNBROKEN)


class Ended(StrEnum):
    """How an attempt ended. Only PASSED may land; the budget and a missing model are never failures."""

    PASSED = "passed"
    REJECTED = "rejected"
    ERROR = "error"
    NO_ROOM = "no_room"
    NO_MODEL = "no_model"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended: verdict, bill, seconds, reason.

    `commit` is the attempt's own commit on its worktree (an edit that may land, or rejected work kept on a
    ref); `document` the text of a document deliverable; `feedback` what the next attempt should be told;
    `needs` the dollars that were missing when `ended` is NO_ROOM, or that its own cap did not admit.
    """

    ended: Ended
    verdict: Verdict | None = None
    model: ModelAlias | None = None
    answered_by: str | None = None
    bill: Usd = ZERO
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, output_tokens=0))
    calls: int = 0
    seconds: float = 0.0
    reason: str = ""
    feedback: str = ""
    commit: str | None = None
    kept_ref: str | None = None
    document: str | None = None
    files_changed: tuple[str, ...] = ()
    files_sent: tuple[str, ...] = ()
    needs: Usd | None = None


# --- the run ------------------------------------------------------------------------------------


class Stage(StrEnum):
    """How a subtask came to the rung an attempt is for: it starts there, checks failed below, or the user chose it."""

    ENTRY = "entry rung"
    ESCALATION = "escalation"
    CHOSEN = "chosen"


class WaitingFor(StrEnum):
    DEPENDENCIES = "dependencies"
    FILE = "a file"
    SLOT = "a free slot"
    LANDING = "landing"
    BUDGET = "room in the budget"
    MODEL = "a model"
    USER = "the user"


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def final(self) -> bool:
        return self not in (State.WAITING, State.RUNNING)


class RunState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Policy(StrEnum):
    THRIFTY = "thrifty"
    EAGER = "eager"
    TAGS = "tags"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on a run. `per_model` counts attempts at once; `attempts_per_rung` includes the retry."""

    parallel: int = 4
    per_model: Mapping[ModelAlias, int] = field(default_factory=dict)
    attempts_per_rung: int = 2
    max_attempts: int = 6
    conflicts_per_subtask: int = 3
    smart_per_subtask: Usd | None = None
