"""The configuration: what is read, what is refused and where, what a repository may change."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.adapters.settings import NoConfiguration, Settings, load_settings
from orchestrator.adapters.trust import distrust, is_trusted, trust
from orchestrator.core.catalogue import AlertAction, Comparison, Match
from orchestrator.core.domain import InvalidDocument, Policy
from orchestrator.core.money import LongContext, Price, Rates, Usd

MODELS = """\
model_list:
  - model_name: cheap
    litellm_params: {model: openai/small, api_key: os.environ/ONE_API_KEY, max_tokens: 1000}
    model_info: {input_cost_per_token: 0.0000003, output_cost_per_token: 0.0000025}
  - model_name: smart
    litellm_params: {model: openai/large, api_key: os.environ/TWO_API_KEY, temperature: 0.5}
    model_info: {input_cost_per_token: 2e-6, output_cost_per_token: 1.0e-5}
"""
KEYS = {"ONE_API_KEY": "k", "TWO_API_KEY": "k"}


class Place:
    """A user's configuration file and a repository, in a directory of their own."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config" / "litellm_budget_config.yaml"
        self.repository = root / "repository"
        self.overlay = self.repository / "litellm_budget_config.yaml"
        self.state = root / "state"
        for directory in (self.config.parent, self.repository, self.state):
            directory.mkdir()

    def load(self, text: str | None = None, overlay: str | None = None, **environ: str) -> Settings:
        if text is not None:
            self.config.write_text(text, encoding="utf-8")
        if overlay is not None:
            self.overlay.write_text(overlay, encoding="utf-8")
        return load_settings(
            config=None,
            repository=self.repository,
            environ={"ORCHESTRATOR_CONFIG_DIR": str(self.config.parent), **(environ or KEYS)},
            state=self.state,
        )

    def problems(self, text: str, overlay: str | None = None) -> list[str]:
        with pytest.raises(InvalidDocument) as raised:
            self.load(text, overlay)
        prefix = f"{self.config}:"
        return [str(problem).removeprefix(prefix) for problem in raised.value.problems]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- the packaged default -------------------------------------------------------------------------


def test_the_packaged_default_is_what_the_brief_asks_for(place: Place):
    settings = place.load(OPENROUTER_API_KEY="k")
    table = settings.table
    assert {alias: pool[0].model for alias, pool in table.catalogue.pools.items()} == {
        "cheap": "openrouter/google/gemini-3.6-flash",
        "smart": "openrouter/anthropic/claude-sonnet-5",
        "yolo": "openrouter/google/gemini-3.6-flash",
    }
    assert settings.budget.max_budget == Usd.of(5)
    assert (settings.budget.duration, settings.budget.timezone) == ("1d", "UTC")
    assert [(alert.threshold, alert.action) for alert in settings.budget.alerts] == [
        (Usd.of("2.5"), AlertAction.LOG),
        (Usd.of("4"), AlertAction.WARN),
        (Usd.of("4.8"), AlertAction.WARN),
    ]
    assert [(rule.pattern, rule.model, rule.max_cost_per_request) for rule in table.rules] == [
        ("fix|typo|simple|quick|small|format", "cheap", Usd.of("0.001")),
        ("refactor|analyze|complex|architecture|design|review", "smart", Usd.of("0.01")),
        ("yolo|urgent|fast|now|quick", "yolo", Usd.of("0.0005")),
    ]
    assert [(band.comparison, band.threshold, band.preferred, band.max_tokens) for band in table.bands] == [
        (Comparison.ABOVE, Usd.of(2), ("cheap", "smart"), None),
        (Comparison.ABOVE, Usd.of("0.5"), ("cheap", "yolo"), None),
        (Comparison.BELOW, Usd.of("0.5"), ("yolo",), 200),
    ]
    assert (dict(table.tier_models), table.ladder) == (
        {"cheap": "cheap", "smart": "smart"},
        ("cheap", "smart"),
    )
    assert (settings.planning_share, settings.policy) == (Decimal("0.10"), Policy.THRIFTY)
    assert settings.notes == (
        "GEMINI_API_KEY is not set: skipped cheap (gemini/gemini-3.6-flash), yolo (gemini/gemini-3.6-flash)",
        "ANTHROPIC_API_KEY is not set: skipped smart (anthropic/claude-sonnet-5)",
    )


def test_the_direct_models_of_the_default_are_listed_not_deprecated_and_cost_what_openrouter_asks(
    place: Place,
):
    from orchestrator.adapters.settings_prices import listed

    settings = place.load(OPENROUTER_API_KEY="k")
    for alias, pool in settings.table.catalogue.unusable.items():
        known = listed([pool[0].model])[pool[0].model]
        assert known is not None, pool[0].model
        assert known.deprecation_date == ""
        assert pool[0].price == settings.table.catalogue.pools[alias][0].price
        assert pool[0].supports_schema


def test_without_any_key_every_model_is_set_aside_by_name(place: Place):
    catalogue = place.load(NOTHING="").table.catalogue
    assert catalogue.pools == {}
    assert {alias: len(pool) for alias, pool in catalogue.unusable.items()} == {
        "cheap": 2,
        "smart": 2,
        "yolo": 2,
    }
    assert len(catalogue.skipped) == 6


# --- where it comes from --------------------------------------------------------------------------


def test_a_named_file_comes_before_the_variable_and_the_users_directory(place: Place, tmp_path: Path):
    place.config.write_text(MODELS)
    other = tmp_path / "other.yaml"
    other.write_text(MODELS.replace("cheap", "first"))
    environ = {**KEYS, "ORCHESTRATOR_CONFIG": str(other), "ORCHESTRATOR_CONFIG_DIR": str(place.config.parent)}

    def aliases(config: Path | None) -> set[str]:
        loaded = load_settings(config=config, repository=None, environ=environ, state=place.state)
        return set(loaded.table.catalogue.pools)

    assert aliases(None) == {"first", "smart"}
    assert aliases(place.config) == {"cheap", "smart"}
    with pytest.raises(NoConfiguration, match="does not exist"):
        aliases(tmp_path / "missing.yaml")


def test_what_is_no_regular_file_is_not_read(place: Place):
    with pytest.raises(NoConfiguration, match="no regular file"):
        load_settings(config=Path("/dev/zero"), repository=None, environ={}, state=place.state)


# --- models and prices ----------------------------------------------------------------------------


def test_prices_are_read_exactly_also_in_exponents(place: Place):
    pools = place.load(MODELS).table.catalogue.pools
    cheap, smart = pools["cheap"][0], pools["smart"][0]  # type: ignore[index]
    assert (cheap.price.base.input, cheap.price.base.output) == (Usd.of("0.3"), Usd.of("2.5"))
    assert (smart.price.base.input, smart.price.base.output) == (Usd.of("2"), Usd.of("10"))
    assert cheap.price_source.endswith("litellm_budget_config.yaml:2")
    assert smart.parameters == {"temperature": 0.5}
    assert cheap.key_variable == "ONE_API_KEY"


def model(params: str, info: str = "") -> str:
    return (
        f"model_list:\n  - model_name: cheap\n    litellm_params: {{{params}}}\n    model_info: {{{info}}}\n"
    )


def priced(params: str, info: str = "", **environ: str) -> str:
    return model(params, info)


@pytest.mark.parametrize(
    ("params", "info", "reason"),
    [
        ("model: openai/unheard-of", "", "its price is not known: give model_info.input_cost_per_token"),
        ("model: openai/x", "input_cost_per_token: 0.1", "its output_cost_per_token is not known"),
        ("model: openai/x", "cost_per_token: 0", "its price is zero: declare free: true"),
        (
            "model: openai/gpt-5, tools: [{type: web_search}]",
            "",
            "tools: tools of the provider may be charged apart",
        ),
        ("model: openai/gpt-5, n: 3", "", "n: several answers are charged for one"),
        (
            "model: openai/gpt-5, extra_body: {plugins: [{id: web}]}",
            "",
            "plugins: plugins may be charged apart",
        ),
        ("model: openai/gpt-5, service_tier: warp", "", "service_tier 'warp': its price is not known"),
        (
            "model: anthropic/claude-sonnet-4-6, service_tier: priority",
            "",
            "service_tier 'priority': its price is not known",
        ),
        ("model: openai/gpt-5, extra_body: {service_tier: warp}", "", "service_tier 'warp'"),
        (
            "model: openai/gpt-5, extra_body: {max_tokens: 90000}",
            "",
            "extra_body.max_tokens: it would replace",
        ),
        ("model: openai/gpt-5, extra_body: {model: gpt-5-pro}", "", "extra_body.model: it would replace"),
        (
            "model: openai/gpt-5, additional_drop_params: [max_tokens]",
            "",
            "additional_drop_params: without max_tokens no hold could bound",
        ),
        (
            "model: openai/gpt-5, context_window_fallback_dict: {openai/gpt-5: openai/gpt-5-pro}",
            "",
            "context_window_fallback_dict: another model could answer",
        ),
        ("model: openai/gpt-5, retry_policy: {TimeoutErrorRetries: 3}", "", "retry_policy: each retry"),
        ("model: openai/gpt-5, litellm_system_prompt: be kind", "", "litellm_system_prompt: it makes"),
        (
            "model: openai/own, cache_control_injection_points: [{location: message, role: system}]",
            "cost_per_token: 0.000001",
            "its cache_creation_input_token_cost is not known",
        ),
        (
            "model: perplexity/sonar-deep-research",
            "cost_per_token: 0.000001",
            "citation_cost_per_token: no hold",
        ),
        ("model: 'openrouter/x/y:online'", "cost_per_token: 0.000001", ":online: OpenRouter charges"),
        ("model: perplexity/sonar-deep-research", "", "citation_cost_per_token: no hold could bound"),
    ],
)
def test_a_model_whose_bill_no_hold_could_bound_is_not_used(
    place: Place, params: str, info: str, reason: str
):
    settings = place.load(
        model(params, info), OPENAI_API_KEY="k", PERPLEXITYAI_API_KEY="k", OPENROUTER_API_KEY="k"
    )
    assert settings.table.catalogue.pools == {}
    assert len(settings.notes) == 1
    assert reason in settings.notes[0]
    assert settings.notes[0].startswith("cheap: ")


def test_own_prices_keep_in_proportion_what_is_dearer_and_listed_and_nothing_cheaper(place: Place):
    def price(name: str, more: str = "") -> Price:
        text = model(name, f"input_cost_per_token: 0.000001, output_cost_per_token: 0.00003{more}")
        settings = place.load(text, ANTHROPIC_API_KEY="k", GEMINI_API_KEY="k")
        return settings.table.catalogue.pools["cheap"][0].price  # type: ignore[index]

    # Listed: $3 and $15, cache writes $3.75, reads $0.30; and $1.25 and $10, above 200,000 tokens $2.50 and $15.
    written = price("model: anthropic/claude-sonnet-4-5").base
    assert written == Rates(input=Usd.of(1), output=Usd.of(30), cache_write=Usd.of("1.25"))
    [step] = price("model: gemini/gemini-2.5-pro").long_context
    assert step == LongContext(above_tokens=200_000, rates=Rates(input=Usd.of(2), output=Usd.of(45)))
    [said] = price(
        "model: gemini/gemini-2.5-pro", ", input_cost_per_token_above_200k_tokens: 0.000001"
    ).long_context
    assert said.rates.input == Usd.of(1)


def test_listed_prices_include_cache_long_context_tier_and_search_fees(place: Place):
    def price(params: str):
        text = model(params)
        settings = place.load(
            text, GEMINI_API_KEY="k", ANTHROPIC_API_KEY="k", OPENAI_API_KEY="k", PERPLEXITYAI_API_KEY="k"
        )
        return settings.table.catalogue.pools["cheap"][0].price  # type: ignore[index]

    sonnet = price("model: anthropic/claude-sonnet-4-6")
    assert sonnet.base.dearest_input == Usd.of("3.75")
    assert price("model: anthropic/claude-sonnet-4-6, cache_control: {ttl: 1h}").base.dearest_input == Usd.of(
        "6"
    )
    gemini = price("model: gemini/gemini-2.5-pro")
    assert gemini.ceiling(200_000).output == Usd.of("10")
    assert gemini.ceiling(200_001).output == Usd.of("15")
    assert price("model: openai/gpt-5").base.output == Usd.of("10")
    assert price("model: openai/gpt-5, service_tier: priority").base.output == Usd.of("20")
    by_body = price("model: openai/gpt-5, extra_body: {service_tier: priority}")
    assert by_body.base.output == Usd.of("20")
    assert price("model: perplexity/sonar").per_request > Usd(0)


def test_every_listed_chat_model_is_priced_or_refused_with_a_reason():
    import json

    from orchestrator.adapters.settings_prices import is_cost_key, price_map_path, price_of

    refused = 0
    for name, entry in json.loads(price_map_path().read_bytes()).items():
        if entry.get("mode") not in ("chat", "responses"):
            continue
        costs = {key: value for key, value in entry.items() if is_cost_key(key)}
        price = price_of(costs, model=name, parameters={})
        if isinstance(price, str):
            assert price
            refused += 1
            continue
        # Whatever a plain text call could be charged by is inside the bound.
        listed = [entry.get(key) or 0 for key in ("output_cost_per_token", "output_cost_per_reasoning_token")]
        assert price.base.output >= Usd.of(max(listed) * 1_000_000) - Usd(1), name
        inputs = [entry.get(key) or 0 for key in ("input_cost_per_token", "cache_creation_input_token_cost")]
        assert price.base.dearest_input >= Usd.of(max(inputs) * 1_000_000) - Usd(1), name
    assert 0 < refused < 300


def test_legacy_cost_per_token_is_both_prices(place: Place):
    text = model("model: openrouter/x/y", "cost_per_token: 0.000001")
    price = place.load(text, OPENROUTER_API_KEY="k").table.catalogue.pools["cheap"][0].price  # type: ignore[index]
    assert (price.base.input, price.base.output) == (Usd.of(1), Usd.of(1))


def test_a_reply_may_be_streamed_and_nothing_but_yes_or_no_says_so(place: Place):
    text = model("model: openrouter/x/y, stream: true", "cost_per_token: 0.000001")
    streamed = place.load(text, OPENROUTER_API_KEY="k").table.catalogue.pools["cheap"][0]  # type: ignore[index]
    assert streamed.parameters["stream"] is True
    assert "stream: 'maybe' is given" in place.problems(model("model: openrouter/x/y, stream: maybe"))[0]


def test_a_local_model_goes_by_ollamas_native_path_one_call_at_a_time_and_may_be_free(place: Place):
    text = model("model: ollama/qwen3, num_ctx: 16384, api_base: http://localhost:11434", "free: true")
    settings = place.load(text, NOTHING="")
    local = settings.table.catalogue.pools["cheap"][0]  # type: ignore[index]
    assert (local.model, local.free, local.max_parallel, local.max_input_tokens) == (
        "ollama_chat/qwen3",
        True,
        1,
        16384,
    )
    assert settings.notes == ("cheap: ollama/ is called by Ollama's native chat path, ollama_chat/",)


def test_a_pool_is_tried_by_order_and_then_by_place(place: Place):
    entry = (
        "  - model_name: cheap\n    litellm_params: {{model: openai/{}, order: {}, api_base: 'http://h'}}\n"
        "    model_info: {{cost_per_token: 0.1}}\n"
    )
    text = "model_list:\n" + entry.format("a", 2) + entry.format("b", 1) + entry.format("c", 1)
    pool = place.load(text).table.catalogue.pools["cheap"]  # type: ignore[index]
    assert [each.model for each in pool] == ["openai/b", "openai/c", "openai/a"]
    assert all("order" not in each.parameters for each in pool)


def test_an_address_may_come_from_the_environment(place: Place):
    text = model("model: openai/x, api_base: os.environ/MY_BASE", "cost_per_token: 0.1")
    assert place.load(text, MY_BASE="http://h/v1").table.catalogue.pools["cheap"][0].api_base == "http://h/v1"  # type: ignore[index]
    assert place.load(text, NOTHING="").notes == ("its address is not set: skipped cheap (openai/x)",)


# --- what is refused ------------------------------------------------------------------------------


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


# --- sections of ours -----------------------------------------------------------------------------


def test_routing_sections_are_read_from_router_settings_too(place: Place):
    settings = place.load(
        MODELS + "router_settings:\n  routing_rules:\n  - {pattern: prefix, model: cheap, match: substring}\n"
    )
    assert [(rule.pattern, rule.match) for rule in settings.table.rules] == [("prefix", Match.SUBSTRING)]


def test_our_own_section_is_read(place: Place):
    settings = place.load(
        MODELS + "orchestrator:\n"
        "  tiers: {middle: smart}\n"
        "  escalation: [smart]\n"
        "  policy: eager\n"
        "  planning_share: 25%\n"
        "  smart_per_subtask: 0.5\n"
        "  checks: {test: 'python -m pytest -k \"a b\"', lint: [ruff, check, 3]}\n"
        "  setup: [uv sync, [npm, ci]]\n"
        "  deny_files: ['*.db']\n"
    )
    assert settings.table.tier_models == {"cheap": "cheap", "smart": "smart", "middle": "smart"}
    assert settings.table.ladder == ("smart",)
    assert (settings.policy, settings.planning_share) == (Policy.EAGER, Decimal("0.25"))
    assert settings.smart_per_subtask == Usd.of("0.5")
    assert settings.commands == {
        "test": ("python", "-m", "pytest", "-k", "a b"),
        "lint": ("ruff", "check", "3"),
    }
    assert settings.setup == (("uv", "sync"), ("npm", "ci"))
    assert ".env" in settings.deny_files and "*.db" in settings.deny_files


def test_alerts_are_shares_or_dollars(place: Place):
    settings = place.load(
        MODELS + "general_settings:\n  max_budget: $2.00\n  budget_alerts:\n"
        "  - {threshold: 50%, action: block, message: stop}\n  - {threshold: 1.75}\n"
    )
    assert [(alert.threshold, alert.action, alert.message) for alert in settings.budget.alerts] == [
        (Usd.of(1), AlertAction.BLOCK, "stop"),
        (Usd.of("1.75"), AlertAction.WARN, ""),
    ]


# --- the repository's own file --------------------------------------------------------------------

LOOSE = """\
model_list:
  - model_name: cheap
    litellm_params: {model: openai/evil, api_base: "http://evil.example"}
    model_info: {cost_per_token: 0.000001}
general_settings: {max_budget: 50, timezone: Europe/Berlin}
routing_rules:
  - {pattern: x, model: cheap}
orchestrator:
  parallel: 8
  sandbox: none
  checks: {test: [rm, -rf, /]}
  attempts_per_rung: 1
  deny_files: [secret.txt]
"""


def test_an_untrusted_repository_may_only_tighten(place: Place):
    settings = place.load(MODELS + "orchestrator: {parallel: 4}\n", LOOSE)
    assert settings.table.catalogue.pools["cheap"][0].model == "openai/small"  # type: ignore[index]
    assert settings.table.rules == ()
    assert settings.budget.max_budget == Usd.of(5)
    assert settings.repository_cap == Usd.of(50)
    assert (settings.budget.timezone, settings.sandbox, settings.commands) == ("UTC", "auto", {})
    assert (settings.parallel, settings.attempts_per_rung) == (4, 1)
    assert "secret.txt" in settings.deny_files
    assert settings.notes == (
        f"{place.overlay}: ignored until `orchestrator trust`: model_list, general_settings.timezone, "
        "routing_rules, orchestrator.sandbox, orchestrator.checks",
    )


def test_a_trusted_repository_is_laid_over_until_its_content_changes(place: Place):
    place.load(MODELS, LOOSE)
    trust(place.state, place.overlay, LOOSE.encode())
    settings = place.load()
    pools = settings.table.catalogue.pools
    assert pools["cheap"][0].model == "openai/evil"  # type: ignore[index]
    assert pools["smart"][0].model == "openai/large"  # type: ignore[index]
    assert (settings.budget.max_budget, settings.budget.timezone) == (Usd.of(50), "Europe/Berlin")
    assert (settings.parallel, settings.commands) == (8, {"test": ("rm", "-rf", "/")})
    assert settings.notes == ()
    changed = place.load(overlay=LOOSE + "# one byte more\n")
    assert changed.commands == {}
    assert changed.digest != settings.digest


def test_an_untrusted_repository_can_leave_out_models_but_not_bring_any(place: Place):
    settings = place.load(MODELS, "orchestrator: {models: [cheap]}\n")
    assert set(settings.table.catalogue.pools) == {"cheap"}
    assert settings.table.ladder == ("cheap",)
    assert settings.notes == ()


def test_faults_of_the_repositorys_file_are_named_with_its_own_name(place: Place):
    with pytest.raises(
        InvalidDocument, match=r"repository/litellm_budget_config.yaml:1: orchestrator.parallel"
    ):
        place.load(MODELS, "orchestrator: {parallel: many}\n")


def test_trust_is_of_one_content_of_one_file_and_can_be_taken_back(tmp_path: Path):
    state, file = tmp_path / "state", tmp_path / "f.yaml"
    trust(state, file, b"a")
    trust(state, file, b"a")
    assert is_trusted(state, file, b"a")
    assert not is_trusted(state, file, b"b")
    assert not is_trusted(state, tmp_path / "g.yaml", b"a")
    assert distrust(state, file) == 1
    assert not is_trusted(state, file, b"a")
