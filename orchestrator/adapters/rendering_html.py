"""Plans and runs as one HTML file: no script, no outside resource, every foreign word escaped by the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.adapters.state import packaged
from orchestrator.core.domain import AttemptId, Ended, ExecutorName, Plan, State, Subtask
from orchestrator.core.drawing import BOX_HEIGHT, BOX_WIDTH, Drawing, draw
from orchestrator.core.forecast import Dollars, Forecast
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.report import Report
from orchestrator.core.text import one_line, safe_text

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

DRAWN_SUBTASKS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One box of the picture: where it stands, what it says, and the classes that colour it."""

    id: str
    x: int
    y: int
    title: str
    below: str
    tier: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    width: int
    height: int
    box_width: int
    box_height: int
    nodes: tuple[Node, ...]
    paths: tuple[str, ...]


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
    environment.filters["dollars"] = lambda amount: amount.rounded()
    return environment


def run_html(report: Report) -> str:
    """Return the page of a run as it stands."""
    states = {row.subtask.id: row for row in report.subtasks}
    picture = _picture(
        report.plan,
        below={
            row.subtask.id: f"{row.state.value} · {row.bill.rounded()}"
            + (f" · {row.verdict.kind.value}" if row.verdict and row.state is State.SUCCEEDED else "")
            for row in report.subtasks
        },
        states={name: row.state.value for name, row in states.items()},
    )
    total = report.spent + report.held
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
            tiers=_tiers(report.plan.subtasks),
            rejected=[
                (row, attempt)
                for row in report.subtasks
                for attempt in row.attempts
                if attempt.refused
                or (attempt.outcome is not None and attempt.outcome.ended in (Ended.REJECTED, Ended.ERROR))
            ],
            count={state.value: report.count(state) for state in State},
        )
    )


def plan_html(
    plan: Plan,
    forecast: Forecast,
    *,
    budget: Usd | None = None,
    left: Usd | None = None,
    remarks: Iterable[str] = (),
    scripted: str = "",
) -> str:
    """Return the page of a priced plan. Equal plans and prices give equal bytes."""
    rows = {row.id: row for row in forecast.subtasks}
    picture = _picture(
        plan,
        below={
            name: f"{row.model or 'tool, no model'} · {_likely(row.dollars)}" for name, row in rows.items()
        },
        states={},
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
            gauge=_gauge(ZERO, likely, budget or left),
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
            scripted=scripted,
            critical=set(forecast.critical_path),
        )
    )


def _likely(dollars: Dollars | None) -> str:
    return dollars.likely.rounded() if dollars else "no price"


def _tiers(subtasks: Iterable[Subtask]) -> list[str]:
    return list(dict.fromkeys(str(subtask.tag.tier) for subtask in subtasks))


def _picture(plan: Plan, *, below: Mapping[str, str], states: Mapping[str, str]) -> Picture | None:
    """The plan's graph, or None when it is too large to be read as a picture."""
    if len(plan.subtasks) > DRAWN_SUBTASKS:
        return None
    drawing: Drawing = draw({subtask.id: subtask.depends_on for subtask in plan.subtasks})
    subtasks = {str(subtask.id): subtask for subtask in plan.subtasks}
    nodes = []
    for box in drawing.boxes:
        subtask = subtasks[box.id]
        kind = "tool" if subtask.executor is ExecutorName.TOOL else str(subtask.tag.tier)
        nodes.append(
            Node(
                id=box.id,
                x=box.x,
                y=box.y,
                title=one_line(box.id, 27),
                below=one_line(below.get(box.id, ""), 34),
                tier=kind,
                state=states.get(box.id, "planned"),
            )
        )
    return Picture(
        width=drawing.width,
        height=drawing.height,
        box_width=BOX_WIDTH,
        box_height=BOX_HEIGHT,
        nodes=tuple(nodes),
        paths=tuple(line.path for line in drawing.lines),
    )


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


def _bars(rows: Sequence[tuple[str, Usd, str]]) -> list[Bar]:
    longest = max((amount.nano for _, amount, _ in rows), default=0) or 1
    return [
        Bar(label=label, start=0.0, size=100 * amount.nano / longest, said=amount.rounded(), kind=kind)
        for label, amount, kind in rows
    ]


def _run_gantt(report: Report) -> list[Bar]:
    """A bar for every attempt between its start and its end, on one time line."""
    spans: list[tuple[AttemptId, str, float, float]] = []
    for row in report.subtasks:
        for attempt in row.attempts:
            start, end = _seconds(attempt.started_at), _seconds(attempt.ended_at)
            if start is not None and end is not None:
                ended = attempt.outcome.ended if attempt.outcome else None
                kind = "passed" if ended is Ended.PASSED and not attempt.refused else "rejected"
                spans.append((attempt.attempt, kind, start, end))
    if not spans:
        return []
    first = min(start for _, _, start, _ in spans)
    whole = (max(end for _, _, _, end in spans) - first) or 1.0
    return [
        Bar(
            label=str(attempt),
            start=100 * (start - first) / whole,
            size=max(0.4, 100 * (end - start) / whole),
            said=f"{end - start:.1f} s",
            kind=kind,
        )
        for attempt, kind, start, end in sorted(spans, key=lambda span: span[2])
    ][:DRAWN_SUBTASKS]


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None
