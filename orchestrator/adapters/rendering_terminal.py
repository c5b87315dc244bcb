"""A run's report as plain text for a terminal; every foreign word is made safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core.domain import Ended, State
from orchestrator.core.money import Usd
from orchestrator.core.report import AttemptRow, Report, SubtaskRow
from orchestrator.core.text import one_line, safe_text

MARKS = {
    State.SUCCEEDED: "ok",
    State.FAILED: "FAILED",
    State.BLOCKED: "blocked",
    State.CANCELLED: "cancelled",
    State.SKIPPED: "skipped",
    State.WAITING: "waiting",
    State.RUNNING: "running",
}


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


def run_text(report: Report, *, width: int = 100) -> str:
    """The whole report: states, attempts, dollars, what to look at, and what can be done next."""
    parts = [_header(report), _subtasks(report), _money(report), _attention(report), _next(report)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _header(report: Report) -> list[str]:
    started = report.started
    state = report.standing + (f": {safe_text(report.reason)}" if report.reason else "")
    lines = [f"Run {started.run}: {one_line(started.plan.goal, 90)}", f"  {state}"]
    if started.scripted:
        lines.append(f"  {safe_text(started.scripted)}: no real model was called, no money was spent")
    sandbox = started.sandbox if started.sandbox not in ("", "none") else "none: checks ran UNSANDBOXED"
    lines.append(f"  branch {started.branch}, sandbox {sandbox}, policy {started.policy.value}")
    if report.baseline is not None and report.baseline.can_check:
        lines.append(f"  before any change: {report.baseline.tests_passed} tests pass")
    return lines


def _subtasks(report: Report) -> list[str]:
    rows = [("", "subtask", "tier", "verdict", "models", "cost", "seconds")]
    rows += [
        (
            MARKS[row.state],
            row.subtask.id,
            row.subtask.tag.tier,
            row.verdict.kind.value if row.verdict and row.state is State.SUCCEEDED else "",
            _tried(row),
            row.bill.rounded(),
            f"{row.seconds:.1f}",
        )
        for row in report.subtasks
    ]
    lines = table(rows, right=(5, 6))
    notes = [f"{row.subtask.id}: {one_line(row.standing, 160)}" for row in report.subtasks if row.standing]
    return [*lines, *([""] if notes else []), *notes]


def _tried(row: SubtaskRow) -> str:
    """The models in the order they were tried: `cheap x2 > smart`."""
    runs: list[tuple[str, int]] = []
    for attempt in row.attempts:
        name = attempt.model or row.subtask.tool or row.subtask.executor.value
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return " > ".join(name if count == 1 else f"{name} x{count}" for name, count in runs)


def _money(report: Report) -> list[str]:
    rows = [("dollars by", "", "cost", "calls", "in", "out")]
    for kind, shares in (("tier", report.tiers), ("model", report.models)):
        rows += [
            (
                kind,
                share.name,
                share.bill.rounded(),
                str(share.calls),
                f"{share.input_tokens:,}",
                f"{share.output_tokens:,}",
            )
            for share in shares
        ]
    lines = table(rows, right=(2, 3, 4, 5))
    total = report.spent + report.held
    budget = f" of {report.budget}" if report.budget is not None else ""
    held = f", {report.held.rounded()} of it still held" if report.held else ""
    lines.append("")
    lines.append(f"spent {total.rounded()}{budget}{held}; planning {report.planning.rounded()} of it")
    lines += [
        f"  {other.name} with the same tokens: {other.bill.rounded()}{_against(total, report, other.bill)}"
        for other in report.counterfactuals
    ]
    return lines


def _against(total: Usd, report: Report, other: Usd) -> str:
    own = total - report.planning
    if not other or not own:
        return ""
    return f" ({own.share(other) * 100:.0f} % of it spent on subtasks)"


def _attention(report: Report) -> list[str]:
    lines = [
        f"review first: {row.subtask.id} ({row.verdict.kind.value}): {one_line('; '.join(row.verdict.evidence), 120)}"
        for row in report.review_first
        if row.verdict is not None
    ]
    for row in report.subtasks:
        lines += [_rejected(attempt) for attempt in row.attempts if _was_rejected(attempt)]
    lines += [f"flag: {one_line(flag, 160)}" for flag in report.flags]
    lines += [f"note: {one_line(note, 160)}" for note in report.notes]
    return lines


def _was_rejected(attempt: AttemptRow) -> bool:
    return bool(attempt.refused) or (
        attempt.outcome is not None and attempt.outcome.ended in (Ended.REJECTED, Ended.ERROR)
    )


def _rejected(attempt: AttemptRow) -> str:
    assert attempt.outcome is not None
    why = attempt.refused or attempt.outcome.reason
    kept = f"; kept as {attempt.outcome.kept_ref}" if attempt.outcome.kept_ref else ""
    by = f" by {attempt.model}" if attempt.model else ""
    return f"rejected: {attempt.attempt}{by}: {one_line(why, 140)}{kept}"


def _next(report: Report) -> list[str]:
    run = report.started.run
    lines = []
    for row in report.subtasks:
        if row.document:
            lines += [f"--- {one_line(row.subtask.title, 90)} ---", safe_text(row.document), ""]
    if report.standing in ("paused", "stopped"):
        lines.append(f"go on: orchestrator resume {run}")
    if any(row.commit for row in report.subtasks):
        lines.append(f"take the commits: orchestrator accept {run}")
    return lines
