"""The corpus of planner replies: never a crash, never an invalid plan accepted, never a subtask nobody asked for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.domain import Plan, Provenance
from orchestrator.core.planning import InvalidPlan, compile_plan, plan_from_json, plan_to_json
from orchestrator.core.standards import Standard
from tests.core.planner_replies import BROKEN, ODD, WHOLE, Broken, Odd
from tests.core.planning_builders import standard

COMMANDS = ("test", "lint")


def compiled(reply: str, rules: Standard) -> Plan:
    return compile_plan(
        reply,
        goal="Improve this application",
        standard=rules,
        made_from=Provenance(planner="model", commit="c0ffee"),
        commands=COMMANDS,
    )


def test_the_corpus_is_as_large_as_promised():
    assert len(BROKEN) >= 60
    names = [case.name for case in (*BROKEN, *ODD)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_reply_is_refused_with_the_problem_named(case: Broken):
    with pytest.raises(InvalidPlan) as refused:
        compiled(case.reply, standard())
    told = str(refused.value)
    assert case.problem in told
    assert refused.value.exit_code == 5
    assert 1 <= len(refused.value.problems) <= 51
    # Whatever was in the reply, it is told in lines that people can read.
    assert len(told) < 20_000


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_an_odd_reply_is_read_as_it_was_meant(case: Odd):
    plan = compiled(case.reply, standard())
    assert tuple(subtask.id for subtask in plan.subtasks) == case.ids
    # What was accepted holds against the strict reader too.
    assert plan_from_json(plan_to_json(plan)) == plan


def test_several_problems_are_told_at_once():
    reply = json.dumps(
        {
            "subtasks": [
                {"id": "a", "title": "Fix", "depends_on": ["b", "missing"], "category": "nonsense"},
                {"id": "b", "title": "", "depends_on": ["a"], "touches": ["/etc"], "budget": 5},
            ]
        }
    )
    with pytest.raises(InvalidPlan) as refused:
        compiled(reply, standard())
    told = str(refused.value)
    for words in (
        "'missing'",
        "no rule 'nonsense'",
        "title is empty",
        "'/etc' is absolute",
        "'budget'",
        "a -> b -> a",
    ):
        assert words in told


@given(st.text(max_size=400))
def test_reading_never_crashes_on_any_text(text: str):
    with pytest.raises(InvalidPlan):
        compiled(text, standard())


@given(st.integers(0, len(WHOLE) - 1), st.sampled_from(list("{}[]\",:'\\/*#\n9-tN\0\ud800é")))
def test_one_wrong_character_never_crashes_and_never_invents_a_subtask(place: int, char: str):
    reply = WHOLE[:place] + char + WHOLE[place + 1 :]
    try:
        plan = compiled(reply, standard())
    except InvalidPlan:
        return
    assert len(plan.subtasks) == 1
    assert plan_from_json(plan_to_json(plan)) == plan


@given(st.integers(0, len(WHOLE) - 1))
def test_a_reply_cut_anywhere_is_never_taken_for_a_plan(place: int):
    with pytest.raises(InvalidPlan):
        compiled(WHOLE[:place], standard())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "id",
    "title",
    "instructions",
    "category",
    "deliverable",
    "depends_on",
    "touches",
    "checks",
    "estimate",
)


@given(
    st.dictionaries(
        st.sampled_from((*FIELDS, "evidence", "notes", "executor", "tool", "group")), json_values
    ),
    st.dictionaries(st.sampled_from(("questions", "notes")), json_values),
)
def test_any_types_in_any_field_are_refused_or_make_a_sound_plan(fields: dict, more: dict):
    good = json.loads(WHOLE)["subtasks"][0]
    draft = {"subtasks": [{**good, **fields}], **more}
    for planner in ("model", "offline"):
        try:
            plan = compile_plan(
                draft, goal="g", standard=standard(), made_from=Provenance(planner=planner, commit="c")
            )
        except InvalidPlan:
            continue
        assert plan_from_json(plan_to_json(plan)) == plan
