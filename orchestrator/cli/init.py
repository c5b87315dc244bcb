"""`orchestrator init`: a commented configuration, the standard and the instructions, beside what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    directory: Annotated[
        Path | None, typer.Argument(help="Where to write; left out: the top of this repository.")
    ] = None,
) -> None:
    """Write a commented configuration, the standard and the instructions. Never overwrites anything."""
    from orchestrator.adapters.settings_starter import write_starter
    from orchestrator.core.text import safe_text
    from orchestrator.wiring import open_home

    home = open_home()
    place = directory or home.repository or Path.cwd()
    written = write_starter(place, state=home.state)
    for path in written.made:
        typer.echo(f"wrote  {safe_text(str(path), newlines=False)}")
    for path in written.kept:
        typer.echo(f"kept   {safe_text(str(path), newlines=False)} (it was there)")
    for line in written.next_steps:
        typer.echo(safe_text(line, newlines=False))
