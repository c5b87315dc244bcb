"""Want of money or of a model is a pause, never a failure; what is short goes where it does most."""

from dataclasses import replace

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import Ended, Limits, Outcome, Policy, RunState, SubtaskId, WaitingFor
from orchestrator.core.events import (
    Finish,
    FundsAssessed,
    Pause,
    RoomFreed,
    RunPaused,
    RunResumed,
    SkipRequested,
)
from orchestrator.core.money import Usd
from tests.core.runs import (
    CHAIN,
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
