"""One attempt and one landing, over fakes at every port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.core.domain import (
    AttemptId,
    CheckResult,
    Deliverable,
    Ended,
    Estimate,
    ExecutorName,
    ModelAlias,
    OrchestratorError,
    Outcome,
    Problem,
    Range,
    Route,
    RunId,
    Subtask,
    SubtaskId,
    Tag,
    Tier,
    Verdict,
    VerdictKind,
)
from orchestrator.core.events import BaselineMeasured, LandingRefused, SubtaskLanded
from orchestrator.core.money import Usd
from orchestrator.core.ports import ATTEMPT as ATTEMPT_CAP
from orchestrator.core.ports import (
    Assignment,
    BudgetExceeded,
    Conflict,
    ExecutorFailed,
    ModelUnavailable,
    Produced,
    Work,
    Worktree,
)
from orchestrator.execution import Execution, RunScope

ATTEMPT = AttemptId(SubtaskId("parse"), 1)
PASSED = Verdict(kind=VerdictKind.PROVED, full=True)
FAILED = Verdict(
    kind=VerdictKind.REJECTED,
    checks=(
        CheckResult(
            name="suite",
            command=("pytest",),
            passed=False,
            exit_code=1,
            seconds=1.0,
            output="E   assert 1 == 2",
        ),
    ),
    evidence=("1 test fails that passed before",),
)


def subtask(**changes: object) -> Subtask:
    few = Range(1, 2, 3)
    values: dict[str, object] = {
        "id": SubtaskId("parse"),
        "title": "Parse it",
        "instructions": "Parse it well.",
        "category": "cheap/bug-fixes",
        "tag": Tag(tier=Tier("cheap"), rule="cheap/bug-fixes"),
        "estimate": Estimate(input_tokens=few, output_tokens=few, seconds=few),
        **changes,
    }
    return Subtask(**values)  # type: ignore[arg-type]


class Clock:
    def now(self) -> str:
        return "2026-01-01T00:00:00.000000Z"

    def epoch_seconds(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Outcomes:
    left: dict[AttemptId, Outcome] = field(default_factory=dict)

    def read(self, attempt: AttemptId) -> Outcome | None:
        return self.left.get(attempt)

    def write(self, attempt: AttemptId, outcome: Outcome) -> None:
        self.left[attempt] = outcome


@dataclass
class Workspaces:
    """One worktree; `changed` is what lies in it uncommitted."""

    changed: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    conflict: bool = False
    moved: bool = False
    branch: str = "tip"
    there: str | None = None
    kept: list[str] = field(default_factory=list)
    removed: int = 0
    trailers: Mapping[str, str] = field(default_factory=dict)

    async def create(self, attempt: AttemptId) -> Worktree:
        return Worktree(path="/worktree", base="base", name=str(attempt))

    async def changed_files(self, worktree: Worktree) -> tuple[str, ...]:
        return self.changed

    async def guard(self, worktree: Worktree, subtask: Subtask) -> tuple[Problem, ...]:
        return self.problems

    async def commit(self, worktree: Worktree, *, message: str, trailers: Mapping[str, str]) -> str:
        self.trailers, self.changed = trailers, ()
        return "commit"

    async def keep(self, attempt: AttemptId, worktree: Worktree, *, message: str) -> str:
        self.kept.append(message)
        return "refs/orchestrator/kept"

    async def remove(self, worktree: Worktree) -> None:
        self.removed += 1

    async def rebase(self, attempt: AttemptId, commit: str) -> tuple[Worktree, str, bool]:
        if self.conflict:
            raise Conflict("parse.py: both sides changed line 3")
        return Worktree(path="/worktree", base=self.branch, name="landing"), "rebased", self.moved

    async def advance(self, commit: str, *, expected: str) -> None:
        assert expected == self.branch
        self.branch = commit

    async def landed_commit(self, attempt: AttemptId) -> str | None:
        return self.there

    async def tip(self) -> str:
        return self.branch


@dataclass
class Checker:
    verdicts: list[Verdict] = field(default_factory=lambda: [PASSED])
    asked_full: list[bool] = field(default_factory=list)

    async def baseline(self) -> BaselineMeasured:
        return BaselineMeasured(passed=True)

    async def prepare(self, worktree: Worktree) -> None:
        return None

    async def verify(self, worktree: Worktree, subtask: Subtask, *, full: bool) -> Verdict:
        self.asked_full.append(full)
        return self.verdicts.pop(0)


@dataclass
class Scripted:
    """An executor that does one thing: it makes something, or raises."""

    does: Produced | Exception
    workspaces: Workspaces
    edits: tuple[str, ...] = ("parse.py",)
    works: list[Work] = field(default_factory=list)

    async def execute(self, work: Work) -> Produced:
        self.works.append(work)
        self.workspaces.changed = self.edits
        if isinstance(self.does, Exception):
            raise self.does
        return self.does


@dataclass
class Scene:
    does: Produced | Exception = field(default_factory=lambda: Produced(summary="parsed", calls=1))
    edits: tuple[str, ...] = ("parse.py",)
    workspaces: Workspaces = field(default_factory=Workspaces)
    checker: Checker = field(default_factory=Checker)
    outcomes: Outcomes = field(default_factory=Outcomes)
    subtask: Subtask = field(default_factory=subtask)
    accept_unverified: bool = False

    def __post_init__(self) -> None:
        self.executor = Scripted(self.does, self.workspaces, self.edits)

        async def charged(attempt: AttemptId) -> Usd:
            return Usd.of("0.002")

        async def no_cap(assignment: Assignment) -> Usd | None:
            return None

        self.execution = Execution(
            scope=RunScope(
                run=RunId("run"), goal="goal", repository="/r", accept_unverified=self.accept_unverified
            ),
            subtask=lambda _: self.subtask,
            workspaces=self.workspaces,
            checker=self.checker,
            executors={ExecutorName.EDIT: self.executor},
            outcomes=self.outcomes,
            clock=Clock(),
            charged=charged,
            attempt_cap=no_cap,
        )

    async def execute(self) -> Outcome:
        route = Route(model=ModelAlias("cheap"), max_output_tokens=100, worst_case=Usd.of("0.01"), reasons=())
        return await self.execution.execute(Assignment(run=RunId("run"), attempt=ATTEMPT, route=route))


async def test_a_passing_edit_is_committed_with_its_trailers_and_its_bill():
    scene = Scene()
    outcome = await scene.execute()
    assert (outcome.ended, outcome.commit, outcome.bill) == (Ended.PASSED, "commit", Usd.of("0.002"))
    assert scene.workspaces.trailers["Orchestrator-Attempt"] == "parse#1"
    assert scene.workspaces.trailers["Orchestrator-Verdict"] == "proved"
    assert scene.workspaces.trailers["Orchestrator-Cost"] == "$0.002"
    assert scene.outcomes.left[ATTEMPT] == outcome


async def test_an_outcome_that_was_left_is_handed_back_and_nothing_is_done_again():
    left = Outcome(ended=Ended.PASSED, commit="earlier")
    scene = Scene(outcomes=Outcomes({ATTEMPT: left}))
    assert await scene.execute() == left
    assert scene.executor.works == []


@dataclass
class CannotRun(Checker):
    async def prepare(self, worktree: Worktree) -> None:
        if worktree.name == "landing":
            raise OrchestratorError("npm ci: the network timed out")

    async def verify(self, worktree: Worktree, subtask: Subtask, *, full: bool) -> Verdict:
        raise OrchestratorError("the base cannot be set up")


async def test_checks_that_cannot_run_on_this_work_are_an_error_of_the_attempt_and_not_of_the_run():
    scene = Scene(checker=CannotRun())
    outcome = await scene.execute()
    assert (outcome.ended, outcome.reason) == (Ended.ERROR, "the base cannot be set up")
    assert (outcome.kept_ref, outcome.calls) == ("refs/orchestrator/kept", 1)


async def test_a_set_up_that_fails_at_the_landing_refuses_it_and_leaves_no_worktree():
    scene = Scene(workspaces=Workspaces(moved=True), checker=CannotRun())
    refused = await scene.execution.land(ATTEMPT, scene.subtask, Outcome(ended=Ended.PASSED, commit="c"))
    assert isinstance(refused, LandingRefused)
    assert (refused.reason, refused.conflict) == ("npm ci: the network timed out", False)
    assert scene.workspaces.removed == 1


async def test_work_the_checks_reject_is_kept_and_the_next_attempt_is_told_why():
    scene = Scene(checker=Checker([FAILED]))
    outcome = await scene.execute()
    assert (outcome.ended, outcome.kept_ref) == (Ended.REJECTED, "refs/orchestrator/kept")
    assert "E   assert 1 == 2" in outcome.feedback
    assert outcome.reason == "failed: suite; 1 test fails that passed before"


async def test_work_outside_the_subtask_is_refused_before_any_check_runs():
    scene = Scene(workspaces=Workspaces(problems=(Problem(where="setup.py", what="outside the subtask"),)))
    outcome = await scene.execute()
    assert outcome.ended is Ended.REJECTED
    assert outcome.reason == "setup.py: outside the subtask"
    assert scene.checker.asked_full == []


async def test_a_stop_by_the_budget_is_no_failure_and_leaves_no_outcome_behind():
    stop = BudgetExceeded(what="parse#1", needs=Usd.of(1), left=Usd.of("0.5"), cap=Usd.of(5), window="day")
    scene = Scene(does=stop)
    outcome = await scene.execute()
    assert (outcome.ended, outcome.needs) == (Ended.NO_ROOM, Usd.of(1))
    assert scene.outcomes.left == {}
    assert scene.workspaces.kept, "what had been edited before the stop is kept"


async def test_what_the_cap_of_the_attempt_itself_does_not_admit_is_rejected_for_good():
    stop = BudgetExceeded(
        what="parse#1", needs=Usd.of(1), left=Usd.of("0.5"), cap=Usd.of("0.5"), window=ATTEMPT_CAP
    )
    outcome = await Scene(does=stop).execute()
    assert (outcome.ended, outcome.needs) == (Ended.REJECTED, Usd.of(1))
    assert "set smart_per_subtask to $1.00" in outcome.reason


async def test_a_missing_model_is_no_failure():
    outcome = await Scene(does=ModelUnavailable("no key"), edits=()).execute()
    assert outcome.ended is Ended.NO_MODEL


async def test_an_executor_that_fails_is_charged_and_its_feedback_kept():
    scene = Scene(
        does=ExecutorFailed("no block", feedback="send blocks", spent=Produced(summary="", calls=2))
    )
    outcome = await scene.execute()
    assert (outcome.ended, outcome.feedback, outcome.calls) == (Ended.REJECTED, "send blocks", 2)
    assert outcome.bill == Usd.of("0.002")


async def test_unverified_work_lands_only_when_the_user_accepts_it():
    unverified = Verdict(kind=VerdictKind.UNVERIFIED, evidence=("nothing could run",))
    assert (await Scene(checker=Checker([unverified])).execute()).ended is Ended.REJECTED
    accepted = Scene(checker=Checker([unverified]), accept_unverified=True)
    assert (await accepted.execute()).ended is Ended.PASSED


async def test_a_document_passes_without_a_commit_and_an_empty_one_does_not():
    review = subtask(deliverable=Deliverable.DOCUMENT)
    written = Scene(does=Produced(summary="", document="All is well."), edits=(), subtask=review)
    outcome = await written.execute()
    assert (outcome.ended, outcome.document, outcome.commit) == (Ended.PASSED, "All is well.", None)
    empty = Scene(does=Produced(summary="", document="  "), edits=(), subtask=review)
    assert (await empty.execute()).ended is Ended.REJECTED


PASSING = Outcome(ended=Ended.PASSED, verdict=PASSED, commit="commit")


async def test_landing_on_an_unmoved_branch_needs_no_second_check():
    scene = Scene()
    landed = await scene.execution.land(ATTEMPT, scene.subtask, PASSING)
    assert isinstance(landed, SubtaskLanded)
    assert scene.workspaces.branch == "rebased"
    assert scene.checker.asked_full == []


async def test_landing_on_a_moved_branch_runs_the_whole_suite_first():
    scene = Scene(workspaces=Workspaces(moved=True), checker=Checker([FAILED]))
    refused = await scene.execution.land(ATTEMPT, scene.subtask, PASSING)
    assert isinstance(refused, LandingRefused)
    assert not refused.conflict
    assert (scene.checker.asked_full, scene.workspaces.branch) == ([True], "tip")


async def test_a_conflict_reopens_the_subtask_and_drops_nothing():
    scene = Scene(workspaces=Workspaces(conflict=True))
    refused = await scene.execution.land(ATTEMPT, scene.subtask, PASSING)
    assert isinstance(refused, LandingRefused)
    assert refused.conflict
    assert "both sides changed line 3" in refused.feedback
    assert scene.workspaces.branch == "tip"


async def test_a_commit_that_is_on_the_branch_already_is_adopted():
    scene = Scene(workspaces=Workspaces(there="before the crash"))
    landed = await scene.execution.land(ATTEMPT, scene.subtask, PASSING)
    assert isinstance(landed, SubtaskLanded)
    assert (landed.commit, scene.workspaces.branch) == ("before the crash", "tip")
