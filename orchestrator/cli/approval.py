"""The user's say before anything runs: the priced plan, then run, edit, drop, ask again or quit."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.selection import Selected, Selection
    from orchestrator.core.domain import Plan
    from orchestrator.core.planning_edits import Edited
    from orchestrator.plans import Drawn
    from orchestrator.wiring import Home

CHOICES = "[r]un, [e]dit, [d]rop, [a]sk again, [q]uit"


def say(line: str) -> None:
    """Tell the user a line about the work in progress."""
    from orchestrator.core.text import safe_text

    typer.echo(safe_text(line), err=True)


def on_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def telling_cut_calls(home: Home) -> Iterator[None]:
    """Say what a call is charged that SIGINT or SIGTERM cuts off in the block: nobody knows its bill."""
    began = home.clock.epoch_seconds()
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        from orchestrator.adapters.state import database
        from orchestrator.core.ports import Flag

        for entry in home.store.entries(since=began) if database(home.state).exists() else ():
            if Flag.CUT in entry.flags and entry.charged and entry.purpose == "planning":
                unpaid = ", scripted, not paid" if entry.scripted else ""
                say(
                    f"{entry.what} was cut off and may be billed: its whole hold of {entry.charged.rounded()} is "
                    f"charged{unpaid} (hold {entry.hold} of `orchestrator budget history`)"
                )
        raise


def shown(home: Home, drawn: Drawn, part: Selected | None = None) -> str:
    """The priced plan as text; `part` is what a run would take of it."""
    from orchestrator.adapters.plan_text import WIDTH, priced_plan_text

    remarks = [*([drawn.scripted] if drawn.scripted else []), *drawn.notes]
    # In a file or a pipe the same width everywhere, so that the same plan gives the same bytes.
    width = shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() or sys.stderr.isatty() else WIDTH
    text = priced_plan_text(drawn.plan, drawn.forecast, vendors=_vendors(home), remarks=remarks, width=width)
    if part is None:
        return text
    return "\n".join([text, *(line for told in part.lines() for line in _fitted(told, width))]) + "\n"


def _fitted(line: str, width: int) -> list[str]:
    from orchestrator.core.text import wrapped

    return wrapped(line.lstrip(), width, first=" " * (len(line) - len(line.lstrip())))


def remarks_of(drawn: Drawn) -> list[str]:
    """What a reader of the plan alone must know: how it was made, and why it may not fit any more."""
    return [*drawn.notes, *drawn.stale, *_above_budget(drawn)]


def _vendors(home: Home) -> dict[str, str]:
    from orchestrator.core.routing import as_if_keyed

    pools = as_if_keyed(home.settings.table).catalogue.pools
    return {alias: " or ".join(dict.fromkeys(item.vendor for item in pool)) for alias, pool in pools.items()}


def approve(home: Home, drawn: Drawn, *, ask: bool, chosen: Selection | None = None) -> Plan | None:
    """Show the priced plan and return it as the user wants it run; None when they do not.

    Without `ask` it is shown and taken as it is. Nothing is spent here except by `ask again`, which says its price.
    `chosen` must fit the plan; one that is changed so that it does not fit any more is not run.
    """
    while True:
        part, fault = _part(home, drawn, chosen)
        typer.echo(shown(home, drawn, part), err=True, nl=False)
        warn(drawn, part)
        if fault:
            say(f"error: {fault}")
        if not ask:
            return drawn.plan
        try:
            asked = asked_questions(home, drawn)
            if asked.plan.subtasks != drawn.plan.subtasks:
                drawn = asked
                continue
            drawn = asked
            choice = typer.prompt(CHOICES, default="r", err=True).strip().lower()[:1]
        except typer.Abort as stop:
            typer.echo("", err=True)
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise
            # The end of the input is no consent.
            return None
        match choice:
            case "r" if not fault:
                return drawn.plan
            case "r":
                say("the plan as it is now cannot be run so: change it again, or quit")
            case "q":
                return None
            case "e" | "d" | "a":
                drawn = _changed(home, drawn, choice)
            case _:
                say(f"type one letter of {CHOICES}")


def _part(home: Home, drawn: Drawn, chosen: Selection | None) -> tuple[Selected | None, str]:
    """What a run would take of the plan, None for all; and why it cannot be run so, where it cannot."""
    if not chosen:
        return None, ""
    from orchestrator.cli.selection import selected

    try:
        return selected(home, drawn, chosen), ""
    except typer.BadParameter as error:
        return None, f"{error.param_hint}: {error}"


def warn(drawn: Drawn, part: Selected | None = None) -> None:
    """Say what speaks against running the plan, or `part` of it, as it is."""
    for reason in drawn.stale:
        say(f"warning: {reason}")
    for reason in _above_budget(drawn, part):
        say(f"warning: {reason}")


def _above_budget(drawn: Drawn, part: Selected | None = None) -> list[str]:
    budget = drawn.wish.budget if drawn.wish else None
    dollars = drawn.forecast.dollars if part is None else part.dollars
    if budget is None or dollars is None or dollars.likely <= budget:
        return []
    what = "the plan" if part is None else "what is selected"
    return [f"{what} likely costs {dollars.likely.rounded()}, the budget is {budget}: it will pause there"]


def _changed(home: Home, drawn: Drawn, choice: str) -> Drawn:
    """One round of editing, dropping or asking again; a change that cannot be made leaves the plan as it was."""
    try:
        match choice:
            case "e":
                plan = edited(home, drawn)
            case "d":
                plan = dropped(drawn.plan)
            case _:
                return _asked_again(home, drawn)
    except typer.Abort:
        typer.echo("", err=True)
        return drawn
    except OrchestratorError as error:
        say(f"error: {error}")
        return drawn
    return repriced(home, drawn, plan)


def repriced(home: Home, drawn: Drawn, plan: Plan) -> Drawn:
    """The changed plan with its forecast."""
    from orchestrator.plans import repriced as again

    return drawn if plan == drawn.plan else again(home, drawn, plan)


def edited(home: Home, drawn: Drawn) -> Plan:
    """Open the list in the user's editor until it means a plan, and return that plan.

    Raises NoEditor; InvalidPlan when nobody is there to mend the list.
    """
    from orchestrator.adapters.editor import edit_text
    from orchestrator.adapters.plan_text import price_of
    from orchestrator.core.planning import InvalidPlan
    from orchestrator.core.planning_edits import checked, edit_list, read_edit_list

    plan = drawn.plan
    prices = price_of(drawn.forecast)
    text = edit_list(plan, lambda name: prices[name])
    while True:
        text = edit_text(text, name="plan.orchestrator", environ=home.environ)
        try:
            result = read_edit_list(plan, text)
            if result is None:
                say("the list is empty: nothing was changed")
                return plan
            return checked(_settled(result))
        except InvalidPlan as error:
            if not on_terminal():
                raise
            say(f"error: {error}")
            if not typer.confirm("edit the list again?", default=True, err=True):
                return plan


def _settled(result: Edited) -> Plan:
    """Ask what is to become of subtasks that need dropped ones. Raises Needed when nobody answers."""
    if not result.orphans or not on_terminal():
        return result.settled()
    return _with_dependents(result.plan, result.dropped, result.orphans)


def dropped(plan: Plan) -> Plan:
    """Ask which subtasks to leave out; name what depends on them."""
    from orchestrator.core.planning import dependents_of
    from orchestrator.core.planning_edits import checked, drop
    from orchestrator.core.text import did_you_mean, one_line

    known = [subtask.id for subtask in plan.subtasks]
    words = typer.prompt("drop which (ids or numbers, by spaces)", default="", show_default=False, err=True)
    names = []
    for word in words.replace(",", " ").split():
        name = known[int(word) - 1] if word.isdecimal() and 0 < int(word) <= len(known) else word
        if name not in known:
            hint = did_you_mean(name, known)
            raise OrchestratorError(f"no subtask {one_line(name, 60)!r} in this plan{hint}")
        names.append(name)
    if not names:
        return plan
    others = [name for name in dependents_of(plan, names) if name not in names]
    if not others:
        return checked(drop(plan, names))
    return checked(_with_dependents(plan, names, others))


def _with_dependents(plan: Plan, names: Sequence[str], others: Sequence[str]) -> Plan:
    from orchestrator.core.planning_edits import drop, drop_only

    say(f"{', '.join(others)} {'needs' if len(others) == 1 else 'need'} what is dropped")
    answer = (
        typer.prompt("[d]rop too, [k]eep without it, or [n]othing", default="d", err=True).strip().lower()[:1]
    )
    match answer:
        case "d":
            return drop(plan, names)
        case "k":
            return drop_only(plan, names)
        case _:
            raise OrchestratorError("nothing was dropped")


def asked_questions(home: Home, drawn: Drawn) -> Drawn:
    """Ask the planner's open questions; an answer other than the default has the plan made again under it."""
    from orchestrator.core.text import one_line
    from orchestrator.plan_making import redraw
    from orchestrator.plans import answered

    open_questions = [question for question in drawn.plan.questions if question.answer is None]
    if not open_questions:
        return drawn
    given = []
    for question in open_questions:
        say(one_line(question.text, 400))
        for number, option in enumerate(question.options, 1):
            say(f"  {number}. {one_line(option, 200)}")
        answer = typer.prompt("answer", default=one_line(question.default, 200), err=True).strip()
        if answer.isdecimal() and 0 < int(answer) <= len(question.options):
            answer = question.options[int(answer) - 1]
        given.append((question.id, answer if answer != one_line(question.default, 200) else question.default))
    plan, changed = answered(drawn.plan, given)
    drawn = replace(drawn, plan=plan)
    if not changed or drawn.wish is None:
        return drawn
    try:
        with telling_cut_calls(home):
            return redraw(home, plan, say, wish=drawn.wish)
    except OrchestratorError as error:
        say(f"error: {error}; the plan stays as it is, with your answers noted")
        return drawn


def _asked_again(home: Home, drawn: Drawn) -> Drawn:
    from orchestrator.plan_making import redraw
    from orchestrator.plans import Wish

    remark = typer.prompt("what should be different", default="", show_default=False, err=True).strip()
    if not remark:
        return drawn
    wish = drawn.wish or Wish(goal=drawn.plan.goal)
    with telling_cut_calls(home):
        return redraw(home, drawn.plan, say, wish=wish, remark=remark)
