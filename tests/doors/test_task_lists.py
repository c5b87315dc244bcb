"""Task lists from the command line: run as they are, ticked in the commit that does the work, and out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.plan import plan_for
from orchestrator.core.money import Usd
from orchestrator.task_plans import draw_tasks, keep_source, numbered, original_of
from orchestrator.wiring import Home
from tests.doors.task_project import SPEC, TASKS, Project

TESTS_OF_BYE = ["**/test_bye.*", "**/bye_test.*", "**/bye.test.*"]
NAME = f".agent-os/specs/{SPEC}/tasks.md"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_task_file_runs_and_its_boxes_are_ticked_by_the_commits_that_did_them(project: Project):
    said = project.run("run", NAME, "--yes", "--budget", "0.5", "--write-status", code=1)
    run = next(word for word in said.split() if word.count("-") == 2 and word[:8].isdigit()).strip(":,.")
    commits = project.git("log", "--format=%s", "--name-only", f"main..orchestrator/{run}").split("\n\n")
    assert len(project.git("log", "--format=%H", f"main..orchestrator/{run}").split()) == 2, commits
    done = TASKS.replace("[ ] 2", "[x] 2")
    assert project.git("show", f"orchestrator/{run}:{NAME}") == done
    first = project.git("log", "--reverse", "--format=%H", f"main..orchestrator/{run}").split()[0]
    assert project.git("show", f"{first}:{NAME}") == TASKS.replace("[ ] 2.1", "[x] 2.1")
    # The user asked for it: the file in the checkout says what failed, too.
    live = project.tasks.read_text()
    assert "Blocking issue" in live and "[x] 2.2" in live and "[ ] 3.1" in live
    project.git("checkout", "-q", "--", ".")
    project.run("accept", run)
    assert project.tasks.read_text() == done
    assert (project.root / "shout.py").exists()


def test_import_names_files_and_order_and_export_gives_the_file_back(project: Project):
    project.run("import", NAME, "--out", "plan.json")
    plan = json.loads((project.root / "plan.json").read_text())
    assert [subtask["id"] for subtask in plan["subtasks"]] == ["2-1", "2-2", "3-1"]
    assert plan["subtasks"][1]["source"] == f"{NAME}#2.2,2.3"
    project.run("export", "plan.json", "--out", "same.md")
    assert (project.root / "same.md").read_text() == TASKS
    project.run("export", "plan.json", "--out", "done.md", "--done", "2-1,2-2")
    assert (project.root / "done.md").read_text() == TASKS.replace("[ ] 2", "[x] 2")
    assert "exists" in project.run("export", "plan.json", "--out", "done.md", code=2)
    for format, name in (("task-master", "tasks.json"), ("spec-kit", "kit.md"), ("agent-os", "own.md")):
        project.run("export", "plan.json", "--format", format, "--out", name)
        project.run("import", name, "--out", f"{name}.plan")
        again = json.loads((project.root / f"{name}.plan").read_text())
        if format != "agent-os":
            edges = [[len(subtask.get("depends_on", ()))] for subtask in plan["subtasks"]]
            assert [[len(subtask.get("depends_on", ()))] for subtask in again["subtasks"]] == edges


def test_plan_takes_a_task_file_and_a_limit_and_says_what_is_wrong_with_others(project: Project):
    said = project.run("plan", NAME, "--limit", "1", "--json")
    assert said.count('"title"') >= 1 and "Shout it" not in said
    assert "--tag" in project.run("plan", NAME, "--tag", "x", code=2)
    project.tasks.write_text(TASKS.replace("[ ]", "[x]"))
    assert "nothing is open" in project.run("plan", NAME, code=None)


def test_only_takes_the_numbers_of_the_list(project: Project):
    plan = draw_tasks(Home(environ=project.environ, repository=project.root), project.tasks).plan
    assert numbered(plan, "2") == ("2-1", "2-2") and numbered(plan, "2.3") == ("2-2",)
    assert numbered(plan, "1") == numbered(plan, "22") == ()


def test_enriching_infers_files_checks_and_splits_for_a_price_and_leaves_nonsense_out(project: Project):
    answer = {
        "subtasks": [
            {
                "id": "2-1",
                "category": "cheap/unit-tests",
                "touches": ["bye.py", "../x", "test_bye.py"],
                "checks": [
                    {"kind": "tests", "targets": ["test_bye.py"]},
                    {"kind": "shell", "targets": ["rm"]},
                ],
            },
            {"id": "2-2", "category": "no/such", "split": [{"title": "First half"}, {"title": "Other half"}]},
            {"id": "9-9", "category": "cheap/unit-tests"},
        ]
    }
    project.script.write_text(json.dumps({"rules": [{"text": json.dumps(answer)}]}))
    said = project.run("import", NAME, "--out", "plan.json", "--enrich", "--budget", "0.20")
    assert "at most $0." in said and "left out: 9-9" in said and "inferred something for 2 tasks" in said
    subtasks = {
        entry["id"]: entry for entry in json.loads((project.root / "plan.json").read_text())["subtasks"]
    }
    assert list(subtasks) == ["2-1", "2-2-part-1", "2-2", "3-1"]
    assert subtasks["2-1"]["touches"] == ["bye.py", *TESTS_OF_BYE, "test_bye.py"]
    assert subtasks["2-1"]["checks"] == [{"kind": "tests", "targets": ["test_bye.py"]}]
    assert subtasks["2-1"]["category"] == "cheap/unit-tests"
    assert any("inferred by a model" in note for note in subtasks["2-1"]["notes"])
    assert subtasks["2-2"]["depends_on"] == ["2-2-part-1"] and subtasks["2-2"]["source"].endswith("#2.2,2.3")
    assert not subtasks["2-2-part-1"].get("source")
    project.run("export", "plan.json", "--out", "same.md")
    assert (project.root / "same.md").read_text() == TASKS
    refused = project.run("import", NAME, "--out", "b.json", "--enrich", "--budget", "0.0000001", code=3)
    assert "may cost up to" in refused and not (project.root / "b.json").exists()


def test_planning_a_list_asks_once_within_its_share_and_without_a_model_the_survey_matches_tests(
    project: Project, capsys: pytest.CaptureFixture[str]
):
    answer = {"subtasks": [{"id": "2-1", "touches": ["bye.py", "test_bye.py"]}]}
    project.script.write_text(json.dumps({"rules": [{"text": json.dumps(answer)}]}))
    project.tasks.write_text(TASKS.replace("Do what no model can do", "Greet louder in `greet.py`"))
    home = Home(environ=project.environ, repository=project.root, scripted=str(project.script))
    drawn = plan_for(home, str(project.tasks))
    assert "asking cheap about 2 tasks: at most $0." in capsys.readouterr().err
    assert any(note.startswith("touches inferred by a model: 2-1 (") for note in drawn.notes)
    assert drawn.making is not None and drawn.making.calls == 1 and drawn.making.bill
    first, _, last = drawn.plan.subtasks
    assert first.touches == ("bye.py", *TESTS_OF_BYE, "test_bye.py")
    # The one whose files the text names needed no model: its tests are known from what they import.
    assert last.checks[0].targets == ("test_greet.py",)
    keep_source(home, drawn.plan, str(project.tasks))
    assert original_of(home, drawn.plan) == project.tasks.read_bytes()
    offline = plan_for(home, str(project.tasks), offline=True)
    assert offline.making is None and any("matched by the survey: 3-1" in note for note in offline.notes)
    dear = plan_for(home, str(project.tasks), budget=Usd.of("0.000001"))
    assert any("asking about 2 tasks may cost up to" in note for note in dear.notes)
    assert "asking" not in capsys.readouterr().err


FIRST = """# Spec Tasks

## Tasks

- [ ] 1. Say goodbye
  - [ ] 1.1 Write tests for the goodbye function
  - [ ] 1.2 Implement the goodbye function
  - [ ] 1.3 Verify all tests pass
"""


FIRST_SCRIPT = """
rules:
  - when: {contains: "task 1.1 of"}
    text: |
      Tests alone.

      test_bye.py
      <<<<<<< SEARCH
      =======
      import unittest

      from bye import bye


      class Bye(unittest.TestCase):
          def test_it_names_the_person(self):
              self.assertEqual(bye("Ada"), "bye Ada")
      >>>>>>> REPLACE
  - when: {contains: "task 1.2 of"}
    text: |
      The code.

      bye.py
      <<<<<<< SEARCH
      =======
      def bye(name):
          return f"bye {name}"
      >>>>>>> REPLACE
"""


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_tests_written_first_land_while_they_fail_and_prove_the_code_that_makes_them_pass(
    project: Project, right: bool
):
    project.script.write_text(FIRST_SCRIPT if right else FIRST_SCRIPT.replace("bye {name}", "{name}"))
    project.tasks.write_text(FIRST)
    project.git("commit", "-q", "-am", "tests first")
    said = project.run("run", NAME, "--yes", "--budget", "0.5", code=0 if right else 1)
    assert "1-1#1: passed (unbroken)" in said and "1-1#1: landed" in said
    assert ("1-2#1: passed (proved)" in said) is right
    assert ("1-2#1: rejected" in said and "new test test_bye.Bye" in said) is not right
    run = next(word for word in said.split() if word.count("-") == 2 and word[:8].isdigit()).strip(":,.")
    ticked = FIRST.replace("[ ]", "[x]") if right else FIRST.replace("[ ] 1.1", "[x] 1.1")
    assert project.git("show", f"orchestrator/{run}:{NAME}") == ticked


KIT = """# Tasks: greetings

## Phase 1: Setup

- [ ] T001 [P] Write a goodbye in `bye.py` and `test_bye.py`
- [ ] T002 [P] Shout it in `shout.py` and `test_shout.py`
"""


@pytest.mark.slow
def test_two_that_run_beside_each_other_tick_neighbouring_lines_without_a_conflict(project: Project):
    kit = project.root / "specs" / "001" / "tasks.md"
    kit.parent.mkdir(parents=True)
    kit.write_text(KIT)
    project.git("add", ".")
    project.git("commit", "-q", "-m", "kit")
    project.script.write_text(
        project.script.read_text().replace("task 2.1 of", "T001 of").replace("task 2.2 of", "T002 of")
    )
    said = project.run("run", "specs/001/tasks.md", "--yes", "--budget", "0.5", "--parallel", "2")
    run = next(word for word in said.split() if word.count("-") == 2 and word[:8].isdigit()).strip(":,.")
    assert project.git("show", f"orchestrator/{run}:specs/001/tasks.md") == KIT.replace("[ ]", "[x]")
    ticks = project.git("log", "--format=%s", f"main..orchestrator/{run}", "--", "specs/001/tasks.md")
    assert len(ticks.splitlines()) == 2
