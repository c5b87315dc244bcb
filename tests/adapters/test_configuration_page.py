"""The reference pages name every key there is, and their examples are read as they say."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.adapters.settings_options import KEYS, TIGHTENING
from orchestrator.adapters.settings_routing import BAND_KEYS, BUDGET_KEYS, DURATIONS, RULE_KEYS
from orchestrator.core.standards import read_standard

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_configuration_page_names_every_key():
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+)`", page))
    # LiteLLM's own key, accepted in a band for the files that have it.
    wanted = {*KEYS, *RULE_KEYS, *BAND_KEYS, *BUDGET_KEYS, *DURATIONS} - {"routing_strategy"}
    assert wanted - named == set()
    trust = page.partition("**Trust.**")[2].partition("**Refused**")[0]
    assert {name for name in TIGHTENING if f"`{name}`" not in trust} == set()


def test_the_example_of_the_standards_page_is_a_standard():
    page = (REFERENCE / "standards.md").read_text(encoding="utf-8")
    example = page.partition("```markdown\n")[2].partition("```")[0]
    standard = read_standard(example, source="example")
    assert [rule.id for rule in standard.rules] == ["cheap/bug-fixes"]
    assert standard.tiers[0].max_tokens == 1000
