"""`orchestrator route`: which model a request would go to, and every step that led there. Calls nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.core.domain import Refusal, Route
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home

# What a chat template adds around one message; the text itself has at most a token per byte.
_MESSAGE_TOKENS = 84


def route(
    text: Annotated[str, typer.Argument(help="The request, as you would say it.")],
    remaining: Annotated[
        str | None, typer.Option(metavar="USD", help="Decide as if so much of the budget were left.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="ALIAS", help="Name the model yourself.")] = None,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which model a request would go to, and why. Costs nothing."""
    from orchestrator.core.domain import ModelAlias, Refusal
    from orchestrator.core.routing import DAY, Request, as_if_keyed, unusable_because
    from orchestrator.core.routing import route as decide
    from orchestrator.wiring import open_home

    if not text.strip():
        raise typer.BadParameter("there is no text")
    home = open_home(config)
    settings = home.settings
    request = Request(
        text=text,
        input_tokens=len(text.encode("utf-8", "surrogatepass")) + _MESSAGE_TOKENS,
        override=None if model is None else ModelAlias(model),
    )
    decision = decide(
        request,
        as_if_keyed(settings.table),
        left={DAY: _left(home) if remaining is None else _amount(remaining)},
        standard=home.standard,
    )
    notes = []
    if not isinstance(decision, Refusal) and not settings.table.catalogue.pool(decision.model):
        notes.append(unusable_because(settings.table.catalogue, decision.model))
    if as_json:
        typer.echo(json.dumps(_as_json(decision, notes), indent=2))
    else:
        _print(decision, notes)
    if isinstance(decision, Refusal):
        raise typer.Exit(4 if decision.no_model else 3)


def _left(home: Home) -> Usd:
    """What is left of the budget window; all of it while nothing was ever spent."""
    from orchestrator.adapters.state import database

    if not database(home.state).exists():
        return home.settings.budget.max_budget
    return home.store.status().left


def _amount(text: str) -> Usd:
    """An amount that may be left: nothing is one, too."""
    from orchestrator.core.money import ZERO, Usd
    from orchestrator.core.text import one_line

    try:
        amount = Usd.of(text)
        if amount >= ZERO:
            return amount
    except ValueError:
        pass
    raise typer.BadParameter(
        f"{one_line(text, 40)!r} is no amount of dollars such as 1.20", param_hint="--remaining"
    )


def _as_json(decision: Route | Refusal, notes: list[str]) -> dict[str, object]:
    from orchestrator.core.domain import Refusal

    if isinstance(decision, Refusal):
        return {
            "refused": decision.message,
            "no_model": decision.no_model,
            "would_do_usd": None if decision.would_do is None else float(decision.would_do.dollars),
            "reasons": list(decision.reasons),
        }
    return {
        "model": decision.model,
        "max_tokens": decision.max_output_tokens,
        "worst_case_usd": float(decision.worst_case.dollars),
        "reasons": list(decision.reasons),
        "notes": notes,
    }


def _print(decision: Route | Refusal, notes: list[str]) -> None:
    from orchestrator.core.domain import Refusal
    from orchestrator.core.text import safe_text

    if isinstance(decision, Refusal):
        typer.echo(f"refused: {safe_text(decision.message, newlines=False)}")
    else:
        typer.echo(
            f"{safe_text(decision.model)}, at most {decision.max_output_tokens:,} output tokens "
            f"and {decision.worst_case}"
        )
    for number, reason in enumerate(decision.reasons, 1):
        typer.echo(f"  {number}. {safe_text(reason, newlines=False)}")
    for note in notes:
        typer.echo(f"note: {safe_text(note, newlines=False)}", err=True)
