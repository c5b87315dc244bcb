"""`orchestrator mcp`: our operations as tools for a coding agent."""

from __future__ import annotations

from typing import Annotated

import typer


def mcp(
    config: Annotated[
        bool, typer.Option("--print-config", help="Print the entry for a client's configuration.")
    ] = False,
) -> None:
    """Serve plan, check, run, status, cancel, route, budget and explain over MCP on standard input and output."""
    from orchestrator.mcp_server import describe, serve

    if config:
        typer.echo(describe())
        return
    serve()
