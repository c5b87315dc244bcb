from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.text import one_line, safe_text, short_lists


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("3 tests (a, b, c) failed", "3 tests (a and 2 more) failed"),
        ("7 tests (a, b and 5 more) passed before", "7 tests (a and 6 more) passed before"),
        ("2 new tests (t::x[1, 2], t::y) do", "2 new tests (t::x[1, 2] and 1 more) do"),
        ("2 tests (t::x[f(1)], y)", "2 tests (t::x[f(1)] and 1 more)"),
        ("7 tests (a, b, c.d…", "7 tests (a and 6 more)…"),
        ("7 tests (a, b", "7 tests (a, b"),
        (
            "1 test a failed; 2 tests (a, b); 2 tests (c, d)",
            "1 test a failed; 2 tests (a and 1 more); 2 tests (c and 1 more)",
        ),
        ("no tests here (a, b)", "no tests here (a, b)"),
    ],
)
def test_a_list_of_tests_is_cut_to_its_first(long: str, short: str):
    assert short_lists(long) == short


def test_a_long_name_in_a_list_is_cut():
    assert len(short_lists(f"2 tests ({'a' * 500}, b) failed")) < 100


@given(st.text(alphabet="2 tests(),[]…ab;", max_size=200))
def test_any_text_can_be_shortened(text: str):
    assert len(short_lists(text)) <= len(text) + 12 * text.count("test")


def test_many_open_lists_are_not_quadratic():
    assert short_lists("2 tests (" * 50_000).startswith("2 tests (")


@given(st.text(max_size=200))
def test_safe_text_holds_nothing_a_terminal_acts_on(text: str):
    for said in (safe_text(text), one_line(text)):
        assert not any((ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160 for char in said)
        assert not set(said) & set("\u202e\u2066\u200b\u200d\ufeff\u2028\U000e0041\ud800")
