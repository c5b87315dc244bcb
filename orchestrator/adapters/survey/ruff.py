"""What ruff says of the Python files of a snapshot: findings of rules that are worth a subtask, by their meaning.

Ruff runs isolated: the repository's own configuration does not decide what we see, and no cache is written into
it. `# noqa` comments are obeyed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.adapters.processes import run
from orchestrator.adapters.survey.listing import SurveyFailed
from orchestrator.core.facts import RUFF_FIX_RULES, Finding, FindingKind
from orchestrator.core.text import one_line

_SECONDS = 120.0
_OUTPUT_BYTES = 256 * 1024 * 1024
# The newest: what an older Python could not read is not ours to call an error.
TARGET = "py314"

# Rule -> weight, by what is wrong.
BUGS: Mapping[str, int] = {
    "F402": 5, "F501": 9, "F502": 9, "F503": 9, "F504": 6, "F505": 9, "F506": 9, "F507": 9, "F508": 9, "F509": 9,
    "F521": 9, "F522": 6, "F523": 6, "F524": 9, "F525": 9, "F601": 7, "F621": 9, "F622": 9, "F631": 9, "F634": 9,
    "F632": 7, "F701": 9, "F702": 9, "F704": 9, "F706": 9, "F707": 9, "F811": 5, "F821": 9, "F822": 6, "F823": 9,
    "F901": 7, "E711": 4, "E712": 2, "E721": 3,
    "B002": 8, "B003": 6, "B005": 6, "B015": 7, "B016": 8, "B018": 4, "B020": 4, "B021": 5, "B023": 6,
    "B025": 7, "B029": 7, "B030": 8, "B031": 6, "B032": 8, "B035": 8, "B039": 8,
    "PLE0100": 7, "PLE0101": 8, "PLE0116": 9, "PLE0117": 9, "PLE0118": 9, "PLE0237": 8, "PLE0241": 8, "PLE0302": 7,
    "PLE0307": 8, "PLE0604": 6, "PLE0605": 6, "PLE0643": 9, "PLE0704": 6, "PLE1132": 9, "PLE1142": 9, "PLE1205": 8,
    "PLE1206": 8, "PLE1300": 9, "PLE1307": 8, "PLE1310": 6, "PLE1507": 8, "PLE1519": 8, "PLE1520": 8, "PLE1700": 9,
    "PLE2502": 8, "PLE2510": 5, "PLE2512": 5, "PLE2513": 5, "PLE2514": 5, "PLE2515": 5,
    "PLR0124": 4, "PLW0127": 5, "PLW0128": 6, "PLW0129": 7, "PLW0131": 7, "PLW0133": 9, "PLW0177": 9, "PLW0211": 4,
    "PLW0245": 8, "PLW0711": 8, "PLW1501": 8, "PLW1508": 6, "PLW2101": 8,
    "RUF006": 5, "RUF008": 8, "RUF016": 9, "RUF018": 7, "RUF024": 6,
    "S506": 4, "S501": 7, "S608": 4, "ASYNC251": 7, "DTZ901": 3,
}  # fmt: skip
ERRORS: Mapping[str, int] = {"B012": 7, "B904": 2, "S113": 6, "B017": 2, "PLW1509": 6}
SLOW: Mapping[str, int] = {
    "PERF101": 1, "PERF102": 1, "PERF401": 1, "PERF402": 2, "PERF403": 1, "ASYNC210": 6, "ASYNC220": 5, "ASYNC221": 5,
    "ASYNC222": 5, "RUF015": 1, "C414": 1,
}  # fmt: skip
# SQLAlchemy and the table libraries overload `==`: there a comparison with None or True is meant.
OVERLOADED = (
    "sqlalchemy",
    "sqlmodel",
    "peewee",
    "pony",
    "pandas",
    "numpy",
    "polars",
    "pyspark",
    "tortoise",
    "piccolo",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuffReport:
    """Findings; the files that are no Python of any version, with line and reason; the files not formatted."""

    findings: tuple[Finding, ...]
    broken: tuple[Finding, ...]
    unformatted: frozenset[str]


async def check(snapshot: Path, *, line_length: int | None) -> RuffReport:
    """Run ruff over the Python files below `snapshot`. Raises SurveyFailed."""
    chosen = ",".join(sorted({*BUGS, *ERRORS, *SLOW, *RUFF_FIX_RULES}))
    told = await _ruff(
        "check", "--exit-zero", "--output-format", "json", "--select", chosen, ".", snapshot=snapshot
    )
    findings: list[Finding] = []
    broken: list[Finding] = []
    # Where it says /tmp and means /private/tmp.
    roots = {f"{snapshot}/", f"{snapshot.resolve()}/"}
    for item in json.loads(told.decode("utf-8", "replace") or "[]"):
        path = item["filename"]
        for root in roots:
            path = path.removeprefix(root)
        finding = _finding(path, item)
        if finding is None:
            continue
        if finding.rule == "syntax-error":
            broken.append(finding)
        else:
            findings.append(finding)
    options = ["--config", f"line-length={line_length}"] if line_length else []
    listed = await _ruff("format", "--check", *options, ".", snapshot=snapshot, accept=(0, 1, 2))
    marker = "Would reformat: "
    lines = listed.decode("utf-8", "replace").splitlines()
    unformatted = frozenset(line.removeprefix(marker) for line in lines if line.startswith(marker))
    return RuffReport(findings=tuple(findings), broken=tuple(broken), unformatted=unformatted)


async def _ruff(verb: str, *arguments: str, snapshot: Path, accept: tuple[int, ...] = (0,)) -> bytes:
    from ruff import find_ruff_bin  # type: ignore[import-untyped]  # ruff has no types

    completed = await run(
        [find_ruff_bin(), verb, "--isolated", "--no-cache", "--target-version", TARGET, *arguments],
        cwd=snapshot,
        env={"PATH": "", "NO_COLOR": "1", "LC_ALL": "C"},
        timeout_seconds=_SECONDS,
        max_output_bytes=_OUTPUT_BYTES,
        contained=False,
    )
    if completed.exit_code not in accept or completed.truncated:
        why = one_line(completed.error_text, 200) or f"exit {completed.exit_code}"
        raise SurveyFailed(f"ruff {verb} failed: {why}")
    return completed.stdout


def _finding(path: str, item: Mapping[str, Any]) -> Finding | None:
    rule = item.get("code") or "invalid-syntax"
    line, end = item["location"]["row"], item["end_location"]["row"]
    told = " ".join(item["message"].split())
    if rule == "invalid-syntax":
        return Finding(
            kind=FindingKind.BUG,
            rule="syntax-error",
            path=path,
            line=line,
            fact=f"syntax error: {told}",
            weight=10,
        )
    safe = (item.get("fix") or {}).get("applicability") == "safe"
    fixable_by = "ruff-fix" if safe and rule in RUFF_FIX_RULES else None
    if rule in BUGS:
        kind, weight = FindingKind.BUG, BUGS[rule]
    elif rule in ERRORS:
        kind, weight = FindingKind.ERROR_HANDLING, ERRORS[rule]
    elif rule in SLOW:
        kind, weight = FindingKind.PERFORMANCE, SLOW[rule]
    elif fixable_by:
        kind, weight = FindingKind.STYLE, 2
    else:
        return None
    return Finding(
        kind=kind,
        rule=rule,
        path=path,
        line=line,
        end_line=max(line, end),
        fact=f"{told} ({rule})",
        weight=weight,
        fixable_by=fixable_by,
    )
