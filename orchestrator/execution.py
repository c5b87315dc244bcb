"""One attempt from a clean worktree to a durable outcome, and one landing from there to the run branch.

`execute` is the same function for every engine, and both functions may be called again after a crash: an
outcome that was left is handed back, a commit that is on the run branch is found there by its trailer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from orchestrator.core.domain import (
    AttemptId,
    CheckResult,
    Deliverable,
    Ended,
    ExecutorName,
    OrchestratorError,
    Outcome,
    RunId,
    Subtask,
    SubtaskId,
    Verdict,
    VerdictKind,
)
from orchestrator.core.events import LandingRefused, SubtaskLanded
from orchestrator.core.money import Usd
from orchestrator.core.ports import (
    ATTEMPT,
    Assignment,
    BudgetExceeded,
    Checker,
    Clock,
    Conflict,
    Executor,
    ExecutorFailed,
    ModelUnavailable,
    Outcomes,
    Produced,
    Work,
    Workspaces,
    Worktree,
)
from orchestrator.core.text import one_line

FEEDBACK_CHARACTERS = 6000
A_DOCUMENT = Verdict(kind=VerdictKind.UNVERIFIED, evidence=("a document: no check can judge it",))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScope:
    """What every attempt of a run has in common."""

    run: RunId
    goal: str
    repository: str
    run_cap: Usd | None = None
    accept_unverified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Does attempts and lands them, over the ports; `charged` tells what the ledger charged an attempt."""

    scope: RunScope
    subtask: Callable[[SubtaskId], Subtask]
    workspaces: Workspaces
    checker: Checker
    executors: Mapping[ExecutorName, Executor]
    outcomes: Outcomes
    clock: Clock
    charged: Callable[[AttemptId], Awaitable[Usd]]
    attempt_cap: Callable[[Assignment], Awaitable[Usd | None]]
    # Edits one more file of the commit that lands (a tick in a task list) and names it; None: nothing to edit.
    before_landing: Callable[[Subtask, Worktree], Awaitable[str | None]] | None = None

    async def execute(self, assignment: Assignment) -> Outcome:
        """Do the attempt, or hand back the outcome it already has. A cancelled attempt leaves no outcome."""
        left_before = self.outcomes.read(assignment.attempt)
        if left_before is not None:
            return left_before
        started = self.clock.monotonic()
        outcome = await self._attempt(assignment)
        finished = _with(
            outcome,
            model=assignment.route.model if assignment.route else None,
            bill=await self.charged(assignment.attempt),
            seconds=self.clock.monotonic() - started,
        )
        if finished.ended not in (Ended.NO_ROOM, Ended.NO_MODEL):
            self.outcomes.write(assignment.attempt, finished)
        return finished

    async def _attempt(self, assignment: Assignment) -> Outcome:
        subtask = self.subtask(assignment.attempt.subtask)
        worktree = await self.workspaces.create(assignment.attempt)
        produced: Produced | None = None
        try:
            await self.checker.prepare(worktree)
            work = Work(
                run=assignment.run,
                attempt=assignment.attempt,
                subtask=subtask,
                goal=self.scope.goal,
                worktree=worktree.path,
                route=assignment.route,
                feedback=assignment.feedback,
                dependencies=assignment.dependencies,
                repository=self.scope.repository,
                run_cap=self.scope.run_cap,
                attempt_cap=await self.attempt_cap(assignment),
            )
            produced = await self.executors[subtask.executor].execute(work)
        except BudgetExceeded as stop:
            await self._put_away(assignment.attempt, worktree, "stopped by the budget")
            if stop.window == ATTEMPT:
                # No other budget makes room for it: what its own cap does not admit is not done.
                return Outcome(ended=Ended.REJECTED, reason=str(stop), needs=stop.needs)
            return Outcome(ended=Ended.NO_ROOM, reason=str(stop), needs=stop.needs)
        except ModelUnavailable as stop:
            await self._put_away(assignment.attempt, worktree, "no model")
            return Outcome(ended=Ended.NO_MODEL, reason=str(stop))
        except ExecutorFailed as failure:
            return _with(
                _spent(failure.spent),
                ended=Ended.REJECTED,
                reason=failure.reason,
                feedback=failure.feedback or failure.reason,
                kept_ref=await self._put_away(assignment.attempt, worktree, failure.reason),
            )
        except OrchestratorError as failure:
            kept = await self._put_away(assignment.attempt, worktree, str(failure))
            return Outcome(ended=Ended.ERROR, reason=one_line(str(failure), 300), kept_ref=kept)
        if subtask.deliverable is Deliverable.DOCUMENT:
            return await self._document(assignment.attempt, worktree, produced)
        return await self._judge(assignment, subtask, worktree, produced)

    async def _document(self, attempt: AttemptId, worktree: Worktree, produced: Produced) -> Outcome:
        await self._put_away(attempt, worktree, "edits beside a document")
        if not (produced.document or "").strip():
            return _with(
                _spent(produced),
                ended=Ended.REJECTED,
                reason="the document is empty",
                feedback="Your reply held no text. Answer with the document itself.",
            )
        return _with(_spent(produced), ended=Ended.PASSED, verdict=A_DOCUMENT, document=produced.document)

    async def _judge(
        self, assignment: Assignment, subtask: Subtask, worktree: Worktree, produced: Produced
    ) -> Outcome:
        problems = await self.workspaces.guard(worktree, subtask)
        changed = await self.workspaces.changed_files(worktree)
        if problems:
            said = "; ".join(str(problem) for problem in problems)
            verdict = Verdict(kind=VerdictKind.REJECTED, evidence=tuple(str(problem) for problem in problems))
            return _with(
                _spent(produced),
                ended=Ended.REJECTED,
                verdict=verdict,
                reason=one_line(said, 300),
                feedback=f"The change was refused before any check ran: {said}",
                files_changed=changed,
                kept_ref=await self._put_away(assignment.attempt, worktree, said),
            )
        try:
            verdict = await self.checker.verify(worktree, subtask, full=False)
        except OrchestratorError as failure:
            return _with(
                _spent(produced),
                ended=Ended.ERROR,
                reason=one_line(str(failure), 300),
                files_changed=changed,
                kept_ref=await self._put_away(assignment.attempt, worktree, str(failure)),
            )
        lands = verdict.lands or (verdict.kind is VerdictKind.UNVERIFIED and self.scope.accept_unverified)
        if not lands:
            reason = _why_not(verdict)
            return _with(
                _spent(produced),
                ended=Ended.REJECTED,
                verdict=verdict,
                reason=reason,
                feedback=_feedback(verdict),
                files_changed=changed,
                kept_ref=await self._put_away(assignment.attempt, worktree, reason),
            )
        commit = await self.workspaces.commit(
            worktree,
            message=_message(subtask, produced),
            trailers={
                "Orchestrator-Run": self.scope.run,
                "Orchestrator-Subtask": subtask.id,
                "Orchestrator-Attempt": str(assignment.attempt),
                "Orchestrator-Model": _model_name(assignment, subtask, produced),
                "Orchestrator-Cost": str(await self.charged(assignment.attempt)),
                "Orchestrator-Verdict": verdict.kind.value,
            },
        )
        # The worktree stays for the landing, which would have to make and prepare another one.
        return _with(
            _spent(produced), ended=Ended.PASSED, verdict=verdict, commit=commit, files_changed=changed
        )

    async def _put_away(self, attempt: AttemptId, worktree: Worktree, why: str) -> str | None:
        """Keep what was changed under a ref and remove the worktree; return the ref, None without changes."""
        changed = await self.workspaces.changed_files(worktree)
        kept = None
        if changed:
            kept = await self.workspaces.keep(
                attempt, worktree, message=f"{attempt}: not landed\n\n{one_line(why, 300)}"
            )
        await self.workspaces.remove(worktree)
        return kept

    async def land(
        self, attempt: AttemptId, subtask: Subtask, outcome: Outcome
    ) -> SubtaskLanded | LandingRefused:
        """Put a passed attempt on the run branch; verify again where the attempt's own verdict does not hold."""
        if outcome.commit is None:
            return SubtaskLanded(attempt=attempt, commit=None, verdict=outcome.verdict, at=self.clock.now())
        landed = await self.landed(attempt, outcome)
        if landed is not None:
            return landed
        tip = await self.workspaces.tip()
        try:
            worktree, commit, moved = await self.workspaces.rebase(attempt, outcome.commit)
        except Conflict as conflict:
            return LandingRefused(
                attempt=attempt,
                reason=str(conflict),
                conflict=True,
                feedback=f"Your change did not apply to work that landed meanwhile: {conflict}",
                at=self.clock.now(),
            )
        verdict = outcome.verdict
        if moved or verdict is None or not verdict.full:
            try:
                await self.checker.prepare(worktree)
                again = await self.checker.verify(worktree, subtask, full=True)
            except OrchestratorError as failure:
                # A set-up that fails on this work, or just now. Both are for another attempt, not for the whole run.
                await self.workspaces.remove(worktree)
                return LandingRefused(
                    attempt=attempt,
                    reason=one_line(str(failure), 300),
                    conflict=False,
                    feedback=f"Your change could not be checked on top of what landed meanwhile: {failure}",
                    at=self.clock.now(),
                )
            if again.kind is VerdictKind.REJECTED:
                await self.workspaces.remove(worktree)
                return LandingRefused(
                    attempt=attempt,
                    reason=_why_not(again),
                    conflict=False,
                    feedback=_feedback(again),
                    at=self.clock.now(),
                )
            verdict = again
        if self.before_landing is not None and verdict.lands:
            edited = await self.before_landing(subtask, worktree)
            if edited is not None:
                commit = await self.workspaces.amend(worktree, commit, edited)
        await self.workspaces.advance(commit, expected=tip)
        await self.workspaces.remove(worktree)
        return SubtaskLanded(attempt=attempt, commit=commit, verdict=verdict, at=self.clock.now())

    async def landed(self, attempt: AttemptId, outcome: Outcome) -> SubtaskLanded | None:
        """The landing of an attempt whose commit is on the run branch; None when it is not there."""
        there = await self.workspaces.landed_commit(attempt)
        if there is None:
            return None
        return SubtaskLanded(attempt=attempt, commit=there, verdict=outcome.verdict, at=self.clock.now())


def _with(outcome: Outcome, **changes: object) -> Outcome:
    from dataclasses import replace

    return replace(outcome, **changes)  # type: ignore[arg-type]  # replace() checks the names itself


def _spent(produced: Produced | None) -> Outcome:
    """An outcome that holds what the executor used; how it ended is filled in by the caller."""
    if produced is None:
        return Outcome(ended=Ended.ERROR)
    return Outcome(
        ended=Ended.ERROR,
        answered_by=produced.answered_by,
        usage=produced.usage,
        calls=produced.calls,
        files_sent=produced.files_sent,
    )


def _model_name(assignment: Assignment, subtask: Subtask, produced: Produced) -> str:
    if assignment.route is None:
        return subtask.tool or subtask.executor.value
    answered = produced.answered_by or "unknown"
    return f"{assignment.route.model} ({answered})"


def _message(subtask: Subtask, produced: Produced) -> str:
    summary = produced.summary.strip()
    return f"{one_line(subtask.title, 72)}\n\n{summary}" if summary else one_line(subtask.title, 72)


def _failed(verdict: Verdict) -> list[CheckResult]:
    return [check for check in verdict.checks if check.passed is False]


def _why_not(verdict: Verdict) -> str:
    named = ", ".join(check.name for check in _failed(verdict))
    said = "; ".join(verdict.evidence)
    return one_line("; ".join(part for part in (f"failed: {named}" if named else "", said) if part), 300)


def _feedback(verdict: Verdict) -> str:
    """What the next attempt is told: the evidence, then the end of each failing command's output."""
    parts = list(verdict.evidence)
    for check in _failed(verdict):
        parts.append(f"$ {' '.join(check.command)}\n{check.output[-FEEDBACK_CHARACTERS:]}")
    return "\n\n".join(parts)[-2 * FEEDBACK_CHARACTERS :]
