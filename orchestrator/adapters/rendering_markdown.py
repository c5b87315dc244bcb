"""Plans and runs as Markdown for a pull request: one comment, found again by the marker it starts with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from orchestrator.adapters.markdown_sheet import (
    Node,
    Sheet,
    block,
    code,
    html_text,
    mermaid,
    table_rows,
    text,
)
from orchestrator.adapters.report_words import (
    COMPARED_CAVEAT,
    compared_words,
    duration_words,
    ended_words,
    kept_words,
    made_words,
    next_steps,
    range_words,
    row_words,
    scripted_words,
    shown_words,
    spent_words,
    tried_words,
    used_words,
    was_rejected,
    why_words,
)
from orchestrator.core.domain import Deliverable, ExecutorName, Plan, State, Subtask, SubtaskId
from orchestrator.core.forecast import Forecast, SubtaskForecast
from orchestrator.core.money import Usd
from orchestrator.core.report import Report
from orchestrator.core.report_rows import SubtaskRow
from orchestrator.core.text import short_lists
from orchestrator.core.words import counted

PLAN_MARKER = "<!-- orchestrator-plan -->"
RUN_MARKER = "<!-- orchestrator-run -->"

_TIERS = {
    "cheap": "fill:#d8f3ea,stroke:#1f8a70,color:#0d2b23",
    "smart": "fill:#e6dffb,stroke:#6d4bd0,color:#21134d",
    "tool": "fill:#e9edf2,stroke:#7b8696,color:#1c2430",
}
_STATES = {
    "succeeded": "stroke:#1f8a4c,stroke-width:2px",
    "failed": "stroke:#c8372d,stroke-width:3px",
    "running": "stroke:#2563c9,stroke-width:3px",
    "waiting": "stroke:#b7791f,stroke-width:2px",
    "blocked": "stroke:#c8372d,stroke-dasharray:5 4",
    "cancelled": "stroke:#7b8696,stroke-dasharray:5 4",
    "skipped": "stroke:#7b8696,stroke-dasharray:5 4",
}
_STATE_MARKS = {
    State.SUCCEEDED: "✅",
    State.FAILED: "❌",
    State.BLOCKED: "⛔",
    State.CANCELLED: "🚫",
    State.SKIPPED: "⏭️",
    State.WAITING: "⏸️",
    State.RUNNING: "▶️",
}


# --- plans --------------------------------------------------------------------------------------


def plan_markdown(
    plan: Plan,
    forecast: Forecast,
    *,
    budget: Usd | None = None,
    allowance: str = "",
    scripted: str = "",
    remarks: Iterable[str] = (),
) -> str:
    """Return the comment for a priced plan. Equal plans and prices give equal bytes, at most 65,536 characters.

    `allowance` says for how long the budget is, when it is not this run's own.
    """
    rows = {row.id: row for row in forecast.subtasks}
    sheet = Sheet(more="`orchestrator plan --html plan.html` writes all of it.")
    head = _plan_head(plan, forecast, scripted)
    if budget is not None:
        head += [
            f"Budget {budget}{f' {allowance}' if allowance else ''}{used_words(forecast.dollars, budget)}.",
            "",
        ]
    sheet.add(head, what="the head")
    sheet.add(_plan_graph(plan, forecast, rows), what="the graph")
    sheet.add_rows(
        table_rows(
            [("", "subtask", "", "tier", "starts on", "likely", "from", "to", "after")], right=(0, 5, 6, 7)
        ),
        [[_plan_row(number, subtask, rows)] for number, subtask in enumerate(plan.subtasks, 1)],
        [""],
        what="subtasks of the table",
    )
    sheet.add(_alternatives(plan, forecast), what="what it would cost otherwise")
    sheet.add(_questions(plan), what="the questions")
    notes = [*remarks, *plan.notes, *forecast.notes]
    sheet.add_rows(
        ["### Worth knowing", ""], [[f"- {text(note, 300)}"] for note in notes], [""], what="notes"
    )
    sheet.add_rows(
        ["<details><summary>Why each tag, what led to it, what checks it</summary>", ""],
        [_reasons(subtask, rows) for subtask in plan.subtasks],
        ["</details>", ""],
        what="explanations of subtasks",
    )
    sheet.add(
        [
            "<details><summary>How the forecast is made</summary>",
            "",
            *(f"- {text(line, 300)}" for line in forecast.priors),
            "",
            "</details>",
        ],
        what="how the forecast is made",
    )
    return str(sheet)


def _plan_head(plan: Plan, forecast: Forecast, scripted: str) -> list[str]:
    made = plan.made_from
    by = text(made_words(made), 120)
    at = f" at {code(made.commit[:10])}" if made.commit else ""
    lines = [
        PLAN_MARKER,
        f"## Plan: {text(plan.goal, 200)}",
        "",
        f"**{counted(len(plan.subtasks), 'subtask')}, likely {range_words(forecast.dollars)}**; "
        f"about {duration_words(forecast.seconds.likely)} with {forecast.parallel} at once; "
        f"{forecast.succeeds:.1f} of {len(plan.subtasks)} expected to pass their checks.",
        "",
        f"A dry run, {by}{at}: nothing was changed.",
        "",
    ]
    if scripted:
        lines += [f"> **{text(scripted_words(scripted), 120)}**", ""]
    return lines


def _plan_graph(plan: Plan, forecast: Forecast, rows: Mapping[SubtaskId, SubtaskForecast]) -> list[str]:
    path = forecast.critical_path
    nodes = [
        Node(id=subtask.id, lines=(subtask.id, _node_price(subtask, rows)), classes=(_kind(subtask),))
        for subtask in plan.subtasks
    ]
    needs = {str(subtask.id): subtask.depends_on for subtask in plan.subtasks}
    graph = mermaid(nodes, needs, styles=_TIERS, heavy=pairwise(path))
    if graph is None:
        graph = (
            [f"{counted(len(nodes), 'subtask')}: too many for a picture that can be read."] if nodes else []
        )
    lines = [*graph, ""]
    if len(path) > 1:
        chain = " → ".join(code(name, 60) for name in path[:20]) + (" → …" if len(path) > 20 else "")
        lines += [f"Critical path, thick: {chain}, {duration_words(forecast.critical_seconds)}.", ""]
    return lines


def _kind(subtask: Subtask) -> str:
    if subtask.executor is ExecutorName.TOOL:
        return "tool"
    return subtask.tag.tier if subtask.tag.tier in _TIERS else "tool"


def _node_price(subtask: Subtask, rows: Mapping[SubtaskId, SubtaskForecast]) -> str:
    if subtask.executor is ExecutorName.TOOL:
        return f"{subtask.tool or 'tool'}, $0"
    row = rows.get(subtask.id)
    price = row.dollars.likely.rounded() if row and row.dollars else "no price"
    return f"{subtask.tag.tier}, {price}"


def _plan_row(number: int, subtask: Subtask, rows: Mapping[SubtaskId, SubtaskForecast]) -> str:
    row = rows.get(subtask.id)
    tool = subtask.executor is ExecutorName.TOOL
    prices = ["\\$0", "", ""] if tool else ["?", "?", "?"]
    if row is not None and row.dollars is not None and not tool:
        dollars = row.dollars
        prices = [amount.rounded() for amount in (dollars.likely, dollars.low, dollars.high)]
    cells = [
        str(number),
        code(subtask.id, 80),
        text(subtask.title, 90),
        "tool" if tool else text(subtask.tag.tier, 20),
        text((row.model if row else None) or subtask.tool or "", 30),
        *prices,
        ", ".join(code(need, 60) for need in subtask.depends_on[:6])
        + (f" and {len(subtask.depends_on) - 6} more" if len(subtask.depends_on) > 6 else ""),
    ]
    return "| " + " | ".join(cells) + " |"


def _alternatives(plan: Plan, forecast: Forecast) -> list[str]:
    if not forecast.alternatives:
        return []
    rows = [["", "likely", "from", "to", f"of {len(plan.subtasks)} expected to pass"]]
    named = [("**this plan**", forecast.dollars, forecast.succeeds)]
    named += [(text(other.name, 40), other.dollars, other.succeeds) for other in forecast.alternatives]
    for name, dollars, succeeds in named:
        amounts = (
            [amount.rounded() for amount in (dollars.likely, dollars.low, dollars.high)]
            if dollars
            else ["?"] * 3
        )
        rows.append([name, *amounts, f"{succeeds:.1f}"])
    return ["### The same plan otherwise", "", *table_rows(rows, right=(1, 2, 3, 4)), ""]


def _questions(plan: Plan) -> list[str]:
    if not plan.questions:
        return []
    lines = ["### Questions", ""]
    for question in plan.questions:
        answer = text(question.answer or question.default, 120)
        default = (
            "" if question.answer else f" (the default; `--answer {text(question.id, 40)}=…` changes it)"
        )
        lines.append(f"- {text(question.text, 300)} **{answer}**{default}")
    return [*lines, ""]


def _reasons(subtask: Subtask, rows: Mapping[SubtaskId, SubtaskForecast]) -> list[str]:
    tag, row = subtask.tag, rows.get(subtask.id)
    on = f", on {text(', '.join(tag.evidence), 160)}" if tag.evidence else ""
    because = f"; {text(tag.reason, 200)}" if tag.reason else ""
    lines = [
        f"**{code(subtask.id, 80)}** {text(subtask.title, 160)}",
        f"- {text(tag.tier, 20)} by rule {code(tag.rule, 80)}, decided by the {tag.decided_by.value}{on}{because}",
    ]
    if row is not None and row.dollars is not None and row.dollars.high:
        lines.append(
            f"- {range_words(row.dollars)}, {row.attempts:.1f} attempts expected, "
            f"{100 * row.escalates:.0f} % chance of escalation, {100 * row.succeeds:.0f} % to pass"
        )
    lines += [
        f"- {code(_place(fact.path, fact.line), 160)} {text(fact.fact, 240)}" for fact in subtask.evidence[:6]
    ]
    if len(subtask.evidence) > 6:
        lines.append(f"- and {len(subtask.evidence) - 6} more facts")
    changes = "anything, so it runs alone" if subtask.touches is None else "nothing"
    if subtask.touches:
        changes = code(", ".join(subtask.touches), 200)
    checks = "; ".join(f"{check.kind.value} {code(' '.join(check.targets), 160)}" for check in subtask.checks)
    checks = checks or "the project's own suite"
    lines.append(f"- may change {changes}; checked by {checks}")
    lines += [f"- {text(note, 240)}" for note in subtask.notes]
    return [*lines, ""]


def _place(path: str, line: int) -> str:
    return f"{path}:{line}" if line else path


# --- runs ---------------------------------------------------------------------------------------


def run_markdown(report: Report) -> str:
    """Return the comment for a run as it stands, at most 65,536 characters."""
    sheet = Sheet(
        more=f"`orchestrator show {text(report.started.run, 40)} --html report.html` writes all of it."
    )
    sheet.add(_run_head(report), what="the head")
    sheet.add(_run_graph(report), what="the graph")
    sheet.add_rows(
        table_rows([("", "subtask", "", "tier", "verdict", "models", "cost", "commit")], right=(6,)),
        [[_run_row(row)] for row in report.subtasks],
        [""],
        what="subtasks of the table",
    )
    sheet.add(_next(report), what="what can be done next")
    sheet.add_rows(
        [
            "### Review first",
            "",
            "These landed because nothing broke; no check shows that they do what was asked.",
            "",
        ],
        [[_review(row)] for row in report.review_first],
        [""],
        what="subtasks to review first",
    )
    waiting = [(row, said) for row in report.subtasks if (said := row_words(row))]
    sheet.add_rows(
        ["### Not done", ""],
        [
            [
                f"- {code(row.subtask.id, 80)} "
                # "waiting: waits for" would say it twice.
                + ("" if said.startswith("waits ") else f"{row.state.value}: ")
                + text(short_lists(said), 300)
            ]
            for row, said in waiting
        ],
        [""],
        what="subtasks that are not done",
    )
    sheet.add(_shares(report), what="dollars by model")
    rejected = [
        (attempt, row) for row in report.subtasks for attempt in row.attempts if was_rejected(attempt)
    ]
    sheet.add_rows(
        ["<details><summary>Attempts that did not land</summary>", ""],
        [
            [
                f"- {code(str(attempt.attempt), 100)} {ended_words(attempt)}"
                + (f" on {text(attempt.model, 40)}" if attempt.model else "")
                + f", {attempt.bill.rounded()}: {text(why_words(attempt), 400)}"
                + (f"; kept as {code(kept, 200)}" if (kept := kept_words(attempt)) else "")
            ]
            for attempt, _ in rejected
        ],
        ["", "</details>", ""],
        what="attempts that did not land",
    )
    sheet.add_rows(
        ["### Worth knowing", ""],
        [[f"- {text(note, 300)}"] for note in (*shown_words(report), *report.flags, *report.notes)],
        [""],
        what="notes",
    )
    for row in report.subtasks:
        if row.document:
            sheet.add(_document(row), what=f"the document of {text(row.subtask.id, 80)}")
    return str(sheet)


def _run_head(report: Report) -> list[str]:
    started = report.started
    reason = f": {text(report.reason, 300)}" if report.reason else ""
    counts = ", ".join(f"{report.count(state)} {state.value}" for state in State if report.count(state))
    lines = [
        RUN_MARKER,
        f"## Run {text(started.run, 40)}: {text(report.plan.goal, 200)}",
        "",
        f"**{report.standing}**{reason}; {counts}.",
        "",
        f"{spent_words(report)}.",
        "",
    ]
    if started.scripted:
        lines += [f"> **{text(scripted_words(started.scripted), 120)}**", ""]
    if started.sandbox in ("", "none"):
        lines += ["> **Unsandboxed:** checks ran without a sandbox.", ""]
    compared = compared_words(report)
    if compared:
        lines += [f"{compared[0].upper()}{compared[1:]} ({COMPARED_CAVEAT}).", ""]
    return lines


def _run_graph(report: Report) -> list[str]:
    nodes = [
        Node(
            id=row.subtask.id,
            lines=(row.subtask.id, f"{row.state.value}, {row.bill.rounded()}"),
            classes=(_kind(row.subtask), row.state.value),
        )
        for row in report.subtasks
    ]
    needs = {str(row.subtask.id): row.subtask.depends_on for row in report.subtasks}
    graph = mermaid(nodes, needs, styles={**_TIERS, **_STATES})
    if graph is None:
        return (
            [f"{counted(len(nodes), 'subtask')}: too many for a picture that can be read.", ""]
            if nodes
            else []
        )
    return [*graph, ""]


def _run_row(row: SubtaskRow) -> str:
    verdict = row.verdict.kind.value if row.verdict and row.state is State.SUCCEEDED else ""
    if verdict and row.subtask.deliverable is Deliverable.DOCUMENT:
        verdict = "document"
    cells = [
        f"{_STATE_MARKS[row.state]} {row.state.value}",
        code(row.subtask.id, 80),
        text(row.subtask.title, 90),
        text(row.subtask.tag.tier, 20),
        verdict,
        text(tried_words(row), 60),
        row.bill.rounded(),
        code(row.commit[:10]) if row.commit else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _next(report: Report) -> list[str]:
    steps = next_steps(report)
    return [*(f"- {what}: {code(command)}" for what, command in steps), ""] if steps else []


def _review(row: SubtaskRow) -> str:
    said = "; ".join(row.verdict.evidence) if row.verdict else ""
    commit = f" {code(row.commit[:10])}" if row.commit else ""
    return f"- {code(row.subtask.id, 80)}{commit} {text(short_lists(said), 300)}"


def _shares(report: Report) -> list[str]:
    if not report.models:
        return []
    rows = [("dollars by", "", "cost", "calls", "tokens in", "out")]
    for kind, shares in (("tier", report.tiers), ("model", report.models)):
        rows += [
            (
                kind,
                text(share.name, 40),
                share.bill.rounded(),
                str(share.calls),
                f"{share.input_tokens:,}",
                f"{share.output_tokens:,}",
            )
            for share in shares
        ]
    return [*table_rows(rows, right=(2, 3, 4, 5)), ""]


def _document(row: SubtaskRow) -> list[str]:
    return [
        f"<details><summary>{html_text(row.subtask.title, 160)}</summary>",
        "",
        *block(row.document or "", "markdown"),
        "",
        "</details>",
        "",
    ]
