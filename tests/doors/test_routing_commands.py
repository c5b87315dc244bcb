"""route, tag, standards, init, trust and doctor from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import apsw
import pytest

from orchestrator import cli
from orchestrator.adapters.holder import Holder
from tests.adapters.store_building import clock_at, hold, open_store, usd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(working_directory: Path) -> Path:
    subprocess.run(["git", "init", "-q", "."], check=True)
    return working_directory


class Said:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = cli.run(list(arguments))
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> tuple[int, Any]:
        code, out, _ = self(*arguments, "--json")
        return code, json.loads(out)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


@pytest.mark.parametrize(
    ("left", "more", "model", "most"),
    [
        ("3.50", [], "smart", None),
        ("1.20", [], "cheap", None),
        ("0.30", [], "yolo", 200),
        ("0.30", ["--model", "smart"], "smart", None),
        ("3.50", ["--model", "cheap"], "cheap", None),
    ],
)
def test_route_decides_the_examples_of_the_brief_also_without_a_key(
    project: Path, said: Said, left: str, more: list[str], model: str, most: int | None
):
    code, answer = said.json("route", "refactor this code", "--remaining", left, *more)
    assert code == 0
    assert answer["model"] == model
    assert most in (None, answer["max_tokens"])
    assert 0 < answer["worst_case_usd"] < 1
    assert len(answer["reasons"]) >= 3
    assert answer["notes"][0].startswith(f"model '{model}' has no key: set OPENROUTER_API_KEY or ")


def test_route_prints_each_step_and_names_no_key_when_there_is_one(
    project: Path, said: Said, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    code, out, err = said("route", "refactor this code", "--remaining", "0.30")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("yolo, at most 200 output tokens and $0.00")
    assert [line.split(".")[0].strip() for line in lines[1:]] == ["1", "2", "3", "4"]


def test_route_looks_at_what_is_left_of_today(project: Path, said: Said):
    code, answer = said.json("route", "hello")
    assert code == 0
    assert any(reason.startswith("$5.00 of the budget window is left") for reason in answer["reasons"])


def test_a_refusal_of_the_budget_exits_with_3_and_of_a_missing_model_with_4(project: Path, said: Said):
    code, answer = said.json("route", "hello", "--remaining", "0.0001")
    assert code == 3
    assert "of the day budget" in answer["refused"]
    assert answer["would_do_usd"] > 0.0001
    assert said("route", "hello", "--remaining", "0")[0] == 3
    code, answer = said.json("route", "hello", "--model", "smrt")
    assert code == 4
    assert answer["refused"] == "no model 'smrt', did you mean 'smart'?"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["route"], "error: Missing argument 'text'\n`orchestrator route --help`"),
        (["budget", "set"], "error: Missing argument 'PRESET|USD'\n`orchestrator budget set --help`"),
        (["budget", "history", "--limit", "0"], "error: --limit: Input should be greater"),
        (["budget", "history", "--since", "monday"], "error: --since: 'monday' is no day such as"),
        (["do", "x", "--budget", "much"], "error: --budget: 'much' is no amount"),
        (["tag", " "], "error: there is no text"),
        (["route", ""], "error: there is no text"),
        (["do", " "], "error: the request is empty"),
        (["do", "fix it", "--model", "smrt"], "error: no model 'smrt', did you mean 'smart'?"),
    ],
)
def test_wrong_use_is_told_with_what_it_is_about(project: Path, said: Said, arguments: list[str], told: str):
    code, out, err = said(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(told)


@pytest.mark.parametrize("amount", ["abc", "nan", "inf", "", "1e99", "-1"])
def test_an_amount_that_is_none_is_wrong_use(project: Path, said: Said, amount: str):
    code, out, err = said("route", "hello", "--remaining", amount)
    assert (code, out) == (2, "")
    assert "--remaining" in err


def test_hostile_text_is_shown_escaped(project: Path, said: Said):
    _, out, err = said("route", "fix \x1b]8;;http://x\x07 \u202e")
    assert "\x1b" not in out + err
    _, out, _ = said("tag", "fix \x1b[2J")
    assert "\x1b" not in out


def test_tag_names_rule_words_and_line(project: Path, said: Said):
    code, out, _ = said("tag", "refactor architecture")
    assert code == 0
    assert out.startswith("smart: Architecture design (smart/architecture-design, ")
    code, answer = said.json("tag", "fix obvious bugs")
    assert (code, answer["tier"], answer["rule"]) == (0, "cheap", "cheap/bug-fixes")
    assert answer["evidence"] == ["fix", "bugs"]
    code, answer = said.json("tag", "hello")
    assert (answer["tier"], answer["rule"], answer["decided_by"]) == ("cheap", None, "default")


def test_standards_lint_names_every_fault_of_the_repositorys_own_standard(project: Path, said: Said):
    own = project / "agent-os" / "standards" / "prompt-optimization.md"
    own.parent.mkdir(parents=True)
    own.write_text("## Chaep Model Tasks (< 1000 tokens):\n- : x\n")
    code, out, _ = said("standards", "lint")
    assert code == 2
    assert out.splitlines() == [
        "agent-os/standards/prompt-optimization.md:1: tier 'chaep' has no rule: write `- Bug fixes: fix, bug`",
        "agent-os/standards/prompt-optimization.md:1: unknown tier 'chaep', did you mean 'cheap'?",
        "agent-os/standards/prompt-optimization.md:2: a rule without a title: write `- Bug fixes: fix, bug`",
    ]
    own.write_text("## Cheap Model Tasks:\n- Fix: fix\n## Middle Model Tasks:\n- Fix: fix\n- Odd\n")
    code, answer = said.json("standards", "lint")
    assert code == 0
    assert answer["remarks"] == [
        "line 3: tier 'middle' has no model: set orchestrator.tiers.middle",
        "line 4: 'fix' is a signal word of cheap/fix too",
        "line 5: middle/odd has no signal words, so only a planner can choose it",
    ]
    code, answer = said.json("standards", "show")
    assert [tier["tier"] for tier in answer["tiers"]] == ["cheap", "middle"]


def test_the_packaged_standard_passes_its_own_lint_without_a_remark(project: Path, said: Said):
    code, answer = said.json("standards", "lint")
    assert (code, answer) == (0, {"problems": [], "remarks": []})


def test_init_writes_what_is_missing_trusts_it_and_never_overwrites(project: Path, said: Said):
    kept = project / "agent-os" / "standards" / "prompt-optimization.md"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    code, out, _ = said("init")
    assert code == 0
    config = project / "litellm_budget_config.yaml"
    assert config.read_bytes() == (ROOT / "templates" / "litellm_budget_config.yaml").read_bytes()
    assert kept.read_text() == "mine"
    assert f"kept   {kept} (it was there)" in out
    assert "not the top of a git repository" not in out
    kept.unlink()
    code, answer = said.json("route", "hello")
    assert code == 0
    assert answer["model"] == "cheap"
    config.write_text(config.read_text().replace("max_budget: 5.00", "max_budget: 500"))
    said("init")
    assert "max_budget: 500" in config.read_text()
    code, out, _ = said("trust")
    assert (
        "is trusted as it is now; these count from now on: model_list, general_settings.budget_duration"
        in out
    )
    _, answer = said.json("route", "hello")
    assert any(reason.startswith("$500.00 of the budget window") for reason in answer["reasons"])
    said("trust", "--revoke")
    _, answer = said.json("route", "hello")
    assert any(reason.startswith("$5.00 of the budget window") for reason in answer["reasons"])


def test_a_budget_that_the_repositorys_configuration_keeps_from_counting_names_that_file(
    project: Path, said: Said
):
    said("init")
    code, out, err = said("budget", "set", "power")
    assert code == 0
    assert "the budget is $10.00 per 1d" in out
    assert f"here it stays $5.00: {project / 'litellm_budget_config.yaml'} says so" in err


def test_doctor_says_of_the_users_own_file_what_the_proxy_ignores_and_not_of_ours_too(
    project: Path, said: Said
):
    said("init")
    remarks = [line for line in said("doctor")[1].splitlines() if "routing_rules: the proxy ignores" in line]
    assert len(remarks) == 1
    assert "configuration: litellm_budget_config.yaml:" in remarks[0]


def test_init_says_where_nobody_would_look_for_what_it_wrote(working_directory: Path, said: Said):
    code, out, _ = said("init")
    assert code == 0
    assert f"{working_directory} is not the top of a git repository" in out


def test_init_does_not_write_through_a_dangling_link(project: Path, said: Said, tmp_path: Path):
    target = tmp_path / "elsewhere.yaml"
    (project / "litellm_budget_config.yaml").symlink_to(target)
    code, _, _ = said("init")
    assert code == 0
    assert not target.exists()


def test_trust_without_a_file_says_so(project: Path, said: Said):
    code, _, err = said("trust")
    assert code == 2
    assert "does not exist, so there is nothing to trust" in err


def test_doctor_finds_what_a_valid_configuration_hides(
    project: Path, said: Said, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    (project / "litellm_budget_config.yaml").write_text("general_settings: {max_budget: 9, timezone: UTC}\n")
    code, answer = said.json("doctor")
    assert code == 0
    what = "\n".join(finding["what"] for finding in answer["findings"])
    for part in (
        "Python 3.",
        "SQLite 3.",
        "LiteLLM 1.106.2, no advisory known",
        "git 2.",
        "routing rule 3: 'quick' can never win, rule 1 matches it first",
        "budget_based_routing: no band covers $0.50",
        "`< $0.50` allows 200 output tokens, an edit needs 512",
        "routing rule 1: $0.001 pays for at most 266 output tokens of cheap, an edit needs 512",
        "general_settings.max_budget: the proxy does not enforce it; our ledger does",
        "routing_rules: the proxy ignores it; our router goes by it",
        "GEMINI_API_KEY is not set: skipped cheap",
        "ignored until `orchestrator trust`: general_settings.timezone",
        "the repository's max_budget $9.00 is above yours: $5.00 holds",
        "OpenCode",
        "Claude Code",
        "Codex",
    ):
        assert part in what
    areas = {finding["area"] for finding in answer["findings"]}
    assert {
        "python",
        "environment",
        "sqlite",
        "litellm",
        "git",
        "sandbox",
        "agents",
        "models",
        "standard",
    } <= areas


def test_doctor_without_a_key_exits_with_4_and_with_a_broken_file_with_2(project: Path, said: Said):
    code, out, _ = said("doctor")
    assert code == 4
    assert "no model can be called" in out
    assert "-> set OPENROUTER_API_KEY or GEMINI_API_KEY or ANTHROPIC_API_KEY" in out
    broken = project / "broken.yaml"
    broken.write_text("model_list: [\n")
    code, answer = said.json("doctor", "--config", str(broken))
    assert (code, answer["exit_code"]) == (2, 2)
    assert any("no YAML" in finding["what"] for finding in answer["findings"])
    assert any(finding["area"] == "git" for finding in answer["findings"])


def test_doctor_warns_of_odd_bands_prices_and_fallbacks(
    project: Path, said: Said, monkeypatch: pytest.MonkeyPatch
):
    odd = project / "odd.yaml"
    odd.write_text(
        "model_list:\n"
        "- model_name: cheap\n"
        "  litellm_params: {model: openai/gpt-5, api_key: os.environ/OPENAI_API_KEY}\n"
        "  model_info: {cost_per_token: 0.0000001}\n"
        "- {model_name: other, litellm_params: {model: openai/unheard-of}}\n"
        "- {model_name: old, litellm_params: {model: anthropic/claude-sonnet-4-20250514}}\n"
        "router_settings: {fallbacks: [[cheap, other]]}\n"
        "budget_based_routing:\n"
        "- {budget_remaining: '> 0.5', preferred_models: [cheap]}\n"
        "- {budget_remaining: '> 2', preferred_models: [cheap]}\n"
        "general_settings: {max_budget: 1, budget_alerts: [{threshold: 3}]}\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    code, answer = said.json("doctor", "--config", str(odd))
    assert code == 0
    warnings = "\n".join(f["what"] for f in answer["findings"] if f["level"] == "warning")
    assert "the proxy wants maps, not lists" in warnings
    assert "`> $2.00` never applies" in warnings
    assert (
        "gpt-5 is configured at $0.10 and $0.10 per million tokens, LiteLLM lists $1.25 and $10.00"
        in warnings
    )
    assert "other: openai/unheard-of" in warnings
    notes = "\n".join(f["what"] for f in answer["findings"])
    assert "an alert at $3.00 is above max_budget $1.00" in notes
    assert "cost_per_token: the proxy ignores it" in notes


def test_doctor_tells_a_damaged_a_locked_and_a_waiting_ledger(project: Path, said: Said, home: Path):
    def ledger() -> list[tuple[str, str]]:
        _, answer = said.json("doctor")
        return [(f["level"], f["what"]) for f in answer["findings"] if f["area"] == "ledger"]

    state = home / ".local" / "state" / "orchestrator"
    assert ledger() == [("ok", "no call was made yet")]
    assert not (state / "orchestrator.sqlite3").exists()
    crashed = Holder(pid=4_000_000, started="1", boot="elsewhere")
    store = open_store(state, clock=clock_at("2026-11-23T10:00:00Z"), holder=crashed)
    asyncio.run(store.settle(asyncio.run(store.reserve(hold("0.1"))), bill=usd("0.3")))
    asyncio.run(store.reserve(hold("0.1", deployment="other/model")))
    store._reserved = False
    store.close()
    assert ledger() == [
        ("warning", "calls that a crash cut off stay charged at their holds"),
        ("warning", "stopped: vendor/model: its bill of $0.30 was above the hold of $0.10"),
    ]
    locked = apsw.Connection(str(store.path))
    locked.execute("BEGIN IMMEDIATE")
    assert (
        "warning",
        f"{store.path} is locked by another process: no call can be made meanwhile",
    ) in ledger()
    locked.execute("ROLLBACK")
    locked.close()
    store.path.write_bytes(store.path.read_bytes()[:5000])
    code, answer = said.json("doctor")
    [found] = [f for f in answer["findings"] if f["area"] == "ledger"]
    assert (code, found["level"]) == (2, "error")
    assert "is damaged" in found["what"] and "put a backup in its place" in found["what"]
    assert store.path.with_name("orchestrator.sqlite3.damaged").exists()


def test_doctor_fix_closes_the_state_directory_to_others(project: Path, said: Said, home: Path):
    state = home / ".local" / "state" / "orchestrator"
    state.mkdir(parents=True)
    state.chmod(0o755)
    _, answer = said.json("doctor")
    assert any(finding["area"] == "state" and finding["fixable"] for finding in answer["findings"])
    _, answer = said.json("doctor", "--fix")
    assert answer["repairs"] == [{"what": f"closed {state} to others", "done": True}]
    assert state.stat().st_mode & 0o777 == 0o700


def test_the_wrapper_hands_everything_to_do(tmp_path: Path):
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "yolo-budget-code.sh", checkout / "scripts")
    program = checkout / ".venv" / "bin" / "orchestrator"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\nexit 3\n')
    program.chmod(0o755)
    command = [str(checkout / "scripts" / "yolo-budget-code.sh"), "fix it; rm -rf /", "--model", "smart"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (3, "do|fix it; rm -rf /|--model|smart|")
    link = tmp_path / "bin" / "yolo"
    link.parent.mkdir()
    link.symlink_to("../checkout/scripts/yolo-budget-code.sh")
    done = subprocess.run(
        [str(link), "fix it"],
        capture_output=True,
        text=True,
        check=False,
        cwd=link.parent,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stdout) == (3, "do|fix it|")
    done = subprocess.run(command[:1], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--model smart" in done.stdout
