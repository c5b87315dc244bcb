"""`orchestrator import` and `orchestrator export`: task lists in, statuses out, nothing lost either way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.adapters.formats.task_list import TaskList
    from orchestrator.core.domain import Plan
    from orchestrator.wiring import Home

_FORMAT = typer.Option("--format", metavar="F", help="agent-os, task-master, spec-kit or native.")


class NoOriginal(OrchestratorError):
    """The file that the plan was imported from is not known here."""


def import_(
    file: Annotated[Path, typer.Argument(help="A task list.")],
    out: Annotated[Path, typer.Option(help="Save the plan here.")] = Path("plan.json"),
    format: Annotated[str | None, _FORMAT] = None,
    tag: Annotated[str | None, typer.Option(help="The tag of a task-master file.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the next so many open tasks.")] = None,
    enrich: Annotated[
        bool, typer.Option("--enrich", help="Ask a cheap model for categories, files, checks and splits.")
    ] = False,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most --enrich may spend.")] = None,
    scripted: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Play the models from a script; costs nothing.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
) -> None:
    """Make a plan of the open tasks of a task list. Calls no model and spends nothing, unless --enrich asks for it."""
    from orchestrator.adapters.formats.task_files import read_task_file
    from orchestrator.adapters.plan_files import write_plan
    from orchestrator.core.text import safe_text
    from orchestrator.task_plans import keep_original, plan_of
    from orchestrator.wiring import open_home

    home = open_home(config, scripted=scripted)
    tasks = read_task_file(file, format=format, tag=tag)
    for warning in tasks.warnings:
        typer.echo(safe_text(f"{file}: {warning}"), err=True)
    plan = plan_of(home, tasks, file, limit=limit)
    if enrich:
        plan = _enriched(home, plan, budget)
    keep_original(home, tasks.data)
    write_plan(out, plan, overwrite=force)
    done = sum(1 for item in tasks.tasks if tasks.is_done(item))
    typer.echo(
        f"{out}: {len(plan.subtasks)} subtasks of {tasks.format} ({done} of {len(tasks.tasks)} tasks are done)"
    )


def _enriched(home: Home, plan: Plan, budget: str | None) -> Plan:
    """What a cheap model infers, within the budget named or the share that planning may take of the day's."""
    import asyncio

    from orchestrator.cli.amounts import dollars
    from orchestrator.cli.approval import say
    from orchestrator.enrichment import ask, questions
    from orchestrator.session import new_run_id
    from orchestrator.wiring import ModelAccess

    settings = home.settings
    cap = dollars(budget, "--budget") or settings.budget.max_budget.scaled(settings.planning_share)
    with ModelAccess.open(home) as access:
        asked = questions(home, access, plan, cap=cap, run=new_run_id(home.clock))
        done = asyncio.run(ask(home, access, asked, say=say))
    for what in done.left_out[:20]:
        say(f"left out: {what}")
    say(
        f"inferred something for {done.changed} tasks, for {done.bill.rounded()}; each says what in its notes in the "
        "plan, where it can be changed"
    )
    return done.plan


def export(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="A saved plan.")],
    out: Annotated[Path, typer.Option(help="Write the task list here.")],
    format: Annotated[str | None, _FORMAT] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Mark what landed in this run, and note what failed.")
    ] = None,
    done: Annotated[
        str | None, typer.Option(metavar="IDS", help="Mark these subtasks as done, by commas.")
    ] = None,
    original: Annotated[
        Path | None, typer.Option("--from", help="The task list that the plan was imported from.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a plan as a task list: the imported file with its statuses, or a new list in another format."""
    from orchestrator.adapters.formats.detection import FORMATS
    from orchestrator.adapters.formats.task_files import keep_backup, read_bytes, replace_file
    from orchestrator.adapters.formats.writing import written
    from orchestrator.adapters.plan_files import WouldOverwrite, read_plan
    from orchestrator.task_plans import covered
    from orchestrator.wiring import open_home

    home = open_home()
    plan = read_plan(file)
    came_as = plan.made_from.imported_from
    wanted = format or (came_as if came_as in FORMATS else "native")
    if wanted not in FORMATS:
        raise typer.BadParameter(f"there are {', '.join(FORMATS)}", param_hint="--format")
    finished, failed = _finished(home, plan, run, done)
    if wanted == came_as:
        tasks = _original(home, plan, wanted, original, out)
        ids = covered(plan)
        ticked = [name for subtask in finished for name in ids.get(subtask, ())]
        notes = {ids[subtask][0]: why for subtask, why in failed.items() if subtask in ids}
        data = tasks.with_status(dict.fromkeys(tasks.finished_with(ticked), True), notes)
    else:
        data = written(plan, wanted, finished)
    if out.exists():
        now = read_bytes(out)
        if now == data:
            typer.echo(f"{out}: unchanged")
            return
        if not force:
            raise WouldOverwrite(f"{out} exists and holds something else: name another file, or add --force")
        keep_backup(home.state / "backups", out.name, now)
    replace_file(out, data)
    typer.echo(f"{out}: {len(plan.subtasks)} subtasks as {wanted}, {len(finished)} marked as done")


def _original(home: Home, plan: Plan, format: str, given: Path | None, out: Path) -> TaskList:
    """The list that the plan came from: the file named, else the copy kept at import. Raises NoOriginal."""
    from orchestrator.adapters.formats.detection import read_tasks
    from orchestrator.adapters.formats.task_files import read_bytes
    from orchestrator.task_plans import original_of

    data = read_bytes(given) if given is not None else original_of(home, plan)
    if data is None:
        raise NoOriginal(
            f"the {format} file that the plan was imported from is not known here: name it with --from FILE"
        )
    return read_tasks(out.name, data, format=format, tag=plan.made_from.template or None)


def _finished(
    home: Home, plan: Plan, run: str | None, done: str | None
) -> tuple[Sequence[str], dict[str, str]]:
    """The subtasks that are done, and why others failed."""
    from orchestrator.core.text import did_you_mean, one_line

    known = {str(subtask.id) for subtask in plan.subtasks}
    finished = [name.strip() for name in (done or "").split(",") if name.strip()]
    for name in finished:
        if name not in known:
            raise typer.BadParameter(
                f"no subtask {one_line(name, 60)!r}{did_you_mean(name, known)}", param_hint="--done"
            )
    failed: dict[str, str] = {}
    if run is not None:
        from orchestrator.core.domain import RunId
        from orchestrator.task_status import of_run

        landed, failed = of_run(home, RunId(run))
        finished += [name for name in landed if name in known]
    return list(dict.fromkeys(finished)), failed
