from __future__ import annotations

import re

import pytest

from orchestrator.core.domain import DecidedBy, Plan
from orchestrator.core.planning import InvalidPlan
from orchestrator.core.planning_edits import Needed, checked, drop, drop_only, edit_list, read_edit_list
from tests.core.planning_builders import draft, planned


def chain() -> Plan:
    return planned(
        draft("a"),
        draft("b", "a"),
        draft("c", "b"),
        draft("d"),
        draft("fmt", executor="tool", tool="ruff-format"),
    )


def listed(plan: Plan) -> str:
    return edit_list(plan, lambda name: "$0.01")


def test_the_list_untouched_changes_nothing():
    plan = chain()
    text = listed(plan)
    assert re.search(r"^do    a +Fix a +cheap \$0\.01$", text, re.MULTILINE)
    assert "#   c needs b" in text
    edited = read_edit_list(plan, text)
    assert edited is not None
    assert edited.settled() == plan
    assert (edited.dropped, edited.orphans, edited.retagged) == ((), (), ())


def test_an_empty_list_means_that_nothing_was_decided():
    assert read_edit_list(chain(), "# only comments\n\n") is None


def test_dropping_names_what_needs_it_and_does_nothing_by_itself():
    plan = chain()
    edited = read_edit_list(plan, listed(plan).replace("do    b", "drop  b"))
    assert edited is not None
    assert (edited.dropped, edited.orphans) == (("b",), ("c",))
    with pytest.raises(Needed, match="subtask 'c': needs 'b': drop it too") as refused:
        edited.settled()
    assert refused.value.exit_code == 5


def test_dropping_with_dependents_and_without():
    plan = chain()
    assert [subtask.id for subtask in drop(plan, ["b"]).subtasks] == ["a", "d", "fmt"]
    kept = drop_only(plan, ["b"])
    assert {subtask.id: subtask.depends_on for subtask in kept.subtasks}["c"] == ("a",)
    assert checked(kept) == kept
    assert drop_only(plan, ["a", "b"]).subtasks[0].depends_on == ()
    with pytest.raises(InvalidPlan, match="nothing is left"):
        drop(plan, [subtask.id for subtask in plan.subtasks])


def test_a_deleted_line_is_a_dropped_subtask():
    plan = chain()
    text = "\n".join(line for line in listed(plan).split("\n") if not line.startswith("do    d"))
    edited = read_edit_list(plan, text)
    assert edited is not None
    assert [subtask.id for subtask in edited.settled().subtasks] == ["a", "b", "c", "fmt"]


def test_a_retag_is_the_users_and_a_tool_has_no_tier():
    plan = chain()
    text = (
        listed(plan)
        .replace("do    a", "smart a")
        .replace("do    fmt", "smart fmt")
        .replace("do    d", "ch    d")
    )
    edited = read_edit_list(plan, text)
    assert edited is not None
    assert edited.retagged == ("a",)
    tags = {subtask.id: subtask.tag for subtask in edited.settled().subtasks}
    assert (tags["a"].tier, tags["a"].rule, tags["a"].decided_by) == (
        "smart",
        "cheap/bug-fixes",
        DecidedBy.USER,
    )
    assert tags["a"].reason == "your choice; cheap/bug-fixes says cheap"
    assert tags["fmt"].decided_by is DecidedBy.PLANNER


def test_lines_may_be_reordered_within_what_they_need():
    plan = chain()
    edited = read_edit_list(plan, "do d\ndo a\ndo b\ndo fmt\ndo c\n")
    assert edited is not None
    assert [subtask.id for subtask in edited.settled().subtasks] == ["d", "a", "b", "fmt", "c"]
    with pytest.raises(InvalidPlan, match="subtask 'b': stands above 'a', which it needs"):
        read_edit_list(plan, "do b\ndo a\ndo c\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keep a", "line 1: 'keep' is not one of do, drop, cheap, smart"),
        ("d a", "'d' is not one of"),
        ("drpo a", "did you mean 'drop'?"),
        ("do", "names no subtask"),
        ("do aa", "'aa' is no subtask of this plan"),
        ("do a\ndo a", "line 2: 'a' stands in the list twice"),
        ("drop a\ndrop b\ndrop c\ndrop d\ndrop fmt", "every subtask is dropped"),
        ("do a\x1b[31m", "is no subtask"),
    ],
)
def test_a_list_with_faults_is_refused_with_their_lines(text: str, problem: str):
    with pytest.raises(InvalidPlan) as refused:
        read_edit_list(chain(), text)
    assert problem in str(refused.value)
