"""The main job, end to end, as a user drives it: real git, real checks, real HTTP to scripted models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.adapters.scripted import ScriptedProvider
from tests.doors.main_job import GOAL, SCRIPT, Scene, kill, small_plan


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def states(report: dict[str, object]) -> dict[str, str]:
    return {row["subtask"]["id"]: row["state"] for row in report["subtasks"]}  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_goal_becomes_commits_and_the_checkout_stays_as_it_was_until_accept(scene: Scene):
    (scene.repository / "notes.txt").write_text("untracked\n")
    (scene.repository / "README.md").write_text("changed, not committed\n")
    (scene.repository / "stockroom" / "pricing.py").write_text("stashed\n")
    scene.git("stash", "push", "-q", "stockroom/pricing.py")
    before = scene.fingerprint()
    done = scene.run("run", GOAL, "--budget", "0.50", "--yes", "--scripted", str(SCRIPT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert scene.fingerprint() == before
    assert "uncommitted changes are not part of the run" in done.stderr
    report = scene.report()
    assert set(states(report).values()) == {"succeeded"}
    retried = next(row for row in report["subtasks"] if row["subtask"]["id"] == "improve-error-handling")  # type: ignore[attr-defined]
    assert [attempt["model"] for attempt in retried["attempts"]] == ["cheap", "cheap", "smart"]
    branch = report["started"]["branch"]  # type: ignore[index]
    subjects = scene.git("log", "--format=%s", f"main..{branch}").splitlines()
    assert len(subjects) == 6
    assert len(scene.git("worktree", "list").splitlines()) == 1
    scene.git("checkout", "-q", "README.md")
    accepted = scene.run("accept")
    assert accepted.returncode == 0, accepted.stderr
    assert scene.git("rev-parse", "HEAD") == scene.git("rev-parse", branch)
    take_back = accepted.stdout.splitlines()[-1].removeprefix("take it back: git ").split()
    scene.git(*take_back)
    assert scene.git("rev-parse", "HEAD").strip() == before["refs/heads/main"]


def test_a_saved_plan_runs_and_the_report_names_the_script(scene: Scene):
    plan = small_plan(scene)
    before = scene.fingerprint()
    done = scene.run("run", str(plan), "--yes", "--scripted", str(SCRIPT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scripted" in done.stdout
    assert scene.fingerprint() == before
    assert set(states(scene.report()).values()) == {"succeeded"}
    # At real prices, and not the user's money.
    assert float(str(scene.report()["spent"])) > 0
    assert json.loads(scene.run("budget", "status", "--json").stdout)["left"] == "5"


@pytest.mark.slow
def test_a_budget_too_small_pauses_with_exit_code_3_and_resume_finishes(scene: Scene):
    plan = small_plan(scene)
    done = scene.run(
        "run", str(plan), "--yes", "--budget", "0.012", "--parallel", "1", "--scripted", str(SCRIPT)
    )
    assert done.returncode == 3, done.stdout + done.stderr
    report = scene.report()
    assert float(str(report["spent"])) + float(str(report["held"])) <= 0.012
    assert "waiting" in states(report).values()
    again = scene.run("resume", "--budget", "0.5", "--scripted", str(SCRIPT))
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(states(scene.report()).values()) == {"succeeded"}


@pytest.mark.slow
def test_five_cents_for_the_demo_pause_it_and_more_finishes_it(scene: Scene):
    done = scene.run("run", GOAL, "--yes", "--budget", "0.05", "--scripted", str(SCRIPT))
    assert done.returncode == 3, done.stdout + done.stderr
    # Planning by a model would take more than its share of that.
    assert "planned without a model" in done.stderr
    report = scene.report()
    assert float(str(report["spent"])) + float(str(report["held"])) <= 0.05
    again = scene.run("resume", "--budget", "0.5", "--scripted", str(SCRIPT))
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(states(scene.report()).values()) == {"succeeded"}


@pytest.mark.slow
def test_after_kill_9_resume_neither_repeats_nor_recharges_what_was_finished(scene: Scene):
    plan = small_plan(scene)
    script = scene.scratch / "held.yaml"
    replies = SCRIPT.parent
    script.write_text(
        json.dumps(
            {
                "rules": [
                    {
                        "name": "fix",
                        "when": {"contains": "Subtask: fix-pricing-bugs"},
                        "text_file": str(replies / "fix-pricing-bugs.md"),
                        "barrier": "fix",
                    },
                    {
                        "name": "tests",
                        "when": {"contains": "Subtask: add-movement-tests"},
                        "text_file": str(replies / "test-movements.md"),
                    },
                ]
            }
        )
    )
    with ScriptedProvider(script) as provider:
        process = scene.start("run", str(plan), "--yes", "--parallel", "1", "--scripted", provider.url)
        assert provider.wait_until_held("fix", timeout_seconds=60)
        kill(process)
        before = [call.rule for call in provider.calls]
        assert before == ["tests", "fix"]
        spent = {row["subtask"]["id"]: row["bill"] for row in scene.report()["subtasks"]}  # type: ignore[attr-defined]
        provider.release("fix", 100)
        again = scene.run("resume", "--scripted", provider.url)
        assert again.returncode == 0, again.stdout + again.stderr
        report = scene.report()
        assert set(states(report).values()) == {"succeeded"}
        landed_before = {name for name in spent if name != "fix-pricing-bugs"}
        after = {row["subtask"]["id"]: row["bill"] for row in report["subtasks"]}  # type: ignore[attr-defined]
        assert {name: after[name] for name in landed_before} == {name: spent[name] for name in landed_before}
        assert [call.rule for call in provider.calls] == ["tests", "fix", "fix"]
    assert len(scene.git("worktree", "list").splitlines()) == 1


def test_without_a_model_the_free_subtasks_are_done_and_the_rest_waits_with_exit_code_4(scene: Scene):
    plan = small_plan(scene)
    done = scene.run("run", str(plan), "--yes")
    assert done.returncode == 4, done.stdout + done.stderr
    assert states(scene.report()) == {
        "remove-unused-imports": "succeeded",
        "fix-pricing-bugs": "waiting",
        "add-movement-tests": "waiting",
    }
    assert "OPENROUTER_API_KEY" in done.stdout + done.stderr


def refused(scene: Scene, *arguments: str, code: int = 2, stdin: str | None = None) -> str:
    """Run a command that must be refused in few words; return what it said."""
    done = scene.run(*arguments, stdin=stdin)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    said = done.stderr.strip().splitlines()
    assert said, "a refusal says why"
    return "\n".join(said)


def test_bad_input_is_one_clear_line_and_costs_nothing(scene: Scene):
    run = ("run", "--yes", "--scripted", str(SCRIPT))
    assert "goal" in refused(scene, *run, "")
    assert "goal" in refused(scene, *run, "-", stdin="x" * 10_000_000)
    assert "there is no file tasks.md" in refused(scene, *run, "tasks.md")
    assert "no model 'smrt'" in refused(scene, *run, GOAL, "--model", "smrt")
    assert "amount of dollars" in refused(scene, *run, GOAL, "--budget", "lots")
    (scene.repository / "litellm_budget_config.yaml").write_text("general_settings: [\n")
    assert "litellm_budget_config.yaml:" in refused(scene, *run, GOAL)
    (scene.repository / "litellm_budget_config.yaml").unlink()
    assert json.loads(scene.run("budget", "history", "--json").stdout or "[]") in ([], {"entries": []})


def test_outside_a_repository_and_before_the_first_commit_the_line_says_what_to_do(
    scene: Scene, tmp_path: Path
):
    scene.repository = tmp_path / "elsewhere"
    scene.repository.mkdir()
    assert "not in a git repository" in refused(scene, "run", GOAL, "--yes", "--scripted", str(SCRIPT))
    scene.git("init", "-q")
    assert "no commit yet" in refused(scene, "run", GOAL, "--yes", "--scripted", str(SCRIPT))


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("I would start by reading the code.", "no JSON"),
        pytest.param(
            '```json\n{"subtasks": [{"id": "a", "title": "A", "instru', "cut off", marks=pytest.mark.slow
        ),
        pytest.param(
            json.dumps(
                {
                    "subtasks": [
                        {
                            "id": name,
                            "title": name,
                            "instructions": "Do it.",
                            "category": "cheap/bug-fixes",
                            "depends_on": [other],
                            "touches": [f"{name}.py"],
                            "checks": [{"kind": "tests", "targets": ["tests/test_cli.py"]}],
                        }
                        for name, other in (("a", "b"), ("b", "a"))
                    ]
                }
            ),
            "cycle",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["prose", "truncated", "cyclic"],
)
def test_a_planner_reply_that_is_no_plan_ends_with_exit_code_5_after_bounded_repairs(
    scene: Scene, reply: str, named: str
):
    script = json.dumps({"rules": [{"text": reply}]})
    with ScriptedProvider(script) as provider:
        done = scene.run("run", GOAL, "--yes", "--budget", "0.5", "--scripted", provider.url)
        assert done.returncode == 5, done.stdout + done.stderr
        assert named in done.stderr
        # Asked again at most twice, and not once more when it only says the same again.
        assert 1 <= len(provider.calls) <= 3
    assert scene.git("for-each-ref", "refs/heads/orchestrator") == ""


def test_in_ci_a_run_needs_its_own_cap(tmp_path: Path):
    scene = Scene(tmp_path, {"CI": "true"})
    assert "--budget" in refused(scene, "run", GOAL, "--yes", "--scripted", str(SCRIPT))


@pytest.mark.slow
def test_undo_takes_one_subtask_back_and_retry_does_it_again(scene: Scene):
    plan = small_plan(scene)
    assert scene.run("run", str(plan), "--yes", "--scripted", str(SCRIPT)).returncode == 0
    branch = scene.report()["started"]["branch"]  # type: ignore[index]
    assert "quantity >= minimum" in scene.git("show", f"{branch}:stockroom/pricing.py")
    undone = scene.run("undo", "fix-pricing-bugs", "--retry", "--note", "keep the tests short")
    assert undone.returncode == 0, undone.stderr
    assert "the rest passes its checks" in undone.stdout
    assert "quantity >= minimum" not in scene.git("show", f"{branch}:stockroom/pricing.py")
    assert states(scene.report())["fix-pricing-bugs"] == "waiting"
    again = scene.run("resume", "--scripted", str(SCRIPT))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "quantity >= minimum" in scene.git("show", f"{branch}:stockroom/pricing.py")
    assert scene.run("undo", "no-such-subtask").returncode == 2
