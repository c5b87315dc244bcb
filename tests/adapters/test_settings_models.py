"""The models of the configuration: their prices, parameters and order, and which are not used for want of a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.money import LongContext, Price, Rates, Usd
from tests.adapters.settings_building import MODELS, Place, model


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_prices_are_read_exactly_also_in_exponents(place: Place):
    pools = place.load(MODELS).table.catalogue.pools
    cheap, smart = pools["cheap"][0], pools["smart"][0]  # type: ignore[index]
    assert (cheap.price.base.input, cheap.price.base.output) == (Usd.of("0.3"), Usd.of("2.5"))
    assert (smart.price.base.input, smart.price.base.output) == (Usd.of("2"), Usd.of("10"))
    assert cheap.price_source.endswith("litellm_budget_config.yaml:2")
    assert smart.parameters == {"temperature": 0.5}
    assert cheap.key_variable == "ONE_API_KEY"


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
