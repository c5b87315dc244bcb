"""`orchestrator accept`: take a run's commits into the branch that is checked out. Never forces anything."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def accept(
    run: Annotated[
        str | None, typer.Argument(help="The run; this repository's newest when left out.")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option("--except", metavar="ID", help="Leave out this subtask's commit.")
    ] = None,
) -> None:
    """Take a run's commits into your branch, by fast-forward or merge, and say how to take that back."""
    from orchestrator.adapters.acceptance import How, without
    from orchestrator.adapters.acceptance import accept as take_in
    from orchestrator.adapters.formats.carried_ticks import carrying
    from orchestrator.adapters.runs import choose_run, known_runs
    from orchestrator.core.domain import SubtaskId
    from orchestrator.core.events import Noted
    from orchestrator.wiring import open_home, report_of

    home = open_home()
    chosen = choose_run(known_runs(home.store, repository=str(home.git.root)), run)
    report = report_of(home, chosen.run)
    carry = carrying(report.started.plan)
    branch = None
    if leave_out:
        branch = without(
            home.git,
            run=chosen.run,
            base=report.started.base_commit,
            state=home.state,
            drop=[SubtaskId(name) for name in leave_out],
            carry=carry,
        )
        typer.echo(
            f"without {', '.join(leave_out)}: {branch}; run your tests, this mix was not checked", err=True
        )
    accepted = take_in(home.git, run=chosen.run, state=home.state, branch=branch, carry=carry)
    if accepted.how is How.NOTHING:
        typer.echo(f"nothing to take in: {accepted.branch} has all of run {chosen.run}")
        return
    noted = f"accepted into {accepted.branch} as {accepted.after[:10]} ({accepted.how.value})"
    asyncio.run(home.store.append(chosen.run, [Noted(code="accepted", text=noted, at=home.clock.now())]))
    typer.echo(
        f"{accepted.branch}: {accepted.commits} commits, {len(accepted.files)} files changed ({accepted.how.value})"
    )
    if report.review_first:
        typer.echo(f"review first: {', '.join(row.subtask.id for row in report.review_first)}")
    typer.echo(f"take it back: {accepted.take_back}")
