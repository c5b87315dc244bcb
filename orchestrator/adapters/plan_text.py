"""A priced plan as plain text for a terminal, and as JSON; the same plan and prices give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.adapters.report_words import made_words
from orchestrator.core.domain import ExecutorName, ModelAlias, Plan, Question, Subtask
from orchestrator.core.forecast import Dollars, Forecast, SubtaskForecast
from orchestrator.core.planning_document import plan_to_json
from orchestrator.core.planning_order import unchecked
from orchestrator.core.text import one_line, wrapped

SHOWN_SUBTASKS = 60
WIDTH = 110
NARROWEST = 40
_LEAST_TITLE = 20
_MOST_FILES = 12
_UNKNOWN = "files not known yet"


def priced_plan_text(
    plan: Plan,
    forecast: Forecast,
    *,
    vendors: Mapping[str, str] | None = None,
    remarks: Iterable[str] = (),
    width: int = WIDTH,
) -> str:
    """Return the plan as a table with its dollars, what it would cost otherwise, and everything worth knowing first.

    Lines are at most `width` characters long, except names that cannot be broken; the table tries to keep to it.
    """
    width = max(NARROWEST, width)
    said = [
        _totals(plan, forecast),
        _questions(plan.questions),
        _vendors(plan, forecast, vendors or {}),
        _notes(plan, forecast, remarks),
    ]
    parts = [
        _fitted(_heading(plan), width),
        _subtasks(plan, forecast, width),
        *(_fitted(lines, width) for lines in said),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _fitted(lines: Iterable[str], width: int) -> list[str]:
    """Break the lines that are too long; what belongs to a line stays indented below it."""
    return [
        part
        for line in lines
        for part in wrapped(line.lstrip(), width, first=" " * (len(line) - len(line.lstrip())))
    ]


def _heading(plan: Plan) -> list[str]:
    made_from = plan.made_from
    at = f" at commit {one_line(made_from.commit[:12], 12)}" if made_from.commit else ""
    return [f"Plan: {one_line(plan.goal, 100)}", f"  {one_line(made_words(made_from), 120)}{at}"]


def _subtasks(plan: Plan, forecast: Forecast, width: int) -> list[str]:
    rows = [("", "subtask", "title", "tier", "likely", "from", "to", "minutes", "needs")]
    for number, (subtask, row) in enumerate(zip(plan.subtasks, forecast.subtasks, strict=True), 1):
        if number > SHOWN_SUBTASKS:
            break
        rows.append(
            (
                str(number),
                subtask.id,
                subtask.title,
                _tier(subtask),
                *_dollars(row.dollars),
                _minutes(row.seconds.likely),
                one_line(", ".join(subtask.depends_on), 30),
            )
        )
    lines = _table(rows, right=(0, 4, 5, 6, 7), flexible=2, width=width)
    if len(plan.subtasks) > SHOWN_SUBTASKS:
        lines.append(f"... and {len(plan.subtasks) - SHOWN_SUBTASKS} more; --json and --html show all")
    return lines


def _table(rows: Sequence[tuple[str, ...]], *, right: Sequence[int], flexible: int, width: int) -> list[str]:
    """Lay out rows in columns two spaces apart; the `flexible` column gets what the others leave of `width`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = width - sum(widths) + widths[flexible] - 2 * (len(widths) - 1)
    widths[flexible] = min(widths[flexible], max(_LEAST_TITLE, left))
    lines = []
    for row in rows:
        cells = [one_line(cell, wide) if cell else "" for cell, wide in zip(row, widths, strict=True)]
        lines.append(
            "  ".join(
                cell.rjust(wide) if place in right else cell.ljust(wide)
                for place, (cell, wide) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
        )
    return lines


def _tier(subtask: Subtask) -> str:
    if subtask.executor is ExecutorName.TOOL:
        return subtask.tool or "tool"
    return subtask.tag.tier + (" (you)" if subtask.tag.decided_by == "user" else "")


def _dollars(dollars: Dollars | None) -> tuple[str, str, str]:
    if dollars is None:
        return "?", "?", "?"
    if not dollars.high:
        return "$0", "", ""
    return dollars.likely.rounded(), dollars.low.rounded(), dollars.high.rounded()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _totals(plan: Plan, forecast: Forecast) -> list[str]:
    count = len(plan.subtasks)
    if forecast.dollars is None:
        lines = ["total: unknown, because a price is unknown"]
    else:
        low, likely, high = forecast.dollars.low, forecast.dollars.likely, forecast.dollars.high
        lines = [f"total: likely {likely.rounded()}, {low.rounded()} to {high.rounded()} in 8 of 10 cases"]
    seconds = forecast.seconds
    lines.append(
        f"  about {forecast.succeeds:.1f} of {count} will pass their checks; {_minutes(seconds.likely)} minutes "
        f"({_minutes(seconds.low)} to {_minutes(seconds.high)}) with {forecast.parallel} at once"
    )
    lines.append(
        f"  {forecast.input_tokens.likely:,} tokens in, {forecast.output_tokens.likely:,} out, "
        "retries and escalations included"
    )
    for other in forecast.alternatives:
        price = "unknown" if other.dollars is None else other.dollars.likely.rounded()
        lines.append(f"  {other.name}: {price}, about {other.succeeds:.1f} would pass")
    if len(forecast.critical_path) > 1:
        chain = one_line(" -> ".join(forecast.critical_path), 160)
        lines.append(f"  longest chain: {chain} ({_minutes(forecast.critical_seconds)} minutes)")
    return lines


def _questions(questions: Sequence[Question]) -> list[str]:
    lines = []
    for question in questions:
        answer = question.answer if question.answer is not None else f"{question.default} (default)"
        lines.append(f"question {question.id}: {one_line(question.text, 160)}")
        if question.options:
            lines.append(f"  options: {one_line(', '.join(question.options), 160)}")
        lines.append(f"  answer: {one_line(answer, 160)}")
    return lines


def _vendors(plan: Plan, forecast: Forecast, vendors: Mapping[str, str]) -> list[str]:
    """Which files each vendor will be shown: by the model a subtask starts on, and by those it may escalate to.

    Those a subtask touches or cites; what its context adds to them is known only when it starts.
    """
    shown: dict[ModelAlias, dict[str, None]] = {}
    escalated: dict[ModelAlias, dict[str, None]] = {}
    for subtask, row in zip(plan.subtasks, forecast.subtasks, strict=True):
        touched = subtask.touches or (_UNKNOWN,)
        files = dict.fromkeys([*touched, *(item.path for item in subtask.evidence)])
        if row.model is not None:
            shown.setdefault(row.model, {}).update(files)
        for model in row.escalates_to:
            escalated.setdefault(model, {}).update(files)
    lines = []
    for model in dict.fromkeys([*shown, *escalated]):
        vendor = one_line(f"{vendors.get(model, '?')} ({model})", 60)
        at_once = shown.get(model, {})
        later = [file for file in escalated.get(model, {}) if file not in at_once]
        if at_once:
            lines.append(f"goes to {vendor}: {_files(list(at_once))}; their tests, and what uses them")
        if later:
            lines.append(f"goes to {vendor} only when a subtask is escalated: {_files(later)}")
    return lines


def _files(names: Sequence[str]) -> str:
    names = sorted(names, key=lambda name: name == _UNKNOWN)
    rest = len(names) - _MOST_FILES
    more = f" and {rest} more, see `--json`" if rest > 0 else ""
    return ", ".join(one_line(name, 160) for name in names[:_MOST_FILES]) + more


def _notes(plan: Plan, forecast: Forecast, remarks: Iterable[str]) -> list[str]:
    lines = [f"note: {one_line(remark, 240)}" for remark in (*remarks, *plan.notes, *forecast.notes)]
    bare = unchecked(plan)
    if bare:
        lines.append(f"note: only the project's own suite judges {one_line(', '.join(bare), 160)}")
    lines += [f"odds: {one_line(row, 240)}" for row in forecast.priors]
    return lines


def priced_plan_json(
    plan: Plan, forecast: Forecast, *, stale: Sequence[str] = (), planning: Mapping[str, object] | None = None
) -> str:
    """Return plan and forecast as one JSON document."""
    from orchestrator.core.serial import encode

    document = {
        "schema": "orchestrator.priced-plan",
        "version": 1,
        "plan": json.loads(plan_to_json(plan)),
        "forecast": encode(forecast),
        "stale": list(stale),
        "planning": dict(planning or {}),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def price_of(forecast: Forecast) -> Mapping[str, str]:
    """The likely dollars of each subtask, as they are shown beside it."""
    return {row.id: _likely(row) for row in forecast.subtasks}


def _likely(row: SubtaskForecast) -> str:
    return "?" if row.dollars is None else row.dollars.likely.rounded() if row.dollars.high else "$0"
