"""Want of money or of a model is a pause, never a failure; what is short goes where it does most."""

from dataclasses import replace

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    SMART,
    Ended,
    Limits,
    ModelAlias,
    Outcome,
    Policy,
    RunState,
    Stage,
    SubtaskId,
    WaitingFor,
)
from orchestrator.core.events import (
    Finish,
    FundsAssessed,
    Pause,
    RetryRequested,
    RoomFreed,
    RunPaused,
    RunResumed,
    SelectionChanged,
    SkipRequested,
)
from orchestrator.core.money import Usd
from tests.core.runs import (
    CHAIN,
    CHEAP_MODEL,
    ONCE,
    SMART_MODEL,
    TWO_RUNGS,
    finished,
    landed,
    no_room,
    passed,
    plan,
    play,
    rejected,
    run_through,
    started,
    starts,
    subtask,
)


def test_want_of_room_is_a_pause_and_never_a_failure():
    dispatch = Dispatch(plan(subtask("parse"), subtask("docs")), escalation=TWO_RUNGS)
    dispatch.begin()
    dispatch.handle(finished("parse#1", no_room()))
    dispatch.handle(started("docs#1"))
    # Another try: docs has settled, which may have made room.
    assert starts(dispatch.handle(finished("docs#1"))) == ["parse#2"]
    assert dispatch.handle(landed("docs#1")) == []
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


def test_room_that_comes_free_goes_to_the_most_urgent_that_was_refused_and_then_to_the_next():
    dispatch = Dispatch(
        plan(
            subtask("slow", seconds=90), subtask("other", seconds=80), subtask("a", seconds=5), subtask("b")
        ),
        escalation=TWO_RUNGS,
        limits=Limits(parallel=4),
    )
    dispatch.begin()
    for name in ("slow", "other"):
        dispatch.handle(started(f"{name}#1"))
    for name in ("a", "b"):
        dispatch.handle(finished(f"{name}#1", no_room()))
    assert starts(dispatch.handle(finished("other#1"))) == ["b#2"]
    assert starts(dispatch.handle(started("b#2"))) == ["a#2"]
    # Nothing has settled since: refused again, it is left alone.
    assert dispatch.handle(finished("a#2", no_room())) == []


def test_a_model_that_answers_again_is_asked_again():
    dispatch = Dispatch(plan(subtask("a"), subtask("b")), escalation=TWO_RUNGS, limits=Limits(parallel=2))
    dispatch.begin()
    dispatch.handle(finished("a#1", Outcome(ended=Ended.NO_MODEL, reason="503")))
    dispatch.handle(started("b#1"))
    assert starts(dispatch.handle(finished("b#1"))) == ["a#2"]
    dispatch.handle(finished("a#2", Outcome(ended=Ended.NO_MODEL, reason="503")))
    # Only another answer is a reason for another try.
    assert dispatch.handle(landed("b#1")) == [Pause(waiting_for=WaitingFor.MODEL, reason="a: 503")]


def test_a_band_moves_the_start_alone_and_from_there_it_goes_up_rung_by_rung():
    dispatch = Dispatch(plan(subtask("a", tier=SMART)), escalation=TWO_RUNGS, limits=ONCE)
    assert starts(dispatch.begin()) == ["a#1 on smart"]
    dispatch.handle(started("a#1", CHEAP_MODEL))
    assert starts(dispatch.handle(finished("a#1", rejected()))) == ["a#2 on smart"]
    # A model that is not on the ladder stands below all of the subtask's own rungs.
    dispatch = Dispatch(plan(subtask("a")), escalation=TWO_RUNGS, limits=ONCE)
    dispatch.begin()
    dispatch.handle(started("a#1", ModelAlias("yolo")))
    assert starts(dispatch.handle(finished("a#1", rejected()))) == ["a#2"]
    dispatch.handle(started("a#2"))
    assert starts(dispatch.handle(finished("a#2", rejected()))) == ["a#3 on smart"]
    # Policy `tags` knows no other rung.
    tags = Dispatch(plan(subtask("a", tier=SMART)), escalation=replace(TWO_RUNGS, policy=Policy.TAGS))
    tags.begin()
    tags.handle(started("a#1", CHEAP_MODEL))
    assert starts(tags.handle(finished("a#1", rejected()))) == ["a#2"]
    assert tags.handle(finished("a#2", rejected())) == [Finish()]


def test_what_the_user_chose_is_neither_an_entry_nor_an_escalation():
    dispatch = Dispatch(plan(subtask("a")), escalation=TWO_RUNGS, limits=ONCE)
    dispatch.begin()
    assert dispatch.stage(SubtaskId("a")) is Stage.ENTRY
    dispatch.handle(started("a#1"))
    dispatch.handle(finished("a#1", rejected()))
    assert dispatch.stage(SubtaskId("a")) is Stage.ESCALATION
    dispatch.handle(started("a#2", SMART_MODEL))
    dispatch.handle(finished("a#2", rejected()))
    dispatch.handle(RetryRequested(subtask=SubtaskId("a"), model=SMART_MODEL))
    assert dispatch.stage(SubtaskId("a")) is Stage.CHOSEN


def test_an_attempt_that_its_own_cap_does_not_admit_fails_at_once():
    dispatch = Dispatch(plan(subtask("a")), escalation=TWO_RUNGS)
    dispatch.begin()
    dispatch.handle(started("a#1"))
    assert dispatch.handle(finished("a#1", rejected("smart_per_subtask", needs=Usd.of(1)))) == [Finish()]
    assert dispatch.detail(SubtaskId("a")) == "smart_per_subtask"


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


def test_escalations_that_were_refused_are_tried_again_by_what_they_are_worth():
    dispatch = two_phase()
    play(
        dispatch,
        lambda attempt: (
            passed() if attempt.subtask == "d" else no_room() if attempt.number > 1 else rejected()
        ),
        commands=dispatch.outstanding(),
    )
    dispatch.handle(RunPaused(waiting_for=WaitingFor.BUDGET, reason=""))
    assert starts(dispatch.handle(RunResumed())) == ["b#3 on smart"]


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
    # Half of the cheap attempts are expected to fail.
    assert dispatch.expected_left == Usd(14)
    run_through(dispatch, started("parse#1"), finished("parse#1", rejected()))
    assert dispatch.expected_left == Usd(16)
    dispatch.handle(SelectionChanged(only=(SubtaskId("parse"),)))
    assert dispatch.expected_left == Usd(7)
    dispatch.handle(SkipRequested(subtask=SubtaskId("parse")))
    dispatch.handle(finished("parse#2", Outcome(ended=Ended.CANCELLED)))
    assert dispatch.expected_left == Usd(0)
