"""What is refused in the configuration, and how: all at once, with its line, never with a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.settings_building import MODELS, Place, model


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_every_problem_is_named_at_once_with_file_line_key_and_nearest_key(place: Place):
    text = MODELS + (
        "routing_rules:\n"
        "  - {patern: fix, model: chaep}\n"
        "  - {pattern: '(', model: cheap, max_cost_per_request: no}\n"
        "  - {pattern: x, model: cheap, max_cost_per_request: 12:30:45}\n"
        "  - {pattern: y, model: cheap, max_cost_per_request: .nan, match: wrod}\n"
        "budget_based_routing:\n"
        "  - {budget_remaining: 'over 2', preferred_models: [cheap, smrt]}\n"
        "general_settings: {max_bugdet: 5, budget_duration: 1w, timezone: Mars/Olympus}\n"
        "orchestrator:\n"
        "  parallell: 3\n"
        "  escalation: [cheap, smrt]\n"
        "  planning_share: 3\n"
    )
    found = place.problems(text)
    lines = [int(problem.partition(":")[0]) for problem in found]
    assert lines == sorted(lines)
    assert sorted(found) == sorted(
        [
            "9: routing_rules[0]: pattern is missing",
            "9: routing_rules[0].model: no model 'chaep', did you mean 'cheap'?",
            "9: routing_rules[0].patern: unknown key, did you mean 'pattern'?",
            "10: routing_rules[1].max_cost_per_request: 'no' is a truth value in YAML, "
            "not an amount of dollars such as 0.50",
            "10: routing_rules[1].pattern: '(': no regular expression of RE2: missing ): (",
            "11: routing_rules[2].max_cost_per_request: '12:30:45' is a number to base 60 in YAML, "
            "not an amount of dollars such as 0.50",
            "12: routing_rules[3].match: 'wrod' is not known, did you mean 'word'?",
            "12: routing_rules[3].max_cost_per_request: '.nan' is given, not an amount of dollars such as 0.50",
            "14: budget_based_routing[0].budget_remaining: 'over 2' is no comparison such as '> 0.50'",
            "14: budget_based_routing[0].preferred_models: no model 'smrt', did you mean 'smart'?",
            "15: general_settings.budget_duration: '1w' is not known, write one of 1d, 1mo, 7d, 30d",
            "15: general_settings.max_bugdet: unknown key, did you mean 'max_budget'?",
            "15: general_settings.timezone: 'Mars/Olympus' is no time zone such as Europe/Berlin or UTC",
            "17: orchestrator.parallell: unknown key, did you mean 'parallel'?",
            "18: orchestrator.escalation: no model 'smrt', did you mean 'smart'?",
            "19: orchestrator.planning_share: '3' is no share from 0 to 1",
        ]
    )


def test_a_faulty_entry_is_named_with_all_its_faults_and_its_alias_is_no_further_one(place: Place):
    text = (
        "model_list:\n"
        "  - {model_name: cheap, litellm_params: {modle: openai/x, api_key: sk-abcdefghijkl}}\n"
        "routing_rules:\n"
        "  - {pattern: fix, model: cheap}\n"
    )
    assert place.problems(text) == [
        "2: model_list[0].litellm_params.api_key: a key does not belong in a file: write os.environ/NAME",
        "2: model_list[0].litellm_params.modle: unknown key, did you mean 'model'?",
        "2: model_list[0].litellm_params: model is missing",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: &x 1\n", "2: anchor &x: anchors and aliases are refused"),
        ("a: *x\n", "1: alias *x: aliases are refused"),
        ("a: 1\n\na: 2\n", "3: key 'a' stands twice, first in line 1"),
        ("a: !!python/name:os.system\n", "1: tag tag:yaml.org,2002:python/name:os.system: tags are refused"),
        ("a: !!str 5\n", "1: tag tag:yaml.org,2002:str: tags are refused"),
        ("a: {<<: {b: 1}}\n", "1: merge keys (<<) are refused"),
        ("[" * 5000, "1: nested more than 32 deep"),
        ("- a\n", "1: the document must be a mapping"),
        ("a: [1\n", "2: no YAML: while parsing a flow sequence"),
        ("a: 1\n---\nb: 1\n", "2: a second document begins here"),
        ("model_list: 5\n", "1: model_list: a list is expected here, not a single value ('5')"),
        ("model_list:\n- model_name: a\n", "2: model_list[0]: litellm_params is missing"),
        (
            "model_list: []\nrouting_rules: []\nrouter_settings: {routing_rules: []}\n",
            "3: router_settings.routing_rules: it stands at the top level too, in line 2",
        ),
        ("routing_rule: []\nmodel_list: []\n", "1: routing_rule: unknown key, did you mean 'routing_rules'?"),
        ("", "1: model_list is missing"),
    ],
)  # fmt: skip
def test_yaml_traps_are_refused_with_their_line(place: Place, text: str, problem: str):
    assert place.problems(text)[0].startswith(problem)


def test_a_file_above_a_megabyte_is_refused_unread(place: Place):
    assert "bytes are more than 1,000,000" in place.problems("#" * 1_000_001)[0]


def test_ten_thousand_rules_load(place: Place):
    rules = "".join(f"  - {{pattern: word{number}, model: cheap}}\n" for number in range(10_000))
    assert len(place.load(f"{MODELS}routing_rules:\n{rules}").table.rules) == 10_000


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        (
            "model: openai/x, api_key: sk-123456",
            "api_key: a key does not belong in a file: write os.environ/NAME",
        ),
        ("model: openai/x, api_base: 'ftp://h'", "api_base: 'ftp://h' is no http or https address"),
        ("model: openai/x, api_base: 'http://me:pw@h'", "api_base: an address with a user name or password"),
        ("model: openai/x, max_tokens: 010", "max_tokens: '010' is given, not a whole number"),
        ("model: openai/x, max_tokens: -5", "max_tokens: '-5' is given, not a whole number"),
        ("model: openai/x, input_cost_per_token: -1", "input_cost_per_token: '-1' is given, not a price"),
        ("model: openai/x, timeout: 2026-01-01", "timeout: '2026-01-01' is a date in YAML"),
    ],
)
def test_bad_parameters_of_a_model_are_refused_by_name(place: Place, params: str, problem: str):
    assert problem in place.problems(model(params))[0]


def test_a_secret_never_appears_in_a_message(place: Place):
    said = "\n".join(
        place.problems(model("model: openai/x, api_key: sk-very-secret, api_base: 'http://u:hush@h'"))
    )
    assert "sk-very-secret" not in said
    assert "hush" not in said
