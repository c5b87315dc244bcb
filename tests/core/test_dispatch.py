"""The run as a machine, event in, commands out: attempts and their rungs, what starts together, landing."""

from dataclasses import replace

import pytest

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    Deliverable,
    ExecutorName,
    Limits,
    ModelAlias,
    Policy,
    SubtaskId,
    Verdict,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.escalation import Escalation
from orchestrator.core.events import Block, Finish, Land, LandingRefused, Start
from orchestrator.core.money import Usd
from orchestrator.core.schedule import Lineup
from tests.core.runs import (
    CHAIN,
    CHEAP_MODEL,
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
    started,
    starts,
    states,
    subtask,
)


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
