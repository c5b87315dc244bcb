"""`orchestrator show`: where a run stands, what it came to, and its report as a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.adapters.runs import KnownRun
    from orchestrator.core.report import Report
    from orchestrator.wiring import Home


def show(
    run: Annotated[
        str | None, typer.Argument(help="The run; this repository's newest when left out.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page instead.")] = None,
    md: Annotated[Path | None, typer.Option(help="Write the report as Markdown instead.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch the run until it ends, then show it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON; with --follow every event as a line.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
) -> None:
    """Show a run: states, verdicts, commits, dollars. Reads only; a run that is under way goes on."""
    from orchestrator.wiring import open_home

    home = open_home(config)
    _may_write([html, md], force=force)
    if follow:
        _wait_for_its_journal(home, run)
    chosen = _choose(home, run)
    if follow:
        _follow(home, chosen, as_json=as_json)
        chosen = _choose(home, chosen.run)
    report = _report(home, chosen)
    if as_json and not follow:
        import json

        from orchestrator.core.serial import encode

        typer.echo(json.dumps(encode(report), indent=2))
    elif not as_json and (follow or (html is None and md is None)):
        from orchestrator.adapters.rendering_terminal import run_text
        from orchestrator.cli.columns import columns

        typer.echo(run_text(report, width=columns()))
    _write(report, html=html, md=md, force=force)


def _choose(home: Home, wanted: str | None) -> KnownRun:
    """A run of this repository; outside of any, a run of all there are. Raises NoSuchRun."""
    from orchestrator.adapters.run_lock import at_work
    from orchestrator.adapters.runs import choose_run, known_runs

    here = None if home.repository is None else str(home.place.root)
    return choose_run(known_runs(home.store, repository=here, working=at_work(home.state)), wanted)


def _report(home: Home, chosen: KnownRun) -> Report:
    from orchestrator.adapters.runs import Standing
    from orchestrator.wiring import report_of

    # Whether the process of another repository's run is alive is not known here.
    stopped = chosen.standing is Standing.STOPPED and home.repository is not None
    return replace(report_of(home, chosen.run), stopped=stopped)


def _wait_for_its_journal(home: Home, wanted: str | None) -> None:
    """A run that has just begun measures the suite first, and is in no list before it journals that."""
    import time

    from orchestrator.adapters.run_lock import occupant
    from orchestrator.cli.following import LOOK_SECONDS

    told = False
    while home.repository is not None:
        holder = occupant(home.place, home.state)
        if holder is None or wanted not in (None, holder.run) or holder.run in home.store.run_ids():
            return
        if not told:
            typer.echo(f"run {holder.run} (process {holder.holder.pid}) has just begun", err=True)
            told = True
        time.sleep(LOOK_SECONDS)


def _follow(home: Home, chosen: KnownRun, *, as_json: bool) -> None:
    from orchestrator.adapters.run_lock import occupant
    from orchestrator.cli.following import follow
    from orchestrator.cli.progress import open_view

    def is_live() -> bool:
        holder = occupant(home.place, home.state)
        return holder is not None and holder.run == chosen.run

    with open_view(home, as_json=as_json) as view:
        follow(home.store, chosen.run, view, is_live=is_live)


def _may_write(paths: Iterable[Path | None], *, force: bool) -> None:
    """Settle before a run is followed for hours whether files may be replaced. Raises WouldOverwrite."""
    for path in paths:
        if path is not None and path.exists() and not force:
            from orchestrator.adapters.plan_files import WouldOverwrite

            raise WouldOverwrite(f"{path} exists: name another file, or add --force")


def _write(report: Report, *, html: Path | None, md: Path | None, force: bool) -> None:
    if html is None and md is None:
        return
    from orchestrator.adapters.plan_files import write_text

    if html is not None:
        from orchestrator.adapters.rendering_html import run_html

        write_text(html, run_html(report), overwrite=force)
        typer.echo(f"written: {html}", err=True)
    if md is not None:
        from orchestrator.adapters.rendering_markdown import run_markdown

        write_text(md, run_markdown(report), overwrite=force)
        typer.echo(f"written: {md}", err=True)
