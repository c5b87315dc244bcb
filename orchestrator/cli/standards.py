"""`orchestrator standards`: show or check the document by which texts are tagged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.core.standards import Standard

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_FILE = Annotated[Path | None, typer.Argument(help="A standard; left out: the one in force.")]
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(file: _FILE = None, as_json: _JSON = False) -> None:
    """Show the tiers, rules and signal words of a standard."""
    from orchestrator.core.text import safe_text

    standard = _standard(file)
    if as_json:
        typer.echo(json.dumps(_as_json(standard), indent=2))
        return
    typer.echo(safe_text(standard.source))
    for section in standard.tiers:
        bound = f" (up to {section.max_tokens:,} output tokens)" if section.max_tokens else ""
        typer.echo(f"\n{section.tier}{bound}")
        for rule in section.rules:
            words = f": {', '.join(rule.signals)}" if rule.signals else ""
            typer.echo(safe_text(f"  {rule.id}{words}", newlines=False))


@app.command()
def lint(file: _FILE = None, as_json: _JSON = False) -> None:
    """Check a standard: every fault with its line, then remarks."""
    from orchestrator.core.domain import InvalidDocument
    from orchestrator.core.text import safe_text

    problems: list[dict[str, str]] = []
    remarks: list[str] = []
    try:
        standard = _standard(file)
    except InvalidDocument as error:
        problems = [{"where": problem.where, "what": problem.what} for problem in error.problems]
    else:
        remarks = _remarks(standard)
    if as_json:
        typer.echo(json.dumps({"problems": problems, "remarks": remarks}, indent=2))
    else:
        for problem in problems:
            typer.echo(safe_text(f"{problem['where']}: {problem['what']}", newlines=False))
        for remark in remarks:
            typer.echo(safe_text(f"remark: {remark}", newlines=False))
        if not problems:
            tiers = ", ".join(f"{len(section.rules)} {section.tier}" for section in standard.tiers)
            typer.echo(safe_text(f"{standard.source}: no fault; rules: {tiers}", newlines=False))
    if problems:
        raise typer.Exit(2)


def _standard(file: Path | None) -> Standard:
    from orchestrator.adapters.settings_standard import load_standard, read_standard_file
    from orchestrator.core.standards import USUAL_TIERS
    from orchestrator.wiring import open_home

    home = open_home()
    tiers = dict.fromkeys((*USUAL_TIERS, *home.settings.table.tier_models))
    if file is not None:
        return read_standard_file(file, tiers=tiers)
    return load_standard(repository=home.repository, environ=home.environ, tiers=tiers)


def _remarks(standard: Standard) -> list[str]:
    from orchestrator.wiring import open_home

    remarks = []
    models = open_home().settings.table.tier_models
    for section in standard.tiers:
        if section.tier not in models:
            remarks.append(
                f"line {section.line}: tier {section.tier!r} has no model: set orchestrator.tiers.{section.tier}"
            )
    first: dict[str, str] = {}
    for rule in standard.rules:
        if not rule.signals:
            remarks.append(
                f"line {rule.line}: {rule.id} has no signal words, so only a planner can choose it"
            )
        for signal in rule.signals:
            other = first.setdefault(signal, rule.id)
            if other != rule.id:
                remarks.append(f"line {rule.line}: {signal!r} is a signal word of {other} too")
    return remarks


def _as_json(standard: Standard) -> dict[str, object]:
    return {
        "source": standard.source,
        "tiers": [
            {
                "tier": section.tier,
                "line": section.line,
                "max_tokens": section.max_tokens,
                "min_tokens": section.min_tokens,
                "rules": [
                    {
                        "id": rule.id,
                        "title": rule.title,
                        "line": rule.line,
                        "signals": list(rule.signals),
                        "prose": rule.prose,
                    }
                    for rule in section.rules
                ],
            }
            for section in standard.tiers
        ],
    }
