from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.money import ZERO, Usd


@pytest.mark.parametrize(
    ("amount", "costs", "left"),
    [
        ("1.911", "$1.92", "$1.91"),
        ("5", "$5.00", "$5.00"),
        ("0.0999", "$0.10", "$0.099"),
        ("0.09", "$0.09", "$0.09"),
        ("0.000000007", "$0.000000007", "$0.000000007"),
        ("0", "$0.00", "$0.00"),
        ("-1.911", "-$1.92", "-$1.92"),
    ],
)
def test_what_costs_is_shown_rounded_up_and_what_is_left_rounded_down(amount: str, costs: str, left: str):
    assert (Usd.of(amount).rounded(), Usd.of(amount).rounded_down()) == (costs, left)


@given(st.integers(-(10**15), 10**15))
def test_nothing_is_shown_cheaper_than_it_is_and_no_more_left_than_there_is(nano: int):
    amount = Usd(nano)
    down = Usd.of(amount.rounded_down().replace("$", ""))
    assert down <= amount
    assert (down > ZERO) == (amount > ZERO)
    if nano >= 0:
        assert amount <= Usd.of(amount.rounded())
