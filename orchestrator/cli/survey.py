"""`orchestrator survey`: the facts that ground a plan, each with its place. Calls no model, changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.core.facts import Survey

_SHOWN = 12


def survey(
    path: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only files that match; may be given again.")
    ] = None,
    commit: Annotated[str, typer.Option(help="The commit to look at.")] = "HEAD",
    everything: Annotated[
        bool, typer.Option("--all", help="List every fact, not only the heaviest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the facts that ground a plan: commands, findings, complexity, hot spots, untested modules."""
    import asyncio

    from orchestrator.adapters.state import cache_directory
    from orchestrator.adapters.survey import survey as find
    from orchestrator.core.serial import encode
    from orchestrator.wiring import NotARepository, open_home

    home = open_home()
    if home.repository is None:
        raise NotARepository(
            f"{Path.cwd()} is not in a git repository: change to one, or make one with `git init` and a commit"
        )
    found = asyncio.run(
        find(
            home.repository,
            commit=commit,
            paths=tuple(path or ()),
            cache=cache_directory(home.environ),
            environ=home.environ,
        )
    )
    if as_json:
        typer.echo(json.dumps(encode(found), indent=2))
        return
    for line in _lines(found, None if everything else _SHOWN):
        typer.echo(line)


def _lines(found: Survey, at_most: int | None) -> Iterator[str]:
    from orchestrator.core.text import one_line

    yield f"commit {found.commit[:12]}: files: {len(found.files)}, lines: {found.lines}" + (
        f", within {', '.join(one_line(path) for path in found.paths)}" if found.paths else ""
    )
    for language in found.languages[:6]:
        yield f"  {language.language}: files: {language.files}, lines: {language.lines}"
    if len(found.packages) > 1:
        yield "packages"
        yield from _some(
            (
                f"  {one_line(package.name)} ({package.ecosystem}) {one_line(package.path)}"
                for package in found.packages
            ),
            at_most,
        )
    yield "commands" if found.commands else "commands: none found"
    for command in found.commands:
        yield f"  {one_line(command.name)}: {one_line(' '.join(command.argv))}  {one_line(command.where)}"
    ranked = sorted(found.findings, key=lambda finding: (-finding.weight, finding.path, finding.line))
    yield f"findings: {len(ranked)}"
    yield from _some(
        (
            f"  {one_line(finding.path)}:{finding.line}: {finding.kind.value}: {one_line(finding.fact, 160)}"
            + (f" [{finding.fixable_by}]" if finding.fixable_by else "")
            for finding in ranked
        ),
        at_most,
    )
    yield f"functions: {found.function_count}, the most complex"
    yield from _some(
        (
            f"  {one_line(function.path)}:{function.line}: {one_line(function.name)}: complexity "
            f"{function.complexity}, {function.lines} lines"
            for function in found.functions
        ),
        5 if at_most is not None else None,
    )
    if found.hot_spots:
        yield "hot spots (commits x complexity)"
        spots = (f"  {one_line(spot.path)}: {spot.commits} x {spot.complexity}" for spot in found.hot_spots)
        yield from _some(spots, 5 if at_most is not None else None)
    yield f"modules without tests: {len(found.untested)}"
    yield from _some(
        (
            f"  {one_line(module.path)}:{module.symbols[0][1]}: {one_line(module.fact, 160)}"
            for module in sorted(found.untested, key=lambda module: (-module.complexity, module.path))
        ),
        at_most,
    )
    for skipped in found.skipped:
        yield f"left out: {skipped.files}, {one_line(skipped.reason)}, such as {one_line(skipped.example)}"
    for note in found.notes:
        yield f"note: {one_line(note, 300)}"


def _some(lines: Iterable[str], at_most: int | None) -> Iterator[str]:
    """The first lines, and how many more there are."""
    more = 0
    for number, line in enumerate(lines):
        if at_most is None or number < at_most:
            yield line
        else:
            more += 1
    if more:
        yield f"  and {more} more: --all lists them"
