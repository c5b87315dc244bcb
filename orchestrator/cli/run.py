"""`orchestrator run`: a goal, a plan or a task file, carried out within the budget."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

DETACH_SECONDS = 60.0

if TYPE_CHECKING:
    from orchestrator.core.domain import Plan, Policy, RunId
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
        str | None,
        typer.Option(metavar="IDS", help="Only these and what they need: ids or numbers, by commas."),
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
    tag: Annotated[str | None, typer.Option(help="The tag of a task-master file.")] = None,
    write_status: Annotated[
        bool, typer.Option("--write-status", help="Mark what is done in your own task file at the end, too.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Plan without a model.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run the priced plan without asking.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background.")] = False,
    replan: Annotated[
        int, typer.Option(min=0, max=5, help="Plan what failed anew, at most so many times.")
    ] = 1,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Land changes that no check could judge.")
    ] = False,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run checks with all your rights.")
    ] = False,
    scripted: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Play the models from a script; costs nothing.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
    as_run: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Carry out a goal, a plan or a task file. The priced plan is shown before anything of it runs."""
    from orchestrator.cli.amounts import dollars, named_model, seconds
    from orchestrator.cli.approval import approve, on_terminal
    from orchestrator.cli.plan import plan_for
    from orchestrator.cli.selection import selection
    from orchestrator.core.domain import RunId
    from orchestrator.plans import Manner
    from orchestrator.session import Choices, new_run_id
    from orchestrator.wiring import open_home

    chosen = selection(only, limit)
    home = open_home(config, scripted=scripted)
    cap = dollars(budget, "--budget")
    if os.environ.get("CI") == "true" and cap is None:
        raise NoBudget("in CI a run needs its own cap: add --budget USD")
    name = RunId(as_run) if as_run else new_run_id(home.clock)
    # Everything that can be wrong with the options is said before planning costs anything.
    override = named_model(home, model)
    chosen_policy = None if policy is None else _policy(policy)
    most_seconds = seconds(max_time, "--max-time")
    given = Choices(run=name, accept_unverified=accept_unverified, sandboxed=not no_sandbox)
    drawn = plan_for(
        home,
        what,
        run=name,
        budget=cap,
        paths=tuple(path or ()),
        answers=tuple(answer or ()),
        offline=offline,
        tag=tag,
        next_tasks=limit if only is None else None,
        before_paying=lambda: _look_first(home, given),
        manner=Manner(parallel=parallel, policy=chosen_policy, model=override),
    )
    paid = drawn.making is not None and drawn.making.calls > 0
    try:
        chosen.of(drawn.plan)
    except typer.BadParameter:
        # Of a goal nobody can know the subtasks before the plan is paid for.
        if paid:
            _keep(home, drawn.plan, name)
        raise
    approved = approve(home, drawn, ask=not yes and not as_json and on_terminal(), chosen=chosen)
    if approved is None:
        typer.echo("nothing was run", err=True)
        return
    choices = Choices(
        run=name,
        budget=cap,
        model=override,
        only=chosen.of(approved),
        parallel=parallel,
        policy=chosen_policy,
        max_seconds=most_seconds,
        accept_unverified=accept_unverified,
        sandboxed=not no_sandbox,
        replan=replan,
        source_file=what if what.endswith((".json", ".md")) else None,
    )
    if detach:
        _go_on_in_the_background(home, approved, choices, paid=paid, write_status=write_status)
        return
    code = carry_out(home, approved, choices, as_json=as_json)
    if write_status:
        from orchestrator.task_status import write_live

        written = write_live(home, name)
        typer.echo("no task file to write to" if written is None else f"marked in {written}", err=True)
    raise typer.Exit(code)


def carry_out(home: Home, plan: Plan, choices: Choices, *, as_json: bool = False) -> int:
    """Run a plan under the view that fits the terminal, print what it came to, and return the exit code."""
    from orchestrator.adapters.rendering_terminal import run_text
    from orchestrator.cli.columns import columns
    from orchestrator.cli.progress import open_view, outliving_its_terminal
    from orchestrator.session import start
    from orchestrator.wiring import report_of

    with open_view(home, as_json=as_json) as view, outliving_its_terminal(view):
        run, ending = start(home, plan, choices, view)
        if not as_json:
            view.detach()
            typer.echo(run_text(report_of(home, run), width=columns()))
        return ending.exit_code


def _go_on_in_the_background(
    home: Home, plan: Plan, choices: Choices, *, paid: bool, write_status: bool = False
) -> None:
    """Start the same run in a process of its own, from the approved plan; return when its journal has begun.

    `paid` says that a model made the plan just now.

    A suite that takes longer is not waited for: the run holds the repository, and `show --follow` waits for it.
    """
    from orchestrator.launching import DidNotStart, await_start, launch

    assert choices.run is not None
    saved = _saved(home, plan, choices.run)
    log = saved.with_name("output.log")
    given = {
        "--only": ",".join(choices.only) if choices.only else None,
        "--model": choices.model,
        "--parallel": choices.parallel,
        "--policy": choices.policy,
        "--max-time": choices.max_seconds,
        "--replan": choices.replan,
        "--scripted": home.scripted,
    }
    options = [part for option, value in given.items() if value is not None for part in (option, str(value))]
    options += ["--accept-unverified"] if choices.accept_unverified else []
    options += ["--write-status"] if write_status else []
    options += [] if choices.sandboxed else ["--no-sandbox"]
    run, process = launch(
        home,
        str(saved),
        run=choices.run,
        log=log,
        budget=choices.budget,
        environ=home.environ,
        options=options,
    )
    try:
        await_start(home, run, process, log=log, seconds=DETACH_SECONDS, journalled=True)
    except DidNotStart:
        # Its last word is in the error; the plan stays only where it was paid for.
        log.unlink(missing_ok=True)
        if paid:
            _keep(home, plan, choices.run)
        else:
            saved.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                saved.parent.rmdir()
        raise
    typer.echo(f"run {run} goes on in the background (process {process})")
    typer.echo(f"watch it: orchestrator show {run} --follow")


def _saved(home: Home, plan: Plan, run: RunId) -> Path:
    from orchestrator.adapters.plan_files import write_plan
    from orchestrator.adapters.state import run_directory

    path = run_directory(home.state, run) / "plan.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_plan(path, plan, overwrite=True)
    return path


def _keep(home: Home, plan: Plan, run: RunId) -> None:
    """Save a plan that was paid for, and say how to go on with it."""
    import shlex

    from orchestrator.cli.approval import say

    say(f"the plan is kept: `orchestrator run {shlex.quote(str(_saved(home, plan, run)))}` runs it")


def _look_first(home: Home, choices: Choices) -> None:
    from orchestrator.session import look_first

    home.git.head()  # What is no repository, or has no commit, is said alone.
    if home.scripted is None and not any(home.settings.table.catalogue.pools.values()):
        return  # No model will be asked.
    typer.echo("looking whether the checks run here, before a model is asked", err=True)
    look_first(home, choices)


def _policy(name: str) -> Policy:
    from orchestrator.core.domain import Policy
    from orchestrator.core.text import one_line

    if name not in list(Policy):
        raise typer.BadParameter(
            f"{one_line(name, 40)!r} is none of {', '.join(Policy)}", param_hint="--policy"
        )
    return Policy(name)
