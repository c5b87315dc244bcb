"""`orchestrator run`: a goal, a plan or a task file, carried out within the budget."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from orchestrator.core.domain import Plan, SubtaskId
    from orchestrator.runner import Ending
    from orchestrator.session import Choices
    from orchestrator.wiring import Home


class NoBudget(OrchestratorError):
    """Where nobody watches, a run needs its own cap."""


def run(
    what: Annotated[
        str, typer.Argument(metavar="GOAL|FILE", help="A goal in words, a saved plan, or a task file.")
    ],
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most this run may spend.")] = None,
    model: Annotated[str | None, typer.Option(metavar="ALIAS", help="Use this model for everything.")] = None,
    only: Annotated[
        str | None, typer.Option(metavar="IDS", help="Only these subtasks and what they need, by commas.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the next so many subtasks.")] = None,
    parallel: Annotated[int | None, typer.Option(min=1, max=64, help="Subtasks at once.")] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start nothing after this time: 90s, 30m, 2h.")
    ] = None,
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="thrifty, eager or tags.")] = None,
    path: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Keep planning and changes to these files.")
    ] = None,
    answer: Annotated[
        list[str] | None, typer.Option(metavar="ID=ANSWER", help="Answer one of the planner's questions.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Plan without a model.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run the priced plan without asking.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background.")] = False,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Land changes that no check could judge.")
    ] = False,
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="Run checks with all your rights.")] = False,
    scripted: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Play the models from a script; costs nothing.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> None:
    """Carry out a goal, a plan or a task file. The priced plan is shown before anything of it runs."""
    from orchestrator.cli.amounts import dollars, seconds
    from orchestrator.cli.plan import approve, plan_for
    from orchestrator.core.domain import ModelAlias, Policy
    from orchestrator.session import Choices, new_run_id
    from orchestrator.wiring import open_home

    home = open_home(config, scripted=scripted)
    cap = dollars(budget, "--budget")
    if os.environ.get("CI") == "true" and cap is None:
        raise NoBudget("in CI a run needs its own cap: add --budget USD")
    name = new_run_id(home.clock)
    _check_ready(home, model)
    planned = plan_for(
        home, what, run=name, budget=cap, paths=tuple(path or ()), answers=tuple(answer or ()), offline=offline
    )
    approved = approve(home, planned, ask=not yes and not as_json and sys.stdin.isatty())
    if approved is None:
        typer.echo("nothing was run", err=True)
        return
    choices = Choices(
        run=name,
        budget=cap,
        model=ModelAlias(model) if model else None,
        only=_selection(approved, only, limit),
        parallel=parallel,
        policy=_named(policy, Policy) if policy else None,
        max_seconds=seconds(max_time, "--max-time"),
        accept_unverified=accept_unverified,
        sandboxed=not no_sandbox,
    )
    raise typer.Exit(carry_out(home, approved, choices, as_json=as_json, detach=detach))


def carry_out(
    home: Home, plan: Plan, choices: Choices, *, as_json: bool = False, detach: bool = False
) -> int:
    """Run a plan with a view on it, print the report, and return the exit code."""
    from orchestrator.session import start

    return follow(home, lambda watch: start(home, plan, choices, watch), as_json=as_json)


def follow(home: Home, drive: Drive, *, as_json: bool = False) -> int:
    """Drive a run under the view that fits the terminal; afterwards print what it came to."""
    from orchestrator.adapters.rendering_terminal import run_text
    from orchestrator.cli.progress import open_view
    from orchestrator.wiring import report_of

    with open_view(as_json=as_json) as view:
        run, ending = drive(view.watch)
    if not as_json:
        typer.echo(run_text(report_of(home, run)))
    return ending.exit_code
