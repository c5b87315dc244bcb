"""A run's report as plain text for a terminal; every foreign word is made safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.adapters.report_words import (
    COMPARED_CAVEAT,
    compared_words,
    kept_words,
    next_steps,
    row_words,
    scripted_words,
    shown_words,
    spent_words,
    tried_words,
    was_rejected,
    why_words,
)
from orchestrator.core.domain import Deliverable, State
from orchestrator.core.report import Report
from orchestrator.core.report_rows import AttemptRow, SubtaskRow
from orchestrator.core.text import one_line, safe_text, short_lists, wrapped

WIDTH = 100
NARROWEST = 40
MARKS = {
    State.SUCCEEDED: "ok",
    State.FAILED: "FAILED",
    State.BLOCKED: "blocked",
    State.CANCELLED: "cancelled",
    State.SKIPPED: "skipped",
    State.WAITING: "waiting",
    State.RUNNING: "running",
}
_REASON_CHARACTERS = 400


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Lay out rows in columns two spaces apart; the columns in `right` are set flush right."""
    flush = set(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in flush else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def run_text(report: Report, *, width: int = WIDTH) -> str:
    """The whole report: states, dollars, what to look at, the documents, and what can be done next.

    Lines are at most `width` characters long, except names and commands that cannot be broken, and documents.
    """
    width = max(NARROWEST, width)
    parts = [
        _header(report, width),
        _subtasks(report, width),
        _money(report, width),
        _attention(report, width),
        *(_document(row, width) for row in report.subtasks if row.document),
        [f"{what}: {command}" for what, command in next_steps(report)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _header(report: Report, width: int) -> list[str]:
    started = report.started
    lines = wrapped(f"Run {started.run}: {one_line(started.plan.goal, 300)}", width)
    counts = [f"{report.count(state)} {state.value}" for state in State if report.count(state)]
    lines += wrapped(f"{report.standing}; {', '.join(counts)}", width, first="  ")
    if report.reason:
        lines += wrapped(one_line(report.reason, _REASON_CHARACTERS), width, first="  ")
    if started.scripted:
        lines += wrapped(one_line(scripted_words(started.scripted), 200), width, first="  ")
    sandbox = started.sandbox if started.sandbox not in ("", "none") else "none: checks ran UNSANDBOXED"
    facts = f"branch {started.branch}, sandbox {sandbox}, policy {started.policy.value}"
    lines += wrapped(one_line(facts, 300), width, first="  ")
    if report.baseline is not None:
        lines += wrapped(_baseline(report), width, first="  ")
    return lines


def _baseline(report: Report) -> str:
    measured = report.baseline
    assert measured is not None
    if not measured.can_check:
        return f"checks cannot run: {one_line(measured.reason or 'no test passes', 300)}"
    failed = f", {len(measured.tests_failed)} fail" if measured.tests_failed else ""
    flaky = f", {len(measured.flaky)} pass only sometimes" if measured.flaky else ""
    return f"before any change: {measured.tests_passed} tests pass{failed}{flaky}"


def _subtasks(report: Report, width: int) -> list[str]:
    if not report.subtasks:
        return ["the plan has no subtasks"]
    rows = [("", "subtask", "tier", "verdict", "models", "cost", "seconds")]
    rows += [
        (
            MARKS[row.state],
            row.subtask.id,
            one_line(row.subtask.tag.tier, 20),
            _verdict(row),
            one_line(tried_words(row), 60),
            row.bill.rounded(),
            f"{row.seconds:.1f}",
        )
        for row in report.subtasks
    ]
    lines = table(rows, right=(5, 6))
    if max(map(len, lines)) > width:
        lines = [line for row in rows[1:] for line in _stacked(row, width)]
    notes = [
        line
        for row in report.subtasks
        if (said := row_words(row))
        for line in wrapped(f"{row.subtask.id}: {one_line(short_lists(said), _REASON_CHARACTERS)}", width)
    ]
    return [*lines, *([""] if notes else []), *notes]


def _verdict(row: SubtaskRow) -> str:
    if row.state is not State.SUCCEEDED or row.verdict is None:
        return ""
    return "document" if row.subtask.deliverable is Deliverable.DOCUMENT else row.verdict.kind.value


def _stacked(row: Sequence[str], width: int) -> list[str]:
    """A subtask on lines of its own, where a table has no room; its id is never cut, it is there to be typed."""
    mark, name, *facts, seconds = row
    told = ", ".join(fact for fact in (*facts, f"{seconds} s") if fact)
    return [f"{mark:9} {name}", *wrapped(told, width, first=" " * 10)]


def _money(report: Report, width: int) -> list[str]:
    rows = [("dollars by", "", "cost", "calls", "in", "out")]
    for kind, shares in (("tier", report.tiers), ("model", report.models)):
        rows += [
            (
                kind,
                one_line(share.name, 40),
                share.bill.rounded(),
                str(share.calls),
                f"{share.input_tokens:,}",
                f"{share.output_tokens:,}",
            )
            for share in shares
        ]
    lines = table(rows, right=(2, 3, 4, 5)) if len(rows) > 1 else []
    if lines and max(map(len, lines)) > width:
        lines = [f"{kind} {name}: {cost}" for kind, name, cost, *_ in rows[1:]]
    lines += ["", *wrapped(spent_words(report), width)]
    compared = compared_words(report)
    if compared:
        lines += wrapped(f"{compared} ({COMPARED_CAVEAT})", width)
    return lines if lines[0] else lines[1:]


def _attention(report: Report, width: int) -> list[str]:
    said = [
        f"review first: {row.subtask.id} ({row.verdict.kind.value}): "
        + one_line(short_lists("; ".join(row.verdict.evidence)), _REASON_CHARACTERS)
        for row in report.review_first
        if row.verdict is not None
    ]
    for row in report.subtasks:
        said += _rejected([attempt for attempt in row.attempts if was_rejected(attempt)])
    said += [one_line(line, 2 * _REASON_CHARACTERS) for line in shown_words(report)]
    said += [f"flag: {one_line(flag, _REASON_CHARACTERS)}" for flag in report.flags]
    said += [f"note: {one_line(note, _REASON_CHARACTERS)}" for note in report.notes]
    return [line for text in said for line in wrapped(text, width)]


def _rejected(attempts: Sequence[AttemptRow]) -> list[str]:
    """A line for each reason, with the attempts that ended for it one after the other."""
    reasons: dict[str, list[str]] = {}
    for attempt in attempts:
        work = kept_words(attempt)
        kept = f"; kept as {one_line(work, 200)}" if work else ""
        by = f" by {one_line(attempt.model, 60)}" if attempt.model else ""
        why = f"{one_line(why_words(attempt), _REASON_CHARACTERS)}{kept}"
        reasons.setdefault(why, []).append(f"{attempt.attempt}{by}")
    return [f"rejected: {', '.join(who)}: {why}" for why, who in reasons.items()]


def _document(row: SubtaskRow, width: int) -> list[str]:
    title = one_line(row.subtask.title, width - 8)
    return [f"--- {title} ---", safe_text((row.document or "").rstrip())]
