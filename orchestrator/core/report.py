"""What a run's events and charges add up to: states, verdicts, dollars and tokens, per subtask, tier and model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from orchestrator.core.catalogue import RoutingTable
from orchestrator.core.domain import (
    AttemptId,
    Deliverable,
    ModelAlias,
    OrchestratorError,
    Plan,
    RunState,
    State,
    Subtask,
    SubtaskId,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    BaselineMeasured,
    CancelRequested,
    Event,
    LandingRefused,
    Noted,
    PlanReplaced,
    RetryRequested,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    SubtaskLanded,
    SubtaskUndone,
)
from orchestrator.core.ledger import Entry, HoldState
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.report_rows import CUT_OFF, AttemptRow, Charges, SubtaskRow, add_up, with_charges
from orchestrator.core.shares import (
    Counterfactual,
    Share,
    all_tokens_known,
    counterfactuals,
    model_shares,
    tier_shares,
)

PLANNING = "planning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run as it stands. `spent` is charged for good, `held` is promised to calls under way or unresolved.

    `plan` is the plan in force; behind its `subtasks` stand those which only earlier plans had.
    `stopped` says that the process which carried the run out has gone without a word; the journal cannot know it.
    """

    started: RunStarted
    plan: Plan
    state: RunState
    reason: str
    budget: Usd | None
    spent: Usd
    held: Usd
    planning: Usd
    subtasks: tuple[SubtaskRow, ...]
    tiers: tuple[Share, ...]
    models: tuple[Share, ...]
    counterfactuals: tuple[Counterfactual, ...]
    baseline: BaselineMeasured | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ended_at: str = ""
    last_event_at: str = ""
    waiting_for: WaitingFor | None = None
    stopped: bool = False

    @property
    def standing(self) -> str:
        """What the run is doing: its state, or `stopped` when it should be running and nobody works on it."""
        return "stopped" if self.stopped and self.state is RunState.RUNNING else self.state.value

    @property
    def review_first(self) -> tuple[SubtaskRow, ...]:
        """Landed without a proof: nothing broke, and nothing shows that the work is right."""
        return tuple(
            row
            for row in self.subtasks
            if row.state is State.SUCCEEDED
            and row.subtask.deliverable is Deliverable.EDIT
            and row.verdict is not None
            and row.verdict.kind is not VerdictKind.PROVED
        )

    def count(self, state: State) -> int:
        return sum(row.state is state for row in self.subtasks)


@dataclass
class _Gathered:
    started: RunStarted | None = None
    # Those that were in force, the newest first.
    plans: list[Plan] = field(default_factory=list)
    cancelled: bool = False
    budget: Usd | None = None
    state: RunState = RunState.RUNNING
    reason: str = ""
    waiting_for: WaitingFor | None = None
    ended_at: str = ""
    # It had ended, was given something to do again, and nobody has taken it up.
    reopened: bool = False
    stopped: bool = False
    last_event_at: str = ""
    baseline: BaselineMeasured | None = None
    attempts: dict[AttemptId, AttemptRow] = field(default_factory=dict)
    landed: dict[SubtaskId, SubtaskLanded] = field(default_factory=dict)
    undone: set[SubtaskId] = field(default_factory=set)
    delivered_again: set[AttemptId] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        """Whether somebody works on the run."""
        return self.state is RunState.RUNNING and not self.stopped

    def open_again(self) -> None:
        """Take in that a run has something to do again; one that is paused stays so."""
        if self.state is not RunState.PAUSED:
            self.reopened = self.reopened or self.state is not RunState.RUNNING
            self.state, self.reason, self.ended_at = RunState.RUNNING, "", ""

    @cached_property
    def in_force(self) -> frozenset[SubtaskId]:
        return frozenset(subtask.id for subtask in self.plans[0].subtasks)


def build_report(
    events: Iterable[Event],
    entries: Sequence[Entry],
    standings: Mapping[SubtaskId, tuple[State, str]],
    table: RoutingTable | None = None,
    *,
    stopped: bool = False,
) -> Report:
    """Return the report of one run.

    `entries` are the ledger's for this run; `standings` each subtask's state with a clause on why; `table` prices
    the counterfactuals, which are left out without it, and while the tokens behind a charge are not known; `stopped`
    says that nobody works on the run.
    Raises OrchestratorError when there is no run.
    """
    seen = _gather(events)
    if seen.started is None:
        raise OrchestratorError(
            "no such run: its journal is empty; `orchestrator runs` lists the runs there are"
        )
    seen.stopped = stopped or seen.reopened
    charges, tried = _charges(entries), _attempts(seen, entries)
    rows = tuple(
        _row(subtask, tried.get(subtask.id, ()), seen, charges, standings)
        for subtask in _subtasks(seen.plans)
    )
    return Report(
        started=seen.started,
        plan=seen.plans[0],
        state=seen.state,
        reason=seen.reason,
        budget=seen.budget,
        spent=add_up(entry.charged or ZERO for entry in entries if entry.state is HoldState.SETTLED),
        held=add_up(
            entry.amount for entry in entries if entry.state in (HoldState.OPEN, HoldState.AMBIGUOUS)
        ),
        planning=add_up(entry.counted for entry in entries if entry.purpose == PLANNING),
        subtasks=rows,
        tiers=tier_shares(rows),
        models=model_shares(rows, entries),
        counterfactuals=()
        if table is None or not all_tokens_known(entries)
        else counterfactuals(rows, table),
        baseline=seen.baseline,
        flags=tuple(_flags(entries)),
        notes=tuple(seen.notes),
        ended_at=seen.ended_at,
        last_event_at=seen.last_event_at,
        waiting_for=seen.waiting_for,
        stopped=seen.stopped and seen.state is RunState.RUNNING,
    )


def _gather(events: Iterable[Event]) -> _Gathered:
    seen = _Gathered()
    for event in events:
        seen.last_event_at = getattr(event, "at", "") or seen.last_event_at
        match event:
            case RunStarted():
                seen.started, seen.plans, seen.budget = event, [event.plan], event.budget
            case CancelRequested(subtask=None):
                seen.cancelled = True
            case RetryRequested():
                seen.cancelled = False
                seen.open_again()
            # One that was being made when the run was cancelled never came into force.
            case PlanReplaced() if not seen.cancelled:
                seen.plans.insert(0, event.plan)
                seen.open_again()
                seen.notes.append(f"planned anew: {event.reason}")
            case BaselineMeasured():
                seen.baseline = event
            case AttemptStarted():
                seen.attempts[event.attempt] = AttemptRow(
                    attempt=event.attempt,
                    model=event.model,
                    outcome=None,
                    bill=ZERO,
                    started_at=event.at,
                )
            case AttemptFinished():
                before = seen.attempts.get(event.attempt)
                seen.attempts[event.attempt] = AttemptRow(
                    attempt=event.attempt,
                    model=before.model if before else event.outcome.model,
                    outcome=event.outcome,
                    bill=event.outcome.bill,
                    started_at=before.started_at if before else event.at,
                    ended_at=event.at,
                    kept_ref=event.outcome.kept_ref,
                )
            case SubtaskLanded():
                seen.landed[event.attempt.subtask] = event
                seen.undone.discard(event.attempt.subtask)
            case LandingRefused():
                passed = seen.attempts.get(event.attempt)
                if passed is not None:
                    kept = event.kept_ref or _kept_ref(passed, seen)
                    seen.attempts[event.attempt] = replace(passed, refused=event.reason, kept_ref=kept)
            case SubtaskUndone():
                seen.cancelled = False
                for subtask in (event.subtask, *event.reopened):
                    seen.landed.pop(subtask, None)
                seen.undone.add(event.subtask)
                if event.retry or event.reopened:
                    seen.open_again()
            case RunPaused():
                seen.state, seen.reason, seen.ended_at = RunState.PAUSED, event.reason, event.at
                seen.waiting_for = event.waiting_for
            case RunResumed():
                seen.state, seen.reason, seen.ended_at = RunState.RUNNING, "", ""
                seen.waiting_for, seen.reopened = None, False
                seen.budget = event.budget or seen.budget
            case RunEnded():
                seen.state = RunState.CANCELLED if event.cancelled else RunState.DONE
                seen.reason, seen.ended_at, seen.reopened = event.reason, event.at, False
            case Noted():
                seen.notes.append(event.text)
                if event.code == "redelivered":
                    seen.delivered_again |= {
                        row.attempt
                        for row in seen.attempts.values()
                        if row.attempt.subtask == event.subtask and row.outcome is None
                    }
            case _:
                pass
    return seen


def ref_of(run: str, attempt: AttemptId) -> str:
    """The ref under which the work of an attempt is kept."""
    return f"refs/orchestrator/{run}/{attempt.subtask}/{attempt.number}"


def _kept_ref(passed: AttemptRow, seen: _Gathered) -> str | None:
    """Where work is kept that passed and did not land: its commit got the attempt's ref when it was made."""
    outcome = passed.outcome
    if seen.started is None or outcome is None or outcome.commit is None:
        return None
    # What the first delivery of an attempt left took that ref; which one beside it the second got is not known.
    return None if passed.attempt in seen.delivered_again else ref_of(seen.started.run, passed.attempt)


def _subtasks(plans: Iterable[Plan]) -> Iterable[Subtask]:
    """Every subtask there ever was, as the newest plan with it has it: those of the plan in force come first."""
    found: dict[SubtaskId, Subtask] = {}
    for plan in plans:
        for subtask in plan.subtasks:
            found.setdefault(subtask.id, subtask)
    return found.values()


def _charges(entries: Iterable[Entry]) -> dict[str, Charges]:
    of_attempt: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.attempt is not None:
            of_attempt.setdefault(entry.attempt, []).append(entry)
    return {attempt: Charges.of(found) for attempt, found in of_attempt.items()}


def _attempts(seen: _Gathered, entries: Iterable[Entry]) -> dict[SubtaskId, list[AttemptRow]]:
    """The attempts of each subtask in their order, those included of which only the ledger has heard."""
    found = dict(seen.attempts)
    for entry in entries:
        if entry.attempt is None or entry.state is HoldState.RELEASED:
            continue
        try:
            attempt = AttemptId.parse(entry.attempt)
        except ValueError:
            continue
        model = ModelAlias(entry.model)
        began = AttemptRow(attempt=attempt, model=model, outcome=None, bill=ZERO, started_at=entry.at)
        found.setdefault(attempt, began)
    tried: dict[SubtaskId, list[AttemptRow]] = {}
    for attempt in sorted(found):
        tried.setdefault(attempt.subtask, []).append(found[attempt])
    return tried


def _row(
    subtask: Subtask,
    tried: Sequence[AttemptRow],
    seen: _Gathered,
    charges: Mapping[str, Charges],
    standings: Mapping[SubtaskId, tuple[State, str]],
) -> SubtaskRow:
    state, standing = standings.get(subtask.id, (State.WAITING, ""))
    under_way = tried[-1:] if seen.goes_on and state is State.RUNNING else ()
    if state is State.RUNNING and not seen.goes_on:
        state, standing = State.WAITING, CUT_OFF
    attempts = tuple(
        replace(
            with_charges(row, charges.get(str(row.attempt))),
            cut_off=row.outcome is None and row not in under_way,
            delivered_again=row.attempt in seen.delivered_again,
        )
        for row in tried
    )
    landed = seen.landed.get(subtask.id)
    last = next((row.outcome for row in reversed(attempts) if row.outcome is not None), None)
    winner = next((row.outcome for row in attempts if landed and row.attempt == landed.attempt), None)
    if not standing and state is State.FAILED and last is not None:
        standing = last.reason
    return SubtaskRow(
        subtask=subtask,
        state=state,
        standing=standing,
        attempts=attempts,
        bill=add_up(row.bill for row in attempts),
        seconds=sum(row.outcome.seconds for row in attempts if row.outcome is not None),
        commit=landed.commit if landed else None,
        verdict=(landed.verdict if landed else None) or (last.verdict if last else None),
        document=winner.document if winner else None,
        undone=subtask.id in seen.undone,
        superseded=subtask.id not in seen.in_force,
    )


def _flags(entries: Iterable[Entry]) -> Iterable[str]:
    for entry in entries:
        for flag in entry.flags:
            yield f"{entry.what}: {flag} (charged {entry.counted})"
        if entry.state is HoldState.AMBIGUOUS:
            told = (
                "counts in this run to its end; nothing of it is paid"
                if entry.scripted
                else "stays charged until `budget reconcile`"
            )
            yield f"{entry.what}: cut off, its hold of {entry.amount} {told}"
