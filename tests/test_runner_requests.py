"""What others ask for at awkward moments: while a landing is under way, a planner is asked, the end is journalled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import AttemptId, Ended, Outcome, RunState, SubtaskId
from orchestrator.core.events import (
    AttemptFinished,
    CancelRequested,
    LandingRefused,
    PlanReplaced,
    RetryRequested,
    RunEnded,
    SkipRequested,
    SubtaskLanded,
)
from orchestrator.core.ports import Assignment
from orchestrator.ending import Ending
from tests.core.runs import passed, plan, rejected, subtask
from tests.run_world import ONCE, World, states


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_cancelled_run_drops_the_landings_that_wait_and_cuts_off_the_one_under_way(world: World):
    arrived = world.hold("landing of a#1")
    runner = world.runner(plan(subtask("a"), subtask("b")))
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    world.journal.written.append(CancelRequested())
    assert await running == Ending(state=RunState.CANCELLED, exit_code=1)
    assert world.cut_off == ["landing of a#1"]
    assert [str(attempt) for attempt in world.landings] == ["a#1"]
    assert states(runner) == {"a": "cancelled", "b": "cancelled"}


async def test_a_landing_that_is_through_when_it_is_cut_off_counts(world: World):
    async def landed(attempt: AttemptId, outcome: Outcome) -> SubtaskLanded | None:
        return SubtaskLanded(attempt=attempt, commit="c1")

    arrived = world.hold("landing of a#1")
    runner = world.runner(plan(subtask("a"), subtask("b", after="a")), landed=landed)
    running = asyncio.create_task(runner.run([]))
    await arrived.wait()
    world.journal.written.append(SkipRequested(subtask=SubtaskId("a")))
    assert (await running).exit_code == 0
    assert states(runner) == {"a": "succeeded", "b": "succeeded"}


async def test_a_landing_that_is_cancelled_from_within_is_another_attempt(world: World):
    broken = True

    async def land(attempt: AttemptId, subtask: object, outcome: Outcome) -> SubtaskLanded | LandingRefused:
        nonlocal broken
        if broken:
            broken = False
            raise asyncio.CancelledError
        return SubtaskLanded(attempt=attempt, commit="c1")

    runner = world.runner(plan(subtask("a")), land=land)
    assert (await runner.run([])).exit_code == 0
    (refused,) = [event for event in world.journal.written if isinstance(event, LandingRefused)]
    assert refused.reason == "internal error: the landing was cancelled from within"


async def test_a_run_that_is_cancelled_while_it_is_planned_anew_is_cancelled(world: World):
    async def replan(dispatch: Dispatch) -> PlanReplaced:
        world.journal.written.append(CancelRequested())
        return PlanReplaced(plan=plan(subtask("a2")), reason="anew")

    world.outcome_of = lambda assignment: rejected()
    ending = await world.runner(plan(subtask("a")), limits=ONCE, replan=replan).run([])
    assert ending == Ending(state=RunState.CANCELLED, exit_code=1)
    assert [str(assignment.attempt) for assignment in world.assignments] == ["a#1", "a#2"]


async def test_an_interruption_does_not_wait_for_the_planner(world: World):
    asked = asyncio.Event()

    async def replan(dispatch: Dispatch) -> PlanReplaced | None:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")

    world.outcome_of = lambda assignment: rejected()
    runner = world.runner(plan(subtask("a")), limits=ONCE, replan=replan)
    running = asyncio.create_task(runner.run([]))
    await asked.wait()
    runner.interrupt("interrupted", 130)
    assert (await running).exit_code == 130
    assert not any(isinstance(event, RunEnded) for event in world.journal.written)


async def test_what_was_skipped_is_not_planned_anew(world: World):
    async def replan(dispatch: Dispatch) -> PlanReplaced | None:
        raise AssertionError("the planner was asked, and paid")

    world.journal.written.append(SkipRequested(subtask=SubtaskId("a")))
    runner = world.again(plan(subtask("a"), subtask("b", after="a"), subtask("c")), replan=replan)
    await runner.run([])
    assert states(runner) == {"a": "skipped", "b": "blocked", "c": "succeeded"}


@pytest.mark.parametrize("after", [False, True])
async def test_a_retry_at_the_very_end_is_still_done(world: World, after: bool):
    retry = RetryRequested(subtask=SubtaskId("a"))
    world.outcome_of = lambda assignment: passed() if assignment.attempt.number > 2 else rejected()
    if after:
        world.journal.behind[RunEnded] = retry
    else:
        world.journal.between[RunEnded] = retry
    runner = world.runner(plan(subtask("a")), limits=ONCE)
    assert await runner.run([]) == Ending(state=RunState.DONE, exit_code=0)
    assert states(runner) == {"a": "succeeded"}


async def test_an_attempt_that_is_cancelled_from_within_failed(world: World):
    def outcome_of(assignment: Assignment) -> Outcome:
        raise asyncio.CancelledError

    world.outcome_of = outcome_of
    ending = await world.runner(plan(subtask("a")), limits=ONCE).run([])
    assert ending.exit_code == 1
    outcomes = [event.outcome for event in world.journal.written if isinstance(event, AttemptFinished)]
    assert {(outcome.ended, outcome.reason) for outcome in outcomes} == {
        (Ended.ERROR, "internal error: cancelled from within")
    }


async def test_a_mistake_whose_traceback_cannot_be_kept_ends_the_run_with_the_reason(world: World):
    def outcome_of(assignment: Assignment) -> Outcome:
        raise KeyError("oops")

    world.outcome_of = outcome_of
    (world.state / "logs").write_text("a file where a directory belongs")
    with pytest.raises(OSError, match="logs"):
        await world.runner(plan(subtask("a"))).run([])
