from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.catalogue import Alert, AlertAction
from orchestrator.core.ledger import (
    Granted,
    Refused,
    Scope,
    Standing,
    Totals,
    Wait,
    Window,
    reserve,
    settle,
)
from orchestrator.core.money import ZERO, Usd


def usd(text: str) -> Usd:
    return Usd.of(text)


def standing(
    cap: str | None = "5",
    *,
    spent: str = "0",
    held: str = "0",
    ambiguous: str = "0",
    alerts=(),
    said=(),
    name="day",
) -> Standing:
    window = Window(
        scope=Scope.BUDGET,
        key="",
        start=0,
        cap=usd(cap) if cap is not None else None,
        name=name,
        alerts=tuple(Alert(threshold=usd(at), action=AlertAction(action)) for at, action in alerts),
    )
    totals = Totals(spent=usd(spent), held=usd(held), ambiguous=usd(ambiguous))
    return Standing(window=window, totals=totals, said=frozenset(map(usd, said)))


def test_an_amount_that_fills_the_window_to_the_last_nano_dollar_is_granted_and_one_more_is_not():
    assert reserve(usd("0.000000001"), [standing(spent="4.999999999")]) == Granted()
    assert isinstance(reserve(usd("0.000000002"), [standing(spent="4.999999999")]), Refused)


def test_what_open_holds_may_free_is_waited_for_and_what_they_cannot_free_is_refused():
    assert isinstance(reserve(usd("1"), [standing(spent="3", held="2")]), Wait)
    refused = reserve(usd("1"), [standing(spent="4.5", held="0.5")])
    assert isinstance(refused, Refused)
    assert refused.obstacle.left == usd("0.5")


def test_the_hold_of_a_crashed_call_frees_nothing():
    assert isinstance(reserve(usd("1"), [standing(spent="3", ambiguous="2")]), Refused)


def test_the_window_with_the_least_left_is_the_one_that_is_named():
    decision = reserve(
        usd("1"), [standing(spent="4.5"), standing("2", spent="1.9", name="run"), standing(None)]
    )
    assert isinstance(decision, Refused)
    assert (decision.obstacle.window.name, decision.obstacle.left) == ("run", usd("0.1"))


def test_a_free_call_is_granted_when_the_budget_is_gone_or_overspent_or_blocked():
    gone = standing(spent="5", alerts=[("4.8", "block")])
    assert reserve(ZERO, [gone, standing(spent="7")]) == Granted()


def test_a_negative_hold_is_an_error():
    with pytest.raises(ValueError, match="negative"):
        reserve(usd("-1"), [standing()])


def test_an_alert_is_raised_once_when_spent_and_held_reach_it():
    alerts = [("2.5", "log"), ("4", "warn")]
    decision = reserve(usd("0.5"), [standing(spent="1", held="1", alerts=alerts)])
    assert isinstance(decision, Granted)
    assert [raised.alert.threshold for raised in decision.alerts] == [usd("2.5")]
    assert str(decision.alerts[0]) == (
        "day budget: $2.50 of $5.00 is spent or held, past the alert at $2.50: noted"
    )
    assert reserve(usd("0.5"), [standing(spent="2", alerts=alerts, said=["2.5"])]) == Granted()


def test_a_blocking_alert_lets_the_call_that_reaches_it_pass_and_no_other():
    alerts = [("4.8", "block")]
    assert isinstance(reserve(usd("0.2"), [standing(spent="4.7", alerts=alerts)]), Granted)
    refused = reserve(usd("0.01"), [standing(spent="4.8", alerts=alerts)])
    assert isinstance(refused, Refused)
    assert refused.obstacle.blocked_at == usd("4.8")


def test_a_block_that_only_open_holds_have_reached_is_waited_for():
    assert isinstance(
        reserve(usd("0.01"), [standing(spent="1", held="3.9", alerts=[("4.8", "block")])]), Wait
    )


def test_an_unknown_or_impossible_bill_is_charged_at_the_whole_hold():
    assert settle(usd("0.3"), None, [standing(held="0.3")], ambiguous=False).charged == usd("0.3")
    assert settle(usd("0.3"), usd("-1"), [standing(held="0.3")], ambiguous=False).charged == usd("0.3")


def test_a_bill_above_its_hold_is_charged_in_full_and_closes_the_windows_it_passes():
    day, run = standing(spent="1", held="0.3"), standing("1.5", spent="1", held="0.3", name="run")
    result = settle(usd("0.3"), usd("0.7"), [day, run], ambiguous=False)
    assert (result.charged, result.excess) == (usd("0.7"), usd("0.4"))
    assert [window.name for window in result.closed] == ["run"]


amounts = st.integers(0, 50).map(Usd)


@given(
    cap=st.integers(0, 200).map(Usd),
    actions=st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "release", "crash"]), amounts), max_size=60
    ),
)
def test_whatever_the_order_of_reserve_and_settle_what_is_committed_stays_under_the_cap(cap, actions):
    window = Window(scope=Scope.BUDGET, key="", start=0, cap=cap, name="day")
    totals, open_holds = Totals(), []
    for action, amount in actions:
        match action:
            case "reserve":
                decision = reserve(amount, [Standing(window=window, totals=totals)])
                if isinstance(decision, Granted):
                    open_holds.append(amount)
                    totals = totals.plus(held=amount)
                elif isinstance(decision, Refused):
                    assert totals.certain + amount > cap
            case "settle" if open_holds:
                hold = open_holds.pop()
                bill = min(hold, amount)
                result = settle(hold, bill, [Standing(window=window, totals=totals)], ambiguous=False)
                assert (result.charged, result.excess) == (bill, ZERO)
                totals = totals.plus(held=-hold, spent=result.charged)
            case "release" if open_holds:
                totals = totals.plus(held=-open_holds.pop())
            case "crash" if open_holds:
                hold = open_holds.pop()
                totals = totals.plus(held=-hold, ambiguous=hold)
        assert totals.committed <= cap


@pytest.mark.slow
def test_a_million_calls_of_a_third_of_a_millionth_of_a_dollar_reach_the_cap_when_the_true_sum_does():
    price, cap = usd("0.0000003"), usd("0.2999999")
    window = Window(scope=Scope.BUDGET, key="", start=0, cap=cap, name="day")
    totals, calls = Totals(), 0
    while isinstance(reserve(price, [Standing(window=window, totals=totals)]), Granted):
        totals = totals.plus(spent=settle(price, price, (), ambiguous=False).charged)
        calls += 1
    assert (calls, totals.spent) == (999_999, usd("0.2999997"))
