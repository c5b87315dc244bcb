from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.calibration import (
    ENOUGH,
    Calibration,
    Observation,
    calibrate,
    calibration_rows,
    observations,
)
from orchestrator.core.catalogue import Catalogue, Deployment, RoutingTable
from orchestrator.core.domain import (
    AttemptId,
    Ended,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    Policy,
    Range,
    SubtaskId,
    SuiteTime,
)
from orchestrator.core.events import AttemptFinished, AttemptStarted, BaselineMeasured, RunStarted
from orchestrator.core.forecast import Forecast, forecast
from orchestrator.core.money import Price, Rates, Usage, Usd
from orchestrator.core.planning import InvalidPlan, plan_from_json, plan_to_json
from orchestrator.core.suite_time import assumed_suite, measured_suite
from orchestrator.core.timeline import timeline
from tests.core.planning_builders import draft, planned

CHEAP, SMART = ModelAlias("cheap"), ModelAlias("smart")


def table(*, smart: bool = True) -> RoutingTable:
    pools = {
        CHEAP: (_deployment(CHEAP, "1", "4"),),
        SMART: (_deployment(SMART, "3", "15"),) if smart else (),
    }
    return RoutingTable(
        catalogue=Catalogue(pools=pools),
        tier_models={"cheap": CHEAP, "smart": SMART},
        ladder=(CHEAP, SMART),
    )


def _deployment(alias: ModelAlias, price_in: str, price_out: str) -> Deployment:
    rates = Rates(input=Usd.of(price_in), output=Usd.of(price_out))
    return Deployment(alias=alias, model=f"vendor/{alias}", price=Price(base=rates), price_source="test")


def cast(plan: Plan, **more: object) -> Forecast:
    return forecast(plan, table(), **{"suite": SuiteTime(seconds=0.0, basis="none"), **more})  # type: ignore[arg-type]


def test_one_attempt_without_retries_costs_what_its_tokens_cost():
    row = cast(planned(draft("a")), policy=Policy.TAGS, attempts_per_rung=1).subtasks[0]
    assert row.dollars is not None
    # 500 in at $1 and 200 out at $4 per million.
    assert row.dollars.low == Usd.of("0.0013")
    # Weighted 1:4:1: 1083.3 in, 433.3 out.
    assert float(row.dollars.likely.dollars) == pytest.approx(0.0028167, rel=1e-3)
    assert row.dollars.high == Usd.of("0.0052")
    assert (row.attempts, row.escalates, row.succeeds) == (1.0, 0.0, 0.75)
    assert row.model == CHEAP


def test_retries_and_escalations_are_in_the_likely_cost():
    row = cast(planned(draft("a"))).subtasks[0]
    assert row.dollars is not None
    # Cheap, cheap again, smart, smart again: reached with 1, .25, .1375, .06875.
    assert row.attempts == pytest.approx(1.45625)
    assert row.escalates == pytest.approx(0.1375)
    assert row.succeeds == pytest.approx(1 - 0.06875 * 0.65)
    assert float(row.dollars.likely.dollars) == pytest.approx(0.0028167 * 1.25 + 0.00975 * 0.20625, rel=1e-3)


def test_a_tool_costs_nothing_and_a_missing_price_is_unknown_not_zero():
    tool = draft(
        "a", executor="tool", tool="ruff-fix", estimate={"input_tokens": 0, "output_tokens": 0, "seconds": 2}
    )
    free = cast(planned(tool))
    assert free.dollars is not None
    assert (free.dollars.high, free.subtasks[0].model) == (Usd(0), None)
    unknown = forecast(planned(draft("a"), draft("b", category="smart/system-design")), table(smart=False))
    assert unknown.dollars is None
    assert unknown.subtasks[1].dollars is None
    assert "no price is known for smart" in unknown.notes


def test_all_smart_costs_more_and_all_cheap_less_than_what_is_routed():
    plan = planned(draft("a"), draft("b"), draft("c", category="smart/system-design"))
    found = cast(plan)
    assert found.dollars is not None
    by_name = {other.name: other for other in found.alternatives}
    smart, cheap = by_name["all smart"].dollars, by_name["all cheap"].dollars
    assert smart is not None
    assert cheap is not None
    assert cheap.likely < found.dollars.likely < smart.likely
    assert by_name["all cheap"].succeeds < found.succeeds


def test_the_range_of_the_whole_is_narrower_than_the_sum_of_the_parts():
    found = cast(planned(*(draft(f"s-{number}") for number in range(20))))
    assert found.dollars is not None
    low = sum(row.dollars.low.nano for row in found.subtasks if row.dollars)
    high = sum(row.dollars.high.nano for row in found.subtasks if row.dollars)
    assert low < found.dollars.low.nano < found.dollars.likely.nano < found.dollars.high.nano < high


def test_the_suite_is_in_the_seconds_of_every_attempt():
    plan = planned(draft("a"))

    def seconds(suite: SuiteTime | None) -> Range:
        return cast(plan, policy=Policy.TAGS, attempts_per_rung=1, suite=suite).subtasks[0].seconds

    without = seconds(SuiteTime(seconds=0.0, basis="none"))
    long = seconds(SuiteTime(seconds=90.0, basis="measured"))
    # Again when other work has landed meanwhile; weighted 1:4:1.
    assert long == Range(without.low + 90, without.likely + 105, without.high + 180)
    quick = seconds(SuiteTime(seconds=6.0, basis="measured"))
    # A quick suite is run again for steadiness, its tests repeated where the runner can.
    assert quick == Range(without.low + 6, without.likely + 22, without.high + 54)


def test_the_forecast_names_what_its_suite_time_stands_on():
    plan = planned(draft("a"))
    assert any("is not known" in note for note in cast(plan, suite=None).notes)
    told = replace(plan, suite=SuiteTime(seconds=8.5, basis="assumed until a run measures it: 3 to start"))
    assert "the suite counts with 8.5 seconds a run (assumed until a run measures it: 3 to start)" in (
        cast(told, suite=None).notes
    )
    assert cast(told, suite=None).seconds.likely > cast(plan, suite=None).seconds.likely
    # What was measured counts more than what the plan was made with.
    measured = cast(told, suite=measured_suite(70.04))
    assert "the suite counts with 70 seconds a run (measured before an earlier run here)" in measured.notes


def test_the_assumed_time_of_a_suite_follows_its_programs_and_its_size():
    assert assumed_suite([], test_files=12).seconds == 0
    python = assumed_suite(["python"], test_files=10)
    assert python.seconds == 8
    assert "10 test files" in python.basis
    assert assumed_suite(["cargo"], test_files=10).seconds > python.seconds
    assert assumed_suite(["npm", "python"], test_files=10).seconds == 11


def test_a_plan_keeps_the_time_of_its_suite_and_refuses_one_that_is_none():
    plan = replace(planned(draft("a")), suite=SuiteTime(seconds=8.5, basis="assumed"))
    text = plan_to_json(plan)
    assert plan_from_json(text) == plan
    for faulty in ("-1", "true", '"8"', "1e300"):
        with pytest.raises(InvalidPlan, match="`suite` holds `seconds`"):
            plan_from_json(text.replace("8.5", faulty))


def test_the_same_plan_gives_the_same_forecast():
    plan = planned(draft("a"), draft("b", "a"))
    assert cast(plan) == cast(plan)
    assert cast(plan).digest != cast(planned(draft("a"), draft("b"))).digest


def test_a_plan_too_large_to_draw_still_has_its_seconds():
    found = cast(planned(*(draft(f"s-{number}") for number in range(2_001))), parallel=4)
    assert found.schedule == ()
    assert found.seconds.likely == pytest.approx(2_001 * found.subtasks[0].seconds.likely / 4, abs=1)


# --- the Gantt ------------------------------------------------------------------------------------

small = st.integers(1, 10).flatmap(
    lambda size: st.tuples(
        st.tuples(
            *(
                st.lists(st.integers(0, n - 1), max_size=2, unique=True) if n else st.just([])
                for n in range(size)
            )
        ),
        st.lists(st.floats(0, 50), min_size=size, max_size=size),
        st.lists(
            st.none() | st.lists(st.sampled_from(["a.py", "b.py", "*.py", "c/"]), max_size=2),
            min_size=size,
            max_size=size,
        ),
        st.integers(1, 4),
    )
)


@given(small)
def test_the_timeline_keeps_dependencies_slots_and_files(case):
    needs, seconds, touches, parallel = case
    bars, end = timeline(needs, list(range(len(needs))), seconds, touches, parallel=parallel)
    by_node = {bar.node: bar for bar in bars}
    assert sorted(by_node) == list(range(len(needs)))
    assert end == max(bar.end for bar in bars)
    for node, before in enumerate(needs):
        assert all(by_node[other].end <= by_node[node].start for other in before)
    for bar in bars:
        beside = [
            other
            for other in bars
            if other.node != bar.node and other.start < bar.end and bar.start < other.end
        ]
        assert all(other.slot != bar.slot for other in beside)
        if touches[bar.node] is None:
            assert beside == []
        assert not any(set(touches[other.node] or ()) & set(touches[bar.node] or ()) for other in beside)


# --- calibration ----------------------------------------------------------------------------------


def seen(count: int, passed: int, *, output: int = 800) -> list[Observation]:
    return [
        Observation(
            model=CHEAP, rule="cheap/bug-fixes", passed=number < passed, likely_input=1000, likely_output=400,
            likely_seconds=10, input_tokens=2000, output_tokens=output, seconds=20.0, bill=Usd.of("0.01"),
            likely_passed=0.7,
        )
        for number in range(count)
    ]  # fmt: skip


def test_a_cell_counts_from_thirty_attempts_on():
    plan = planned(draft("a"))
    few = calibrate(seen(ENOUGH - 1, 0))
    assert cast(plan, calibration=few).dollars == cast(plan).dollars
    enough = calibrate(seen(ENOUGH, ENOUGH))
    assert (
        enough.odds(CHEAP, "cheap/bug-fixes", tier="cheap", smart=False, entry=True, again=False) == 37.5 / 40
    )
    better, prior = cast(plan, calibration=enough), cast(plan)
    assert better.subtasks[0].attempts < prior.subtasks[0].attempts
    # Twice the tokens that were estimated.
    calibrated, estimated = better.subtasks[0].dollars, prior.subtasks[0].dollars
    assert calibrated is not None
    assert estimated is not None
    assert calibrated.low == estimated.low * 2
    assert better.subtasks[0].output_tokens.low == prior.subtasks[0].output_tokens.low * 2
    assert better.subtasks[0].seconds.low == prior.subtasks[0].seconds.low * 2
    assert "1 cell from your own runs counted instead" in better.priors


def test_the_calibration_table_sets_predicted_beside_actual():
    def price(model: ModelAlias, input_tokens: int, output_tokens: int) -> Usd | None:
        return Usd.of("0.002") if (model, input_tokens, output_tokens) == (CHEAP, 1000, 400) else None

    heading, row = calibration_rows(calibrate([*seen(40, 30)]), price)
    assert dict(zip(heading[:3], row[:3], strict=True)) == {
        "model": "cheap", "rule": "cheap/bug-fixes", "attempts": "40",
    }  # fmt: skip
    assert heading[3:5] == ("pass predicted", "pass actual")
    assert len(set(heading)) == len(heading)
    assert row[3:] == ("70%", "75%", "400", "800", "10", "20", "$0.0020", "$0.01", "yes")
    assert Calibration().in_use == 0


def test_observations_come_from_judged_attempts_of_real_models():
    plan = planned(draft("a"), draft("b"))
    started = RunStarted(
        run="r",
        plan=plan,
        repository="/r",
        base_commit="c",
        branch="b",
        limits=Limits(),
        ladder=(CHEAP, SMART),
    )

    def finished(name: str, number: int, ended: Ended, calls: int = 1) -> AttemptFinished:
        usage = Usage(input_tokens=10, output_tokens=20)
        outcome = Outcome(ended=ended, model=CHEAP, usage=usage, calls=calls, seconds=3.0)
        return AttemptFinished(attempt=AttemptId(SubtaskId(name), number), outcome=outcome)

    events = [
        started,
        AttemptStarted(attempt=AttemptId(SubtaskId("a"), 1), model=CHEAP),
        finished("a", 1, Ended.REJECTED),
        finished("a", 2, Ended.PASSED),
        finished("b", 1, Ended.NO_ROOM),
        finished("b", 2, Ended.PASSED, calls=0),
    ]
    found = observations(events)
    assert [(item.passed, item.likely_output, item.output_tokens) for item in found] == [
        (False, 400, 20),
        (True, 400, 20),
    ]
    # The second attempt on the same model was less likely to pass.
    assert [item.likely_passed for item in found] == [0.75, 0.45]
    estimated = plan.subtasks[0].estimate.seconds.likely
    assert [item.likely_seconds for item in found] == [estimated, estimated]
    baseline = BaselineMeasured(passed=True, seconds=30.0)
    assert [item.likely_seconds for item in observations([started, baseline, *events[1:]])] == [
        estimated + 30,
        estimated + 30,
    ]

    assert observations([replace(started, scripted="scripted"), *events[1:]]) == []
