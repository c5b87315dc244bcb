"""What happens in a run (events, past tense, journalled) and what is to be done (commands, imperative)."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.decoders import Mismatch, decoder
from orchestrator.core.domain import (
    AttemptId,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    Policy,
    Subtask,
    SubtaskId,
    Verdict,
    WaitingFor,
)
from orchestrator.core.encoders import compact, compact_text
from orchestrator.core.money import Usd
from orchestrator.core.serial import Undecodable, decode

# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first event of a run: all that `resume` needs to go on, with the user's choices.

    `repository` is the absolute path of the user's checkout; `base_commit` where the run branch began;
    `scripted` is what the screen and the report must say when the models are played from a script.
    `tier_models` names the alias each tier starts on, `entry` the subtasks that start on another one. `first` and
    `waits` are the order found by looking ahead, empty where the longest remaining path does as well.
    """

    run: str
    plan: Plan
    repository: str
    base_commit: str
    branch: str
    budget: Usd | None = None
    policy: Policy = Policy.THRIFTY
    limits: Limits
    ladder: tuple[ModelAlias, ...] = ()
    tier_models: dict[str, ModelAlias] | None = None
    entry: dict[SubtaskId, ModelAlias] | None = None
    model_override: ModelAlias | None = None
    accept_unverified: bool = False
    sandbox: str = ""
    scripted: str = ""
    max_seconds: float | None = None
    started_at: str = ""
    version: str = ""
    source_file: str | None = None
    options: dict[str, str] | None = None
    first: tuple[SubtaskId, ...] = ()
    waits: tuple[tuple[SubtaskId, tuple[SubtaskId, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineMeasured:
    """The suite before any change: what passes, what flakes, whether the checks run the worktree's code."""

    passed: bool | None
    tests_passed: int = 0
    tests_failed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    seconds: float = 0.0
    canary: str = ""
    can_check: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    attempt: AttemptId
    model: ModelAlias | None
    reasons: tuple[str, ...] = ()
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    attempt: AttemptId
    outcome: Outcome
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskLanded:
    """The subtask's commit is on the run branch (or its document is stored, with no commit).

    `verdict` is the one reached on the run branch when the work was verified again there.
    """

    attempt: AttemptId
    commit: str | None
    verdict: Verdict | None = None
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingRefused:
    """The work could not be put on the run branch as it is: a conflict, or it fails on the newer base."""

    attempt: AttemptId
    reason: str
    conflict: bool
    feedback: str = ""
    kept_ref: str | None = None
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskUndone:
    """The user took a landed commit back: a false accept. `reopened` dependents run again."""

    subtask: SubtaskId
    commit: str
    reopened: tuple[SubtaskId, ...] = ()
    note: str = ""
    retry: bool = False
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipRequested:
    subtask: SubtaskId
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Cancel one subtask, or the whole run when `subtask` is None."""

    subtask: SubtaskId | None = None
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested:
    subtask: SubtaskId
    model: ModelAlias | None = None
    note: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionChanged:
    """Only these subtasks are to run now (`--only`, `--limit`); None means all."""

    only: tuple[SubtaskId, ...] | None
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequested:
    reason: str
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused:
    """Nothing more can be done now: no room in the budget, no model, the user's wish, or time is up."""

    waiting_for: WaitingFor
    reason: str
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """A stopped run goes on, perhaps with another budget; what waited for room or a model is tried again."""

    budget: Usd | None = None
    reason: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFreed:
    """Money or a model may be there again for what waited for it."""

    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FundsAssessed:
    """What is left under the caps, against what the rest of the run is expected to cost.

    While money is `short`, policy `thrifty` finishes the first pass over all that is ready before it escalates.
    """

    short: bool
    left: Usd | None = None
    expected: Usd | None = None
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReplaced:
    """What was left of the plan has been planned anew; finished subtasks keep their ids and results."""

    plan: Plan
    reason: str
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    cancelled: bool = False
    reason: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A remark for the report and the screen; it changes no state. `code` is stable for tests and tools."""

    code: str
    text: str
    subtask: SubtaskId | None = None
    at: str = ""


Event = (
    RunStarted
    | BaselineMeasured
    | AttemptStarted
    | AttemptFinished
    | SubtaskLanded
    | LandingRefused
    | SubtaskUndone
    | SkipRequested
    | CancelRequested
    | RetryRequested
    | SelectionChanged
    | PauseRequested
    | RunPaused
    | RunResumed
    | RoomFreed
    | FundsAssessed
    | PlanReplaced
    | RunEnded
    | Noted
)

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in Event.__args__}


def to_record(event: Event) -> tuple[str, Any]:
    """Return the event's name and its plain data, as the journal stores them: fields at their default are left out."""
    return type(event).__name__, compact(event)


def to_text(event: Event) -> tuple[str, str]:
    """Return the event's name and its plain data as JSON text."""
    return type(event).__name__, compact_text(event)


def from_record(name: str, plain: object) -> Event:
    """Return the event a journal record stands for. Raises Undecodable for a kind this version does not know."""
    kind = _KINDS.get(name)
    if kind is None:
        raise Undecodable(f"journal: unknown event {name!r}; a newer version of orchestrator wrote it")
    return decode(kind, plain, where=name)  # type: ignore[no-any-return]  # the kinds come from Event itself


def from_text(name: str, text: str) -> Event:
    """Return the event a journal record stands for, from its JSON text. A large plan is read subtask by subtask.

    As plain data it would take several times the memory of the plan. Raises Undecodable; ValueError and RecursionError
    for what is no JSON.
    """
    kind: Any = _KINDS.get(name)
    if kind is RunStarted or kind is PlanReplaced:
        # What is not as it was written is read the careful way, for its value or for the message.
        with suppress(Mismatch, ValueError, IndexError, RecursionError):
            subtasks, rest = _subtasks_apart(text)
            event = decoder(kind)(json.loads(rest))
            if not event.plan.subtasks:
                return replace(event, plan=replace(event.plan, subtasks=subtasks))  # type: ignore[no-any-return]
    return from_record(name, json.loads(text))


def _subtasks_apart(text: str) -> tuple[tuple[Subtask, ...], str]:
    """The subtasks of the plan in a JSON text, and the text with an empty list in their place."""
    # Inside a string of JSON the second quote would have a backslash before it.
    opening = '"subtasks":['
    begin = text.index(opening) + len(opening)
    read, subtask = json.JSONDecoder().raw_decode, decoder(Subtask)
    subtasks, end = [], begin - 1
    while text[end] != "]":
        plain, end = read(text, end + 1)
        subtasks.append(subtask(plain))
        if text[end] not in ",]":
            raise Mismatch
    return tuple(subtasks), text[:begin] + text[end:]


# --- commands -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Run an attempt. `model` is the rung to try (None for a tool); `after` are the attempts to learn from."""

    attempt: AttemptId
    model: ModelAlias | None
    reasons: tuple[str, ...] = ()
    after: tuple[AttemptId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """Put the attempt's commit on the run branch: rebase, verify again if the base moved, advance."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAttempt:
    attempt: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Say that a subtask cannot run because another did not succeed."""

    subtask: SubtaskId
    because: SubtaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    waiting_for: WaitingFor
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Every subtask is in a final state, or the run was cancelled and nothing is running."""

    cancelled: bool = False


Command = Start | Land | CancelAttempt | Block | Pause | Finish
