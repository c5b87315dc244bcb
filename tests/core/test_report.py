from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.domain import (
    AttemptId,
    Ended,
    ModelAlias,
    OrchestratorError,
    RunState,
    State,
    SubtaskId,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    CancelRequested,
    Event,
    LandingRefused,
    Noted,
    PlanReplaced,
    RetryRequested,
    RunEnded,
    RunResumed,
    SkipRequested,
    SubtaskUndone,
)
from orchestrator.core.ledger import HoldState
from orchestrator.core.money import ZERO, Usd, bill
from orchestrator.core.progress import Progress
from orchestrator.core.report import Report, build_report
from orchestrator.core.report_rows import add_up
from tests.core.report_building import (
    RUN,
    a_report,
    a_run,
    at,
    attempts,
    entries,
    not_landed,
    outcome,
    report_of,
)
from tests.core.report_cut_off import CANCELLED, KILLED, holds, interrupted_run, killed_run
from tests.core.report_plan import PRICES, a_plan, table
from tests.core.report_replanned import DROPPED, SPLIT, a_replanned_run, another_plan, superseded


def row(report, name: str):
    return next(row for row in report.subtasks if row.subtask.id == name)


def test_every_subtask_of_the_plan_has_its_row_in_the_order_of_the_plan():
    assert [row.subtask.id for row in a_report().subtasks] == [subtask.id for subtask in a_plan().subtasks]


def test_states_verdicts_and_commits_are_those_of_what_landed():
    report = a_report()
    assert [
        report.count(state) for state in (State.SUCCEEDED, State.FAILED, State.BLOCKED, State.WAITING)
    ] == [
        5,
        1,
        1,
        1,
    ]
    escalated = row(report, "improve-error-handling-of-the-statement")
    assert escalated.escalated
    assert escalated.commit == "1d77f0c2ab90"
    assert escalated.verdict is not None
    assert escalated.verdict.kind is VerdictKind.PROVED
    assert row(report, "document-commands").standing == "split-command-line failed"
    assert row(report, "review-payments").document is not None


def test_attempts_that_ended_before_their_first_call_are_not_counted():
    report = a_report()
    refused = row(report, "speed-up-statement")
    assert [attempt.ran for attempt in refused.attempts] == [False]
    assert not refused.escalated
    assert sum(share.attempts for share in report.tiers) == len(attempts()) - 1


def test_what_landed_without_a_proof_is_to_be_reviewed_first_and_a_document_is_not():
    assert [row.subtask.id for row in a_report().review_first] == ["add-refund-tests"]


def test_the_dollars_are_the_ledgers():
    events = a_run()
    charges = entries(events)
    report = report_of(events, charges)
    assert report.spent == Usd(sum((entry.charged or ZERO).nano for entry in charges))
    assert report.planning == charges[0].charged
    subtasks = Usd(sum(row.bill.nano for row in report.subtasks))
    assert subtasks + report.planning == report.spent
    assert Usd(sum(share.bill.nano for share in report.tiers)) == subtasks
    assert Usd(sum(share.bill.nano for share in report.models)) == report.spent


def test_holds_count_as_held_until_they_are_settled_or_released():
    events = a_run()
    charges = entries(events)
    open_hold = replace(charges[1], state=HoldState.OPEN, charged=None)
    crashed = replace(charges[2], state=HoldState.AMBIGUOUS, charged=None)
    released = replace(charges[3], state=HoldState.RELEASED, charged=None)
    report = report_of(events, [open_hold, crashed, released])
    assert report.spent == ZERO
    assert report.held == open_hold.amount + crashed.amount
    assert any("cut off" in flag for flag in report.flags)


def test_the_counterfactual_is_the_last_attempts_tokens_at_one_models_prices():
    last = {name.partition("#")[0]: outcome.usage for name, _, outcome, _ in attempts() if outcome.calls}
    found = {other.name: other.bill for other in a_report().counterfactuals}
    assert found == {
        f"all-{alias}": Usd(sum(bill(PRICES[alias], usage).nano for usage in last.values()))
        for alias in ("smart", "cheap")
    }


def test_without_prices_there_is_no_counterfactual():
    assert build_report(a_run(), [], {}).counterfactuals == ()
    assert len(build_report(a_run(), [], {}, table()).counterfactuals) == 2


@pytest.mark.parametrize(
    "unknown",
    [
        {"state": HoldState.OPEN, "charged": None},
        {"state": HoldState.AMBIGUOUS, "charged": None},
        {"bill": None, "input_tokens": None, "output_tokens": None},
    ],
)
def test_where_tokens_behind_a_charge_are_unknown_nothing_is_compared(unknown: dict[str, Any]):
    events = a_run()
    charges = entries(events)
    blind = replace(charges[2], **unknown)
    assert report_of(events, [*charges[:2], blind, *charges[3:]]).counterfactuals == ()
    # Nor is what was given back compared, and planning is in neither amount.
    released = replace(blind, state=HoldState.RELEASED, charged=None)
    planning = replace(charges[0], state=HoldState.OPEN, charged=None, input_tokens=None)
    assert len(report_of(events, [planning, charges[1], released, *charges[3:]]).counterfactuals) == 2


def test_the_hold_of_a_scripted_call_is_nothing_to_reconcile():
    events = a_run()
    cut_off = replace(entries(events)[1], state=HoldState.AMBIGUOUS, charged=None)
    assert "`budget reconcile`" in report_of(events, [cut_off]).flags[0]
    (flag,) = report_of(events, [replace(cut_off, deployment="scripted/cheap")]).flags
    assert flag.endswith("counts in this run to its end; nothing of it is paid")


def test_a_pause_says_what_it_waits_for_until_the_run_goes_on():
    paused = a_report()
    assert (paused.state, paused.waiting_for) == (RunState.PAUSED, WaitingFor.BUDGET)
    resumed = report_of([*a_run(), RunResumed(budget=Usd.of("1"))])
    assert (resumed.state, resumed.waiting_for, resumed.reason) == (RunState.RUNNING, None, "")
    assert resumed.budget == Usd.of("1")
    assert report_of([*a_run(), RunEnded(cancelled=True)]).state is RunState.CANCELLED


def test_a_run_that_should_be_going_and_is_not_has_stopped():
    events = a_run()[:-1]
    assert report_of(events).standing == "running"
    assert report_of(events, stopped=True).standing == "stopped"
    assert replace(report_of(events), stopped=True).standing == "stopped"
    assert replace(a_report(), stopped=True).standing == "paused"


def test_work_that_passed_and_was_not_landed_says_why_and_where_it_is_kept():
    report = report_of(not_landed(), [])
    attempt = row(report, "fix-rounding").attempts[0]
    assert attempt.refused == "it fails on the newer base"
    assert attempt.kept_ref == f"refs/orchestrator/{RUN}/fix-rounding/1"


def test_work_of_an_attempt_that_was_delivered_twice_may_be_kept_beside_its_ref():
    attempt = row(report_of(not_landed(delivered_again=True), []), "fix-rounding").attempts[0]
    assert (attempt.refused, attempt.kept_ref) == ("it fails on the newer base", None)


def test_what_was_taken_back_is_not_landed_any_more():
    name = SubtaskId("add-refund-tests")
    report = report_of([*a_run(), SubtaskUndone(subtask=name, commit="cc10aa82f104")])
    assert row(report, name).commit is None
    assert row(report, name).undone
    assert report.review_first == ()


def test_an_empty_journal_is_no_run():
    with pytest.raises(OrchestratorError, match="no such run"):
        build_report([], [], {})


def test_what_an_earlier_plan_had_stays_in_the_report_and_is_not_in_the_new_plan():
    report = report_of(a_replanned_run())
    assert [row.subtask.id for row in report.subtasks] == [
        *(subtask.id for subtask in another_plan().subtasks),
        *DROPPED,
    ]
    assert superseded(report.subtasks) == list(DROPPED)
    failed = row(report, SPLIT)
    assert (failed.state, len(failed.attempts), failed.attempts[0].kept_ref is not None) == (
        State.FAILED,
        2,
        True,
    )
    # Each of them once, also after the next plan.
    again = replace(another_plan(), subtasks=another_plan().subtasks[:-1])
    twice = report_of([*a_replanned_run()[:-4], PlanReplaced(plan=again, reason="again"), RunEnded()])
    assert superseded(twice.subtasks) == [SubtaskId("split-one-command"), *DROPPED]


def test_a_plan_that_came_after_the_run_was_cancelled_is_not_reported():
    asked = [
        *a_run()[:-1],
        CancelRequested(),
        PlanReplaced(plan=another_plan(), reason="late"),
        RunEnded(cancelled=True),
    ]
    report = report_of(asked)
    assert [row.subtask.id for row in report.subtasks] == [subtask.id for subtask in a_plan().subtasks]
    assert superseded(report.subtasks) == []


def test_the_counts_of_a_report_are_those_of_the_line_that_closes_the_run():
    events = a_replanned_run()
    report, progress = report_of(events), Progress()
    for event in events:
        progress.take_in(event)
    assert dict(progress.counts()) == {state: n for state in State if (n := report.count(state))}
    assert report.count(State.FAILED) == 1


def adds_up(report: Report) -> bool:
    whole = report.spent + report.held
    tiers, models, subtasks = (
        add_up(share.bill for share in shares) for shares in (report.tiers, report.models, report.subtasks)
    )
    return tiers + report.planning == models == subtasks + report.planning == whole


NAMES = [subtask.id for subtask in (*a_plan().subtasks, another_plan().subtasks[-1])]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(NAMES), st.sampled_from([*Ended, None])),
            st.lists(st.sampled_from(NAMES), unique=True),
        ),
        max_size=12,
    ),
    st.lists(st.sampled_from(HoldState), min_size=24, max_size=24),
)
def test_the_tiers_models_and_subtasks_add_up_to_the_total_whatever_is_planned_anew(steps: Any, states: Any):
    subtasks = {
        subtask.id: replace(subtask, depends_on=())
        for subtask in (*a_plan().subtasks, another_plan().subtasks[-1])
    }
    events = [
        replace(a_run()[0], plan=replace(a_plan(), subtasks=tuple(subtasks[name] for name in NAMES[:-1])))
    ]  # type: ignore[type-var]
    numbers: Counter[SubtaskId] = Counter()
    known = set(NAMES[:-1])
    paid = entries(a_run())[:1]
    for step in steps:
        if isinstance(step, list):
            events.append(
                PlanReplaced(
                    plan=replace(a_plan(), subtasks=tuple(subtasks[name] for name in step)), reason="x"
                )
            )
            known |= set(step)
        elif step[0] in known:
            numbers[step[0]] += 1
            attempt = AttemptId(step[0], numbers[step[0]])
            events.append(AttemptStarted(attempt=attempt, model=ModelAlias("smart")))
            spent = outcome(Ended.PASSED, model="smart", tokens=(900, 100))
            paid += entries([AttemptFinished(attempt=attempt, outcome=spent)])[1:]
            if step[1] is not None:
                events.append(AttemptFinished(attempt=attempt, outcome=replace(spent, ended=step[1])))
    paid = [
        replace(entry, state=state, charged=entry.charged if state is HoldState.SETTLED else None)
        for entry, state in zip(paid, states, strict=False)
    ]
    assert adds_up(report_of(events, paid))


def test_a_replanned_run_adds_up():
    assert adds_up(report_of(a_replanned_run()))


def test_calls_tokens_and_dollars_of_what_was_cut_off_are_the_ledgers():
    report = report_of(interrupted_run(), holds())
    shares = {share.name: share for share in report.models}
    planning, settled, _, held = holds()
    assert (shares["smart"].calls, shares["cheap"].calls) == (2, 1)
    assert shares["smart"].bill == planning.counted + settled.counted
    assert shares["smart"].input_tokens == 4_120 + 2_000
    assert (shares["cheap"].bill, shares["cheap"].input_tokens) == (held.amount, 0)
    assert {share.name: share.calls for share in report.tiers} == {"cheap": 1, "smart": 1}
    assert report.counterfactuals == ()
    assert adds_up(report)


def test_what_was_paid_for_before_a_cancellation_is_compared_too():
    report = report_of(interrupted_run(), holds()[:3])
    assert report.counterfactuals[0].bill == holds()[1].charged


def test_an_attempt_without_an_outcome_is_cut_off_when_nobody_works_on_it_any_more():
    def cut_off(events: list[Event]) -> list[bool]:
        return [attempt.cut_off for row in report_of(events, holds()).subtasks for attempt in row.attempts]

    assert cut_off(killed_run()) == [False, False]
    assert cut_off(interrupted_run()) == [True, False]
    # The next attempt is under way, and not the one before it.
    next_one = AttemptStarted(attempt=replace(KILLED, number=2), model=ModelAlias("cheap"))
    assert cut_off([*interrupted_run(), RunResumed(), next_one]) == [True, False, False]


def test_a_hold_without_an_event_of_its_attempt_is_an_attempt_all_the_same():
    began = [event for event in interrupted_run() if getattr(event, "attempt", None) != KILLED]
    (attempt,) = row(report_of(began, holds()), KILLED.subtask).attempts
    assert (attempt.attempt, attempt.model, attempt.calls, attempt.cut_off) == (KILLED, "cheap", 1, True)
    assert adds_up(report_of(began, holds()))


AGAIN = [
    RetryRequested(subtask=SPLIT),
    SubtaskUndone(subtask=KILLED.subtask, commit="c", retry=True),
    SubtaskUndone(subtask=KILLED.subtask, commit="c", reopened=(SPLIT,)),
    PlanReplaced(plan=another_plan(), reason="x"),
]


@pytest.mark.parametrize("again", AGAIN, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("cancelled", [True, False])
def test_a_run_that_had_ended_and_has_something_to_do_again_has_stopped(again: Event, cancelled: bool):
    ended = [*a_run()[:-1], RunEnded(cancelled=cancelled, reason="over", at=at(300))]
    report = report_of([*ended, again])
    assert (report.standing, report.reason, report.ended_at) == ("stopped", "", "")
    assert report_of([*ended, again, RunResumed()]).standing == "running"
    assert report_of([*ended, again, RunResumed(), RunEnded()]).standing == "done"
    # A pause stays one.
    assert report_of([*a_run(), again]).standing == "paused"


def test_a_remark_or_a_request_that_changes_nothing_does_not_reopen_a_run():
    undone = SubtaskUndone(subtask=KILLED.subtask, commit="c")
    for event in (undone, CancelRequested(), SkipRequested(subtask=SPLIT), Noted(code="x", text="x")):
        assert report_of([*a_run()[:-1], RunEnded(), event]).standing == "done"


def test_what_was_under_way_when_its_process_ended_does_not_run():
    events = [event for event in interrupted_run() if getattr(event, "attempt", None) != CANCELLED]
    for report in (report_of(events, holds()), report_of(events[:-1], holds(), stopped=True)):
        found = row(report, KILLED.subtask)
        assert (found.state, found.standing) == (State.WAITING, "cut off, delivered again by `resume`")
        assert found.attempts[0].cut_off
        assert report.count(State.RUNNING) == 0
    going = report_of(events[:-1], holds())
    assert (going.count(State.RUNNING), row(going, KILLED.subtask).attempts[0].cut_off) == (1, False)


def test_what_had_passed_when_its_process_ended_is_not_being_landed():
    events = [event for event in not_landed() if not isinstance(event, LandingRefused)]
    assert row(report_of(events, []), KILLED.subtask).standing == "passed its checks, and is being landed"
    stopped = row(report_of(events, [], stopped=True), KILLED.subtask)
    assert stopped.standing == "passed its checks, and is landed by `resume`"
