"""`orchestrator hook execute-tasks`: a coding agent's `/execute-tasks`, planned and priced before anything runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.hook import Answer, Request

app = typer.Typer(no_args_is_help=True)

SECONDS = 4.5


class _TooSlow(Exception):
    """The agent's user is waiting."""


@app.callback()
def hook() -> None:
    """What `/execute-tasks` of a coding agent calls."""


@app.command("execute-tasks", context_settings={"ignore_unknown_options": True})
def execute_tasks(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[go] [SPEC] [NUMBERS]", help="As typed after /execute-tasks."),
    ] = None,
    spec: Annotated[str | None, typer.Option(help="The spec, or its tasks.md.")] = None,
    tasks: Annotated[str | None, typer.Option(metavar="NUMBERS", help="Only these tasks, as 2,2.1.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most the run may spend.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the plan (the default).")] = False,
    go: Annotated[
        bool, typer.Option("--go", "--run", "--detach", help="Carry it out in the background.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the priced plan of a spec's open tasks; with `go` carry it out. Without arguments: JSON on standard input.

    The input is what Claude Code sends to a UserPromptSubmit hook. Exit code 2 stops the agent's own prompt, because
    the orchestrator carries the tasks out; 0 lets it go on.
    """
    from dataclasses import replace

    from orchestrator.cli.amounts import dollars
    from orchestrator.hook import BadInput, from_words, read_input, read_request
    from orchestrator.launching import GUARD

    if os.environ.get(GUARD):
        return
    given = bool(words or spec or tasks or budget or plan or go)
    cap = dollars(budget, "--budget")
    request: Request | None
    if given or sys.stdin.isatty():
        # From a shell line that an agent filled in: each word is held to an allow-list.
        request = from_words(words or [], Path.cwd())
        numbers = from_words(
            [word for word in (tasks or "").replace(" ", ",").split(",") if word], Path.cwd()
        ).only
        request = replace(
            request,
            spec=spec or request.spec,
            only=request.only + numbers,
            go=request.go or go,
            budget=cap or request.budget,
        )
    else:
        try:
            request = read_request(read_input(sys.stdin.fileno()), Path.cwd())
        except BadInput as error:
            typer.echo(f"orchestrator: {error}", err=True)
            raise typer.Exit(2) from None
        if request is None:
            return
    _answer(request, as_json=as_json)


def _answer(request: Request, *, as_json: bool) -> None:
    from orchestrator.core.domain import OrchestratorError
    from orchestrator.core.text import one_line
    from orchestrator.hook import open_answer, prompt_answer

    try:
        answer = _within_time(request)
    except _TooSlow:
        said = f"no plan within {SECONDS:g} seconds"
    except OrchestratorError as error:
        said = str(error)
    except Exception as error:
        # Whatever it is: the agent's user must not be held up by us.
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        said = f"{type(error).__name__}: {error}"
    else:
        if as_json:
            typer.echo(
                json.dumps(
                    {
                        "text": answer.text,
                        "plan": str(answer.plan) if answer.plan else None,
                        "run": answer.run,
                        "started": answer.started,
                        "subtasks": answer.subtasks,
                    }
                )
            )
        elif not request.from_prompt:
            typer.echo(answer.text)
        elif answer.run is not None:
            # The agent's prompt ends here: exactly one side carries the tasks out.
            typer.echo(answer.text, err=True)
            raise typer.Exit(2)
        else:
            typer.echo(json.dumps(prompt_answer(answer)))
        return
    if request.from_prompt:
        typer.echo(json.dumps(open_answer(said)))
    else:
        typer.echo(f"orchestrator: {one_line(said, 400)}. Go on by yourself; no budget cap applies.")


def _within_time(request: Request) -> Answer:
    """Plan, and start when asked to; raises _TooSlow after the time an agent's user may be kept waiting."""
    from orchestrator.hook import execute_tasks as carry_out
    from orchestrator.wiring import open_home

    def stop(number: int, frame: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        os.chdir(request.directory)
        # A run that was started must not be followed by the word that the agent goes on by itself.
        return carry_out(
            open_home(),
            request,
            os.environ,
            starting=_unhurried,
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _unhurried() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
