"""What a task list leaves open, inferred before it is priced: by the survey's matcher, then by one cheap model call.

What nobody can infer stays open: such a task runs alone, without a guard of its files, and what it changed is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.core.domain import CHEAP, Check, CheckKind, ModelAlias, OrchestratorError, Plan, Subtask
from orchestrator.core.money import ZERO
from orchestrator.core.planning_edits import checked
from orchestrator.core.routing import unusable_because
from orchestrator.core.text import one_line
from orchestrator.enrichment import INFERRED, Enriched, EnrichmentTooDear, ask, lacking, questions
from orchestrator.planner_brief import Planned
from orchestrator.plans import priced, suite_time

if TYPE_CHECKING:
    from orchestrator.core.money import Usd
    from orchestrator.plans import Drawn, Wish
    from orchestrator.wiring import Home

MATCHED = "matched by the survey"
_SHOWN = 12


def inferred(
    home: Home, drawn: Drawn, say: Callable[[str], None], *, before_paying: Callable[[], None] | None = None
) -> Drawn:
    """Return the plan of a task list with what could be inferred, and notes that say what that is and who did it.

    A model that is not configured, that fails or that would cost more than planning may, leaves the plan as the list
    has it; the note says why. What `before_paying` raises is passed on.
    """
    wish = drawn.wish
    if wish is None or home.repository is None:
        return drawn
    notes: list[str] = []
    plan = _surveyed(home, drawn, notes)
    enriched: Enriched | None = None
    if not wish.offline and lacking(plan):
        enriched = _asked(home, plan, wish, say, notes, before_paying)
        plan = enriched.plan if enriched is not None else plan
    notes += _told(plan)
    if plan == drawn.plan and not notes:
        return drawn
    return replace(
        drawn,
        plan=plan,
        forecast=priced(home, plan, home.settings.table, drawn.past, wish.manner),
        notes=(*drawn.notes, *notes),
        making=Planned(plan=plan, bill=enriched.bill, calls=enriched.calls) if enriched is not None else None,
    )


def _asked(
    home: Home,
    plan: Plan,
    wish: Wish,
    say: Callable[[str], None],
    notes: list[str],
    before_paying: Callable[[], None] | None,
) -> Enriched | None:
    from orchestrator.wiring import ModelAccess

    with ModelAccess.open(home) as access:
        alias = access.table.tier_models.get(CHEAP) or ModelAlias(CHEAP)
        if not access.table.catalogue.pool(alias):
            notes.append(f"no model was asked: {unusable_because(access.table.catalogue, alias)}")
            return None
        if home.environ.get("CI") == "true" and wish.budget is None:
            notes.append("no model was asked: in CI that needs its own cap, add --budget USD")
            return None
        try:
            asked = questions(
                home,
                access,
                plan,
                cap=_share(home, wish),
                run=wish.run,
                budget=wish.budget,
                fresh=wish.fresh,
            )
        except EnrichmentTooDear as error:
            notes.append(f"no model was asked: {error}")
            return None
        if asked.requests and before_paying is not None:
            before_paying()
        try:
            enriched = asyncio.run(ask(home, access, asked, say=say))
        except OrchestratorError as error:
            notes.append(f"no model's answer was used: {error}")
            return None
    for what in enriched.left_out[:_SHOWN]:
        say(f"left out: {what}")
    if not enriched.changed:
        notes.append("the model inferred nothing that could be used")
    return enriched


def _share(home: Home, wish: Wish) -> Usd:
    """What planning may take of the budget, and of what is left of it."""
    run_cap = wish.budget if wish.run is not None else None
    left = asyncio.run(home.store.left(run=wish.run, run_cap=run_cap))
    whole = wish.budget or home.settings.budget.max_budget
    return max(min(whole.scaled(home.settings.planning_share), *left.values()), ZERO)


def _told(plan: Plan) -> list[str]:
    """Who inferred what, for the reader of the plan; each subtask's own notes have it too."""
    who: dict[str, list[str]] = {}
    for subtask in plan.subtasks:
        for note in subtask.notes:
            what, _, by = note.rpartition(": ")
            if by in (INFERRED, MATCHED) or by.startswith("inferred from"):
                who.setdefault(f"{what} {by}", []).append(subtask.id)
    return [
        f"{how}: {one_line(', '.join(names), 160)} (saved with --out it can be changed)"
        for how, names in who.items()
    ]


# --- the survey's matcher -----------------------------------------------------------------------------


def _surveyed(home: Home, drawn: Drawn, notes: list[str]) -> Plan:
    """Give tasks whose files are known the tests that reach these files, and the plan the time of the suite."""
    from orchestrator.adapters.state import cache_directory
    from orchestrator.adapters.survey import SurveyFailed, survey

    try:
        found = asyncio.run(survey(home.git.root, cache=cache_directory(home.environ), environ=home.environ))
    except SurveyFailed as error:
        notes.append(f"no tests were matched: {error}")
        return drawn.plan
    plan = replace(drawn.plan, suite=suite_time(home, found, drawn.past))
    matched = tuple(_with_tests(subtask, found.tests_of) for subtask in plan.subtasks)
    return plan if matched == plan.subtasks else checked(replace(plan, subtasks=matched))


def _with_tests(subtask: Subtask, tests_of: Mapping[str, Sequence[str]]) -> Subtask:
    if subtask.checks or not subtask.touches:
        return subtask
    tests = tuple(dict.fromkeys(test for path in subtask.touches for test in tests_of.get(path, ())))
    if not tests:
        return subtask
    return replace(
        subtask,
        touches=tuple(dict.fromkeys((*subtask.touches, *tests))),
        checks=(Check(kind=CheckKind.TESTS, targets=tests),),
        notes=(*subtask.notes, f"checks: {MATCHED}"),
    )
