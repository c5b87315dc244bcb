"""`orchestrator do`: one atomic request, no planning. An edit lands on a run branch; a text answer is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from orchestrator.adapters.context import ShownFile
    from orchestrator.core.domain import ModelAlias, Plan
    from orchestrator.core.money import Usd
    from orchestrator.core.ports import ModelReply
    from orchestrator.wiring import Home, ModelAccess

ANSWER_SECONDS = 300.0
SHOWN_BYTES = 48_000


class EmptyRequest(OrchestratorError):
    """There is nothing to do."""


class NoRoom(OrchestratorError):
    """The request does not fit a cap or what is left of the budget. Nothing was called and nothing was spent."""

    exit_code = 3


def do(
    request: Annotated[str, typer.Argument(help="What to do, small enough for one change or one answer.")],
    model: Annotated[str | None, typer.Option(metavar="ALIAS", help="Name the model yourself.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most this may cost.")] = None,
    answer: Annotated[
        bool | None,
        typer.Option("--answer/--edit", help="Ask for a text, or for a change; told apart otherwise."),
    ] = None,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Land a change that no check could judge.")
    ] = False,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run checks with all your rights.")
    ] = False,
    scripted: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Play the models from a script; costs nothing.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
) -> None:
    """Do one atomic request. `analyze ...` prints a text; `fix ...` makes a checked commit on a run branch."""
    from orchestrator.cli.amounts import dollars, named_model
    from orchestrator.core.text import asks_for_text
    from orchestrator.wiring import open_home

    if not request.strip():
        raise EmptyRequest(
            'the request is empty: say what to do, as in `orchestrator do "fix the typo in README.md"`'
        )
    home = open_home(config, scripted=scripted)
    cap = dollars(budget, "--budget")
    alias = named_model(home, model)
    if answer or (answer is None and (home.repository is None or asks_for_text(request))):
        _answer(home, request, alias, cap)
        return
    from orchestrator.cli.run import carry_out
    from orchestrator.session import Choices

    choices = Choices(
        budget=cap,
        model=alias,
        accept_unverified=accept_unverified,
        sandboxed=not no_sandbox,
    )
    raise typer.Exit(carry_out(home, one_subtask(home, request), choices))


def one_subtask(home: Home, request: str) -> Plan:
    """A plan of one subtask, tagged by the standard from the request's own words."""
    from orchestrator.adapters.state import digest
    from orchestrator.core.domain import Provenance
    from orchestrator.core.planning import compile_plan

    files = home.git.files_at(home.git.head())
    named = [path for path in files if path in request]
    draft = {
        "subtasks": [
            {
                "id": "request",
                "title": request,
                "instructions": request,
                "deliverable": "edit",
                "touches": named or None,
            }
        ]
    }
    made_from = Provenance(planner="request", commit=home.git.head(), goal=digest(request))
    return compile_plan(draft, goal=request, standard=home.standard, made_from=made_from)


def _answer(home: Home, request: str, model: ModelAlias | None, cap: Usd | None) -> None:
    import asyncio

    from orchestrator.core.text import safe_text
    from orchestrator.wiring import ModelAccess

    with ModelAccess.open(home) as access:
        if access.scripted:
            typer.echo(access.scripted, err=True)
        reply, reasons = asyncio.run(_ask(home, access, request, model, cap))
    for reason in reasons:
        typer.echo(f"  {reason}", err=True)
    typer.echo(safe_text(reply.text))
    typer.echo(f"{reply.model} ({safe_text(reply.answered_by)}), {reply.bill}", err=True)


async def _ask(
    home: Home, access: ModelAccess, request: str, model: ModelAlias | None, cap: Usd | None
) -> tuple[ModelReply, tuple[str, ...]]:
    from orchestrator.adapters.metering import MeteredModel
    from orchestrator.adapters.prompts import render
    from orchestrator.adapters.tokens import input_token_bound
    from orchestrator.core.domain import Refusal
    from orchestrator.core.ports import Message, ModelRequest, ModelUnavailable
    from orchestrator.core.routing import Request, route
    from orchestrator.session import new_run_id

    messages = (
        Message(role="system", content=render("answer-system.md.j2")),
        Message(
            role="user", content=render("answer-user.md.j2", request=request, files=_shown(home, request))
        ),
    )
    run = new_run_id(home.clock)
    left = await home.store.left(run=run, run_cap=cap)
    decision = route(
        Request(
            text=request,
            input_tokens=input_token_bound(messages),
            tag=home.standard.match(request),
            override=model,
        ),
        access.table,
        left=left,
        standard=home.standard,
    )
    if isinstance(decision, Refusal):
        raise ModelUnavailable(decision.message) if decision.no_model else NoRoom(decision.message)
    metered = MeteredModel(
        catalogue=access.table.catalogue,
        ledger=home.store,
        clock=home.clock,
        environ=home.environ,
        repository=home.git.id if home.repository is not None else None,
        run_cap=cap,
        repository_cap=home.settings.repository_cap,
    )
    try:
        reply = await metered.complete(
            ModelRequest(
                model=decision.model,
                messages=messages,
                max_output_tokens=decision.max_output_tokens,
                purpose="answer",
                run=run,
                deadline_seconds=ANSWER_SECONDS,
            )
        )
    finally:
        await metered.close()
    return reply, decision.reasons


def _shown(home: Home, request: str) -> list[ShownFile]:
    """Files of the checkout for a question: those it names, then those its words name, then the rest, to a bound."""
    if home.repository is None:
        return []
    from orchestrator.adapters.beneath import PathRefused
    from orchestrator.adapters.context import Context, ShownFile

    paths = home.git.files_at(home.git.head())
    words = {word for word in re.split(r"\W+", request.casefold()) if len(word) > 3}
    context = Context(str(home.git.root), paths, denied=home.settings.deny_files)
    wanted = sorted(
        paths, key=lambda path: (path not in request, not words & set(re.split(r"\W+|_", path.casefold())))
    )
    shown: list[ShownFile] = []
    room = SHOWN_BYTES
    for path in wanted[:500]:
        if context.denies(path):
            continue
        try:
            text = context.text(path)
        except PathRefused:
            continue
        size = len(text.encode())
        if size <= room:
            shown.append(ShownFile(path=path, text=text.rstrip("\n")))
            room -= size
    return shown
