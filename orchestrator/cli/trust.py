"""`orchestrator trust`: let this repository's configuration count as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def trust(
    file: Annotated[
        Path | None, typer.Argument(help="A file of the repository; left out: its configuration.")
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Trust no content of it any more.")] = False,
) -> None:
    """Trust this repository's configuration, with the content it has now; a changed file needs it again."""
    from orchestrator.adapters import trust as records
    from orchestrator.adapters.settings import FILE_NAME, read_source, untrusted_keys
    from orchestrator.core.domain import OrchestratorError
    from orchestrator.core.text import safe_text
    from orchestrator.wiring import open_home

    home = open_home()
    path = file or (home.repository or Path.cwd()) / FILE_NAME
    shown = safe_text(str(path), newlines=False)
    if revoke:
        forgotten = records.distrust(home.state, path)
        typer.echo(f"{shown} is not trusted{'' if forgotten else '; it was not before either'}")
        return
    if not path.is_file():
        raise OrchestratorError(f"{path} does not exist, so there is nothing to trust")
    if path.suffix in (".yaml", ".yml"):
        source = read_source(path)
        content, keys = source.content, untrusted_keys(source)
    else:
        content, keys = path.read_bytes(), []
    if records.is_trusted(home.state, path, content):
        typer.echo(f"{shown} is trusted already, as it is")
        return
    records.trust(home.state, path, content)
    typer.echo(
        f"{shown} is trusted as it is now"
        + (f"; these count from now on: {safe_text(', '.join(keys), newlines=False)}" if keys else "")
    )
