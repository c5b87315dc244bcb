"""`--only` and `--limit`: which subtasks of a plan a run takes, and what those are likely to cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.core.domain import Plan, SubtaskId
    from orchestrator.core.forecast import Dollars
    from orchestrator.plans import Drawn
    from orchestrator.wiring import Home

_MOST_NAMES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the user chose before there was a plan: `names` are ids or numbers, None for all; `limit` the first few."""

    names: tuple[str, ...] | None = None
    limit: int | None = None

    def __bool__(self) -> bool:
        return self.names is not None or self.limit is not None

    def of(self, plan: Plan) -> tuple[SubtaskId, ...] | None:
        """The chosen subtasks with everything they need, in an order they can run in; None for all of them.

        Raises BadParameter.
        """
        from orchestrator.core.planning import closure, topological_order

        if not self:
            return None
        chosen = list(topological_order(plan))
        if self.names is not None:
            needed = set(closure(plan, self.named(plan)))
            chosen = [name for name in chosen if name in needed]
        return tuple(chosen[: self.limit])

    def named(self, plan: Plan) -> tuple[str, ...]:
        """The subtasks that were named themselves. Raises BadParameter."""
        from orchestrator.core.text import did_you_mean, one_line

        known = [str(subtask.id) for subtask in plan.subtasks]
        wanted: list[str] = []
        for name in self.names or ():
            found = (name,) if name in known else _by_number(plan, name)
            wanted += found
            if not found:
                meant = did_you_mean(name, known) or f": the plan has {_listed(known)}"
                raise typer.BadParameter(f"no subtask {one_line(name, 60)!r}{meant}", param_hint="--only")
        return tuple(dict.fromkeys(wanted))


def selection(only: str | None, limit: int | None) -> Selection:
    """Read the options. Raises BadParameter when nothing is named."""
    if only is None:
        return Selection(limit=limit)
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("it names no subtask: give ids or numbers by commas", param_hint="--only")
    return Selection(names=names, limit=limit)


def _by_number(plan: Plan, name: str) -> tuple[str, ...]:
    """The numbers of a task list are what its user knows; other plans are numbered by the table that is shown."""
    from orchestrator.task_plans import numbered

    if plan.made_from.imported_from:
        return numbered(plan, name)
    # As many digits as a plan has rows: `int` refuses thousands.
    number = int(name) if name.isdecimal() and len(name) < 10 else 0
    return (plan.subtasks[number - 1].id,) if 0 < number <= len(plan.subtasks) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The chosen subtasks of a plan; `dollars` None when a price is unknown, `extra` those that the named ones need."""

    subtasks: tuple[SubtaskId, ...]
    extra: tuple[SubtaskId, ...]
    of: int
    dollars: Dollars | None

    def lines(self) -> Iterator[str]:
        """What is selected and what it costs, for below the table."""
        from orchestrator.core.words import counted

        price = "cost unknown, because a price is unknown"
        if self.dollars is not None:
            low, likely, high = (
                amount.rounded() for amount in (self.dollars.low, self.dollars.likely, self.dollars.high)
            )
            price = f"likely {likely}, {low} to {high}"
        yield f"selected: {len(self.subtasks)} of {counted(self.of, 'subtask')}, {price}"
        yield f"  {_listed([name for name in self.subtasks if name not in self.extra])}"
        if self.extra:
            yield f"  with what they need: {_listed(self.extra)}"


def selected(home: Home, drawn: Drawn, chosen: Selection) -> Selected | None:
    """What a run of the plan would take, priced as the whole of it is; None for all. Raises BadParameter."""
    from orchestrator.plans import repriced

    names = chosen.of(drawn.plan)
    if names is None:
        return None
    wanted = set(names)
    part = tuple(subtask for subtask in drawn.plan.subtasks if subtask.id in wanted)
    named = set(names if chosen.names is None else chosen.named(drawn.plan))
    return Selected(
        subtasks=names,
        extra=tuple(name for name in names if name not in named),
        of=len(drawn.plan.subtasks),
        dollars=repriced(home, drawn, replace(drawn.plan, subtasks=part)).forecast.dollars,
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
