"""Findings of all sources put together: in the right function, with the line quoted, and only where they matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.adapters.survey.languages import is_shown
from orchestrator.adapters.survey.python_project import PythonStyle
from orchestrator.adapters.survey.python_source import lines_of
from orchestrator.adapters.survey.ruff import OVERLOADED, RuffReport
from orchestrator.adapters.survey.snapshot import Snapshot
from orchestrator.core.facts import Finding, FindingKind, SourceFile

_QUOTE_CHARACTERS = 160
# With more broken files than this share, it is another language that only looks like Python.
_MOSTLY_BROKEN = 0.2
# A tree that is at least this much formatted as ruff does it is formatted so on purpose.
_MOSTLY_FORMATTED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def assemble(
    snapshot: Snapshot,
    files: Sequence[SourceFile],
    documents: Mapping[str, Mapping[str, Any]],
    told: RuffReport,
    style: PythonStyle,
) -> Assembled:
    """All findings that hold, in the order of path, line and rule, and notes on what was left out."""
    by_path = {file.path: file for file in files}
    found: list[Finding] = []
    for document in documents.values():
        found += [_finding(plain) for plain in document.get("findings", ())]
    found += [finding for finding in told.findings if not _meant(finding, documents)]
    broken, notes = _broken(told, files)
    found += broken
    found += _formatting(told, files, style)
    kept: list[Finding] = []
    for finding in found:
        file = by_path.get(finding.path)
        if file is not None and (judged := _judged(finding, file)) is not None:
            kept.append(judged)
    placed = _placed(_once(kept), snapshot, documents)
    return Assembled(findings=tuple(placed), notes=tuple(notes))


def _finding(plain: Mapping[str, Any]) -> Finding:
    return Finding(**{**plain, "kind": FindingKind(plain["kind"])})


def _meant(finding: Finding, documents: Mapping[str, Mapping[str, Any]]) -> bool:
    if finding.rule not in ("E711", "E712"):
        return False
    imports = documents.get(finding.path, {}).get("imports", ())
    # A model module that is imported brings its columns along, so any use of such a library in the tree counts.
    return any(str(name).lstrip(".").partition(".")[0] in OVERLOADED for name, _ in imports) or any(
        str(name).partition(".")[0] in OVERLOADED
        for document in documents.values()
        for name, _ in document.get("imports", ())
        if not finding.path.startswith("test")
    )


def _judged(finding: Finding, file: SourceFile) -> Finding | None:
    """The finding with the weight it has in such a file; None where it says nothing about the product."""
    if file.generated:
        return None
    if not file.test and not is_shown(file.path):
        return finding
    if finding.kind is FindingKind.BUG and finding.rule != "syntax-error" and finding.weight > 4:
        return replace(finding, weight=max(1, finding.weight - 3), fixable_by=None)
    # An unused import of a test is often a fixture; an example shows what it wants to show.
    return None


def _broken(told: RuffReport, files: Sequence[SourceFile]) -> tuple[list[Finding], list[str]]:
    first: dict[str, Finding] = {}
    paths = {file.path for file in files}
    for finding in told.broken:
        if finding.path in paths and (finding.path not in first or finding.line < first[finding.path].line):
            first[finding.path] = finding
    python = sum(1 for file in files if file.language == "Python")
    if len(first) > 3 and len(first) > _MOSTLY_BROKEN * python:
        return [], [
            f"{len(first)} of {python} Python files are not Python 3: their syntax errors are not listed"
        ]
    return list(first.values()), []


def _formatting(told: RuffReport, files: Sequence[SourceFile], style: PythonStyle) -> list[Finding]:
    python = [file for file in files if file.language == "Python" and not file.generated and file.lines]
    wrong = [file for file in python if file.path in told.unformatted]
    formatted = len(python) - len(wrong)
    if not wrong or style.formatter == "other":
        return []
    if formatted < _MOSTLY_FORMATTED * len(python):
        return []
    return [
        Finding(
            kind=FindingKind.FORMATTING,
            rule="ruff-format",
            path=file.path,
            line=1,
            fact=f"`ruff format` would change this file; {formatted} of {len(python)} Python files have its format",
            weight=1,
            fixable_by="ruff-format",
        )
        for file in wrong
    ]


def _once(found: Sequence[Finding]) -> list[Finding]:
    """Each rule once per line, the heaviest when two sources report it, in order."""
    best: dict[tuple[str, int, str], Finding] = {}
    for finding in sorted(found, key=lambda finding: (finding.weight, finding.fact)):
        best[finding.path, finding.line, finding.rule] = finding
    return [best[key] for key in sorted(best)]


def _placed(
    found: Sequence[Finding], snapshot: Snapshot, documents: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    placed: list[Finding] = []
    texts = snapshot.texts(dict.fromkeys(finding.path for finding in found))
    path, lines = "", [""]
    for finding in found:
        if finding.path != path:
            path, text = next(texts)
            lines = lines_of(text)
        if not 1 <= finding.line <= len(lines):
            continue
        symbol = finding.symbol or _symbol(finding, documents.get(path, {}))
        quote = "" if finding.rule == "ruff-format" else lines[finding.line - 1].strip()[:_QUOTE_CHARACTERS]
        placed.append(
            replace(finding, symbol=symbol, quote=quote, end_line=max(finding.line, finding.end_line))
        )
    return placed


def _symbol(finding: Finding, document: Mapping[str, Any]) -> str:
    """The innermost function around the line."""
    best, size = "", 1 << 30
    for function in document.get("functions", ()):
        first, last = int(function["line"]), int(function["end_line"])
        if first <= finding.line <= last and last - first < size:
            best, size = str(function["name"]), last - first
    return best
