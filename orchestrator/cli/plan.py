"""`orchestrator plan`: a goal becomes a priced plan, which can be saved, changed and checked. Runs nothing of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.approval import (
    approve,
    asked_questions,
    edited,
    on_terminal,
    remarks_of,
    say,
    shown,
    telling_cut_calls,
    warn,
)
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.core.domain import RunId
    from orchestrator.core.money import Usd
    from orchestrator.plans import Drawn, Manner
    from orchestrator.wiring import Home

__all__ = ["approve", "plan", "plan_for"]

_PERIODS = {"1d": "a day", "1mo": "a month", "7d": "7 days", "30d": "30 days"}


class TooDear(OrchestratorError):
    """The plan's likely cost is above --max-cost. It was made and shown; nothing of it ran."""

    exit_code = 3


class WrongUse(OrchestratorError):
    """Options that do not go together, or a file that is missing."""


def plan(
    what: Annotated[
        str,
        typer.Argument(
            metavar="GOAL|FILE|edit|check",
            help="A goal in words, a saved plan, a task list, a text file with a goal, or - for standard input.",
        ),
    ],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The plan to edit or check.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Plan from the survey alone.")] = False,
    path: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only these files; may be given again.")
    ] = None,
    revise: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Ask the planner again, with a saved plan and a remark."),
    ] = None,
    answer: Annotated[
        list[str] | None, typer.Option(metavar="ID=ANSWER", help="Answer one of the planner's questions.")
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The most the run may spend.")] = None,
    max_cost: Annotated[
        str | None, typer.Option(metavar="USD", help="Exit with 3 when the likely cost is above it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=40, help="Plan at most so many subtasks.")] = None,
    tag: Annotated[str | None, typer.Option(help="The tag of a task-master file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Save the plan as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the plan as a page.")] = None,
    md: Annotated[Path | None, typer.Option(help="Write the plan as Markdown.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask the model again, not the cache.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; questions get their defaults.")
    ] = False,
    scripted: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Play the models from a script; costs nothing.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan and forecast as JSON.")] = False,
) -> None:
    """Split a goal into priced subtasks. `plan edit FILE` changes a saved plan, `plan check FILE` checks one."""
    from orchestrator.cli.amounts import dollars
    from orchestrator.wiring import open_home

    home = open_home(config, scripted=scripted)
    if what in ("edit", "check") and (file is not None or not Path(what).exists()):
        if file is None:
            raise WrongUse(f"`plan {what}` needs a plan file: `orchestrator plan {what} plan.json`")
        raise typer.Exit(_edit(home, file) if what == "edit" else _check(home, file))
    if file is not None:
        raise WrongUse("one goal or file at a time: put a goal of several words in quotes")
    highest = dollars(max_cost, "--max-cost")
    asking = not yes and not as_json and on_terminal()
    _may_write([out, html, md], force=force, asking=asking)
    drawn = plan_for(
        home,
        what,
        budget=dollars(budget, "--budget"),
        paths=tuple(path or ()),
        answers=tuple(answer or ()),
        offline=offline,
        fresh=fresh,
        limit=limit,
        revise=revise,
        tag=tag,
    )
    if asking and drawn.wish is not None:
        drawn = asked_questions(home, drawn)
    _print(home, drawn, as_json=as_json)
    _write(home, drawn, out=out, html=html, md=md)
    if out is not None:
        from orchestrator.task_plans import keep_source

        keep_source(home, drawn.plan, what)
    likely = drawn.forecast.dollars
    if highest is not None and (likely is None or likely.likely > highest):
        told = "unknown, because a price is unknown" if likely is None else likely.likely.rounded()
        raise TooDear(f"the likely cost is {told}, above --max-cost {highest}: drop subtasks or raise it")


def plan_for(
    home: Home,
    what: str,
    *,
    run: RunId | None = None,
    budget: Usd | None = None,
    paths: tuple[str, ...] = (),
    answers: tuple[str, ...] = (),
    offline: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    revise: str | None = None,
    tag: str | None = None,
    next_tasks: int | None = None,
    before_paying: Callable[[], None] | None = None,
    manner: Manner | None = None,
) -> Drawn:
    """Return the priced plan for a goal, or the saved one for a file. Planning with a model counts against `run`.

    `limit` bounds what is planned, `next_tasks` what is taken of a task list alone; `manner` is how it is to be run.
    `before_paying` is called when a model is about to be asked, and refuses by raising.

    Raises InvalidGoal, InvalidPlan and its kinds, NeedsModel, PlanningTooDear, and what a model raises.
    """
    from orchestrator.adapters.plan_files import goal_from_stdin
    from orchestrator.plans import (
        Manner,
        Wish,
        answered,
        goal_or_plan,
        is_saved_plan,
        past_of,
        reopened,
        repriced,
    )

    manner = manner or Manner()
    if home.settings.ignored:
        say(home.settings.ignored)
    tasks = None
    if not is_saved_plan(what):
        from orchestrator.task_plans import draw_tasks, task_file

        tasks = task_file(what)
    if tasks is not None:
        from orchestrator.task_inference import inferred

        if revise is not None:
            raise WrongUse(
                f"--revise changes a saved plan: `orchestrator import {what} --out plan.json` makes one"
            )
        drawn = draw_tasks(
            home,
            tasks,
            tag=tag,
            limit=limit or next_tasks,
            budget=budget,
            run=run,
            learn=run is not None,
            offline=offline,
            fresh=fresh,
            manner=manner,
        )
        with telling_cut_calls(home):
            return inferred(home, drawn, say, before_paying=before_paying)
    if tag is not None:
        raise WrongUse("--tag chooses a tag of a task-master file: name that file")
    goal, saved = (goal_from_stdin(), None) if what == "-" else goal_or_plan(what)
    wish = Wish(
        goal=goal,
        offline=offline,
        paths=paths,
        budget=budget,
        answers=tuple(_pairs(answers)),
        fresh=fresh,
        run=run,
        limit=limit,
        manner=manner,
    )
    if saved is None:
        if revise is not None:
            raise WrongUse("--revise changes a saved plan: `orchestrator plan plan.json --revise TEXT`")
        from orchestrator.adapters.plan_files import checked_goal
        from orchestrator.plan_making import draw

        if before_paying is not None and not offline:
            checked_goal(goal)
            before_paying()
        with telling_cut_calls(home):
            return draw(home, wish, say)
    # A dry run gives the same bytes whatever ran meanwhile; before a run the best forecast counts.
    drawn = reopened(home, saved, past=None if run is None else past_of(home), manner=manner)
    # The wish names the budget; asking again is possible from a saved plan too.
    wish = replace(wish, goal=drawn.plan.goal)
    drawn = replace(drawn, wish=wish)
    changed = False
    if wish.answers:
        plan, changed = answered(drawn.plan, wish.answers)
        drawn = repriced(home, drawn, plan)
    if revise is not None or changed:
        from orchestrator.plan_making import redraw

        with telling_cut_calls(home):
            return redraw(home, drawn.plan, say, wish=wish, remark=revise or "")
    return drawn


def _pairs(answers: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in answers:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is no ID=ANSWER", param_hint="--answer")
        yield name.strip(), value.strip()


def _print(home: Home, drawn: Drawn, *, as_json: bool) -> None:
    if as_json:
        from orchestrator.adapters.plan_text import priced_plan_json
        from orchestrator.core.serial import encode

        making = drawn.making
        planning = (
            {}
            if making is None
            else {
                "dollars": encode(making.bill),
                "calls": making.calls,
                "cached": making.cached,
                "files": list(making.files),
                "vendor": making.vendor,
            }
        )
        typer.echo(
            priced_plan_json(drawn.plan, drawn.forecast, stale=drawn.stale, planning=planning), nl=False
        )
    else:
        typer.echo(shown(home, drawn), nl=False)
    warn(drawn)
    if drawn.making is not None and drawn.making.calls:
        calls = drawn.making.calls
        say(f"planning cost {drawn.making.bill.rounded()} in {counted(calls, 'call')}")


def _may_write(paths: Iterable[Path | None], *, force: bool, asking: bool) -> None:
    """Settle before anything is spent whether files may be replaced. Raises WouldOverwrite."""
    from orchestrator.adapters.plan_files import WouldOverwrite

    for path in paths:
        if path is None or force or not path.exists():
            continue
        if not (asking and typer.confirm(f"{path} exists; replace it?", default=False, err=True)):
            raise WouldOverwrite(f"{path} exists: name another file, or add --force")


def _write(home: Home, drawn: Drawn, *, out: Path | None, html: Path | None, md: Path | None) -> None:
    from orchestrator.adapters.plan_files import write_plan, write_text

    if out is not None:
        # Whether it may be replaced was settled before the plan was made.
        write_plan(out, drawn.plan, overwrite=True)
        say(f"saved: {out}; `orchestrator plan edit {out}` changes it, `orchestrator run {out}` runs it")
    remarks = remarks_of(drawn)
    budget, allowance = drawn.wish.budget if drawn.wish else None, ""
    if budget is None:
        rules = home.settings.budget
        budget, allowance = rules.max_budget, f"configured for {_PERIODS.get(rules.duration, rules.duration)}"
    if html is not None:
        from orchestrator.adapters.rendering_html import plan_html

        page = plan_html(
            drawn.plan,
            drawn.forecast,
            budget=budget,
            allowance=allowance,
            remarks=remarks,
            scripted=drawn.scripted,
        )
        write_text(html, page, overwrite=True)
        say(f"written: {html}")
    if md is not None:
        from orchestrator.adapters.rendering_markdown import plan_markdown

        sheet = plan_markdown(
            drawn.plan,
            drawn.forecast,
            budget=budget,
            allowance=allowance,
            scripted=drawn.scripted,
            remarks=remarks,
        )
        write_text(md, sheet, overwrite=True)
        say(f"written: {md}")


def _edit(home: Home, file: Path) -> int:
    """Let the user change a saved plan in their editor; it is written back checked, or not at all."""
    from orchestrator.adapters.plan_files import write_plan
    from orchestrator.plans import reopened

    drawn = reopened(home, file)
    plan = edited(home, drawn)
    if plan == drawn.plan:
        say("nothing was changed")
        return 0
    from orchestrator.plans import repriced

    drawn = repriced(home, drawn, plan)
    write_plan(file, plan, overwrite=True)
    _print(home, drawn, as_json=False)
    say(f"saved: {file}")
    return 0


def _check(home: Home, file: Path) -> int:
    """Say whether a plan file could be run; every problem on a line of its own."""
    from orchestrator.adapters.plan_files import read_plan
    from orchestrator.core.planning import InvalidPlan, critical_path, unchecked

    try:
        plan = read_plan(file)
    except InvalidPlan as error:
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        from orchestrator.core.text import safe_text

        for problem in error.problems:
            typer.echo(safe_text(str(problem), newlines=False))
        count = len(error.problems)
        say(f"{file}: {counted(count, 'problem')}")
        return error.exit_code
    path, _ = critical_path(plan)
    bare = unchecked(plan)
    typer.echo(
        f"{file}: a plan of {len(plan.subtasks)} subtasks, at most {len(path)} in a row"
        + (f"; {len(bare)} without a check of their own" if bare else "")
    )
    return 0
