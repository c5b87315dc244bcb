"""Which subtasks of a list write tests ahead of their code, told from titles, groups and order."""

from __future__ import annotations

from orchestrator.core.domain import Plan, SubtaskId
from orchestrator.core.tests_first import Ahead, ahead_of_code, only_some
from orchestrator.core.verdicts import Evidence, Purpose, judge
from tests.core.planning_builders import draft, planned


def listed(*entries: tuple[str, str, str], planner: str = "import:agent-os") -> Plan:
    """Subtasks of one group: (id, title, what it needs)."""
    drafts = [draft(name, *needs.split(), title=title, group="Goodbye") for name, title, needs in entries]
    return planned(*drafts, planner=planner)


def test_the_last_that_writes_code_for_the_tests_must_make_them_pass():
    plan = listed(
        ("a", "Write tests for the goodbye function", ""),
        ("b", "Implement the function", "a"),
        ("c", "Implement the command", "b"),
    )
    first = (SubtaskId("a"),)
    assert ahead_of_code(plan) == {
        "a": Ahead(may_fail=True),
        "b": Ahead(of=first, may_fail=True),
        "c": Ahead(of=first),
    }


def test_of_two_beside_each_other_neither_must_make_all_tests_pass():
    plan = listed(("a", "Contract test for POST", ""), ("b", "Add the route", "a"), ("c", "Add a model", "a"))
    assert [entry.may_fail for entry in ahead_of_code(plan).values()] == [True, True, True]


def test_of_a_group_that_is_not_whole_nobody_is_the_last():
    entries = (("a", "Write tests", ""), ("b", "Implement it", "a"), ("c", "Implement the rest", "b"))
    whole = listed(*entries)
    assert [ahead_of_code(only_some(whole, ids)) for ids in ("a", "ab")] == [
        {"a": Ahead(may_fail=True)},
        {"a": Ahead(may_fail=True), "b": Ahead(of=(SubtaskId("a"),), may_fail=True)},
    ]
    assert not any(subtask.notes for subtask in only_some(whole, "abc").subtasks)


def test_tests_after_their_code_and_plans_of_no_list_are_as_ever():
    after = listed(("a", "Implement it", ""), ("b", "Write tests for it", "a"), ("c", "Document it", "b"))
    assert ahead_of_code(after) == {}
    entries = (("a", "Write tests", ""), ("b", "Implement it", "a"))
    assert ahead_of_code(listed(*entries)) != {}
    assert ahead_of_code(listed(*entries, planner="model")) == {}


def test_tests_that_await_their_code_are_said_and_reject_nothing():
    said = judge(Evidence(purpose=Purpose.TESTS, awaiting_code=("test_bye.py::test_it",)))
    assert "test_it fails, as it should before the code is written" in " ".join(said.evidence)
