"""`orchestrator explain PLAN SUBTASK`: why this tag, why this model, what it will cost, which facts led to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.domain import Plan, Subtask
    from orchestrator.core.forecast import Forecast
    from orchestrator.wiring import Home


class UnknownSubtask(OrchestratorError):
    """The plan has no subtask of that name."""


def explain(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A saved plan.")],
    subtask: Annotated[str, typer.Argument(help="The id of one of its subtasks, or its number.")],
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain a subtask's tag, model and price. Calls nothing."""
    from orchestrator.core.text import safe_text
    from orchestrator.plans import reopened
    from orchestrator.wiring import open_home

    home = open_home(config)
    drawn = reopened(home, plan_file)
    chosen = _find(drawn.plan, subtask)
    if as_json:
        typer.echo(
            json.dumps(_as_json(home, drawn.plan, chosen, drawn.forecast), indent=2, ensure_ascii=False)
        )
        return
    for line in _lines(home, drawn.plan, chosen, drawn.forecast):
        typer.echo(safe_text(line))


def _find(plan: Plan, name: str) -> Subtask:
    from orchestrator.core.text import did_you_mean, one_line

    if name.isdecimal() and 0 < int(name) <= len(plan.subtasks):
        return plan.subtasks[int(name) - 1]
    for subtask in plan.subtasks:
        if subtask.id == name:
            return subtask
    ids = [subtask.id for subtask in plan.subtasks]
    hint = did_you_mean(name, ids) or f": it has {one_line(', '.join(ids), 300)}"
    raise UnknownSubtask(f"the plan has no subtask {one_line(name, 60)!r}{hint}")


def _rule(home: Home, subtask: Subtask) -> str:
    """The rule's own words, when the standard still has it."""
    from orchestrator.core.standards import UnknownRule

    if not subtask.tag.rule:
        return "no rule"
    try:
        rule = home.standard.rule(subtask.tag.rule)
    except UnknownRule:
        return f"{subtask.tag.rule}, which today's standard does not have"
    return f"{rule.id} ({home.standard.source}:{rule.line}): {rule.title}" + (
        f". {rule.prose}" if rule.prose else ""
    )


def _route(home: Home, subtask: Subtask) -> tuple[str, tuple[str, ...]]:
    """The model it would start on with the whole budget left, and the reasons in order."""
    from orchestrator.core.domain import ExecutorName, Refusal
    from orchestrator.core.routing import DAY, Request, as_if_keyed, edit_needs, route

    if subtask.executor is ExecutorName.TOOL:
        return f"{subtask.tool}, a tool that costs nothing", ()
    decision = route(
        Request(
            text=f"{subtask.title}\n{subtask.instructions}",
            input_tokens=subtask.estimate.input_tokens.high,
            needs_output_tokens=edit_needs(subtask.estimate),
            tag=subtask.tag,
        ),
        as_if_keyed(home.settings.table),
        left={DAY: home.settings.budget.max_budget},
        standard=home.standard,
    )
    if isinstance(decision, Refusal):
        return f"none: {decision.message}", decision.reasons
    return f"{decision.model}, at most {decision.worst_case.rounded()} an attempt", decision.reasons


def _lines(home: Home, plan: Plan, subtask: Subtask, forecast: Forecast) -> Iterator[str]:
    row = forecast.of(subtask.id)
    estimate = subtask.estimate
    model, reasons = _route(home, subtask)
    yield f"{subtask.id}: {subtask.title}"
    if subtask.instructions and subtask.instructions != subtask.title:
        yield from (f"  {line}" for line in subtask.instructions.splitlines())
    yield f"tag: {subtask.tag.tier}, decided by the {subtask.tag.decided_by.value}"
    yield f"  rule: {_rule(home, subtask)}"
    if subtask.tag.reason:
        yield f"  because: {subtask.tag.reason}"
    if subtask.tag.evidence:
        yield f"  matched: {', '.join(subtask.tag.evidence)}"
    yield f"starts on: {model}"
    yield from (f"  {reason}" for reason in reasons)
    yield f"price: {row.dollars if row.dollars is not None else 'unknown'}"
    yield (
        f"  {estimate.input_tokens.likely:,} tokens in, {estimate.output_tokens.likely:,} out an attempt; "
        f"{row.attempts:.1f} attempts, {row.escalates:.0%} escalate, {row.succeeds:.0%} pass"
    )
    if subtask.depends_on:
        yield f"needs: {', '.join(subtask.depends_on)}"
    touches = "unknown files, so it runs alone" if subtask.touches is None else ", ".join(subtask.touches)
    yield f"may change: {touches or 'nothing'}"
    for check in subtask.checks:
        yield f"checked by: {check.kind.value} {', '.join(check.targets)}"
    for fact in subtask.evidence:
        yield f"evidence: {fact}"


def _as_json(home: Home, plan: Plan, subtask: Subtask, forecast: Forecast) -> dict[str, object]:
    from orchestrator.core.serial import encode

    model, reasons = _route(home, subtask)
    return {
        "subtask": encode(subtask),
        "rule": _rule(home, subtask),
        "starts_on": model,
        "reasons": list(reasons),
        "forecast": encode(forecast.of(subtask.id)),
    }
