"""Plan files on disk: whole or not at all, never over something else; and when a plan no longer fits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.plan_files import (
    InvalidGoal,
    PlanCacheFiles,
    PlanFileFault,
    WouldOverwrite,
    checked_goal,
    is_plan_file,
    keep_reply,
    read_plan,
    stale,
    write_plan,
    write_text,
)
from orchestrator.core.domain import Provenance
from orchestrator.core.planning import InvalidPlan, plan_to_json
from tests.core.planning_builders import draft, planned


def test_a_plan_is_written_and_read_back(tmp_path: Path):
    plan = planned(draft("a"), draft("b", "a"))
    path = tmp_path / "plan.json"
    write_plan(path, plan)
    assert read_plan(path) == plan
    assert is_plan_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    # Writing the same again is no overwriting.
    write_plan(path, plan)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_something_else_is_not_overwritten_and_its_mode_stays_when_it_is(tmp_path: Path):
    path = tmp_path / "plan.json"
    path.write_text("mine")
    path.chmod(0o600)
    with pytest.raises(WouldOverwrite, match="--force"):
        write_plan(path, planned(draft("a")))
    assert path.read_text() == "mine"
    write_plan(path, planned(draft("a")), overwrite=True)
    assert is_plan_file(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_through_a_link_the_file_it_leads_to_is_written(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "plan.json").write_text("old")
    (tmp_path / "plan.json").symlink_to(tmp_path / "real" / "plan.json")
    write_text(tmp_path / "plan.json", "new", overwrite=True)
    assert (tmp_path / "plan.json").is_symlink()
    assert (tmp_path / "real" / "plan.json").read_text() == "new"


def test_what_cannot_be_written_is_told_in_a_line_and_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(PlanFileFault, match="No such file or directory"):
        write_text(tmp_path / "none" / "plan.json", "x")
    with pytest.raises(PlanFileFault, match="is a directory"):
        write_text(tmp_path, "x")
    with pytest.raises(PlanFileFault, match="cannot read"):
        read_plan(tmp_path)
    with pytest.raises(PlanFileFault, match="cannot read"):
        read_plan(tmp_path / "none.json")
    assert list(tmp_path.iterdir()) == []


def test_problems_of_a_file_carry_its_name(tmp_path: Path):
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(planned(draft("a"))).replace('"title": "Fix a"', '"title": ""'))
    with pytest.raises(InvalidPlan, match=r"plan\.json: subtask 'a': title is empty"):
        read_plan(path)


def test_only_what_a_plan_was_made_from_makes_it_stale():
    made_from = Provenance(planner="model", commit="c" * 40, standard="s", prices="p")
    plan = replace(planned(draft("a")), made_from=made_from)
    assert stale(plan, commit="c" * 40, standard="s", prices="p") == ()
    edited = replace(plan, subtasks=(replace(plan.subtasks[0], title="Other"),))
    assert stale(edited, commit="c" * 40, standard="s", prices="p") == ()
    reasons = stale(plan, commit="d" * 40, standard="t", prices="q")
    assert len(reasons) == 3
    assert "dddddddddddd" in reasons[0]
    assert stale(plan, commit=None, standard="s", prices="p") == ()
    # A plan written by hand says nothing of what it was made from.
    by_hand = replace(plan, made_from=Provenance(planner="hand", commit=""))
    assert stale(by_hand, commit="d" * 40, standard="t", prices="q") == ()


def test_the_cache_keeps_plans_and_loses_nothing_but_money_when_it_is_gone(tmp_path: Path):
    cache = PlanCacheFiles(tmp_path)
    assert cache.get("k") is None
    cache.put("k", "document")
    cache.put("k", "newer")
    assert cache.get("k") == "newer"
    (tmp_path / "plans" / "k.json").write_bytes(b"\xff")
    assert cache.get("k") is None


def test_a_reply_that_was_not_usable_is_kept_for_the_user_alone(tmp_path: Path):
    path = Path(keep_reply(tmp_path, "half \ud800 a plan"))
    assert path.read_bytes() == "half \ud800 a plan".encode("utf-8", "surrogatepass")
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("goal", ["", " \n", "x" * 70_000, "a\0b", "a\ud800"])
def test_a_goal_that_is_none_is_refused(goal: str):
    with pytest.raises(InvalidGoal):
        checked_goal(goal)
