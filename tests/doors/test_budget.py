"""`orchestrator budget` over a real store and real files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.adapters.holder import Holder
from orchestrator.adapters.journal import Store
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.adapters.state import config_directory, database, packaged, state_directory
from orchestrator.core.money import Usage
from orchestrator.wiring import SystemClock
from tests.adapters.store_building import RUN, attempt, budget, hold, usd

FILE = "litellm_budget_config.yaml"

pytestmark = pytest.mark.usefixtures("working_directory")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def command(*arguments: str, code: int = 0) -> str:
        found = cli.run(["budget", *arguments])
        printed = capsys.readouterr()
        assert found == code, printed.err
        return printed.err if code else printed.out

    return command


def store(**more) -> Store:
    return Store.open(database(state_directory()), clock=SystemClock(), rules=budget(), **more)


def spend_a_little() -> None:
    """Two settled calls, one of them above its hold, and two holds of a process that is gone."""

    async def calls() -> None:
        with store(holder=Holder(pid=4_000_000, started="1")) as opened:
            first = await opened.reserve(
                hold("0.5", run=RUN, attempt=attempt("parse"), what="=1+1, \x1b[31mred")
            )
            await opened.settle(first, bill=usd("0.25"), usage=Usage(input_tokens=900, output_tokens=80))
            second = await opened.reserve(hold("0.1", deployment="vendor/dear"))
            await opened.settle(second, bill=usd("0.2"))
            await opened.reserve(hold("1"))
            await opened.reserve(hold("0.75"))

    asyncio.run(calls())


def test_before_the_first_call_everything_is_left_and_looking_makes_no_file(run):
    assert "$5.00 of $5.00 left" in run()
    assert "$5.00 of $5.00 left" in run("status")
    assert run("history") == "no calls yet\n"
    assert run("reconcile") == "nothing to reconcile\n"
    assert json.loads(run("status", "--json"))["left"] == "5"
    assert not database(state_directory()).exists()


def test_status_shows_a_bar_what_is_spent_and_what_crashed_calls_hold(run):
    spend_a_little()
    text = run("status")
    assert "[##################......................] 44%" in text
    assert (
        "$0.45 spent, $0.00 held by open calls, $1.75 held by calls that a crash cut off; $2.80 of $5.00 left"
        in text
    )
    assert "hold 3 (ambiguous): $1.00 for attempt parse#1 on cheap" in text
    assert "stopped: vendor/dear: its bill of $0.20 was above the hold of $0.10" in text
    assert "alert at $2.50 (log): not reached" in text
    assert json.loads(run("status", "--json"))["totals"] == {
        "spent": "0.45",
        "held": "0",
        "ambiguous": "1.75",
    }


def test_the_history_comes_as_a_table_as_csv_and_as_json(run):
    spend_a_little()
    table = run("history")
    assert "settled" in table and "ambiguous" in table and "the bill is above its hold" in table
    assert "\x1b" not in table
    assert len(run("history", "--limit", "1").splitlines()) == 3
    rows = list(csv.DictReader(io.StringIO(run("history", "--csv"))))
    assert [row["charged"] for row in rows] == ["0.25", "0.20", "", ""]
    assert rows[0]["what"] == "'=1+1, \\x1b[31mred"
    assert (rows[0]["run"], rows[0]["attempt"], rows[0]["input_tokens"]) == (RUN, "parse#1", "900")
    entries = json.loads(run("history", "--run", RUN, "--json"))
    assert [(entry["state"], entry["bill"]) for entry in entries] == [("settled", "0.25")]
    assert run("history", "--since", "2999-01-01") == "no such calls\n"
    assert "is no day" in run("history", "--since", "yesterday", code=2)
    assert "choose one" in run("history", "--csv", "--json", code=2)
    assert run("history", "--calibration").startswith("model")


def test_the_history_of_a_run_takes_a_short_name_and_refuses_one_that_is_not_there(run):
    assert "no run '79b2' here" in run("history", "--run", "79b2", code=2)
    spend_a_little()
    assert run("history", "--run", RUN[-4:]) == run("history", "--run", RUN)
    assert "=1+1" in run("history", "--run", RUN[-4:])
    for form in ((), ("--json",), ("--csv",), ("--calibration",)):
        assert "no run '79b2' here" in run("history", "--run", "79b2", *form, code=2)
    assert run("history", "--run", RUN[-4:], "--since", "2999-01-01") == "no such calls\n"


def test_an_ambiguous_hold_is_settled_by_the_provider_s_bill_or_accepted_and_the_reason_is_kept(run):
    spend_a_little()
    assert "hold 4 (ambiguous)" in run("reconcile")
    assert run("reconcile", "3", "--bill", "0.10", "--reason", "invoice 7") == "hold 3 is charged $0.1\n"
    assert "already settled" in run("reconcile", "3", "--bill", "0", code=1)
    assert "say what the provider charged" in run("reconcile", "4", code=2)
    assert "leave --bill out" in run("reconcile", "4", "--accept", "--bill", "1", code=2)
    assert "is no amount" in run("reconcile", "4", "--bill", "-1", code=2)
    assert json.loads(run("reconcile", "--all", "--accept", "--json"))[0]["charged"] == "0.75"
    assert "reconciled: invoice 7" in run("history")
    assert "$3.70 of $5.00 left" in run("status")
    assert "there is no hold 99" in run("reconcile", "99", "--accept", code=1)


def test_a_stopped_model_is_allowed_again_by_name(run):
    spend_a_little()
    assert "'vendor/other' is not stopped" in run("reconcile", "--allow", "vendor/other", code=2)
    assert run("reconcile", "--allow", "vendor/dear") == "vendor/dear may be called again\n"
    assert "stopped" not in run("status")


def test_the_two_days_of_the_brief_come_out_to_the_cent(run):
    text = run("scenario")
    assert "35 x cheap for simple requests (1,000 tokens): 35 x $0.001 = $0.035" in text
    assert "15 x smart for complex requests (1,000 tokens): 15 x $0.015 = $0.225" in text
    assert "together $0.26" in text
    assert "40 x cheap for simple requests (1,500 tokens): 40 x $0.0015 = $0.06" in text
    assert "60 x smart for complex requests (1,500 tokens): 60 x $0.0225 = $1.35" in text
    assert "together $1.41" in text


def test_the_scenarios_show_their_arithmetic_and_take_other_mixes_and_prices(run):
    prices = ["--price", "smart=3/15", "--price", "cheap=0.1/0.4"]
    text = run("scenario", *prices)
    assert "10 x smart for the requests (3,000 tokens in, 1,000 out): 10 x $0.024 = $0.24" in text
    assert "1 x smart for the decomposition (4,000 tokens in, 1,500 out): 1 x $0.0345 = $0.0345" in text
    assert "10 x cheap for the execution (3,000 tokens in, 1,000 out): 10 x $0.0007 = $0.007" in text
    assert "together $0.0415, about $0.04" in text
    assert "split costs 17.3% of all-smart" in text
    (mix,) = json.loads(run("scenario", "mix", "--mix", "cheap=8,smart=2", *prices, "--json"))
    assert mix["total"] == "0.0536"
    (split,) = json.loads(run("scenario", "split", "--cheap-share", "80%", *prices, "--json"))
    assert [step["count"] for step in split["steps"]] == [1, 8, 2]
    # Configured prices need no key.
    assert "all-smart" in run("scenario")
    for wrong in (["nix"], ["mix"], ["--tokens", "1"], ["--cheap-share", "101%"], ["--price", "smart=free"]):
        assert run("scenario", *wrong, code=2).startswith("error: ")
    assert "no model 'smrt', did you mean 'smart'?" in run("scenario", "mix", "--mix", "smrt=1", code=2)


def test_the_presets_scale_alerts_and_bands(run):
    found = {row["preset"]: row for row in json.loads(run("presets", "--json"))}
    assert {name: row["max_budget"] for name, row in found.items()} == {
        "conservative": "2",
        "normal": "5",
        "power": "10",
        "team": "20",
    }
    assert found["normal"]["in_force"]
    assert found["team"]["alerts"] == ["10", "16", "19.2"]
    assert found["conservative"]["bands"] == ["> 0.8", "> 0.2", "< 0.2"]


def test_setting_the_budget_changes_the_few_values_and_keeps_comments_order_and_the_old_file(run):
    path = config_directory() / FILE
    run("set", "team")
    before, after = packaged("templates", FILE).read_text().splitlines(), path.read_text().splitlines()
    changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("max_budget: 5.00", "max_budget: 20.00"),
        ('- budget_remaining: "> 2.00"', '- budget_remaining: "> 8.00"'),
        ('- budget_remaining: "> 0.50"', '- budget_remaining: "> 2.00"'),
        ('- budget_remaining: "< 0.50"', '- budget_remaining: "< 2.00"'),
    ]
    assert "$20.00 of $20.00 left" in run("status")
    text = run("set", "7.50")
    assert path.with_name(f"{FILE}.1.bak").read_text().splitlines() == after
    assert f"{path}:100: max_budget: 20.00 -> 7.50" in text
    # What is set already is left alone.
    run("set", "7.50")
    assert not path.with_name(f"{FILE}.2.bak").exists()
    assert "no preset 'teem', did you mean 'team'?" in run("set", "teem", code=2)
    assert "is not above zero" in run("set", "0", code=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_list: []\n", "model_list: []\n\ngeneral_settings:\n  max_budget: 2.00\n"),
        (
            "general_settings:\n    timezone: UTC # mine\n",
            "general_settings:\n    max_budget: 2.00\n    timezone: UTC # mine\n",
        ),
        (
            "general_settings: {max_budget: '5', budget_alerts: [{threshold: 2.5}, {threshold: 80%}]} # x\n",
            "general_settings: {max_budget: '2.00', budget_alerts: [{threshold: 1.00}, {threshold: 80%}]} # x\n",
        ),
    ],
)
def test_a_budget_is_set_in_files_of_other_shapes(text: str, expected: str, tmp_path: Path):
    from orchestrator.adapters.budget_file import set_budget

    path = tmp_path / FILE
    path.write_text(text)
    set_budget(path, usd("2"))
    assert path.read_text() == expected


@pytest.mark.parametrize(
    "text",
    [
        "general_settings:\n  max_budget: >-\n    5\n",
        "general_settings: {}\n",
        "general_settings:\n  max_budget: 0\n",
        "general_settings:\n  max_budget: five\n",
    ],
)
def test_a_file_that_a_small_edit_would_not_survive_is_left_alone(text: str, tmp_path: Path):
    from orchestrator.adapters.budget_file import CannotEdit, set_budget

    path = tmp_path / FILE
    path.write_text(text)
    with pytest.raises(CannotEdit, match=r"by hand|is not an amount"):
        set_budget(path, usd("2"))
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_the_repository_s_own_file_is_never_changed(run, working_directory: Path):
    (working_directory / ".git").mkdir()
    own = working_directory / FILE
    own.write_bytes(packaged("templates", FILE).read_bytes())
    before = own.read_bytes()
    assert "belongs to the repository and is not changed" in run("set", "team", "--config", str(own), code=2)
    run("set", "team")
    assert own.read_bytes() == before


# --- caps bind whatever the command is ------------------------------------------------------------

PLANNED = json.dumps(
    {
        "subtasks": [
            {
                "id": "a",
                "title": "Fix f",
                "instructions": "Make f return 2.",
                "category": "cheap/bug-fixes",
                "touches": ["a.py"],
                "checks": [{"kind": "lint", "targets": ["a.py"]}],
            }
        ]
    }
)


@pytest.fixture
def repository(working_directory: Path) -> Path:
    (working_directory / "a.py").write_text("def f():\n    return 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        person = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        subprocess.run(["git", *person, *command], check=True, cwd=working_directory)
    return working_directory


def scripted(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"text": text}]}))
    return ["--scripted", str(script)]


def test_the_repository_s_cap_binds_an_answer_too(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (repository / FILE).write_text("general_settings: {max_budget: 0.0001}\n")
    assert cli.run(["do", "explain this code", *scripted(tmp_path, "it returns 1")]) == 3
    assert "$0.0001 of the $0.0001 repository budget is left" in capsys.readouterr().err
    (repository / FILE).unlink()
    assert cli.run(["do", "explain this code", *scripted(tmp_path, "it returns 1")]) == 0


def test_a_budget_binds_planning_that_belongs_to_no_run(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    plan = ["plan", "give f a cache", *scripted(tmp_path, PLANNED), "--fresh"]
    assert cli.run([*plan, "--budget", "2"]) == 0
    assert "$" in capsys.readouterr().out
    assert cli.run([*plan, "--budget", "0.0001"]) == 3
    with store() as opened:
        assert len(opened.entries()) == 1


@pytest.mark.parametrize("variable", ["HOME", "ORCHESTRATOR_STATE"])
def test_without_a_place_for_the_ledger_nothing_is_called(
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
):
    (tmp_path / "file").write_text("where a directory should be")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with ScriptedProvider('rules: [{text: "it returns 1"}]') as provider:
        code = cli.run(["do", "explain this code", "--scripted", provider.url])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (code, len(said)) == (2, 1)
    assert f"cannot make {tmp_path / 'file'}" in said[0]
    assert "set ORCHESTRATOR_STATE to a directory you can write to" in said[0]
    assert provider.calls == ()
