"""Compiled plans and their documents, beside what the corpus of replies shows."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.domain import DecidedBy, Provenance
from orchestrator.core.planning import (
    InvalidPlan,
    closure,
    compile_plan,
    critical_path,
    dependents_of,
    plan_digest,
    plan_from_json,
    plan_to_json,
    topological_order,
    unchecked,
    with_finished,
)
from tests.core.planning_builders import draft, planned, standard


def test_a_cheap_subtask_with_a_large_answer_becomes_smart_and_says_why():
    large = draft(
        "a", estimate={"input_tokens": [1, 2, 3], "output_tokens": [900, 3000, 5000], "seconds": [1, 2, 3]}
    )
    (subtask,) = planned(large).subtasks
    assert (subtask.tag.tier, subtask.tag.rule) == ("smart", "cheap/bug-fixes")
    assert "3,000 tokens is above the 1,000 of cheap" in subtask.tag.reason


def test_an_import_without_any_signal_word_is_cheap_by_nobodys_choice():
    (subtask,) = planned({"id": "a", "title": "T001", "touches": None}, planner="spec-kit").subtasks
    assert (subtask.tag.tier, subtask.tag.rule, subtask.tag.decided_by) == ("cheap", "", DecidedBy.STANDARD)
    assert unchecked(planned({"id": "a", "title": "T001"}, planner="spec-kit")) == ("a",)


def test_drafts_without_an_author_to_ask_get_the_missing_order_along_the_list():
    plan = planned(
        draft("b", touches=["x.py"]), draft("a", touches=["x.py"]), draft("c", "a", touches=["y.py"])
    )
    assert {subtask.id: subtask.depends_on for subtask in plan.subtasks} == {
        "b": (),
        "a": ("b",),
        "c": ("a",),
    }
    assert "a waits for b: both change x.py" in plan.notes


def test_an_order_that_is_there_needs_no_edge():
    plan = planned(draft("a", touches=["x.py"]), draft("b", "a"), draft("c", "b", touches=["x.py"]))
    assert plan.subtasks[2].depends_on == ("b",)
    assert plan.notes == ()


def test_unknown_touches_overlap_nothing_because_they_run_alone():
    plan = planned(draft("a", touches=None), draft("b", touches=["x.py"]), planner="model")
    assert [subtask.depends_on for subtask in plan.subtasks] == [(), ()]


def test_evidence_for_lines_that_are_not_there_is_left_out_and_said():
    facts = [
        {"path": "src/a.py", "line": 9, "fact": "there"},
        {"path": "src/a.py", "line": 11, "fact": "beyond"},
        {"path": "src/b.py", "line": 1, "fact": "no such file"},
    ]
    plan = compile_plan(
        {"subtasks": [draft("a", evidence=facts)]},
        goal="g",
        standard=standard(),
        made_from=Provenance(planner="model", commit="c"),
        files={"src/a.py": 10},
    )
    assert [fact.fact for fact in plan.subtasks[0].evidence] == ["there"]
    assert "left out evidence that is not there: src/a.py:11" in plan.notes
    assert "left out evidence that is not there: src/b.py:1" in plan.notes


def test_what_lies_outside_the_scope_is_named():
    def within(*scope: str) -> None:
        compile_plan(
            {"subtasks": [draft("a", touches=["src/api/a.py", "tests/test_a.py"])]},
            goal="g",
            standard=standard(),
            made_from=Provenance(planner="model", commit="c"),
            scope=scope,
        )

    within("src", "tests/")
    within("src/**/*.py", "tests/*")
    within()
    with pytest.raises(
        InvalidPlan, match=r"subtask 'a': touches 'tests/test_a\.py', which is outside src/api"
    ):
        within("src/api")


def test_order_critical_path_closure_and_dependents():
    plan = planned(
        draft("d", "b", "c"),
        draft("a"),
        draft("b", "a", estimate={"input_tokens": 9, "output_tokens": 9, "seconds": [50, 60, 70]}),
        draft("c", "a"),
        draft("e"),
    )
    assert topological_order(plan) == ("a", "b", "c", "d", "e")
    assert critical_path(plan) == (("a", "b", "d"), 80.0)
    assert critical_path(plan, lambda subtask: 1.0)[1] == 3.0
    assert closure(plan, ["b"]) == ("a", "b")
    assert dependents_of(plan, ["b"]) == ("d", "b")
    with pytest.raises(KeyError):
        closure(plan, ["x"])


def test_a_plan_for_what_is_left_keeps_what_is_done_and_takes_no_old_id():
    old = planned(draft("a"), draft("b", "a"), draft("c", "b"))
    rest = planned(draft("b", touches=["src/a.py"]), draft("d", "b"))
    plan = with_finished(rest, [old.subtasks[0]], taken={"a", "b", "c"})
    assert {subtask.id: subtask.depends_on for subtask in plan.subtasks} == {
        "a": (),
        "b-2": ("a",),
        "d": ("b-2",),
    }


# --- documents ----------------------------------------------------------------------------------

names = st.from_regex(r"[a-z]{1,3}(-[a-z0-9]{1,3})?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60).filter(str.strip)


@st.composite
def plans(draw: st.DrawFn):
    ids = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    subtasks = [
        draft(
            name,
            *draw(st.lists(st.sampled_from(ids[:place]), max_size=2, unique=True) if place else st.just([])),
            title=draw(texts),
            instructions=draw(texts),
            notes=draw(st.lists(texts, max_size=2)),
            deliverable=draw(st.sampled_from(["edit", "document"])),
        )
        for place, name in enumerate(ids)
    ]
    return planned(
        *subtasks, goal=draw(texts), questions=[{"id": "q", "text": draw(texts), "default": draw(texts)}]
    )


@given(plans())
def test_a_document_is_read_back_as_the_same_plan_and_written_as_the_same_bytes(plan):
    document = plan_to_json(plan)
    again = plan_from_json(document.encode())
    assert again == plan
    assert plan_to_json(again) == document
    assert plan_digest(again) == plan_digest(plan)


def _document(**more: object) -> dict:
    return {**json.loads(plan_to_json(planned(draft("a"), draft("b", "a")))), **more}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("", "is not JSON"),
        ("[1]", "is a list, not an object"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "has no `schema: orchestrator.plan`"),
        (b"\xff\xfe{", "not UTF-8"),
        ('{"schema": "orchestrator.plan", "version": NaN}', "NaN is not a number"),
        (_document(version=2), "has version 2; this program reads version 1"),
        (_document(subtask=[]), "unknown key 'subtask', did you mean 'subtasks'?"),
        (_document(goal=""), "the goal is empty"),
        (_document(goal="x" * 70_000), "the goal has 70000 characters"),
        (_document(goal="a\ud800"), "lone surrogate"),
        (_document(made_from={"planner": "offline"}), "`made_from` has no 'commit'"),
        (
            _document(made_from={"planner": "offline", "commit": "c", "budget": "9"}),
            "`made_from` holds texts under",
        ),
        (_document(subtasks=[]), "is empty"),
        (_document(subtasks={}), "`subtasks` is an object, not a list"),
        (_document(notes="n"), "`notes` is not a list of texts"),
        (_document(subtasks=[{"id": "a"}, {"id": "a"}]), "id 'a' is used twice"),
        (_document(subtasks=[{"id": "A B"}]), "id 'A B' is not lower-case words joined by '-'"),
        (_document(subtasks=[{"id": "a", "budget": 5}]), "unknown key 'budget'"),
        (_document(subtasks=[{"id": "a", "depends_on": ["a"]}]), "cycle a -> a"),
    ],
)
def test_a_document_that_cannot_be_run_is_refused(document, problem: str):
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    with pytest.raises(InvalidPlan) as refused:
        plan_from_json(text)
    assert problem in str(refused.value)


def test_a_key_given_twice_is_found_in_a_document():
    text = plan_to_json(planned(draft("a"))).replace('"title":', '"title": "x", "title":')
    with pytest.raises(InvalidPlan, match="subtask 'a': key 'title' is given twice"):
        plan_from_json(text)


def test_the_users_edits_are_read_and_an_order_they_took_away_is_missed():
    text = plan_to_json(planned(draft("a", touches=["x.py"]), draft("b", "a", touches=["x.py"])))
    assert plan_from_json(text.replace('"Fix b"', '"Fix it well"')).subtasks[1].title == "Fix it well"
    with pytest.raises(InvalidPlan, match=re.escape("add 'a' to depends_on of 'b'")):
        plan_from_json(text.replace('"depends_on": ["a"],', ""))


def test_a_large_document_is_a_line_per_subtask_and_comes_back():
    plan = planned(*(draft(f"s-{number}") for number in range(2_001)))
    document = plan_to_json(plan)
    assert document.count("\n") < 2_001 + 20
    assert plan_from_json(document) == plan


def test_a_tangle_of_globs_is_refused_or_ordered_without_taking_for_ever():
    tangle = [draft(f"s-{number}", touches=[f"src/**/m{number}*"]) for number in range(400)]
    try:
        plan = planned(*tangle)
    except InvalidPlan as error:
        assert "too many to compare" in str(error) or "pairs of subtasks" in str(error)
    else:
        assert len(plan.subtasks) == 400
