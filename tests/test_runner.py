"""The shell around a run, with fakes at its ports: what is journalled when, what a restart adopts, how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    Ended,
    Limits,
    ModelAlias,
    OrchestratorError,
    Outcome,
    Refusal,
    RunState,
    SubtaskId,
    WaitingFor,
)
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    CancelRequested,
    Event,
    Noted,
    PauseRequested,
    PlanReplaced,
    RetryRequested,
    RunEnded,
    RunPaused,
    RunResumed,
    SkipRequested,
    SubtaskLanded,
)
from orchestrator.core.money import Usd
from orchestrator.core.ports import Assignment
from orchestrator.ending import Ending
from tests.core.runs import attempt, passed, plan, rejected, subtask
from tests.run_world import CHAIN, ONCE, World, states


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_run_journals_each_event_before_it_acts_on_it(world: World):
    runner = world.runner(CHAIN)
    ending = await runner.run([])
    assert ending == Ending(state=RunState.DONE, exit_code=0)
    assert world.journal.kinds() == [
        "AttemptStarted parse#1",
        "AttemptFinished parse#1",
        "SubtaskLanded parse#1",
        "AttemptStarted render#1",
        "AttemptFinished render#1",
        "SubtaskLanded render#1",
        "RunEnded",
    ]
    assert world.journal.written[0] == AttemptStarted(
        attempt=attempt("parse#1"), model=ModelAlias("cheap"), reasons=("entry rung",), at=world.clock.now()
    )


async def test_the_next_attempt_is_told_what_went_wrong_and_what_dependencies_left(world: World):
    def outcome_of(assignment: Assignment) -> Outcome:
        if str(assignment.attempt) == "render#1":
            return rejected("2 tests fail")
        return passed(files_changed=("a.py",))

    world.outcome_of = outcome_of
    ending = await world.runner(CHAIN, limits=ONCE).run([])
    assert ending.exit_code == 0
    told = world.assignments[2]
    assert str(told.attempt) == "render#2"
    assert told.route is not None and told.route.model == "smart"
    assert [feedback.text for feedback in told.feedback] == ["feedback: 2 tests fail"]
    assert [(result.subtask, result.files_changed) for result in told.dependencies] == [("parse", ("a.py",))]


async def test_a_conflict_is_another_attempt_with_what_moved(world: World):
    world.conflicts = ["parse#1"]
    assert (await world.runner(CHAIN).run([])).exit_code == 0
    assert [str(a.attempt) for a in world.assignments] == ["parse#1", "parse#2", "render#1"]
    assert world.assignments[1].feedback[0].text == "moved"


async def test_failed_subtasks_give_exit_code_1(world: World):
    world.outcome_of = lambda assignment: rejected()
    runner = world.runner(CHAIN, limits=ONCE)
    assert await runner.run([]) == Ending(state=RunState.DONE, exit_code=1)
    assert states(runner) == {"parse": "failed", "render": "blocked"}


@pytest.mark.parametrize(
    ("refusal", "code", "waiting_for"),
    [
        (Refusal(message="too dear", reasons=(), would_do=Usd.of("0.5")), 3, WaitingFor.BUDGET),
        (Refusal(message="no key", reasons=(), no_model=True), 4, WaitingFor.MODEL),
    ],
)
async def test_a_refused_route_pauses_the_run_with_its_own_exit_code(
    world: World, refusal, code, waiting_for
):
    world.refuse = {ModelAlias("cheap"): refusal}
    ending = await world.runner(CHAIN).run([])
    assert (ending.state, ending.exit_code, ending.waiting_for) == (RunState.PAUSED, code, waiting_for)
    assert refusal.message in ending.reason
    world.refuse = {}
    assert (await world.again(CHAIN).run([RunResumed(budget=Usd.of(1))])).exit_code == 0


async def test_finished_work_is_adopted_after_a_crash_and_the_rest_delivered_again(world: World):
    two = plan(subtask("one", seconds=20), subtask("two"), subtask("three", after="one two"))
    arrived = world.hold("two#1")
    running = asyncio.create_task(world.runner(two).run([]))
    await arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # As if the process had been killed after the result file was written and before it was journalled.
    world.journal.written = [
        event
        for event in world.journal.written
        if isinstance(event, AttemptStarted) and event.attempt.subtask != "three"
    ]
    world.gates.clear()
    before = len(world.assignments)
    runner = world.again(two)
    assert (await runner.run([RunResumed()])).exit_code == 0
    assert [str(a.attempt) for a in world.assignments[before:]] == ["two#1", "three#1"]
    redelivered = [event for event in world.journal.written if isinstance(event, Noted)]
    assert [(note.code, note.subtask) for note in redelivered] == [("redelivered", "two")]


async def test_a_landing_that_was_cut_off_is_repeated(world: World):
    await world.runner(CHAIN).run([])
    world.journal.written = world.journal.written[:2]
    world.landings.clear()
    assert (await world.again(CHAIN).run([RunResumed()])).exit_code == 0
    assert [str(name) for name in world.landings] == ["parse#1", "render#1"]


async def test_replaying_the_journal_of_a_run_gives_its_states(world: World):
    world.outcome_of = lambda assignment: rejected() if assignment.attempt.number == 1 else passed()
    runner = world.runner(CHAIN)
    await runner.run([])
    again = world.again(CHAIN)
    assert again.dispatch.states() == runner.dispatch.states()
    assert again.dispatch.run_state is RunState.DONE


async def test_an_interruption_cuts_off_what_runs_and_leaves_the_run_resumable(world: World):
    arrived = world.hold("parse#1")
    runner = world.runner(CHAIN)
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    runner.interrupt("interrupted by SIGINT", 130)
    assert await running == Ending(
        state=RunState.PAUSED,
        exit_code=130,
        waiting_for=WaitingFor.USER,
        reason="interrupted by SIGINT",
    )
    assert world.cut_off == ["parse#1"]
    assert world.journal.kinds() == ["AttemptStarted parse#1", "RunPaused"]
    world.gates.clear()
    assert (await world.again(CHAIN).run([RunResumed()])).exit_code == 0
    assert [str(a.attempt) for a in world.assignments] == ["parse#1", "parse#1", "render#1"]


async def test_requests_of_other_processes_are_taken_in_while_the_run_goes_on(world: World):
    arrived = world.hold("parse#1")
    runner = world.runner(CHAIN)
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    world.journal.written.append(SkipRequested(subtask=SubtaskId("render")))
    world.journal.written.append(RetryRequested(subtask=SubtaskId("parse"), note="use re"))
    world.gates.clear()
    ending = await running
    assert (ending.state, ending.exit_code) == (RunState.DONE, 0)
    assert states(runner) == {"parse": "succeeded", "render": "skipped"}
    assert [feedback.text for feedback in world.assignments[-1].feedback] == ["use re"]
    assert world.again(CHAIN).dispatch.states() == runner.dispatch.states()


async def test_a_request_that_lands_between_two_events_is_taken_in_at_its_place(world: World):
    world.journal.between = {AttemptStarted: SkipRequested(subtask=SubtaskId("parse"))}
    runner = world.runner(CHAIN)
    await runner.run([])
    assert states(runner) == {"parse": "skipped", "render": "blocked"}
    assert world.again(CHAIN).dispatch.states() == runner.dispatch.states()


async def test_cancelling_the_run_from_elsewhere_ends_it(world: World):
    arrived = world.hold("parse#1")
    runner = world.runner(CHAIN)
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    world.journal.written.append(CancelRequested())
    assert await running == Ending(state=RunState.CANCELLED, exit_code=1)
    assert world.cut_off == ["parse#1"]
    assert isinstance(world.journal.written[-1], RunEnded)


async def test_the_time_limit_lets_what_runs_end_and_pauses(world: World):
    arrived = world.hold("parse#1")
    paused = asyncio.Event()
    runner = world.runner(
        CHAIN,
        max_seconds=60.0,
        watch=lambda event: paused.set() if isinstance(event, PauseRequested) else None,
    )
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    world.clock.seconds = 61.0
    await paused.wait()
    world.gates["parse#1"].set()
    ending = await running
    assert (ending.state, ending.reason) == (RunState.PAUSED, "the time limit of 60 s is reached")
    assert states(runner) == {"parse": "succeeded", "render": "waiting"}


async def test_what_a_sleeping_machine_lost_is_the_same_attempt_delivered_again(world: World):
    lost = [Outcome(ended=Ended.NO_MODEL, reason="connection reset"), passed(), passed()]
    world.outcome_of = lambda assignment: lost.pop(0)
    world.keep_outcomes = False
    arrived = world.hold("parse#1")
    runner = world.runner(CHAIN)
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    world.clock.asleep = 3600.0
    await world.clock.looked_at_after_sleep.wait()
    world.gates["parse#1"].set()
    assert (await running).exit_code == 0
    assert [str(a.attempt) for a in world.assignments] == ["parse#1", "parse#1", "render#1"]
    assert "AttemptFinished parse#1" in world.journal.kinds()
    assert any(isinstance(event, Noted) and event.code == "redelivered" for event in world.journal.written)


async def test_a_new_plan_is_asked_for_once_when_something_failed(world: World):
    world.outcome_of = lambda a: passed() if a.attempt.subtask == "other" else rejected()
    asked: list[str] = []

    async def replan(dispatch: Dispatch) -> PlanReplaced:
        asked.append("yes")
        return PlanReplaced(plan=plan(subtask("other")), reason="parse failed")

    runner = world.runner(plan(subtask("parse")), limits=ONCE, replan=replan)
    await runner.run([])
    assert asked == ["yes"]
    assert states(runner) == {"other": "succeeded", "parse": "failed"}


async def test_money_that_runs_short_is_journalled_when_it_changes(world: World):
    left = [Usd(10**9), Usd(1), Usd(1), Usd(10**9), Usd(10**9), Usd(10**9)]

    async def money_left() -> Usd:
        return left.pop(0)

    await world.runner(CHAIN, money_left=money_left).run([])
    # Before what came of an attempt is handled, for then an escalation may be decided on.
    kinds = world.journal.kinds()
    assert [kinds[place + 1] for place, kind in enumerate(kinds) if kind == "FundsAssessed"] == [
        "SubtaskLanded parse#1",
        "SubtaskLanded render#1",
    ]


async def test_a_mistake_of_ours_in_one_attempt_fails_that_attempt_and_keeps_the_traceback(world: World):
    def outcome_of(assignment: Assignment) -> Outcome:
        raise KeyError("oops")

    world.outcome_of = outcome_of
    ending = await world.runner(plan(subtask("parse")), limits=Limits(max_attempts=1)).run([])
    assert ending.exit_code == 1
    (finished,) = [event for event in world.journal.written if isinstance(event, AttemptFinished)]
    assert finished.outcome.reason.startswith("internal error: KeyError: 'oops'; the traceback is in ")
    assert "KeyError" in (world.state / "logs" / "parse#1" / "traceback.txt").read_text()


async def test_what_breaks_the_program_stops_the_run_with_its_own_message(world: World):
    def outcome_of(assignment: Assignment) -> Outcome:
        raise OrchestratorError("disk full: state.db could not be written")

    world.outcome_of = outcome_of
    with pytest.raises(OrchestratorError, match="disk full"):
        await world.runner(CHAIN).run([])
    assert not any(isinstance(event, RunPaused | RunEnded) for event in world.journal.written)


async def test_a_reader_that_has_gone_interrupts_the_run(world: World):
    def watch(event: Event) -> None:
        if isinstance(event, SubtaskLanded):
            raise BrokenPipeError

    ending = await world.runner(CHAIN, watch=watch).run([])
    assert (ending.state, ending.exit_code) == (RunState.PAUSED, 141)
    assert (await world.again(CHAIN).run([RunResumed()])).exit_code == 0


async def test_the_watcher_sees_every_event_after_it_counts(world: World):
    seen: list[str] = []
    runner = world.runner(CHAIN, watch=lambda event: seen.append(type(event).__name__))
    await runner.run([])
    assert seen == [type(event).__name__ for event in world.journal.written]
