"""The interactive choice and `plan edit`, driven through a real terminal."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from orchestrator.adapters.state import database, state_directory
from tests.doors.plan_repository import make_repository, save_plan

CHOICE = r"\[r\]un, \[e\]dit, \[d\]rop, \[a\]sk again, \[q\]uit \[r\]: "
Spawn = Callable[..., pexpect.spawn]


@pytest.fixture
def repository(working_directory: Path) -> Path:
    make_repository(working_directory)
    save_plan(working_directory / "plan.json")
    return working_directory


@pytest.fixture
def orchestrator(repository: Path) -> Iterator[Spawn]:
    """Start the program in a terminal of 200 columns; ended after the test, whatever became of it."""
    started: list[pexpect.spawn] = []

    def start(*arguments: str, editor: str = "") -> pexpect.spawn:
        environ = {**os.environ, "TERM": "xterm", **({"EDITOR": editor} if editor else {})}
        child = pexpect.spawn(
            sys.executable,
            ["-m", "orchestrator", *arguments],
            cwd=str(repository),
            env=environ,
            encoding="utf-8",
            timeout=60,
            dimensions=(50, 200),
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


@pytest.fixture
def editor(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """An editor that changes the list by a line of Python; `t` is the text, `turn` how often it was opened."""
    directory = tmp_path_factory.mktemp("editor")

    def make(change: str) -> str:
        script = directory / "editor.py"
        script.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, sys\n"
            "p = pathlib.Path(sys.argv[1]); count = pathlib.Path(__file__).with_suffix('.turns')\n"
            "turn = len(count.read_text()) if count.exists() else 0; count.write_text('x' * (turn + 1))\n"
            "assert sys.stdin.isatty() and sys.stdout.isatty()\n"
            "t = p.read_text()\n"
            f"p.write_text({change})\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return str(script)

    return make


def ended(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.wait()
    return int(child.exitstatus)


def ids(path: Path) -> list[str]:
    return [item["id"] for item in json.loads(path.read_text())["subtasks"]]


def test_quitting_and_ending_the_input_run_nothing_and_spend_nothing(repository: Path, orchestrator: Spawn):
    child = orchestrator("run", "plan.json")
    child.expect("total: likely")
    child.expect_exact("Which database?")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendline("x")
    child.expect_exact("type one letter of")
    child.expect(CHOICE)
    child.sendline("q")
    child.expect_exact("nothing was run")
    assert ended(child) == 0
    child = orchestrator("run", "plan.json")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("1")
    child.expect(CHOICE)
    child.sendeof()
    child.expect_exact("nothing was run")
    assert ended(child) == 0
    child = orchestrator("run", "plan.json")
    child.expect(r"answer \[sqlite\]: ")
    child.sendeof()
    child.expect_exact("nothing was run")
    assert ended(child) == 0
    assert not database(state_directory()).exists()


def test_the_plan_before_a_run_is_priced_for_the_way_it_will_be_run(orchestrator: Spawn):
    child = orchestrator("run", "plan.json", "--parallel", "3", "--model", "smart")
    child.expect_exact("with 3 at once")
    child.expect_exact("goes to anthropic (smart): ")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendline("d")
    child.expect_exact("drop which")
    child.sendline("1")
    child.expect_exact("[d]rop too")
    child.sendline("k")
    child.expect_exact("with 3 at once")
    child.expect(CHOICE)
    child.sendline("q")
    assert ended(child) == 0


def test_interrupting_the_choice_ends_with_130(orchestrator: Spawn):
    child = orchestrator("run", "plan.json")
    child.expect(r"answer \[sqlite\]: ")
    child.sendintr()
    child.expect(r"\ninterrupted\r\n")
    assert ended(child) == 130
    child = orchestrator("run", "plan.json")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendintr()
    child.expect(r"\ninterrupted\r\n")
    assert ended(child) == 130


def test_dropping_names_dependents_and_keeps_or_drops_them(repository: Path, orchestrator: Spawn):
    child = orchestrator("run", "plan.json")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendline("d")
    child.expect_exact("drop which")
    child.sendline("bb")
    child.expect_exact("no subtask 'bb' in this plan, did you mean")
    child.expect(CHOICE)
    child.sendline("d")
    child.expect_exact("drop which")
    child.sendline("2")
    child.expect_exact("c needs what is dropped")
    child.sendline("k")
    child.expect(r"c +Fix c +smart[^\n]* a\r\n")
    child.expect(CHOICE)
    child.sendline("d")
    child.expect_exact("drop which")
    child.sendline("a")
    child.expect_exact("c needs what is dropped")
    child.sendline("d")
    child.expect(r"1 +d ")
    child.expect(CHOICE)
    child.sendline("q")
    assert ended(child) == 0


def test_editing_retags_reorders_and_drops_until_the_list_makes_sense(
    repository: Path, orchestrator: Spawn, editor: Callable[[str], str]
):
    # First with a fault, which is told; then a retag, another order, and a drop whose dependent goes too.
    change = "t.replace('do    a', 'does  a') if turn == 0 else 'do d\\nsmart a\\ndrop b\\ndo c\\n'"
    child = orchestrator("plan", "edit", "plan.json", editor=editor(change))
    child.expect_exact("'does' is not one of do, drop, cheap, smart")
    child.expect_exact("edit the list again?")
    child.sendline("y")
    child.expect_exact("c needs what is dropped")
    child.sendline("d")
    child.expect_exact("saved: plan.json")
    assert ended(child) == 0
    assert ids(repository / "plan.json") == ["d", "a"]
    document = json.loads((repository / "plan.json").read_text())
    assert document["subtasks"][1]["tag"]["decided_by"] == "user"


def test_the_choice_edits_and_prices_again(
    repository: Path, orchestrator: Spawn, editor: Callable[[str], str]
):
    before = (repository / "plan.json").read_text()
    child = orchestrator("run", "plan.json", editor=editor("t.replace('do    d', 'smart d')"))
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendline("e")
    child.expect(r"smart \(you\)")
    child.expect(CHOICE)
    child.sendline("q")
    assert ended(child) == 0
    # The saved plan is only changed by `plan edit`.
    assert (repository / "plan.json").read_text() == before


def test_asking_again_without_a_model_says_so_and_keeps_the_plan(orchestrator: Spawn):
    child = orchestrator("run", "plan.json")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("")
    child.expect(CHOICE)
    child.sendline("a")
    child.expect_exact("what should be different")
    child.sendline("leave auth alone")
    child.expect_exact("set OPENROUTER_API_KEY")
    child.expect(CHOICE)
    child.sendline("q")
    assert ended(child) == 0


@pytest.mark.slow
def test_a_question_is_answered_and_a_plan_revised_by_scripted_models(repository: Path, orchestrator: Spawn):
    def reply(name: str, question: bool) -> str:
        plan = json.loads((repository / "plan.json").read_text())
        subtask = {**plan["subtasks"][0], "id": name, "title": f"Fix {name}"}
        subtask.pop("tag")
        return json.dumps({"subtasks": [subtask], "questions": plan["questions"] if question else []})

    def rule(name: str, question: bool, *contains: str) -> dict[str, object]:
        return {"name": name, "when": {"contains": list(contains)}, "text": reply(name, question)}

    script = {
        "rules": [
            rule("revised", False, "leave auth alone"),
            rule("answered", False, "Which database? postgres"),
            rule("first", True, "Improve this application"),
        ]
    }
    # JSON is YAML.
    (repository / "script.yaml").write_text(json.dumps(script))
    # The tiny repository has no test that could judge a change, which a run refuses before it pays for a plan.
    child = orchestrator(
        "run", "Improve this application", "--scripted", "script.yaml", "--accept-unverified"
    )
    child.expect_exact("planning: at most $")
    child.expect(r"1 +first ")
    child.expect(r"answer \[sqlite\]: ")
    child.sendline("2")
    child.expect(r"1 +answered ")
    child.expect(CHOICE)
    child.sendline("a")
    child.expect_exact("what should be different")
    child.sendline("leave auth alone")
    child.expect_exact("planning: at most $")
    child.expect(r"1 +revised ")
    child.expect(CHOICE)
    child.sendline("q")
    child.expect_exact("nothing was run")
    assert ended(child) == 0


def test_an_existing_file_is_replaced_only_when_the_user_says_so(repository: Path, orchestrator: Spawn):
    (repository / "out.json").write_text("mine")
    child = orchestrator("plan", "plan.json", "--out", "out.json")
    child.expect_exact("out.json exists; replace it?")
    child.sendline("n")
    assert ended(child) == 2
    assert (repository / "out.json").read_text() == "mine"
    child = orchestrator("plan", "plan.json", "--out", "out.json")
    child.expect_exact("out.json exists; replace it?")
    child.sendline("y")
    child.expect(re.escape("answer [sqlite]: "))
    child.sendline("")
    assert ended(child) == 0
    assert ids(repository / "out.json") == ["a", "b", "c", "d"]
