"""The budget in words: a bar, the holds, the history as a table and as CSV. Foreign text is made safe here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from orchestrator.core.ledger import Entry, HoldState, Status
from orchestrator.core.text import one_line, safe_text

BAR = 40

ENTRY_COLUMNS = tuple(field.name for field in fields(Entry))


def status_lines(status: Status) -> Iterator[str]:
    until = f" until {_moment(status.until)}" if status.until else ""
    yield f"{status.window} budget since {_moment(status.since)}{until} (days begin in {status.timezone})"
    totals = status.totals
    yield f"[{_bar(status)}] {totals.committed.share(status.cap):.0%}"
    parts = [f"{totals.spent} spent", f"{totals.held} held by open calls"]
    if totals.ambiguous:
        parts.append(f"{totals.ambiguous} held by calls that a crash cut off")
    yield f"{', '.join(parts)}; {status.left} of {status.cap} left"
    for alert in status.alerts:
        said = "reached" if alert.threshold in status.said else "not reached"
        message = f", {one_line(alert.message, 80)}" if alert.message else ""
        yield f"alert at {alert.threshold} ({alert.action}): {said}{message}"
    for entry in status.holds:
        yield hold_line(entry)
    if any(entry.state is HoldState.AMBIGUOUS for entry in status.holds):
        yield "ambiguous: charged until `orchestrator budget reconcile HOLD --bill USD`"
    for stopped in status.stopped:
        yield f"stopped: {one_line(stopped, 160)}; `orchestrator budget reconcile --allow MODEL` after a look"
    if status.future:
        yield (
            f"{status.future} was spent while the clock ran ahead of the present one; "
            f"it counts in every window until then"
        )


def _bar(status: Status) -> str:
    """Spent `#`, held `=`, left `.`; anything above zero shows."""
    cap = max(1, status.cap.nano)
    certain = -(-status.totals.certain.nano * BAR // cap)
    committed = -(-status.totals.committed.nano * BAR // cap)
    spent = min(BAR, certain)
    held = min(BAR, max(committed, certain + 1) if status.totals.held else committed) - spent
    return "#" * spent + "=" * held + "." * (BAR - spent - held)


def hold_line(entry: Entry) -> str:
    run = f", run {safe_text(entry.run, newlines=False)}" if entry.run else ""
    return (
        f"hold {entry.hold} ({entry.state}): {entry.amount} for {one_line(entry.what, 60)} "
        f"on {one_line(entry.model, 40)}{run}, since {_moment(entry.at)}"
    )


def history_lines(entries: Sequence[Entry], *, of: int) -> Iterator[str]:
    rows = [("hold", "time (UTC)", "state", "model", "purpose", "what", "held", "charged", "remarks")]
    for entry in entries:
        remarks = [
            *(["scripted, not paid"] if entry.scripted else []),
            *entry.flags,
            *([f"reconciled: {entry.reason}"] if entry.reconciled else []),
        ]
        if entry.reason and not entry.reconciled:
            remarks.append(entry.reason)
        rows.append(
            (
                str(entry.hold),
                _moment(entry.at),
                str(entry.state),
                one_line(entry.model, 24),
                one_line(entry.purpose, 16),
                one_line(entry.what, 40),
                str(entry.amount),
                str(entry.charged) if entry.charged is not None else "",
                one_line(", ".join(remarks), 80),
            )
        )
    yield from table_lines(rows)
    if of > len(entries):
        yield f"the latest {len(entries)} of {of}; --limit shows more, --csv and --json all"


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def entry_cells(entry: Entry) -> list[str]:
    return [_cell(getattr(entry, column)) for column in ENTRY_COLUMNS]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case tuple():
            return "; ".join(map(str, value))
        case _:
            # Without the sign, so that a spreadsheet reads dollars as a number.
            return str(value).removeprefix("$")


def csv_lines(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ",".join(_quoted(cell) for cell in heading)
    for row in rows:
        yield ",".join(_quoted(cell) for cell in row)


def _quoted(cell: str) -> str:
    text = safe_text(cell, newlines=False)
    # A spreadsheet would take these for a formula.
    if text[:1] in ("=", "+", "-", "@", "\t"):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n') else text


def _moment(iso: str) -> str:
    """`2026-11-23T10:00:00.000000Z` as people read it."""
    return f"{iso[:10]} {iso[11:19]}"
