"""How far the standard's signal words agree with other judgements. Numbers, no claim: see the reference page."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.core.standards import read_standard

PACKAGED = Path(__file__).resolve().parents[2] / "agent-os" / "standards" / "prompt-optimization.md"


@pytest.mark.needs_shared
def test_agreement_with_complexity_scores_is_what_the_reference_page_says(shared_data: Path):
    """A strong model scored 95 subtask titles from 1 to 10; up to 4 counts as cheap here, from 7 as smart."""
    standard = read_standard(PACKAGED.read_text(encoding="utf-8"), source="s")
    counts: Counter[tuple[str, str]] = Counter()
    path = shared_data / "routing" / "taskmaster_complexity_dev.csv"
    with path.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            score = int(row["complexity_score"])
            label = "cheap" if score <= 4 else "smart" if score >= 7 else "between"
            tag = standard.match(row["title"])
            counts[label, "nothing" if tag is None else str(tag.tier)] += 1
    labelled = sum(count for (label, _), count in counts.items() if label != "between")
    said = sum(count for (label, tier), count in counts.items() if label != "between" and tier != "nothing")
    right = counts["cheap", "cheap"] + counts["smart", "smart"]
    print(f"{labelled} labelled titles: the signal words say something of {said}, and agree on {right}")
    assert (labelled, said, right) == (59, 9, 4)
