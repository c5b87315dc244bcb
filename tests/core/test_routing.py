"""Routing decisions: order of the steps, bands, caps, refusals that name the amount that would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.catalogue import (
    BudgetBand,
    Catalogue,
    Comparison,
    Deployment,
    RoutingRule,
    RoutingTable,
)
from orchestrator.core.domain import (
    CHEAP,
    DecidedBy,
    Estimate,
    ModelAlias,
    Range,
    Refusal,
    Route,
    Tag,
    Tier,
)
from orchestrator.core.money import ZERO, Price, Rates, Usd, worst_case
from orchestrator.core.routing import (
    Request,
    affordable_output,
    as_if_keyed,
    band_for,
    edit_needs,
    route,
    unusable_because,
    usable_ladder,
)
from orchestrator.core.standards import read_standard

STANDARD = read_standard(
    "## Cheap Model Tasks (< 1000 tokens):\n- Comments: docstring\n## Smart Model Tasks:\n- Reviews: audit\n",
    source="s.md",
)


def deployment(alias: str, *, dollars_in: str, dollars_out: str, most: int, **more: object) -> Deployment:
    return Deployment(
        alias=ModelAlias(alias),
        model=f"maker/{alias}",
        price=Price(base=Rates(input=Usd.of(dollars_in), output=Usd.of(dollars_out))),
        price_source="test",
        max_output_tokens=most,
        **more,  # type: ignore[arg-type]
    )


def band(text: str, *preferred: str, max_tokens: int | None = None, escalation: bool = True) -> BudgetBand:
    sign, amount = text.split()
    return BudgetBand(
        comparison=Comparison(sign),
        threshold=Usd.of(amount),
        preferred=tuple(ModelAlias(name) for name in preferred),
        max_tokens=max_tokens,
        escalation=escalation,
    )


def rule(pattern: str, model: str, cap: str | None) -> RoutingRule:
    return RoutingRule(
        pattern=pattern, model=ModelAlias(model), max_cost_per_request=None if cap is None else Usd.of(cap)
    )


BANDS = (
    band("> 2.00", "cheap", "smart"),
    band("> 0.50", "cheap", "yolo"),
    band("< 0.50", "yolo", max_tokens=200),
)


def table(*, bands: tuple[BudgetBand, ...] = BANDS, **aliases: Deployment) -> RoutingTable:
    """The rules and bands of the brief, over three models of plain prices; `aliases` replace or add one."""
    usual = {
        "cheap": deployment("cheap", dollars_in="0.30", dollars_out="2.50", most=8000),
        "smart": deployment("smart", dollars_in="2", dollars_out="10", most=16000),
        "yolo": deployment("yolo", dollars_in="0.30", dollars_out="2.50", most=500),
    }
    return RoutingTable(
        catalogue=Catalogue(pools={ModelAlias(name): (each,) for name, each in (usual | aliases).items()}),
        rules=(
            rule("fix|typo|simple|quick|small|format", "cheap", "0.001"),
            rule("refactor|analyze|complex|architecture|design|review", "smart", "0.01"),
            rule("yolo|urgent|fast|now|quick", "yolo", "0.0005"),
        ),
        bands=bands,
        tier_models={"cheap": ModelAlias("cheap"), "smart": ModelAlias("smart")},
        ladder=(ModelAlias("cheap"), ModelAlias("smart")),
    )


def day(amount: str) -> Mapping[str, Usd]:
    return {"day": Usd.of(amount)}


def request(text: str = "hello", **more: object) -> Request:
    return Request(text=text, input_tokens=100, **more)  # type: ignore[arg-type]


def routed(decision: Route | Refusal) -> Route:
    assert isinstance(decision, Route), decision
    return decision


def refused(decision: Route | Refusal) -> Refusal:
    assert isinstance(decision, Refusal), decision
    return decision


@pytest.mark.parametrize(
    ("left", "model", "limit"), [("3.50", "smart", None), ("1.20", "cheap", None), ("0.30", "yolo", 200)]
)
def test_the_three_budgets_of_the_brief(left: str, model: str, limit: int | None):
    decision = routed(route(request("refactor this code"), table(), left=day(left)))
    assert decision.model == model
    assert limit in (None, decision.max_output_tokens)
    assert decision.reasons[0].startswith("routing rule 2 (")
    assert f"${left}" in decision.reasons[1]


@pytest.mark.parametrize(("model", "left"), [("smart", "0.30"), ("cheap", "3.50")])
def test_the_two_overrides_of_the_brief_are_exempt_from_bands(model: str, left: str):
    decision = routed(
        route(request("refactor this code", override=ModelAlias(model)), table(), left=day(left))
    )
    assert decision.model == model
    assert decision.reasons[0] == f"override: --model {model}"
    assert decision.max_output_tokens > 200


def test_a_tag_comes_before_rules_and_rules_before_the_standard():
    tag = Tag(tier=CHEAP, rule="cheap/bug-fixes", decided_by=DecidedBy.PLANNER)
    rich, usual = day("5"), table()
    tagged = routed(route(request("refactor", tag=tag), usual, left=rich, standard=STANDARD))
    assert (tagged.model, tagged.reasons[0]) == ("cheap", "tag: cheap/bug-fixes, by the planner: cheap")
    ruled = routed(route(request("design a docstring"), usual, left=rich, standard=STANDARD))
    assert ruled.model == "smart"
    matched = routed(route(request("audit it"), usual, left=rich, standard=STANDARD))
    assert matched.model == "smart"
    assert matched.reasons[:2] == (
        "no routing rule matches",
        "standard: smart/reviews by audit (1 signal word of smart): smart",
    )
    default = routed(route(request("hello"), usual, left=rich, standard=STANDARD))
    assert default.reasons[:3] == (
        "no routing rule matches",
        "no signal word of the standard occurs",
        "default: cheap",
    )


def test_the_first_rule_that_matches_wins_and_its_cap_binds():
    decision = routed(route(request("a quick one"), table(), left=day("5")))
    assert decision.model == "cheap"
    assert decision.worst_case <= Usd.of("0.001")
    assert decision.max_output_tokens == 388
    assert "output: rule 1 caps a request at $0.001, which leaves 388 tokens" in decision.reasons


def test_a_rules_cap_does_not_bind_a_tagged_request_nor_a_model_the_band_chose():
    tag = Tag(tier=CHEAP, rule="cheap/bug-fixes")
    assert routed(route(request("fix", tag=tag), table(), left=day("5"))).max_output_tokens == 8000
    assert routed(route(request("refactor"), table(), left=day("1"))).max_output_tokens == 8000


def test_a_cap_that_leaves_too_little_output_refuses_and_names_the_amount_that_would_do():
    long = Request(text="fix", input_tokens=3000)
    refusal = refused(route(long, table(), left=day("5")))
    assert refusal.message == (
        "rule 1 caps a request at $0.001, which leaves 40 output tokens, but cheap needs 64 "
        "($0.00106 would do): raise its max_cost_per_request"
    )
    assert refusal.would_do == Usd.of("0.00106")
    assert not refusal.no_model
    raised = rule("fix", "cheap", "0.00106")
    again = routed(route(long, RoutingTable(catalogue=table().catalogue, rules=(raised,)), left=day("5")))
    assert again.max_output_tokens == 64


def test_a_band_that_leaves_too_little_for_an_edit_refuses_and_says_so():
    refusal = refused(
        route(request("x", needs_output_tokens=512, rung=ModelAlias("cheap")), table(), left=day("0.3"))
    )
    assert "the band `< $0.50` allows 200 output tokens, but yolo needs 500" in refusal.message
    assert refusal.would_do == Usd.of("0.00128")


def test_too_little_left_refuses_before_paying_and_names_the_window_and_the_amount():
    left = {"day": Usd.of("5"), "run": Usd.of("0.0001")}
    refusal = refused(route(request("hello"), table(), left=left))
    assert refusal.message == (
        "$0.0001 is left of the run budget, which leaves 28 output tokens, but cheap needs 64 ($0.00019 would do): "
        "raise --budget by $0.000090"
    )
    assert (
        routed(route(request("hello"), table(), left={**left, "run": Usd.of("0.00019")})).max_output_tokens
        == 64
    )
    assert "no room even for the prompt" in refused(route(request(), table(), left=day("0.00001"))).message


def test_what_is_left_lowers_the_output_limit_to_what_it_pays_for():
    left = {"day": Usd.of("5"), "run": Usd.of("0.01")}
    decision = routed(route(request("hello"), table(), left=left))
    assert decision.worst_case <= Usd.of("0.01")
    assert decision.max_output_tokens == 3988


def test_a_band_never_makes_a_request_dearer():
    local = deployment("local", dollars_in="0", dollars_out="0", most=4000, free=True)
    usual = table(local=local)
    decision = routed(route(request("x", rung=ModelAlias("local")), usual, left=day("0.1")))
    assert decision.model == "local"
    assert decision.worst_case == ZERO
    assert any("not dearer" in reason for reason in decision.reasons)


def test_a_free_model_stays_usable_when_nothing_is_left():
    local = deployment("local", dollars_in="0", dollars_out="0", most=4000, free=True)
    decision = routed(
        route(request("x", override=ModelAlias("local")), table(local=local), left={"day": Usd(-5)})
    )
    assert decision.worst_case == ZERO


def test_a_rung_without_a_key_is_passed_by_unless_a_tier_starts_on_it():
    full = table()
    ladder = (ModelAlias("cheap"), ModelAlias("second"), ModelAlias("smart"))
    keyless = replace(
        full.catalogue.pools[ModelAlias("smart")][0], alias=ModelAlias("second"), key_variable="OTHER_KEY"
    )
    catalogue = Catalogue(
        pools={ModelAlias("cheap"): full.catalogue.pools[ModelAlias("cheap")]},
        unusable={ModelAlias("second"): (keyless,), ModelAlias("smart"): (keyless,)},
    )
    rungs, passed_by = usable_ladder(replace(full, ladder=ladder, catalogue=catalogue))
    assert rungs == ("cheap", "smart")
    assert passed_by == ["escalation goes past second: model 'second' has no key: set OTHER_KEY"]


def test_escalation_may_pass_a_band_unless_the_band_forbids_it():
    rung = {"rung": ModelAlias("smart"), "entry": False}
    assert routed(route(request("x", **rung), table(), left=day("1"))).model == "smart"
    closed = table(bands=(band("> 0.50", "cheap", escalation=False),))
    decision = route(request("x", **rung), closed, left=day("1"))
    assert isinstance(decision, Refusal)
    assert "band `> $0.50` holds and forbids to escalate to smart" in decision.message
    assert not decision.no_model
    entry = request("x", rung=ModelAlias("smart"), entry=True)
    assert routed(route(entry, table(), left=day("1"))).model == "cheap"


def test_the_planners_own_call_is_exempt_from_bands():
    plan = request("x", rung=ModelAlias("smart"), planning=True)
    decision = routed(route(plan, table(), left=day("0.30")))
    assert decision.model == "smart"
    assert decision.max_output_tokens == 16000


def test_without_an_executable_check_the_entry_rung_is_smart_when_affordable():
    tag = Tag(tier=CHEAP, rule="cheap/bug-fixes")
    blind = request("x", tag=tag, checkable=False)
    rich = routed(route(blind, table(), left=day("5")))
    assert rich.model == "smart"
    assert "no executable check could escalate it: cheap -> smart" in rich.reasons
    poor = routed(route(blind, table(bands=()), left={"day": Usd.of("5"), "run": Usd.of("0.0005")}))
    assert poor.model == "cheap"
    assert "no executable check could escalate it, but smart needs $0.00084: stays cheap" in poor.reasons


@pytest.mark.parametrize(
    ("left", "threshold"),
    [("2.01", "2"), ("2", "0.5"), ("0.51", "0.5"), ("0.5", "0.5"), ("0.49", "0.5"), ("-1", "0.5")],
)
def test_an_amount_that_no_band_covers_takes_the_next_lower_band(left: str, threshold: str):
    found, _ = band_for(BANDS, Usd.of(left))
    assert found is not None and found.threshold == Usd.of(threshold)
    if left == "0.5":
        assert found.comparison is Comparison.BELOW


def test_below_all_bands_the_strictest_applies():
    found, how = band_for((band("> 2", "smart"), band("> 1", "cheap")), Usd.of("0.2"))
    assert found is not None and found.threshold == Usd.of(1)
    assert "strictest" in how
    assert band_for((), ZERO) == (None, "none")


def test_an_alias_without_a_usable_deployment_is_refused_with_what_to_set():
    keyless = deployment("smart", dollars_in="2", dollars_out="10", most=16000, key_variable="SOME_API_KEY")
    usual = table()
    pools = {alias: pool for alias, pool in usual.catalogue.pools.items() if alias != "smart"}
    catalogue = Catalogue(pools=pools, unusable={ModelAlias("smart"): (keyless,)})
    poorer = RoutingTable(
        catalogue=catalogue, rules=usual.rules, bands=usual.bands, tier_models=usual.tier_models
    )
    refusal = refused(route(request("review"), poorer, left=day("5")))
    assert refusal.no_model
    assert refusal.message == "model 'smart' has no key: set SOME_API_KEY"
    assert routed(route(request("review"), as_if_keyed(poorer), left=day("5"))).model == "smart"
    # A band may still find it a model that has a key.
    assert routed(route(request("review"), poorer, left=day("1"))).model == "cheap"
    assert unusable_because(catalogue, ModelAlias("smrat")) == "no model 'smrat', did you mean 'smart'?"


def test_a_tier_without_a_model_is_refused_by_name():
    refusal = refused(
        route(request("x", tag=Tag(tier=Tier("middle"), rule="middle/x")), table(), left=day("5"))
    )
    assert refusal.no_model
    assert refusal.message == "tier 'middle' has no model: set `tiers: {middle: ALIAS}` under `orchestrator`"


def test_a_prompt_that_does_not_fit_is_refused_and_a_local_window_holds_prompt_and_answer():
    small = deployment("cheap", dollars_in="1", dollars_out="1", most=4000, max_input_tokens=1000)
    refusal = refused(route(Request(text="x", input_tokens=1001), table(cheap=small), left=day("5")))
    assert refusal.no_model and "1,001 tokens does not fit into the 1,000" in refusal.message
    local = Deployment(
        alias=ModelAlias("cheap"),
        model="ollama_chat/x",
        price=small.price,
        price_source="test",
        max_input_tokens=1000,
        max_output_tokens=4000,
    )
    decision = routed(route(Request(text="x", input_tokens=600), table(cheap=local), left=day("5")))
    assert decision.max_output_tokens == 400


def test_an_edit_needs_its_estimate_and_at_least_512_tokens():
    def estimate(likely: int) -> Estimate:
        some = Range(0, likely, likely)
        return Estimate(input_tokens=some, output_tokens=some, seconds=some)

    assert edit_needs(estimate(100)) == 512
    assert edit_needs(estimate(2000)) == 2000


PRICES = st.integers(min_value=0, max_value=20_000_000_000).map(Usd)


@given(PRICES, PRICES, st.integers(0, 200_000), st.integers(0, 10_000_000_000).map(Usd))
def test_affordable_output_is_the_most_that_the_dollars_pay_for(
    dollars_in: Usd, dollars_out: Usd, tokens: int, dollars: Usd
):
    price = Price(base=Rates(input=dollars_in, output=dollars_out))
    pool = (Deployment(alias=ModelAlias("a"), model="m", price=price, price_source="t"),)
    most = affordable_output(pool, input_tokens=tokens, dollars=dollars)
    if most < 0:
        assert worst_case(price, input_tokens=tokens, max_output_tokens=0) > dollars
        return
    assert worst_case(price, input_tokens=tokens, max_output_tokens=min(most, 10**9)) <= dollars
    if dollars_out:
        assert worst_case(price, input_tokens=tokens, max_output_tokens=most + 1) > dollars


@given(
    st.text(max_size=60),
    st.integers(0, 100_000),
    st.integers(-1_000_000_000, 10_000_000_000),
    st.sampled_from([None, "cheap", "smart", "yolo", "nobody"]),
    st.booleans(),
)
def test_no_route_costs_more_than_is_left_and_every_decision_has_reasons(
    text: str, tokens: int, left: int, model: str | None, checkable: bool
):
    asked = Request(
        text=text,
        input_tokens=tokens,
        override=None if model is None else ModelAlias(model),
        checkable=checkable,
    )
    decision = route(asked, table(), left={"day": Usd(left)}, standard=STANDARD)
    assert decision.reasons
    if isinstance(decision, Route):
        assert decision.worst_case <= Usd(left)
        assert decision.max_output_tokens >= 64
