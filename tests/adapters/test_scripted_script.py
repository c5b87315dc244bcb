"""The file that a scripted provider plays: what it may say, and every problem of it at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.adapters.scripted_script import (
    CONDITION_KEYS,
    REPLY_KEYS,
    FaultKind,
    load_script,
    parse_script,
)
from orchestrator.core.domain import InvalidDocument
from tests.conftest import ROOT


def test_every_problem_of_a_script_is_told_at_once(tmp_path: Path):
    with pytest.raises(InvalidDocument) as invalid:
        parse_script(
            """
            rule: []
            rules:
              - {when: {alas: smart, matches: "(", call: 0}, text: 3}
              - {name: nothing}
              - {text: x, fault: {status: 500, hang: true}, latency_seconds: -1}
              - {text: x, replies: [{text: y}]}
              - {text_file: gone.txt, play: twice}
            """,
            source="demo.yaml",
            directory=tmp_path,
        )
    told = [str(problem) for problem in invalid.value.problems]
    assert told[0] == "demo.yaml: unknown key 'rule', did you mean 'rules'?"
    expected = [
        "rules[0].text: expected a text",
        "rules[0].when: unknown key 'alas', did you mean 'alias'?",
        "rules[0].when.matches: not a regular expression",
        "rules[0].when.call: expected a whole number of at least 1",
        "rules[1]: has nothing to answer",
        "rules[2].fault: expected one of",
        "rules[2].latency_seconds: expected a number",
        "rules[3]: give either `replies` or `text`, not both",
        "rules[4].text_file: cannot read gone.txt",
        "rules[4].play (`once`, `repeat` or a number): expected a whole number",
    ]
    for part in expected:
        assert any(part in line for line in told), part


@pytest.mark.parametrize("text", ["", "rules: []", "- 1", "rules: 3", "rules: [1]"])
def test_an_empty_script_is_an_error(text: str):
    with pytest.raises(InvalidDocument):
        parse_script(text)


def test_broken_yaml_is_told_with_its_line():
    with pytest.raises(InvalidDocument, match=r"^demo.yaml:3: not YAML"):
        parse_script("rules:\n  - {text: x", source="demo.yaml")


def test_texts_come_from_files_beside_the_script_or_as_json(tmp_path: Path):
    (tmp_path / "reply.md").write_text("from a file\n", encoding="utf-8")
    path = tmp_path / "script.yaml"
    path.write_text("rules: [{text_file: reply.md, play: once}, {json: {a: [1]}}]", encoding="utf-8")
    script = load_script(path)
    assert [rule.replies[0].text for rule in script.rules] == ["from a file\n", '{\n  "a": [\n    1\n  ]\n}']
    with pytest.raises(InvalidDocument, match="cannot read the script: No such file"):
        load_script(tmp_path / "gone.yaml")


def test_every_fault_can_be_written():
    texts = {
        FaultKind.STATUS: "{status: 500}",
        FaultKind.BODY: "{body: x, status: 201}",
        FaultKind.HANG: "hang",
        FaultKind.DRIP: "{drip: 0.1}",
        FaultKind.RESET: "reset",
        FaultKind.CUT: "{cut: 5}",
        FaultKind.TRUNCATE: "{truncate: 5}",
        FaultKind.REDIRECT: "{redirect: 'http://h/'}",
    }
    assert set(texts) == set(FaultKind)
    for kind, text in texts.items():
        fault = parse_script(f"rules: [{{fault: {text}}}]").rules[0].replies[0].fault
        assert fault is not None
        assert fault.kind is kind


def test_the_examples_of_the_reference_are_scripts(tmp_path: Path):
    (tmp_path / "plan.md").write_text("a plan", encoding="utf-8")
    page = (ROOT / "docs" / "reference" / "scripted-provider.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert parse_script(example, directory=tmp_path).rules
    for name in [*FaultKind, *CONDITION_KEYS, *REPLY_KEYS]:
        assert f"`{name}" in page or f"{{{name}:" in page, name
