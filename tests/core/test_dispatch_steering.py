"""What the user asks of a run that is under way: skip, cancel, retry, undo, pause, select, replan."""

from dataclasses import replace

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    Ended,
    Limits,
    ModelAlias,
    Outcome,
    RunState,
    State,
    SubtaskId,
    WaitingFor,
)
from orchestrator.core.events import (
    Block,
    CancelAttempt,
    CancelRequested,
    Finish,
    Land,
    LandingRefused,
    Noted,
    Pause,
    PauseRequested,
    PlanReplaced,
    RetryRequested,
    RunEnded,
    RunPaused,
    RunResumed,
    SelectionChanged,
    SkipRequested,
    SubtaskUndone,
)
from tests.core.runs import (
    CHAIN,
    ONCE,
    SMART_MODEL,
    TWO_RUNGS,
    attempt,
    finished,
    landed,
    passed,
    plan,
    play,
    rejected,
    run_through,
    started,
    starts,
    states,
    subtask,
)


def test_skipping_a_waiting_subtask_blocks_its_cone_and_a_running_one_is_cancelled_first():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    dispatch.begin()
    dispatch.handle(started("parse#1"))
    assert dispatch.handle(SkipRequested(subtask=SubtaskId("publish"))) == []
    assert dispatch.handle(SkipRequested(subtask=SubtaskId("parse"))) == [
        CancelAttempt(attempt=attempt("parse#1"))
    ]
    assert states(dispatch)["parse"] == "running"
    commands = dispatch.handle(finished("parse#1", Outcome(ended=Ended.CANCELLED)))
    assert commands == [Block(subtask=SubtaskId("render"), because=SubtaskId("parse")), Finish()]
    assert states(dispatch) == {"parse": "skipped", "render": "blocked", "publish": "skipped"}


def test_a_result_that_came_after_the_wish_to_skip_does_not_land():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    run_through(dispatch, started("parse#1"), SkipRequested(subtask=SubtaskId("parse")))
    assert not any(isinstance(command, Land) for command in dispatch.handle(finished("parse#1")))


def test_cancelling_the_run_ends_what_runs_and_starts_nothing_more():
    dispatch = Dispatch(plan(*CHAIN.subtasks, subtask("docs")), escalation=TWO_RUNGS)
    run_through(dispatch, started("parse#1"), started("docs#1"), finished("docs#1"))
    assert dispatch.handle(CancelRequested()) == [
        CancelAttempt(attempt=attempt("parse#1")),
        CancelAttempt(attempt=attempt("docs#1")),
    ]
    assert dispatch.handle(finished("parse#1", Outcome(ended=Ended.CANCELLED))) == []
    # What was on the branch already stays there.
    assert dispatch.handle(landed("docs#1")) == [Finish(cancelled=True)]
    assert states(dispatch) == {
        "parse": "cancelled",
        "render": "cancelled",
        "publish": "cancelled",
        "docs": "succeeded",
    }


def test_a_request_that_was_journalled_just_before_the_start_still_holds():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    dispatch.handle(SkipRequested(subtask=SubtaskId("parse")))
    assert dispatch.handle(started("parse#1")) == [CancelAttempt(attempt=attempt("parse#1"))]
    dispatch.handle(finished("parse#1", Outcome(ended=Ended.CANCELLED)))
    assert states(dispatch)["parse"] == "skipped"


def failed_chain() -> Dispatch:
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS, limits=ONCE)
    assert Finish() in play(dispatch, lambda attempt: rejected())
    return dispatch


def test_a_failed_subtask_is_retried_on_the_model_and_with_the_remark_of_the_user():
    dispatch = failed_chain()
    mine = ModelAlias("mine")
    commands = dispatch.handle(RetryRequested(subtask=SubtaskId("parse"), model=mine, note="use re"))
    assert starts(commands) == ["parse#3 on mine"]
    assert dispatch.node(SubtaskId("parse")).notes == ("use re",)
    assert states(dispatch) == {"parse": "running", "render": "waiting", "publish": "waiting"}
    assert play(dispatch, lambda attempt: passed(), commands=commands) == [Finish()]
    assert set(states(dispatch).values()) == {"succeeded"}


def test_retrying_a_blocked_subtask_retries_what_blocks_it():
    dispatch = failed_chain()
    assert starts(dispatch.handle(RetryRequested(subtask=SubtaskId("publish")))) == ["parse#3 on smart"]
    assert states(dispatch)["publish"] == "waiting"


def test_retrying_a_running_subtask_starts_it_again_with_what_the_user_said():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    run_through(dispatch, started("parse#1"))
    commands = dispatch.handle(RetryRequested(subtask=SubtaskId("parse"), model=SMART_MODEL, note="x"))
    assert commands == [CancelAttempt(attempt=attempt("parse#1"))]
    cancelled = Outcome(ended=Ended.CANCELLED)
    assert starts(dispatch.handle(finished("parse#1", cancelled))) == ["parse#2 on smart"]


def test_work_that_is_refused_after_its_dependency_was_taken_back_is_blocked():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    run_through(
        dispatch,
        started("parse#1"),
        finished("parse#1", passed()),
        landed("parse#1"),
        started("render#1"),
        finished("render#1", passed()),
        SubtaskUndone(subtask=SubtaskId("parse"), commit="c1"),
    )
    said = dispatch.handle(LandingRefused(attempt=attempt("render#1"), reason="moved", conflict=True))
    assert Block(subtask=SubtaskId("render"), because=SubtaskId("parse")) in said
    assert states(dispatch) == {"parse": "skipped", "render": "blocked", "publish": "blocked"}


def test_a_start_that_was_not_commanded_leaves_no_slot_empty():
    three = plan(subtask("a", seconds=30), subtask("b", seconds=20), subtask("c"))
    dispatch = Dispatch(three, limits=Limits(parallel=2))
    assert starts(dispatch.begin()) == ["a#1", "b#1"]
    # Journalled by a run that could do three at once.
    assert starts(dispatch.handle(started("c#1"))) == ["a#1"]
    assert states(dispatch) == {"a": "running", "b": "waiting", "c": "running"}


def test_undoing_a_landed_subtask_reopens_the_dependents_that_are_named():
    def landed_chain() -> Dispatch:
        dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
        play(dispatch, lambda attempt: passed())
        return dispatch

    undone = SubtaskUndone(subtask=SubtaskId("parse"), commit="c1", reopened=(SubtaskId("render"),))
    dispatch = landed_chain()
    assert dispatch.handle(undone) == [
        Block(subtask=SubtaskId("render"), because=SubtaskId("parse")),
        Finish(),
    ]
    assert states(dispatch) == {"parse": "skipped", "render": "blocked", "publish": "succeeded"}
    dispatch = landed_chain()
    commands = dispatch.handle(replace(undone, retry=True))
    assert starts(commands) == ["parse#2"]
    assert states(dispatch) == {"parse": "running", "render": "waiting", "publish": "succeeded"}
    again: list[str] = []
    play(dispatch, lambda attempt: again.append(str(attempt)) or passed(), commands=commands)
    assert again == ["parse#2", "render#2"]


def test_a_pause_lets_what_runs_end_and_starts_nothing_until_the_run_is_resumed():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    run_through(dispatch, started("parse#1"))
    assert dispatch.handle(PauseRequested(reason="lunch")) == []
    dispatch.handle(finished("parse#1"))
    assert dispatch.handle(landed("parse#1")) == [Pause(waiting_for=WaitingFor.USER, reason="lunch")]
    assert dispatch.waiting(SubtaskId("render")) == (WaitingFor.USER, "lunch")
    dispatch.handle(RunPaused(waiting_for=WaitingFor.USER, reason="lunch"))
    assert starts(dispatch.handle(RunResumed())) == ["render#1"]


def test_a_selection_runs_with_all_it_depends_on_and_leaves_the_rest_waiting():
    dispatch = Dispatch(plan(*CHAIN.subtasks, subtask("docs")), escalation=TWO_RUNGS)
    dispatch.handle(SelectionChanged(only=(SubtaskId("render"),)))
    rest = play(dispatch, lambda attempt: passed())
    assert rest == [Pause(waiting_for=WaitingFor.USER, reason="2 subtasks are not selected")]
    assert states(dispatch) == {
        "parse": "succeeded",
        "render": "succeeded",
        "publish": "waiting",
        "docs": "waiting",
    }
    assert dispatch.selection_done
    dispatch.handle(RunPaused(waiting_for=WaitingFor.USER, reason=""))
    dispatch.handle(SelectionChanged(only=None))
    assert starts(dispatch.handle(RunResumed())) == ["publish#1", "docs#1"]


def test_a_new_plan_keeps_what_is_done_and_what_runs_and_drops_the_rest():
    old = plan(
        subtask("done"), subtask("runs"), subtask("gone-runs"), subtask("gone", after="runs"), subtask("bad")
    )
    dispatch = Dispatch(old, escalation=TWO_RUNGS, limits=ONCE)
    dispatch.begin()
    for name in ("done", "runs", "gone-runs", "bad"):
        dispatch.handle(started(f"{name}#1"))
    dispatch.handle(finished("done#1"))
    dispatch.handle(landed("done#1"))
    dispatch.handle(finished("bad#1", rejected()))
    dispatch.handle(started("bad#2", SMART_MODEL))
    dispatch.handle(finished("bad#2", rejected()))
    new = plan(subtask("done"), subtask("runs"), subtask("new", after="done runs"), subtask("bad"))
    commands = dispatch.handle(PlanReplaced(plan=new, reason="stuck"))
    assert commands[0] == CancelAttempt(attempt=attempt("gone-runs#1"))
    assert starts(commands) == ["bad#3"]
    assert states(dispatch) == {
        "done": "succeeded",
        "runs": "running",
        "new": "waiting",
        "bad": "running",
        "gone-runs": "running",
        "gone": "cancelled",
    }
    dispatch.handle(finished("gone-runs#1", Outcome(ended=Ended.CANCELLED)))
    dispatch.handle(finished("runs#1"))
    assert starts(dispatch.handle(landed("runs#1"))) == ["new#1"]


def test_a_new_plan_that_comes_after_the_run_was_cancelled_is_not_carried_out():
    dispatch = Dispatch(plan(subtask("a")), limits=ONCE)
    dispatch.begin()
    dispatch.handle(started("a#1"))
    dispatch.handle(finished("a#1", rejected()))
    assert dispatch.handle(CancelRequested()) == [Finish(cancelled=True)]
    assert dispatch.handle(PlanReplaced(plan=plan(subtask("b")), reason="anew")) == [Finish(cancelled=True)]
    assert states(dispatch) == {"a": "failed"}


def test_what_is_planned_anew_stands_in_for_what_was_selected():
    dispatch = Dispatch(plan(subtask("a"), subtask("other")), limits=ONCE)
    dispatch.handle(SelectionChanged(only=(SubtaskId("a"),)))
    dispatch.begin()
    dispatch.handle(started("a#1"))
    dispatch.handle(finished("a#1", rejected()))
    new = plan(subtask("a2"), subtask("other"))
    assert starts(dispatch.handle(PlanReplaced(plan=new, reason="anew"))) == ["a2#1"]


def test_a_request_that_came_just_before_the_end_is_not_lost():
    dispatch = Dispatch(plan(subtask("a")), limits=ONCE)
    dispatch.begin()
    dispatch.handle(started("a#1"))
    assert dispatch.handle(finished("a#1", rejected())) == [Finish()]
    assert starts(dispatch.handle(RetryRequested(subtask=SubtaskId("a")))) == ["a#2"]
    # Journalled by a runner that had not heard of it.
    assert starts(dispatch.handle(RunEnded())) == ["a#2"]
    assert dispatch.run_state is RunState.RUNNING


def test_a_stopped_run_that_is_cancelled_leaves_nothing_running():
    dispatch = Dispatch(CHAIN)
    dispatch.begin()
    dispatch.handle(started("parse#1"))
    for event in (CancelRequested(), RunEnded(cancelled=True)):
        dispatch.handle(event)
    assert set(states(dispatch).values()) == {"cancelled"}
    assert dispatch.run_state is RunState.CANCELLED
    # Its slot is free again.
    assert starts(dispatch.handle(RetryRequested(subtask=SubtaskId("parse")))) == ["parse#2"]


def test_what_a_user_skipped_is_not_called_a_failure_and_neither_is_what_it_blocks():
    dispatch = Dispatch(
        plan(subtask("a"), subtask("b", after="a"), subtask("c"), subtask("d", after="c")), limits=ONCE
    )
    dispatch.begin()
    dispatch.handle(SkipRequested(subtask=SubtaskId("a")))
    assert dispatch.failures() == [] and not dispatch.failed
    dispatch.handle(started("c#1"))
    dispatch.handle(finished("c#1", rejected()))
    assert states(dispatch) == {"a": "skipped", "b": "blocked", "c": "failed", "d": "blocked"}
    assert dispatch.failed
    assert dispatch.failures() == ["c", "d"]


def test_who_tries_a_subtask_again_selects_it():
    dispatch = Dispatch(CHAIN)
    dispatch.handle(SelectionChanged(only=(SubtaskId("parse"),)))
    dispatch.begin()
    dispatch.handle(RetryRequested(subtask=SubtaskId("render")))
    for event in (started("parse#1"), finished("parse#1")):
        dispatch.handle(event)
    assert starts(dispatch.handle(landed("parse#1"))) == ["render#1"]


def test_what_is_not_selected_says_so_before_the_run_has_begun_too():
    dispatch = Dispatch(CHAIN)
    dispatch.handle(SelectionChanged(only=(SubtaskId("parse"),)))
    assert dispatch.waiting(SubtaskId("render")) == (WaitingFor.USER, "not selected")
    assert dispatch.seconds_left == 10


def test_a_remark_changes_nothing():
    dispatch = Dispatch(CHAIN)
    dispatch.begin()
    assert dispatch.handle(Noted(code="x", text="y")) == []
    assert dispatch.states()[SubtaskId("parse")] is State.RUNNING
