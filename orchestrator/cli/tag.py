"""`orchestrator tag`: which tier of the standard a text belongs to, and by which words."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def tag(
    text: Annotated[str, typer.Argument(help="A request or a subtask's title.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which tier a text gets, and by which rule of the standard. Costs nothing."""
    from orchestrator.adapters.settings_standard import load_standard
    from orchestrator.core.domain import CHEAP
    from orchestrator.core.text import safe_text
    from orchestrator.wiring import open_home

    if not text.strip():
        raise typer.BadParameter("there is no text")
    home = open_home()
    standard = load_standard(repository=home.repository, environ=home.environ)
    found = standard.match(text)
    if as_json:
        answer = {
            "tier": CHEAP if found is None else found.tier,
            "rule": None if found is None else found.rule,
            "evidence": [] if found is None else list(found.evidence),
            "decided_by": "default" if found is None else found.decided_by.value,
            "reason": "no signal word of the standard occurs" if found is None else found.reason,
            "standard": standard.source,
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    if found is None:
        typer.echo(
            f"{CHEAP}: no signal word of {safe_text(standard.source)} occurs, so it is tried cheaply first"
        )
        return
    rule = standard.rule(found.rule)
    typer.echo(
        f"{found.tier}: {safe_text(rule.title)} ({found.rule}, {safe_text(standard.source)}:{rule.line})"
    )
    typer.echo(f"  found: {safe_text(', '.join(found.evidence), newlines=False)}")
    typer.echo(f"  {safe_text(found.reason, newlines=False)}")
