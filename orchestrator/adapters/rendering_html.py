"""Plans and runs as one HTML file: no script, no outside resource, every foreign word escaped by the template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from orchestrator.adapters.report_words import (
    COMPARED_CAVEAT,
    NOT_IN_THE_NEW_PLAN,
    ended_words,
    kept_words,
    made_words,
    next_steps,
    row_words,
    scripted_words,
    shown_words,
    total_of,
    tried_words,
    was_rejected,
    why_words,
)
from orchestrator.adapters.state import packaged
from orchestrator.core.domain import AttemptId, Deliverable, Ended, ExecutorName, Plan, State, Subtask
from orchestrator.core.drawing import BOX_HEIGHT, BOX_WIDTH, Drawing, draw
from orchestrator.core.forecast import Dollars, Forecast
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.report import Report
from orchestrator.core.report_rows import AttemptRow, SubtaskRow
from orchestrator.core.text import one_line, safe_text, short_lists

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment
    from markupsafe import Markup

DRAWN_SUBTASKS = 300
_NAME_CHARACTERS = 26
_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One box of the picture: where it stands, what it says, and the classes that colour it.

    `names` is the id on one or two lines, each with its height in the box; `below` stands under them.
    """

    id: str
    x: int
    y: int
    title: str
    names: tuple[tuple[str, int], ...]
    below: str
    below_y: int
    tier: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    width: int
    height: int
    box_width: int
    box_height: int
    nodes: tuple[Node, ...]
    lines: tuple[tuple[str, bool], ...]
    kinds: tuple[str, ...]
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart; `start` and `size` are per cent of the whole width, `kind` colours it."""

    label: str
    start: float
    size: float
    said: str
    kind: str = ""


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        loader=FileSystemLoader(str(packaged("templates"))),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["safe_text"] = lambda text: safe_text(str(text))
    environment.filters["line"] = lambda text, limit=160: one_line(str(text), limit)
    environment.filters["prose"] = _prose
    environment.filters["made"] = made_words
    environment.filters["moment"] = _moment
    environment.filters["dollars"] = lambda amount: amount.rounded()
    return environment


def _prose(text: object, limit: int = 300) -> Markup:
    """One line of words, escaped; what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = _SPAN.split(one_line(str(text), limit))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _moment(stamp: str) -> str:
    """`2026-11-23 10:00:00 UTC`, or what is there when it is no time."""
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return one_line(stamp, 40)


def run_html(report: Report) -> str:
    """Return the page of a run as it stands."""
    picture = _picture(
        replace(report.plan, subtasks=tuple(row.subtask for row in report.subtasks)),
        below={
            row.subtask.id: " · ".join(
                part for part in (row.state.value, row.bill.rounded(), _verdict(row)) if part
            )
            for row in report.subtasks
        },
        states={row.subtask.id: row.state.value for row in report.subtasks},
    )
    total = total_of(report)
    compared = [("this run", total - report.planning, "own")]
    compared += [(other.name, other.bill, "other") for other in report.counterfactuals]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            total=total,
            unsandboxed=report.started.sandbox in ("", "none"),
            picture=picture,
            gauge=_gauge(report.spent, report.held, report.budget),
            models=_bars([(share.name, share.bill, share.name) for share in report.models]),
            costs=_bars([(row.subtask.id, row.bill, row.subtask.tag.tier) for row in report.subtasks]),
            compared=_bars(compared),
            gantt=_run_gantt(report),
            tiers=_tiers(row.subtask for row in report.subtasks),
            rejected=sum(was_rejected(attempt) for row in report.subtasks for attempt in row.attempts),
            scripted=scripted_words(report.started.scripted),
            caveat=COMPARED_CAVEAT,
            shown=shown_words(report),
            steps=next_steps(report),
            verdicts={row.subtask.id: _verdict(row) for row in report.subtasks},
            tried_words=tried_words,
            row_words=row_words,
            not_in_the_new_plan=NOT_IN_THE_NEW_PLAN,
            ended_words=ended_words,
            why_words=why_words,
            kept_words=kept_words,
            short_lists=short_lists,
            count={state.value: report.count(state) for state in State},
        )
    )


def plan_html(
    plan: Plan,
    forecast: Forecast,
    *,
    budget: Usd | None = None,
    allowance: str = "",
    remarks: Iterable[str] = (),
    scripted: str = "",
) -> str:
    """Return the page of a priced plan. Equal plans and prices give equal bytes.

    `allowance` says for how long the budget is, when it is not this run's own.
    """
    rows = {row.id: row for row in forecast.subtasks}
    picture = _picture(
        plan,
        below={
            name: f"{row.model} · {_likely(row.dollars)}" if row.model else "tool, no model · $0"
            for name, row in rows.items()
        },
        states={},
        critical=forecast.critical_path,
    )
    likely = forecast.dollars.likely if forecast.dollars else ZERO
    compared = [("this plan", likely, "own")]
    compared += [
        (other.name, other.dollars.likely, "other") for other in forecast.alternatives if other.dollars
    ]
    whole = max((span.end for span in forecast.schedule), default=0.0) or 1.0
    titles = {subtask.id: subtask.tag.tier for subtask in plan.subtasks}
    gantt = [
        Bar(
            label=span.id,
            start=100 * span.start / whole,
            size=max(0.4, 100 * (span.end - span.start) / whole),
            said=f"{span.start:.0f} to {span.end:.0f} s",
            kind=titles.get(span.id, ""),
        )
        for span in forecast.schedule[:DRAWN_SUBTASKS]
    ]
    return (
        _environment()
        .get_template("plan.html.j2")
        .render(
            plan=plan,
            forecast=forecast,
            rows=rows,
            picture=picture,
            gauge=_gauge(ZERO, likely, budget),
            of_the_budget=_of_the_budget(likely, budget, allowance),
            compared=_bars(compared),
            costs=_bars(
                [
                    (row.id, row.dollars.likely if row.dollars else ZERO, titles.get(row.id, ""))
                    for row in forecast.subtasks[:DRAWN_SUBTASKS]
                ]
            ),
            gantt=gantt,
            tiers=_tiers(plan.subtasks),
            remarks=tuple(remarks),
            scripted=scripted_words(scripted),
            critical=set(forecast.critical_path),
        )
    )


def _likely(dollars: Dollars | None) -> str:
    return dollars.likely.rounded() if dollars else "no price"


def _tiers(subtasks: Iterable[Subtask]) -> list[str]:
    return list(dict.fromkeys(str(subtask.tag.tier) for subtask in subtasks))


def _verdict(row: SubtaskRow) -> str:
    """The verdict that counts; a text has none."""
    if row.state is not State.SUCCEEDED or row.verdict is None:
        return ""
    return "document" if row.subtask.deliverable is Deliverable.DOCUMENT else row.verdict.kind.value


def _picture(
    plan: Plan, *, below: Mapping[str, str], states: Mapping[str, str], critical: Sequence[str] = ()
) -> Picture | None:
    """The plan's graph, or None when it is too large to be read as a picture."""
    if len(plan.subtasks) > DRAWN_SUBTASKS:
        return None
    drawing: Drawing = draw({subtask.id: subtask.depends_on for subtask in plan.subtasks})
    subtasks = {str(subtask.id): subtask for subtask in plan.subtasks}
    nodes = []
    for box in drawing.boxes:
        subtask = subtasks[box.id]
        names = _broken(box.id)
        top = BOX_HEIGHT // 2 - 9 * len(names) + 4
        nodes.append(
            Node(
                id=box.id,
                x=box.x,
                y=box.y,
                title=f"{box.id}: {one_line(subtask.title, 200)}",
                names=tuple((name, top + 17 * place) for place, name in enumerate(names)),
                below=one_line(below.get(box.id, ""), 34),
                below_y=top + 17 * len(names) + 1,
                tier="tool" if subtask.executor is ExecutorName.TOOL else str(subtask.tag.tier),
                state=states.get(box.id, "planned"),
            )
        )
    chain = set(pairwise(critical))
    return Picture(
        width=drawing.width,
        height=drawing.height,
        box_width=BOX_WIDTH,
        box_height=BOX_HEIGHT,
        nodes=tuple(nodes),
        lines=tuple((line.path, (line.source, line.target) in chain) for line in drawing.lines),
        kinds=tuple(dict.fromkeys(node.tier for node in nodes)),
        states=tuple(dict.fromkeys(node.state for node in nodes if node.state != "planned")),
    )


def _broken(name: str) -> list[str]:
    """An id on one line, or on two broken at a hyphen, so that all of it fits the box."""
    if len(name) <= _NAME_CHARACTERS:
        return [one_line(name, _NAME_CHARACTERS)]
    hyphen = name.rfind("-", 8, _NAME_CHARACTERS)
    cut = hyphen + 1 if hyphen > 0 else _NAME_CHARACTERS
    return [one_line(name[:cut], _NAME_CHARACTERS), one_line(name[cut:], _NAME_CHARACTERS)]


def _gauge(spent: Usd, held: Usd, cap: Usd | None) -> dict[str, object] | None:
    """Shares of the cap, in per cent; None where nothing caps."""
    if cap is None or cap <= ZERO:
        return None
    return {
        "cap": cap,
        "spent": spent,
        "held": held,
        "left": cap - spent - held,
        "spent_share": min(100.0, 100 * spent.share(cap)),
        "held_share": min(100.0, 100 * held.share(cap)),
    }


def _of_the_budget(likely: Usd, budget: Usd | None, allowance: str) -> str:
    if budget is None:
        return ""
    said = f"{likely.rounded()} likely for this plan, of {budget.rounded()}"
    if allowance:
        # What else is spent of it meanwhile, a page that is the same every time cannot say.
        return f"{said} {allowance}"
    return (
        f"{said}; {(budget - likely).rounded_down()} would be left"
        if likely <= budget
        else f"{said}: too little"
    )


def _bars(rows: Sequence[tuple[str, Usd, str]]) -> list[Bar]:
    longest = max((amount.nano for _, amount, _ in rows), default=0) or 1
    return [
        Bar(
            label=label,
            start=0.0,
            size=100 * amount.nano / longest,
            said=amount.rounded(),
            # The name of a model may be anything; it becomes a class only where there is a colour for it.
            kind=kind if kind in ("cheap", "smart", "own", "other") else "",
        )
        for label, amount, kind in rows
    ]


def _run_gantt(report: Report) -> list[Bar]:
    """A bar for every attempt on one time line, to its end, or to the last event while it is under way."""
    now = _seconds(report.last_event_at)
    spans: list[tuple[AttemptId, str, float, float, str]] = []
    for row in report.subtasks:
        for attempt in row.attempts:
            start = _seconds(attempt.started_at)
            last = start if attempt.cut_off else now
            end = last if attempt.outcome is None else _seconds(attempt.ended_at)
            if start is not None and end is not None:
                end = max(start, end)
                # When one that was cut off ended, nobody wrote down.
                said = "cut off" if attempt.cut_off else f"{end - start:.1f} s"
                said += ", under way" if _bar_kind(attempt) == "running" else ""
                spans.append((attempt.attempt, _bar_kind(attempt), start, end, said))
    if not spans:
        return []
    first = min(start for _, _, start, _, _ in spans)
    whole = (max(end for _, _, _, end, _ in spans) - first) or 1.0
    return [
        Bar(
            label=str(attempt),
            # What has only just begun is seen too.
            start=min(99.6, 100 * (start - first) / whole),
            size=max(0.4, 100 * (end - start) / whole),
            said=said,
            kind=kind,
        )
        for attempt, kind, start, end, said in sorted(spans, key=lambda span: span[2])
    ][:DRAWN_SUBTASKS]


def _bar_kind(attempt: AttemptRow) -> str:
    if attempt.outcome is None:
        return "other" if attempt.cut_off else "running"
    if was_rejected(attempt):
        return "rejected"
    return "passed" if attempt.outcome.ended is Ended.PASSED else "other"


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None
