from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.domain import (
    AttemptId,
    CheckResult,
    Ended,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    SubtaskId,
    Verdict,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.encoders import compact
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    PlanReplaced,
    RunPaused,
    RunStarted,
    SelectionChanged,
    from_record,
    from_text,
    to_record,
    to_text,
)
from orchestrator.core.money import Usage, Usd
from orchestrator.core.serial import Undecodable, decode, encode
from tests.core.runs import plan, subtask

attempts = st.builds(AttemptId, st.sampled_from([SubtaskId("parse"), SubtaskId("a-b")]), st.integers(1, 99))
dollars = st.builds(Usd, st.integers(-(10**12), 10**15))
texts = st.text(max_size=20)
outcomes = st.builds(
    Outcome,
    ended=st.sampled_from(Ended),
    verdict=st.none()
    | st.builds(
        Verdict,
        kind=st.sampled_from(VerdictKind),
        checks=st.tuples(
            st.builds(
                CheckResult,
                name=texts,
                command=st.tuples(texts),
                passed=st.none() | st.booleans(),
                exit_code=st.none() | st.integers(),
                seconds=st.floats(0, 100),
            )
        ),
    ),
    model=st.none() | st.just(ModelAlias("cheap")),
    bill=dollars,
    usage=st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
    seconds=st.floats(0, 1e6),
    reason=texts,
    files_changed=st.lists(texts, max_size=3).map(tuple),
    needs=st.none() | dollars,
)
A_PLAN = plan(subtask("parse", touches=("a.py",)), subtask("render", after="parse", touches=None))
events = st.one_of(
    st.builds(AttemptStarted, attempt=attempts, model=st.none() | st.just(ModelAlias("x")), at=texts),
    st.builds(AttemptFinished, attempt=attempts, outcome=outcomes),
    st.builds(RunPaused, waiting_for=st.sampled_from(WaitingFor), reason=texts),
    st.builds(SelectionChanged, only=st.none() | st.just((SubtaskId("parse"),))),
    st.just(PlanReplaced(plan=A_PLAN, reason="x")),
    st.builds(
        RunStarted,
        run=texts,
        plan=st.just(A_PLAN),
        repository=texts,
        base_commit=texts,
        branch=texts,
        limits=st.builds(Limits, per_model=st.sampled_from([{}, {ModelAlias("x"): 2}])),
        budget=st.none() | dollars,
        options=st.none() | st.just({"a": "b"}),
    ),
)


@given(events)
def test_what_the_journal_stores_reads_back_equal(event: Event):
    name, plain = to_record(event)
    assert from_record(name, json.loads(json.dumps(plain))) == event


@given(events)
def test_the_text_is_the_record(event: Event):
    name, plain = to_record(event)
    assert to_text(event) == (name, json.dumps(plain, separators=(",", ":")))
    assert from_text(*to_text(event)) == event


@given(events)
def test_the_full_form_reads_back_equal_too(event: Event):
    assert decode(type(event), json.loads(json.dumps(encode(event)))) == event


def test_a_large_plan_is_written_piece_by_piece_to_the_same_text():
    large = plan(*[subtask(f"s{number}", touches=None) for number in range(500)])
    for event in (PlanReplaced(plan=large, reason="x"), PlanReplaced(plan=A_PLAN, reason="x")):
        name, text = to_text(event)
        assert json.loads(text) == compact(event)
        assert from_record(name, json.loads(text)) == event
        assert from_text(name, text) == event


def test_a_plan_is_read_subtask_by_subtask_from_any_text_that_stands_for_it():
    goal = 'say {"subtasks":[] twice'
    for event in (
        RunStarted(
            run="r",
            plan=replace(A_PLAN, goal=goal),
            repository=goal,
            base_commit="",
            branch="",
            limits=Limits(),
        ),
        PlanReplaced(plan=replace(A_PLAN, subtasks=()), reason=goal),
    ):
        name, text = to_text(event)
        assert goal not in text
        for spaced in (
            text,
            json.dumps(json.loads(text), indent=1),
            text.replace('"subtasks":[', '"subtasks":[ '),
        ):
            assert from_text(name, spaced) == event


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("},{", "}{"), ValueError, "Expecting"),
        (('"subtasks":[', '"subtasks":[,'), ValueError, "Expecting"),
        (('"subtasks":[', '"subtasks":[7,'), Undecodable, r"subtasks\[0\]: expected an object, got int"),
        (('"title"', '"tilte"'), Undecodable, r"subtasks\[0\]: unknown key 'tilte'"),
        (('"subtasks"', '"sub"'), Undecodable, "plan: unknown key 'sub'"),
        (("]", ""), ValueError, "Expecting"),
    ],
)
def test_a_plan_that_is_not_as_it_was_written_is_refused_as_anything_else(
    change: tuple[str, str], error: type[Exception], said: str
):
    name, text = to_text(PlanReplaced(plan=A_PLAN, reason="x"))
    harmed = text.replace(*change)
    assert harmed != text
    with pytest.raises(error, match=said):
        from_text(name, harmed)


def test_what_is_read_is_as_frozen_as_what_was_written():
    event = from_record("AttemptFinished", {"attempt": "parse#1", "outcome": {"ended": "passed"}})
    assert event == AttemptFinished(
        attempt=AttemptId(SubtaskId("parse"), 1), outcome=Outcome(ended=Ended.PASSED)
    )
    assert hash(event) == hash(replace(event))
    with pytest.raises(FrozenInstanceError):
        event.at = "later"


def test_fields_at_their_default_take_no_room():
    assert compact(AttemptStarted(attempt=AttemptId(SubtaskId("parse"), 1), model=None)) == {
        "attempt": "parse#1",
        "model": None,
    }
    # True is not 1.
    assert compact(Limits(parallel=True)) == {"parallel": True}


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"attempt": "parse#1"}, "AttemptStarted needs 'model'"),
        ({"attempt": "parse", "model": None}, "attempt: 'parse' is not an attempt id like parse#1"),
        ({"attempt": "parse#1", "model": 3}, "model: expected str, got int"),
        ({"attempt": "parse#1", "model": None, "mdoel": 1}, "unknown key 'mdoel' in AttemptStarted"),
        ({"attempt": "parse#1", "model": None, "reasons": "x"}, "reasons: expected a list, got str"),
        ([], "AttemptStarted: expected an object, got list"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(plain: object, said: str):
    with pytest.raises(Undecodable, match=said):
        from_record("AttemptStarted", plain)


def test_a_plan_that_is_half_understood_is_refused():
    plain = encode(A_PLAN)
    plain["subtasks"][1]["estimate"]["seconds"]["high"] = 0
    with pytest.raises(Undecodable, match=r"subtasks\[1\].estimate.seconds: not a range"):
        decode(Plan, plain)
