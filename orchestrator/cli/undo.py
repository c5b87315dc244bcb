"""`orchestrator undo`: take one landed subtask back, on the run branch."""

from __future__ import annotations

from typing import Annotated

import typer


def undo(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] SUBTASK", help="The subtask; before it the run, or this repository's newest."
        ),
    ],
    note: Annotated[str, typer.Option(help="Why; the next attempt is told.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Try it again with the next `resume`.")] = False,
) -> None:
    """Revert a subtask's commit on the run branch and check the rest again; what builds on it is reopened."""
    from orchestrator.adapters.runs import choose_run, known_runs
    from orchestrator.core.domain import SubtaskId
    from orchestrator.taking_back import take_back
    from orchestrator.wiring import open_home

    if len(names) > 2:
        raise typer.BadParameter("name one subtask, and before it the run when it is not the newest")
    subtask, run = names[-1], names[0] if len(names) == 2 else None
    home = open_home()
    chosen = choose_run(known_runs(home.store, repository=str(home.git.root)), run)
    undone = take_back(home, chosen.run, SubtaskId(subtask), note=note, retry=retry)
    typer.echo(f"{subtask}: taken back on {chosen.branch} by {undone.commit[:10]}")
    for name in undone.reopened:
        typer.echo(
            f"{name}: taken back too, it builds on {subtask}; it runs again with `orchestrator resume`"
        )
    typer.echo(undone.checked)
    if retry:
        typer.echo(f"try it again: orchestrator resume {chosen.run}")
