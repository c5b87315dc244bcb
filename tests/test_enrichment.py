"""What a cheap model is shown of a repository, and what of its answer is taken."""

from __future__ import annotations

from orchestrator.enrichment import apply, lacking, nearest
from tests.core.planning_builders import draft, planned, standard


def test_of_many_files_those_that_share_a_word_with_the_tasks_are_shown_first():
    paths = [f"a/module{number:03}.py" for number in range(500)] + ["z/greeting.py"]
    shown = nearest(paths, [{"id": "1", "title": "Change the greeting", "text": ""}])
    assert len(shown) == 400 and shown[-1] == "z/greeting.py" and shown == sorted(shown)
    assert nearest(paths[:3], []) == paths[:3]


def test_an_answer_is_held_to_the_rules_and_its_source_files_may_bring_tests():
    plan = planned(draft("1", touches=None, checks=[]), draft("2"))
    assert [subtask.id for subtask in lacking(plan)] == ["1"]
    answer = {
        "touches": ["src/bye.py", "/etc/passwd"],
        "checks": [{"kind": "tests", "targets": ["tests/test_bye.py"]}, {"kind": "shell", "targets": ["rm"]}],
    }
    enriched = apply(plan, {"1": answer}, standard=standard(), paths={"tests/test_bye.py"})
    better = enriched.plan.subtask(plan.subtasks[0].id)
    assert better.touches is not None and better.touches[:2] == ("src/bye.py", "**/test_bye.*")
    assert [check.targets for check in better.checks] == [("tests/test_bye.py",)]
    assert better.notes == ("touches, checks: inferred by a model",)
    assert enriched.changed == 1 and len(enriched.left_out) == 2
