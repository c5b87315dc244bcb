"""Routing patterns: word boundaries, forms, refusals, and the same answer however many rules there are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.catalogue import Match, RoutingRule
from orchestrator.core.domain import ModelAlias
from orchestrator.core.patterns import Patterns, Shadowed, alternatives, fault_in, shadowed


def rule(pattern: str, match: Match = Match.WORD) -> RoutingRule:
    return RoutingRule(pattern=pattern, model=ModelAlias("cheap"), match=match)


def found(pattern: str, text: str, match: Match = Match.WORD) -> str | None:
    hit = Patterns([rule(pattern, match)]).first(text)
    return None if hit is None else hit.evidence


@pytest.mark.parametrize(
    ("pattern", "text", "evidence"),
    [
        ("fix", "it fixes all", "fixes"),
        ("fix", "a prefix", None),
        ("fix", "fix_me", None),
        ("fix", "un préfix", None),
        ("fix", "préfix, then FIX", "FIX"),
        ("now", "I know", None),
        ("now", "do it NOW!", "NOW"),
        ("refactor", "refactoring", "refactoring"),
        ("analyze", "analyzing", "analyzing"),
        ("format", "Formatting it", "Formatting"),
        ("modify", "modifies", "modifies"),
        ("plan", "planted", None),
        ("error handling", "the error\nhandling", "error handling"),
        ("multi tenant", "multi-tenant", "multi-tenant"),
        (r"c\+\+", "some C++ code", "C++"),
        (r"py(thon)?3", "python3 here", "python3"),
        ("v2", "v2s", None),
        ("größe", "die Größe", "Größe"),
        ("fix", "\ud800 fix", "fix"),
        ("fix", "", None),
    ],
)
def test_a_pattern_is_found_at_word_boundaries_in_the_usual_forms(
    pattern: str, text: str, evidence: str | None
):
    assert found(pattern, text) == evidence


def test_substring_is_bare_search():
    assert found("fix", "a prefix", Match.SUBSTRING) == "fix"


def test_alternatives_are_split_at_the_top_level_only():
    assert alternatives(r"a|b\|c|(d|e)|[|]|[]|]|[^]|]x|") == (
        "a",
        r"b\|c",
        "(d|e)",
        "[|]",
        "[]|]",
        "[^]|]x",
        "",
    )


@pytest.mark.parametrize(
    "pattern", ["(", "a**", r"(a)\1", "(?=x)", "a{2000}", "[z-a]", "  ", "a|", "x" * 30_000]
)
def test_a_bad_pattern_is_refused_with_a_reason(pattern: str):
    assert fault_in(pattern)


@pytest.mark.parametrize("pattern", ["fix|typo", ".*", "(a+)+$", r"\bfoo\b", "a|b|(c|)"])
def test_a_good_pattern_is_not(pattern: str):
    assert fault_in(pattern) is None


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$", r"(\w+\s?)+$"])
def test_patterns_that_blow_up_other_engines_are_harmless(pattern: str):
    patterns = Patterns([rule(pattern)])
    text = "a" * 1_000_000 + "!"
    # Of the process itself, and a hundredfold above the usual: exponential time would be years.
    began = time.process_time()
    patterns.first(text)
    assert time.process_time() - began < 5


def test_an_alternative_that_can_never_decide_is_found():
    rules = [rule("fix|quick"), rule("refactor"), rule("urgent|quick|refactors|(a|b)")]
    assert shadowed(rules) == [Shadowed(2, "quick", 0), Shadowed(2, "refactors", 1)]


@given(
    st.lists(
        st.sampled_from(["fix", "now", "a b", "x.y", "(p|q)r", "ab+c", "zz", "und"]), min_size=17, max_size=40
    ),
    st.text(alphabet="abcfinowpqrxyzé ü_!", max_size=30),
)
def test_many_rules_answer_as_few_do(names: list[str], text: str):
    rules = [rule(name) for name in names]
    one_by_one = next((i for i, each in enumerate(rules) if Patterns([each]).first(text)), None)
    together = Patterns(rules).first(text)
    assert (None if together is None else together.index) == one_by_one
