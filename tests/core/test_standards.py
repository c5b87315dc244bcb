"""The standard: reading the document, tags, signal words, token bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.domain import CHEAP, SMART, DecidedBy, InvalidDocument, Tier
from orchestrator.core.standards import Standard, UnknownRule, read_standard

PACKAGED = Path(__file__).resolve().parents[2] / "agent-os" / "standards" / "prompt-optimization.md"

THREE_TIERS = """\
## Cheap Model Tasks (< 1000 tokens):
- Bug fixes: fix, bug
## Middle Model Tasks (< 4,000 tokens):
- New features: add, feature
## Smart Model Tasks (> 4000 tokens):
- Design: design
"""


@pytest.fixture(scope="module")
def packaged() -> Standard:
    return read_standard(PACKAGED.read_text(encoding="utf-8"), source="prompt-optimization.md")


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidDocument) as raised:
        read_standard(text, source="s.md")
    return [str(problem) for problem in raised.value.problems]


def test_the_packaged_standard_has_the_rules_and_tiers_that_were_asked_for(packaged: Standard):
    titles = {section.tier: [rule.title for rule in section.rules] for section in packaged.tiers}
    assert titles == {
        "cheap": [
            "Bug fixes",
            "Code formatting",
            "Adding comments/docstrings",
            "Simple refactoring",
            "Syntax corrections",
            "Unit tests",
            "Error handling",
        ],
        "smart": [
            "Architecture design",
            "Complex debugging",
            "Performance analysis",
            "Security reviews",
            "System design",
        ],
    }
    cheap, smart = packaged.tiers
    assert (cheap.max_tokens, smart.min_tokens, smart.max_tokens) == (1000, 1000, None)
    rule = packaged.rule("cheap/bug-fixes")
    assert packaged.text.split("\n")[rule.line - 1].startswith("- Bug fixes")
    assert "known place" in rule.prose


@pytest.mark.parametrize(
    ("text", "tier", "rule"),
    [
        ("fix obvious bugs", "cheap", "cheap/bug-fixes"),
        ("add unit tests", "cheap", "cheap/unit-tests"),
        ("optimize performance bottlenecks", "smart", "smart/performance-analysis"),
        ("improve error handling", "cheap", "cheap/error-handling"),
        ("refactor architecture", "smart", "smart/architecture-design"),
        ("fix syntax error on line 23", "cheap", "cheap/syntax-corrections"),
        ("add docstring to function get_user()", "cheap", "cheap/adding-comments-docstrings"),
        ("format this code block", "cheap", "cheap/code-formatting"),
        ("add error handling to file.read()", "cheap", "cheap/error-handling"),
        ("analyze the entire codebase and suggest performance improvements", "smart", None),
        ("refactor user authentication system for better security", "smart", None),
        ("design database schema for multi-tenant application", "smart", "smart/system-design"),
        ("review code quality and suggest architectural changes", "smart", None),
    ],
)
def test_the_requests_of_the_brief_come_out_as_it_says(
    packaged: Standard, text: str, tier: str, rule: str | None
):
    for wording in (text, text.upper(), text.capitalize() + "."):
        tag = packaged.match(wording)
        assert tag is not None
        assert tag.tier == tier
        assert tag.decided_by is DecidedBy.STANDARD
        assert tag.evidence
        assert rule in (None, tag.rule)


@pytest.mark.parametrize("title", ["Bug fixes", "cheap/bug-fixes", "  bug   FIXES ", "bug-fixes"])
def test_a_category_is_a_rule_by_id_title_or_slug(packaged: Standard, title: str):
    tag = packaged.tag_for(title)
    assert (tag.tier, tag.rule, tag.decided_by) == (CHEAP, "cheap/bug-fixes", DecidedBy.PLANNER)


def test_an_unknown_category_is_refused_with_the_nearest_rule(packaged: Standard):
    with pytest.raises(UnknownRule, match=r"no rule 'cheap/bug-fixs', did you mean 'cheap/bug-fixes'\?"):
        packaged.tag_for("cheap/bug-fixs")
    with pytest.raises(UnknownRule, match="it has cheap/bug-fixes"):
        packaged.tag_for("dance")


def test_signal_words_match_in_their_forms_and_only_as_words():
    standard = read_standard(
        "## Cheap Model Tasks:\n- Fix: fix, analyze, modify, format, bare except\n", source="s"
    )

    def found(text: str) -> tuple[str, ...] | None:
        tag = standard.match(text)
        return None if tag is None else tag.evidence

    assert found("Fixes, fixed; FIXING") == ("fixes",)
    assert found("analyzing and modified formatting") == ("analyzing", "modified", "formatting")
    assert found("two bare-excepts") == ("bare excepts",)
    for other in ("prefix", "fixture", "fix_me", "préfix", "information", "", "日本語"):
        assert found(other) is None


def test_a_tie_goes_to_the_dearer_tier_and_says_so():
    tag = read_standard(THREE_TIERS, source="s").match("fix the design of a feature")
    assert tag is not None
    assert tag.tier == "smart"
    assert tag.reason == "1 signal word of smart, 1 of cheap, 1 of middle: a tie goes to the dearer tier"


def test_the_longer_phrase_wins_over_the_word_in_it(packaged: Standard):
    simple, plain = packaged.match("a simple refactoring"), packaged.match("refactoring")
    assert simple is not None and plain is not None
    assert (simple.tier, plain.tier) == (CHEAP, SMART)


def test_more_than_two_tiers_run_from_cheap_to_dear_by_their_place():
    standard = read_standard(THREE_TIERS, source="s")
    assert [section.tier for section in standard.tiers] == ["cheap", "middle", "smart"]
    assert standard.tag_for("New features").tier == "middle"


def test_a_likely_output_above_the_bound_moves_the_tag_to_the_tier_that_admits_it():
    standard = read_standard(THREE_TIERS, source="s")
    tag = standard.tag_for("cheap/bug-fixes")
    assert not standard.exceeds_bound(tag, 1000)
    assert standard.bounded(tag, 1000) is tag
    assert standard.exceeds_bound(tag, 1001)
    moved = standard.bounded(tag, 1001)
    assert (moved.tier, moved.rule) == (Tier("middle"), "cheap/bug-fixes")
    assert moved.reason == "cheap/bug-fixes, but a likely output of 1,001 tokens is above the 1,000 of cheap"
    assert standard.bounded(tag, 5000).tier == SMART
    assert standard.bounded(standard.tag_for("design"), 10**6).tier == SMART


def test_every_fault_is_named_at_once_with_its_line():
    assert problems(
        "# Title\n"
        "## Chaep Model Tasks (< 1000 tokens):\n"
        "- : nothing\n"
        "- Bug fixes: fix, , fix\n"
        "## Smart Model Tasks (about 1000):\n"
        "## Smart Model Tasks (> 500 tokens)\n"
        "- Design: design\n"
        "- Design: other\n"
    ) == [
        "s.md:2: unknown tier 'chaep', did you mean 'cheap'?",
        "s.md:3: a rule without a title: write `- Bug fixes: fix, bug`",
        "s.md:4: an empty signal word after 'Bug fixes'",
        "s.md:4: signal word 'fix' stands twice",
        "s.md:5: (about 1000) is no token bound: write it like (< 1000 tokens)",
        "s.md:5: tier 'smart' has no rule: write `- Bug fixes: fix, bug`",
        "s.md:6: 'smart' is bounded by 500 tokens, below the 1,000 of 'chaep': order the tiers from cheap to dear",
        "s.md:6: tier 'smart' is already opened in line 5",
        "s.md:8: rule smart/design is already in line 7",
    ]


def test_a_document_without_a_tier_says_how_one_is_opened():
    assert problems("# Prose\n- a bullet\n") == [
        "s.md: no tier: a heading like `## Cheap Model Tasks (< 1000 tokens):` opens one"
    ]
    assert problems("## Cheap (< 1000 tokens)\n- Fix: fix\n")[-1].startswith(
        "s.md:1: 'Cheap (< 1000 tokens)'"
    )


def test_prose_code_comments_and_front_matter_are_no_rules():
    standard = read_standard(
        "---\ntitle: x\n---\n# T\n- not a rule\n## Cheap model tasks\nprose\n\n- **Fix**: `fix`\n  more\n  - nested\n"
        "```\n- code: no\n```\n<!-- - commented\n- out -->\n## Notes\n- not this either\n",
        source="s",
    )
    assert [rule.id for rule in standard.rules] == ["cheap/fix"]
    assert standard.rules[0].signals == ("fix",)
    assert standard.rules[0].prose == "more - nested"


def test_windows_line_ends_and_a_byte_order_mark_change_nothing():
    assert read_standard("\ufeff" + THREE_TIERS.replace("\n", "\r\n"), source="s").tiers == (
        read_standard(THREE_TIERS, source="s").tiers
    )


@given(
    st.text(max_size=400)
    | st.lists(
        st.sampled_from(["## Cheap Model Tasks (", "< 9 tokens)", "\n", "- a: b", ":", "```", "-->"])
    ).map("".join)
)
def test_reading_any_text_ends_in_a_standard_or_in_problems(text: str):
    try:
        standard = read_standard(text, source="s")
    except InvalidDocument as error:
        assert error.problems
    else:
        assert standard.rules
        standard.match(text)


def test_a_huge_document_is_refused_and_a_huge_text_is_matched():
    assert problems("x" * 300_000)[0].startswith("s.md: 300,000 characters")
    standard = read_standard(THREE_TIERS, source="s")
    assert standard.match("fix " * 200_000) is not None
