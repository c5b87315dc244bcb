"""`orchestrator show`: where a run stands, what it came to, and its report as a file."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.core.domain import RunId


def show(
    run: Annotated[
        str | None, typer.Argument(help="The run; this repository's newest when left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show a run: states, verdicts, commits, dollars."""
    from orchestrator.adapters.rendering_terminal import run_text
    from orchestrator.wiring import latest_run, open_home, report_of

    home = open_home()
    report = report_of(home, RunId(run) if run else latest_run(home))
    if as_json:
        import json

        from orchestrator.core.serial import encode

        typer.echo(json.dumps(encode(report), indent=2))
        return
    typer.echo(run_text(report))
