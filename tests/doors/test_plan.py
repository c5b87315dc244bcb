"""plan, plan check, plan edit and explain from the command line, without a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.adapters.state import database, state_directory
from orchestrator.core.calibration import ENOUGH
from orchestrator.core.domain import AttemptId, Ended, Limits, ModelAlias, Outcome, RunId, SubtaskId
from orchestrator.core.events import AttemptFinished, AttemptStarted, BaselineMeasured, Event, RunStarted
from orchestrator.core.money import Usage, Usd
from orchestrator.wiring import open_home
from tests.core.planning_builders import draft, planned
from tests.doors.plan_repository import git, make_repository, save_plan

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def repository(working_directory: Path) -> Path:
    return make_repository(working_directory)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def say(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return say


def test_a_goal_without_a_key_is_planned_from_the_survey_and_says_so(repository: Path, said: Said):
    code, out, err = said("plan", "Improve this application", "--out", "plan.json")
    assert code == 0, err
    assert (
        "planned without a model, from the survey alone: model 'smart' has no key: set OPENROUTER_API_KEY"
        in err
    )
    assert "made by the offline planner" in out
    assert "src/load.py" in Path("plan.json").read_text()
    assert "saved: plan.json" in err
    assert said("plan", "check", "plan.json")[0] == 0
    # Nothing of it needed the ledger.
    assert not database(state_directory()).exists()


def test_a_goal_the_survey_cannot_answer_says_how_to_configure_a_model(repository: Path, said: Said):
    code, _, err = said("plan", "Design a billing service", "--offline")
    assert code == 4
    assert "set OPENROUTER_API_KEY" in err


def test_a_saved_plan_is_shown_the_same_every_time_without_network_and_ledger(
    repository: Path, said: Said, monkeypatch: pytest.MonkeyPatch
):
    save_plan(Path("plan.json"))

    def refuse(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    texts = {said("plan", "plan.json")[1] for _ in range(2)}
    documents = {said("plan", "plan.json", "--json")[1] for _ in range(2)}
    assert len(texts) == len(documents) == 1
    assert not database(state_directory()).exists()
    document = json.loads(documents.pop())
    assert [row["id"] for row in document["forecast"]["subtasks"]] == ["a", "b", "c", "d"]
    assert document["plan"] == json.loads(Path("plan.json").read_text())
    text = texts.pop()
    assert "total: likely $" in text
    assert "longest chain: a -> b -> c" in text
    # Foreign text cannot act on the terminal.
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert "[bold]" in text


def test_markdown_and_page_are_written_from_a_saved_plan(repository: Path, said: Said):
    save_plan(Path("plan.json"))
    code, _, err = said("plan", "plan.json", "--md", "plan.md", "--html", "plan.html")
    assert code == 0, err
    assert "mermaid" in Path("plan.md").read_text()
    assert "<svg" in Path("plan.html").read_text()
    # Without a budget of its own the run would have the configured one.
    assert re.search(
        r"Budget \$5\.00 configured for a day: less than 1 % of it likely used, ", Path("plan.md").read_text()
    )
    assert "of $5.00 configured for a day" in Path("plan.html").read_text()


def test_the_written_plans_hold_the_budget_and_what_speaks_against_running_them(repository: Path, said: Said):
    save_plan(Path("plan.json"))
    code, _, err = said(
        "plan", "plan.json", "--budget", "0.001", "--md", "plan.md", "--html", "plan.html", "--yes"
    )
    assert code == 0, err
    sheet, page = Path("plan.md").read_text(), Path("plan.html").read_text()
    assert re.search(r"Budget \$0\.001: \d+ % of it likely used, \d+ % at the high end\.", sheet)
    for written in (sheet, page):
        assert "it will pause there" in written
    assert "warning: the plan likely costs" in err


def test_a_saved_plan_is_also_read_outside_a_repository_and_a_goal_is_not(
    working_directory: Path, said: Said
):
    save_plan(Path("plan.json"))
    assert said("plan", "plan.json")[0] == 0
    code, _, err = said("plan", "Improve this application")
    assert (code, "is not in a git repository" in err) == (2, True)


def test_a_plan_for_a_part_touches_that_part_alone(repository: Path, said: Said):
    code, out, err = said("plan", "Improve this application", "--offline", "--path", "src", "--json")
    assert code == 0, err
    for item in json.loads(out)["plan"]["subtasks"]:
        assert all(path.startswith(("src/", "tests/")) for path in item["touches"])
    code, _, err = said("plan", "Improve this application", "--offline", "--path", "docs")
    assert (code, "no file at" in err) == (2, True)


def test_a_plan_made_from_another_commit_says_so_and_the_users_edit_is_not_stale(
    repository: Path, said: Said
):
    assert said("plan", "Improve this application", "--offline", "--out", "plan.json")[0] == 0
    text = Path("plan.json").read_text()
    Path("plan.json").write_text(text.replace('"title": "', '"title": "Now: ', 1))
    _, out, err = said("plan", "plan.json")
    assert "Now: " in out
    assert "warning" not in err
    git(repository, "commit", "--allow-empty", "-q", "-m", "more")
    _, _, err = said("plan", "plan.json")
    assert "warning: the repository is at" in err
    Path(".agent-os/standards").mkdir(parents=True)
    rules = "## Cheap Model Tasks (< 500 tokens):\n- Bug fixes: fix\n\n## Smart Model Tasks (> 500 tokens):\n- Design\n"
    Path(".agent-os/standards/prompt-optimization.md").write_text(rules)
    _, _, err = said("plan", "plan.json")
    assert "the standard changed since" in err


def _finish_attempts(repository: Path, count: int) -> None:
    """A run in the journal whose attempts took twice what was likely, with a suite of 40 seconds."""
    plan = planned(draft("a"))
    started = RunStarted(
        run="20260101-000000-abcd",
        plan=plan,
        repository=str(repository),
        base_commit="0",
        branch="b",
        limits=Limits(),
        tier_models={"cheap": ModelAlias("cheap"), "smart": ModelAlias("smart")},
    )
    events: list[Event] = [started, BaselineMeasured(passed=True, seconds=40.0)]
    likely = plan.subtasks[0].estimate
    for number in range(1, count + 1):
        attempt = AttemptId(SubtaskId("a"), number)
        outcome = Outcome(
            ended=Ended.PASSED,
            model=ModelAlias("cheap"),
            usage=Usage(
                input_tokens=2 * likely.input_tokens.likely, output_tokens=2 * likely.output_tokens.likely
            ),
            calls=1,
            seconds=2 * (likely.seconds.likely + 40),
            bill=Usd.of("0.01"),
        )
        events.append(AttemptStarted(attempt=attempt, model=ModelAlias("cheap")))
        events.append(AttemptFinished(attempt=attempt, outcome=outcome))
    home = open_home()
    with home.store as store:
        asyncio.run(store.append(RunId(started.run), events))


def test_what_attempts_came_to_is_set_beside_the_forecast_and_feeds_it(repository: Path, said: Said):
    save_plan(Path("plan.json"))
    before = json.loads(said("plan", "Improve this application", "--offline", "--json")[1])
    _finish_attempts(repository, ENOUGH)
    after = json.loads(said("plan", "Improve this application", "--offline", "--json")[1])
    assert before["plan"]["suite"]["basis"].startswith("assumed until a run measures it")
    assert after["plan"]["suite"] == {"seconds": 40.0, "basis": "measured before an earlier run here"}
    assert "1 cell from your own runs counted instead" in after["forecast"]["priors"]
    assert "1 cell from your own runs counted instead" not in before["forecast"]["priors"]
    table = json.loads(said("budget", "history", "--calibration", "--json")[1])
    [row] = table["rows"]
    seconds = row[table["columns"].index("seconds predicted") :][:2]
    assert int(seconds[1]) == 2 * int(seconds[0]) > 80
    assert row[:3] == ["cheap", "cheap/bug-fixes", str(ENOUGH)]
    assert len(set(table["columns"])) == len(table["columns"])
    # No key is set here; prices are.
    assert row[table["columns"].index("dollars predicted")].startswith("$")
    assert "pass predicted,pass actual,output" in said("budget", "history", "--calibration", "--csv")[1]
    assert "pass predicted  actual  output" in said("budget", "history", "--calibration")[1]
    # The dry run of a saved plan stays what it was.
    priors = json.loads(said("plan", "plan.json", "--json")[1])["forecast"]["priors"]
    assert not [line for line in priors if "your own runs" in line]


def test_a_plan_above_max_cost_is_shown_and_ends_with_3(repository: Path, said: Said):
    save_plan(Path("plan.json"))
    code, out, err = said("plan", "plan.json", "--max-cost", "0.001")
    assert code == 3
    assert "total: likely" in out
    assert "above --max-cost $0.001" in err
    assert said("plan", "plan.json", "--max-cost", "5")[0] == 0


def test_an_answer_is_noted_and_an_unknown_question_is_named(repository: Path, said: Said):
    save_plan(Path("plan.json"))
    _, out, _ = said("plan", "plan.json", "--answer", "db=sqlite")
    assert re.search(r"answer: sqlite$", out, re.MULTILINE)
    code, _, err = said("plan", "plan.json", "--answer", "dbb=sqlite")
    assert (code, "asks no question 'dbb'" in err) == (2, True)
    # Another answer than the default needs the planner, and there is no key here.
    code, _, err = said("plan", "plan.json", "--answer", "db=postgres")
    assert (code, "OPENROUTER_API_KEY" in err) == (4, True)


def test_nothing_is_overwritten_unasked(repository: Path, said: Said):
    Path("plan.json").write_text("mine\n")
    code, _, err = said("plan", "Improve this application", "--offline", "--out", "plan.json")
    assert (code, Path("plan.json").read_text()) == (2, "mine\n")
    assert "plan.json exists: name another file, or add --force" in err
    assert said("plan", "Improve this application", "--offline", "--out", "plan.json", "--force")[0] == 0
    assert said("plan", "check", "plan.json")[0] == 0


def test_a_plan_file_is_checked_with_every_problem_on_a_line(repository: Path, said: Said):
    text = save_plan(Path("plan.json"))
    Path("bad.json").write_text(text.replace('"depends_on": ["a"]', '"depends_on": ["c", "x"]'))
    code, out, err = said("plan", "check", "bad.json")
    assert code == 5
    assert out.splitlines() == [
        "bad.json: subtask 'b': depends on 'x', which is not in the plan",
        "bad.json: plan: cycle b -> c -> b",
    ]
    assert "2 problems" in err
    assert said("plan", "bad.json")[0] == 5
    code, out, _ = said("plan", "check", "plan.json")
    assert (code, "a plan of 4 subtasks, at most 3 in a row" in out) == (0, True)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 5),
        (b"\x00\x01\x02", 5),
        (b"\xff\xfe", 5),
        (b"[" * 200_000, 5),
        (b'{"schema": "orchestrator.plan"', 5),
    ],
)
def test_what_is_no_plan_is_refused_in_a_line(repository: Path, said: Said, data: bytes, code: int):
    Path("odd.json").write_bytes(data)
    found, out, _ = said("plan", "check", "odd.json")
    assert found == code
    assert out.startswith("odd.json: ")
    assert said("plan", "odd.json")[0] == code


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (b"", "the goal is empty"),
        (b" \n\t", "the goal is empty"),
        (b"Improve " * 1_500_000, "more than 262,144 bytes"),
        (b"a" * 70_000, "has 70,000 characters, at most 65,536"),
        (b"Improve\x00this", "holds a NUL character at 8"),
        (b"Improve \xff", "not UTF-8 text (byte 9)"),
        ("Improve \ud800".encode("utf-8", "surrogatepass"), "not UTF-8 text"),
    ],
)
def test_a_goal_that_is_none_is_refused_with_its_limit_named(
    repository: Path, said: Said, monkeypatch: pytest.MonkeyPatch, goal: bytes, words: str
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(goal)))
    code, out, err = said("plan", "-")
    assert (code, out) == (2, "")
    assert words in err
    assert not database(state_directory()).exists()
    Path("goal.txt").write_bytes(goal)
    assert said("plan", "goal.txt")[0] == 2


def test_a_goal_may_lie_in_a_text_file(repository: Path, said: Said):
    Path("goal.md").write_text("Improve this application\n")
    code, out, _ = said("plan", "goal.md", "--offline")
    assert (code, "Plan: Improve this application" in out) == (0, True)


def test_in_ci_a_model_needs_a_cap_of_its_own(repository: Path, said: Said, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    code, _, err = said("plan", "Improve this application")
    assert (code, "in CI planning with a model needs its own cap: add --budget USD" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("edit",), "`plan edit` needs a plan file"),
        (("check",), "`plan check` needs a plan file"),
        (("Improve", "this"), "put a goal of several words in quotes"),
        (("Improve this", "--revise", "x", "--offline"), "--revise changes a saved plan"),
        (("edit", "nowhere.json"), "cannot read nowhere.json"),
        (("plan.json", "--answer", "x"), "is no ID=ANSWER"),
        (("plan.json", "--max-cost", "much"), "'much' is no amount of dollars"),
    ],
)
def test_wrong_use_is_told_in_a_line(repository: Path, said: Said, arguments: tuple[str, ...], words: str):
    save_plan(Path("plan.json"))
    code, _, err = said("plan", *arguments)
    assert code == 2
    assert words in err


def _editor(path: Path, body: str) -> str:
    script = path / "editor.py"
    script.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\np = pathlib.Path(sys.argv[1])\nt = p.read_text()\n{body}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


@pytest.mark.parametrize(
    ("body", "code", "kept"),
    [
        ("p.write_text(t.replace('do    d', 'smart d').replace('do    c', 'drop  c'))", 0, ["a", "b", "d"]),
        ("p.write_text(t.replace('do    b', 'drop  b'))", 5, None),
        ("p.write_text(t.replace('do    b', 'frop  b'))", 5, None),
        ("p.write_text('')", 0, None),
        ("sys.exit(3)", 2, None),
    ],
)
def test_editing_writes_a_checked_plan_or_leaves_the_file_alone(
    repository: Path,
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    body: str,
    code: int,
    kept: list[str] | None,
):
    before = save_plan(Path("plan.json"))
    monkeypatch.setenv("EDITOR", _editor(tmp_path_factory.mktemp("editor"), body))
    found, _, err = said("plan", "edit", "plan.json")
    assert found == code, err
    after = Path("plan.json").read_text()
    if kept is None:
        assert after == before
    else:
        assert [item["id"] for item in json.loads(after)["subtasks"]] == kept
        assert json.loads(after)["subtasks"][2]["tag"]["decided_by"] == "user"
    assert [path.name for path in Path.cwd().glob("*plan.json*")] == ["plan.json"]


def test_explain_shows_the_rule_and_its_words(repository: Path, said: Said):
    save_plan(Path("plan.json"))
    code, out, _ = said("explain", "plan.json", "c")
    assert code == 0
    assert "tag: smart, decided by the planner" in out
    assert "rule: smart/architecture-design (" in out
    assert "needs: b" in out
    assert "checked by: tests tests/test_c.py" in out
    code, out, _ = said("explain", "plan.json", "3", "--json")
    assert json.loads(out)["subtask"]["id"] == "c"
    code, _, err = said("explain", "plan.json", "cc")
    assert (code, "no subtask 'cc'" in err) == (2, True)
