"""What a run remembers of its attempts for the ones that follow: failures to learn from, results to build on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Outcome, Subtask, SubtaskId
from orchestrator.core.events import AttemptFinished, Event, LandingRefused, SubtaskLanded, SubtaskUndone
from orchestrator.core.ports import DependencyResult, Feedback

BY_THE_USER = "a remark of the user"


class Lessons:
    """Built from the journal's events alone, so a resumed run hands on the same as an undisturbed one."""

    def __init__(self) -> None:
        self._feedback: dict[AttemptId, Feedback] = {}
        self._passed: dict[AttemptId, Outcome] = {}
        self._results: dict[SubtaskId, tuple[tuple[str, ...], str | None]] = {}
        self._failed: dict[SubtaskId, list[AttemptId]] = {}

    def take_in(self, event: Event) -> None:
        match event:
            case AttemptFinished(outcome=Outcome(ended=Ended.PASSED)):
                self._passed[event.attempt] = event.outcome
            case AttemptFinished(outcome=Outcome(ended=Ended.REJECTED | Ended.ERROR)):
                outcome = event.outcome
                self._learn(event.attempt, outcome.model, outcome.reason, outcome.feedback)
            case SubtaskLanded():
                passed = self._passed.pop(event.attempt, None)
                if passed is not None and (passed.files_changed or passed.document is not None):
                    # Only what those that build on it are told: checks and their output are large.
                    self._results[event.attempt.subtask] = (passed.files_changed, passed.document)
                for attempt in self._failed.pop(event.attempt.subtask, ()):
                    # It may be taken back and tried again; then the reasons have to do.
                    self._feedback[attempt] = replace(
                        self._feedback[attempt], text=self._feedback[attempt].reason
                    )
            case LandingRefused():
                passed = self._passed.pop(event.attempt, None)
                model = passed.model if passed else None
                self._learn(event.attempt, model, event.reason, event.feedback)
            case SubtaskUndone():
                self._results.pop(event.subtask, None)

    def _learn(self, attempt: AttemptId, model: ModelAlias | None, reason: str, text: str) -> None:
        self._failed.setdefault(attempt.subtask, []).append(attempt)
        self._feedback[attempt] = Feedback(attempt=attempt, model=model, reason=reason, text=text or reason)

    def passed(self, attempt: AttemptId) -> Outcome:
        """The outcome of an attempt that passed and has not landed yet."""
        return self._passed[attempt]

    def feedback(
        self, subtask: SubtaskId, after: Iterable[AttemptId], notes: Iterable[str]
    ) -> tuple[Feedback, ...]:
        """What the next attempt is told: how the earlier ones failed, then what the user said (as attempt 0)."""
        said = [
            Feedback(attempt=AttemptId(subtask, 0), model=None, reason=BY_THE_USER, text=note)
            for note in notes
        ]
        return (*(self._feedback[attempt] for attempt in after if attempt in self._feedback), *said)

    def dependencies(self, subtasks: Iterable[Subtask]) -> tuple[DependencyResult, ...]:
        """What the subtasks a new attempt depends on have left behind, where they left something."""
        return tuple(
            [
                DependencyResult(
                    subtask=subtask.id,
                    title=subtask.title,
                    files_changed=result[0],
                    document=result[1],
                )
                for subtask in subtasks
                if (result := self._results.get(subtask.id)) is not None
            ]
        )
