from dataclasses import replace

import pytest

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    Deliverable,
    Ended,
    ExecutorName,
    Limits,
    ModelAlias,
    Outcome,
    Policy,
    RunState,
    State,
    SubtaskId,
    Verdict,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.escalation import Escalation
from orchestrator.core.events import (
    Block,
    CancelAttempt,
    CancelRequested,
    Event,
    Finish,
    FundsAssessed,
    Land,
    LandingRefused,
    Noted,
    Pause,
    PauseRequested,
    PlanReplaced,
    RetryRequested,
    RoomFreed,
    RunPaused,
    RunResumed,
    SelectionChanged,
    SkipRequested,
    Start,
    SubtaskUndone,
)
from orchestrator.core.money import Usd
from orchestrator.core.schedule import Lineup
from tests.core.runs import (
    CHEAP_MODEL,
    SMART_MODEL,
    TWO_RUNGS,
    attempt,
    finished,
    landed,
    no_room,
    passed,
    plan,
    play,
    rejected,
    started,
    starts,
    subtask,
)

CHAIN = plan(subtask("parse"), subtask("render", after="parse"), subtask("publish", after="render"))
ONCE = Limits(attempts_per_rung=1)


def states(dispatch: Dispatch) -> dict[str, str]:
    return {subtask_id: state.value for subtask_id, state in dispatch.states().items()}


def run_through(dispatch: Dispatch, *events: Event) -> list[str]:
    """Begin, handle the events, and return all attempts that were started."""
    commands = dispatch.begin()
    for event in events:
        commands += dispatch.handle(event)
    return starts(commands)


def test_a_chain_runs_one_after_the_other_and_finishes():
    dispatch = Dispatch(CHAIN, escalation=TWO_RUNGS)
    assert dispatch.begin() == [Start(attempt=attempt("parse#1"), model=CHEAP_MODEL)]
    assert dispatch.handle(started("parse#1")) == []
    assert dispatch.handle(finished("parse#1")) == [Land(attempt=attempt("parse#1"))]
    assert states(dispatch) == {"parse": "waiting", "render": "waiting", "publish": "waiting"}
    assert dispatch.waiting(SubtaskId("parse")) == (WaitingFor.LANDING, "")
    assert dispatch.waiting(SubtaskId("publish")) == (WaitingFor.DEPENDENCIES, "render")
    assert starts(dispatch.handle(landed("parse#1"))) == ["render#1"]
    rest = play(dispatch, lambda attempt: passed(), commands=dispatch.outstanding())
    assert rest == [Finish()]
    assert set(states(dispatch).values()) == {"succeeded"}


def test_a_failed_subtask_blocks_everything_downstream_and_nothing_else():
    dispatch = Dispatch(
        plan(*CHAIN.subtasks, subtask("docs")),
        limits=ONCE,
        escalation=Escalation(ladder=(CHEAP_MODEL,)),
    )
    dispatch.begin()
    dispatch.handle(started("parse#1"))
    assert dispatch.handle(finished("parse#1", rejected())) == [
        Block(subtask=SubtaskId("render"), because=SubtaskId("parse")),
        Block(subtask=SubtaskId("publish"), because=SubtaskId("parse")),
    ]
    assert states(dispatch) == {
        "parse": "failed",
        "render": "blocked",
        "publish": "blocked",
        "docs": "running",
    }
    assert dispatch.detail(SubtaskId("parse")) == "1 test fails"


def test_a_rejected_attempt_is_repeated_on_its_rung_then_escalated_then_failed():
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS)
    tried: list[str] = []
    commands = dispatch.begin()
    while tries := starts(commands):
        tried += tries
        name = tries[0].split()[0]
        dispatch.handle(started(name))
        commands = dispatch.handle(finished(name, rejected()))
    assert tried == ["parse#1", "parse#2", "parse#3 on smart", "parse#4 on smart"]
    assert commands == [Finish()]
    assert states(dispatch) == {"parse": "failed"}


def test_the_next_attempt_learns_from_all_that_failed_before_and_says_why():
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS, limits=ONCE)
    dispatch.begin()
    dispatch.handle(started("parse#1"))
    (start,) = dispatch.handle(finished("parse#1", rejected("2 tests fail")))
    assert isinstance(start, Start)
    assert start.after == (attempt("parse#1"),)
    assert start.reasons == ("escalated from cheap: 2 tests fail",)


def test_the_number_of_attempts_at_one_subtask_is_bounded():
    ladder = tuple(ModelAlias(f"m{rung}") for rung in range(9))
    dispatch = Dispatch(
        plan(subtask("parse")), escalation=Escalation(ladder=ladder), limits=Limits(max_attempts=5)
    )
    tried: list[str] = []
    play(dispatch, lambda attempt: tried.append(str(attempt)) or rejected())
    assert len(tried) == 5


def test_policy_tags_never_escalates():
    dispatch = Dispatch(plan(subtask("parse")), escalation=replace(TWO_RUNGS, policy=Policy.TAGS))
    play(dispatch, lambda attempt: rejected())
    assert dispatch.node(SubtaskId("parse")).number == 2


def test_the_users_model_is_the_only_rung():
    dispatch = Dispatch(plan(subtask("parse")), escalation=replace(TWO_RUNGS, override=SMART_MODEL))
    assert starts(dispatch.begin()) == ["parse#1 on smart"]


def test_an_entry_alias_beside_the_ladder_escalates_to_what_is_above_its_tier():
    yolo = ModelAlias("yolo")
    escalation = replace(TWO_RUNGS, entry={SubtaskId("parse"): yolo})
    assert escalation.rungs(subtask("parse")) == (yolo, SMART_MODEL)


def test_a_tool_that_failed_is_not_asked_again():
    tool = subtask("format", executor=ExecutorName.TOOL, tool="ruff-format")
    dispatch = Dispatch(plan(tool), escalation=TWO_RUNGS)
    assert dispatch.begin() == [Start(attempt=attempt("format#1"), model=None)]
    dispatch.handle(started("format#1", None))
    assert dispatch.handle(finished("format#1", rejected())) == [Finish()]


def test_what_nothing_could_verify_is_not_escalated():
    unverified = replace(rejected(), verdict=Verdict(kind=VerdictKind.UNVERIFIED))
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS)
    play(dispatch, lambda attempt: unverified)
    assert dispatch.node(SubtaskId("parse")).number == 1


def test_dollars_on_smart_are_capped_per_subtask():
    limits = Limits(smart_per_subtask=Usd.of("0.50"), attempts_per_rung=3)
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS, limits=limits)
    bill = {1: "0.01", 2: "0.01", 3: "0.01", 4: "0.60", 5: "0.60"}
    play(dispatch, lambda attempt: rejected(bill=Usd.of(bill[attempt.number])))
    assert dispatch.node(SubtaskId("parse")).number == 4


# --- order, files, models ------------------------------------------------------------------------


def test_the_longest_remaining_path_goes_first():
    dispatch = Dispatch(
        plan(
            subtask("short", seconds=30),
            subtask("long", seconds=10),
            subtask("after-long", after="long", seconds=40),
        ),
        limits=Limits(parallel=1),
    )
    assert starts(dispatch.begin())[0].startswith("long#1")


def test_an_order_found_by_look_ahead_leads():
    subtasks = plan(subtask("a", seconds=90), subtask("b"), subtask("c", seconds=50))
    dispatch = Dispatch(
        subtasks,
        limits=Limits(parallel=2),
        escalation=TWO_RUNGS,
        lineup=Lineup(first=(SubtaskId("b"), SubtaskId("c"))),
    )
    assert starts(dispatch.begin()) == ["b#1", "c#1"]


def test_the_queue_goes_past_a_subtask_whose_file_is_busy():
    dispatch = Dispatch(
        plan(
            subtask("one", touches=("a.py",), seconds=90),
            subtask("two", touches=("a.py", "b.py"), seconds=80),
            subtask("three", touches=("c.py",), seconds=10),
        ),
        escalation=TWO_RUNGS,
    )
    assert starts(dispatch.begin()) == ["one#1", "three#1"]
    assert dispatch.waiting(SubtaskId("two")) == (WaitingFor.FILE, "a.py is being changed by one")
    dispatch.handle(started("one#1"))
    assert starts(dispatch.handle(finished("one#1"))) == []
    assert starts(dispatch.handle(landed("one#1"))) == ["two#1"]


@pytest.mark.parametrize(
    ("mine", "theirs", "together"),
    [
        (("src/**",), ("src/a/b.py",), False),
        (("src/*.py",), ("src/a/b.py",), True),
        (("src/a*.py", "x"), ("src/*b.py",), False),
        (("src/", "x"), ("src/deep/*.py",), False),
        (("*.md",), ("docs/a.md",), False),
        (("a.py",), ("b.py",), True),
        (None, ("b.py",), False),
        (None, (), False),
        ((), (), True),
    ],
)
def test_two_subtasks_that_may_change_the_same_file_never_run_together(mine, theirs, together):
    dispatch = Dispatch(plan(subtask("one", touches=mine), subtask("two", touches=theirs)))
    assert (len(starts(dispatch.begin())) == 2) is together


def test_all_that_waits_for_a_glob_is_let_go_when_the_glob_is_free():
    files = [subtask(f"f{n}", touches=(f"src/{n}.py",)) for n in range(3)]
    dispatch = Dispatch(plan(subtask("all", touches=("src/**",), seconds=99), *files), escalation=TWO_RUNGS)
    assert starts(dispatch.begin()) == ["all#1"]
    dispatch.handle(started("all#1"))
    dispatch.handle(finished("all#1"))
    assert starts(dispatch.handle(landed("all#1"))) == ["f0#1", "f1#1", "f2#1"]


def test_documents_wait_for_no_file():
    document = subtask("review", touches=None, deliverable=Deliverable.DOCUMENT)
    dispatch = Dispatch(plan(subtask("one"), document), escalation=TWO_RUNGS)
    assert starts(dispatch.begin()) == ["one#1", "review#1"]


def test_parallel_and_per_model_limits_hold():
    subtasks = [subtask(f"s{n}", seconds=20 - n) for n in range(4)]
    limits = Limits(parallel=3, per_model={CHEAP_MODEL: 1})
    dispatch = Dispatch(plan(*subtasks), escalation=TWO_RUNGS, limits=limits)
    assert starts(dispatch.begin()) == ["s0#1"]
    assert dispatch.waiting(SubtaskId("s1")) == (WaitingFor.MODEL, "cheap is busy")
    dispatch.handle(started("s0#1"))
    assert starts(dispatch.handle(finished("s0#1"))) == ["s1#1"]
    free = Dispatch(plan(*subtasks), escalation=TWO_RUNGS, limits=Limits(parallel=3))
    assert starts(free.begin()) == ["s0#1", "s1#1", "s2#1"]
    assert free.waiting(SubtaskId("s3")) == (WaitingFor.SLOT, "")


# --- landing -------------------------------------------------------------------------------------


def refused(text: str, *, conflict: bool) -> LandingRefused:
    return LandingRefused(attempt=attempt(text), reason="a.py moved", conflict=conflict)


def test_a_conflict_reopens_the_subtask_on_the_new_base_a_bounded_number_of_times():
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS, limits=Limits(conflicts_per_subtask=2))
    dispatch.begin()
    for number in (1, 2, 3):
        dispatch.handle(started(f"parse#{number}"))
        dispatch.handle(finished(f"parse#{number}"))
        commands = dispatch.handle(refused(f"parse#{number}", conflict=True))
        assert starts(commands) == ([f"parse#{number + 1}"] if number < 3 else [])
    assert states(dispatch) == {"parse": "failed"}


def test_work_that_fails_on_the_newer_base_counts_as_rejected():
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS, limits=ONCE)
    dispatch.begin()
    dispatch.handle(started("parse#1"))
    dispatch.handle(finished("parse#1"))
    assert starts(dispatch.handle(refused("parse#1", conflict=False))) == ["parse#2 on smart"]


# --- money ---------------------------------------------------------------------------------------


def test_want_of_room_is_a_pause_and_never_a_failure():
    dispatch = Dispatch(plan(subtask("parse"), subtask("docs")), escalation=TWO_RUNGS)
    dispatch.begin()
    dispatch.handle(finished("parse#1", no_room()))
    dispatch.handle(started("docs#1"))
    dispatch.handle(finished("docs#1"))
    # Another try: docs has settled, which may have made room.
    assert starts(dispatch.handle(landed("docs#1"))) == ["parse#2"]
    (pause,) = dispatch.handle(finished("parse#2", no_room()))
    assert pause == Pause(waiting_for=WaitingFor.BUDGET, reason="parse: needs $0.10")
    assert dispatch.waiting(SubtaskId("parse")) == (WaitingFor.BUDGET, "needs $0.10")
    assert dispatch.handle(RunPaused(waiting_for=WaitingFor.BUDGET, reason="")) == []
    assert dispatch.run_state is RunState.PAUSED
    assert starts(dispatch.handle(RunResumed(budget=Usd.of(1)))) == ["parse#3"]
    assert dispatch.node(SubtaskId("parse")).failures == 0


def test_want_of_a_model_pauses_when_all_else_is_done():
    dispatch = Dispatch(plan(subtask("parse")), escalation=TWO_RUNGS)
    dispatch.begin()
    outcome = Outcome(ended=Ended.NO_MODEL, reason="no key for cheap")
    assert dispatch.handle(finished("parse#1", outcome)) == [
        Pause(waiting_for=WaitingFor.MODEL, reason="parse: no key for cheap")
    ]
    assert starts(dispatch.handle(RoomFreed())) == ["parse#2"]


def two_phase() -> Dispatch:
    """Money is short; three roots, the second with two dependents."""
    subtasks = plan(
        subtask("a", seconds=90),
        subtask("b", seconds=80),
        subtask("c", seconds=70),
        subtask("b1", after="b", seconds=1),
        subtask("b2", after="b", seconds=1),
        subtask("d", seconds=2),
    )
    dispatch = Dispatch(subtasks, escalation=TWO_RUNGS, limits=Limits(parallel=1, attempts_per_rung=1))
    dispatch.begin()
    dispatch.handle(FundsAssessed(short=True))
    return dispatch


def test_when_money_is_short_the_first_pass_is_finished_before_anything_is_escalated():
    dispatch = two_phase()
    order: list[str] = []

    def outcome_of(attempt):
        order.append(str(attempt))
        return rejected() if attempt.subtask in "abc" and attempt.number == 1 else passed()

    assert play(dispatch, outcome_of, commands=dispatch.outstanding()) == [Finish()]
    # b sets two others free, so it is worth most; a and c are equal.
    assert order == ["a#1", "b#1", "c#1", "d#1", "b#2", "b1#1", "b2#1", "a#2", "c#2"]


def test_the_easiest_reject_is_escalated_first():
    dispatch = two_phase()
    order: list[str] = []

    def outcome_of(attempt):
        order.append(str(attempt))
        used = {"a": 900, "b": 90_000, "c": 300}.get(attempt.subtask, 1)
        usage = replace(rejected().usage, output_tokens=used)
        return rejected(usage=usage) if attempt.number == 1 and attempt.subtask in "abc" else passed()

    play(dispatch, outcome_of, commands=dispatch.outstanding())
    assert [name for name in order if name.endswith("#2")] == ["c#2", "a#2", "b#2"]


def test_enough_money_lets_held_escalations_go_at_once_and_eager_never_holds():
    dispatch = two_phase()
    dispatch.handle(started("a#1"))
    dispatch.handle(finished("a#1", rejected()))
    assert dispatch.waiting(SubtaskId("a")) is not None
    assert dispatch.waiting(SubtaskId("a"))[0] is WaitingFor.BUDGET
    dispatch.handle(FundsAssessed(short=False))
    # It is more urgent than what was about to start.
    assert dispatch.node(SubtaskId("a")).number == 2
    eager = Dispatch(
        plan(subtask("a", seconds=20), subtask("b")),
        escalation=replace(TWO_RUNGS, policy=Policy.EAGER),
        limits=Limits(parallel=1, attempts_per_rung=1),
    )
    eager.begin()
    eager.handle(FundsAssessed(short=True))
    assert starts(eager.handle(finished("a#1", rejected()))) == ["a#2 on smart"]


def test_what_the_rest_is_expected_to_cost_shrinks_as_subtasks_end():
    escalation = replace(TWO_RUNGS, cost=lambda subtask, model: Usd(7 if model == SMART_MODEL else 1))
    dispatch = Dispatch(CHAIN, escalation=escalation, limits=ONCE)
    assert dispatch.expected_left == Usd(3)
    run_through(dispatch, started("parse#1"), finished("parse#1", rejected()))
    assert dispatch.expected_left == Usd(9)
    dispatch.handle(SkipRequested(subtask=SubtaskId("parse")))
    dispatch.handle(finished("parse#2", Outcome(ended=Ended.CANCELLED)))
    assert dispatch.expected_left == Usd(0)


# --- steering ------------------------------------------------------------------------------------


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
    assert dispatch.handle(CancelRequested()) == [CancelAttempt(attempt=attempt("parse#1"))]
    assert dispatch.handle(finished("parse#1", Outcome(ended=Ended.CANCELLED))) == []
    # What was landing already is not torn apart.
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


def test_a_remark_changes_nothing():
    dispatch = Dispatch(CHAIN)
    dispatch.begin()
    assert dispatch.handle(Noted(code="x", text="y")) == []
    assert dispatch.states()[SubtaskId("parse")] is State.RUNNING
