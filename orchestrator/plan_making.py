"""How a goal becomes a priced plan: survey, then the planner with a model, or the offline planner without one."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.adapters.plan_context import PlanContext
from orchestrator.adapters.plan_files import PlanCacheFiles, checked_goal, keep_reply
from orchestrator.adapters.prompts import render, template_digest
from orchestrator.adapters.state import cache_directory, digest, packaged
from orchestrator.core.catalogue import RoutingTable
from orchestrator.core.domain import (
    SMART,
    ModelAlias,
    OrchestratorError,
    Plan,
    Provenance,
    Question,
    RunId,
    SubtaskId,
)
from orchestrator.core.facts import Survey
from orchestrator.core.money import ZERO
from orchestrator.core.offline import NeedsModel, groups_of, plan_offline
from orchestrator.core.planning import MODEL_PLANNER, OFFLINE_PLANNER, compile_plan
from orchestrator.core.routing import unusable_because
from orchestrator.planner import Planner, PlanningTooDear
from orchestrator.planner_brief import Brief, Planned
from orchestrator.plans import Drawn, Wish, answered, past_of, priced, suite_time
from orchestrator.wiring import Home, ModelAccess

PROMPTS = ("plan-system.md.j2", "plan-user.md.j2", "plan-repair.md.j2", "plan-expand.md.j2")
IMPROVEMENT_LIMIT = 8
OTHER_LIMIT = 20

Say = Callable[[str], None]


class NoBudget(OrchestratorError):
    """Where nobody watches, planning with a model needs its own cap."""


def draw(home: Home, wish: Wish, say: Say) -> Drawn:
    """Make a plan for a goal: with a model where one is configured, else from the survey alone, and say which.

    Raises InvalidGoal, NeedsModel, PlanningTooDear, PlanNotUsable, InvalidPlan and what a model raises.
    """
    wish = replace(wish, goal=checked_goal(wish.goal))
    with ModelAccess.open(home) as access:
        survey, planned, notes = asyncio.run(_draw(home, access, wish, say))
        return _priced(home, planned, access, wish, survey, notes)


def redraw(home: Home, plan: Plan, say: Say, *, wish: Wish, remark: str = "") -> Drawn:
    """Ask the planner again, with the user's remark and answers. Raises NeedsModel when no model is configured."""
    with ModelAccess.open(home) as access:
        return asyncio.run(redrawn(home, access, plan, say, wish=wish, remark=remark))


async def redrawn(
    home: Home,
    access: ModelAccess,
    plan: Plan,
    say: Say,
    *,
    wish: Wish,
    remark: str = "",
    finished: Sequence[SubtaskId] = (),
    failed: Sequence[tuple[SubtaskId, str]] = (),
    unwanted: Sequence[SubtaskId] = (),
) -> Drawn:
    """Like `redraw`, in the event loop and with the models of a run, for what is left of it after failures."""
    alias = _planning_model(access.table)
    if wish.offline or not access.table.catalogue.pool(alias):
        raise NeedsModel(remark or plan.goal)
    survey = await _survey(home, wish)
    brief = replace(
        _brief(home, access, wish, survey),
        current=plan,
        remark=remark,
        answers=_answered(plan.questions),
        finished=tuple(finished),
        failed=tuple(failed),
        unwanted=tuple(unwanted),
    )
    planned = await _with_model(home, access, brief, wish, survey, say)
    return _priced(home, planned, access, wish, survey, ())


async def _draw(
    home: Home, access: ModelAccess, wish: Wish, say: Say
) -> tuple[Survey, Planned, tuple[str, ...]]:
    survey = await _survey(home, wish)
    return survey, *await _planned(home, access, wish, survey, say)


async def _planned(
    home: Home, access: ModelAccess, wish: Wish, survey: Survey, say: Say
) -> tuple[Planned, tuple[str, ...]]:
    table = access.table
    alias = _planning_model(table)
    if wish.offline:
        return _without_model(home, wish, survey), ()
    if not table.catalogue.pool(alias):
        reason = unusable_because(table.catalogue, alias)
        note = f"planned without a model, from the survey alone: {reason}"
        planned = _without_model(home, wish, survey)
        say(note)
        return planned, (note,)
    if home.environ.get("CI") == "true" and wish.budget is None:
        raise NoBudget("in CI planning with a model needs its own cap: add --budget USD, or --offline")
    brief = _brief(home, access, wish, survey)
    try:
        planned = await _with_model(home, access, brief, wish, survey, say)
    except PlanningTooDear as error:
        if not _is_improvement(wish.goal):
            raise
        note = f"planned without a model: {error}"
        planned = _without_model(home, wish, survey)
        say(note)
        return planned, (note,)
    if wish.answers:
        plan, changed = answered(planned.plan, wish.answers)
        planned = replace(planned, plan=plan)
        if changed:
            brief = replace(brief, current=plan, answers=_answered(plan.questions))
            again = await _with_model(home, access, brief, wish, survey, say)
            planned = replace(again, bill=planned.bill + again.bill, calls=planned.calls + again.calls)
    return planned, ()


def _planning_model(table: RoutingTable) -> ModelAlias:
    return table.tier_models.get(SMART) or (table.ladder[-1] if table.ladder else ModelAlias(SMART))


async def _survey(home: Home, wish: Wish) -> Survey:
    from orchestrator.adapters.survey import survey

    return await survey(
        home.git.root, paths=wish.paths, cache=cache_directory(home.environ), environ=home.environ
    )


def _is_improvement(goal: str) -> bool:
    try:
        groups_of(goal)
    except NeedsModel:
        return False
    return True


def _commands(home: Home, survey: Survey) -> tuple[str, ...]:
    names = dict.fromkeys(home.settings.commands)
    names.update(dict.fromkeys(command.name for command in survey.commands))
    return tuple(names)


def _origin(home: Home, wish: Wish, survey: Survey, *, planner: str, template: str = "") -> Provenance:
    return Provenance(
        planner=planner,
        commit=survey.commit,
        goal=digest(wish.goal, *wish.paths),
        survey=survey.digest,
        standard=home.standard.digest,
        template=template,
        prices=home.settings.prices_digest,
    )


def _without_model(home: Home, wish: Wish, survey: Survey) -> Planned:
    draft = plan_offline(
        wish.goal, survey, home.standard, commit=survey.commit, limit=wish.limit or IMPROVEMENT_LIMIT
    )
    plan = compile_plan(
        draft,
        goal=wish.goal,
        standard=home.standard,
        made_from=_origin(home, wish, survey, planner=OFFLINE_PLANNER),
        commands=_commands(home, survey),
    )
    return Planned(plan=plan)


def _brief(home: Home, access: ModelAccess, wish: Wish, survey: Survey) -> Brief:
    schema: Mapping[str, object] = json.loads(packaged("templates", "plan.schema.json").read_text("utf-8"))
    instructions = packaged("agent-os", "instructions", "decompose-goal.md").read_text("utf-8")
    context = _context(home, wish, survey)
    template = digest(template_digest(*PROMPTS), instructions, json.dumps(schema))
    return Brief(
        goal=wish.goal,
        standard=home.standard,
        instructions=instructions,
        schema=schema,
        made_from=_origin(home, wish, survey, planner=MODEL_PLANNER, template=template),
        facts=context.facts,
        commands=_commands(home, survey),
        paths=wish.paths,
        limit=wish.limit or (IMPROVEMENT_LIMIT if _is_improvement(wish.goal) else OTHER_LIMIT),
        lines=context.lines,
    )


def _context(home: Home, wish: Wish, survey: Survey) -> PlanContext:
    return PlanContext(
        home.git,
        root=str(home.git.root),
        commit=survey.commit,
        survey=survey,
        goal=wish.goal,
        denied=home.settings.deny_files,
    )


async def _with_model(
    home: Home, access: ModelAccess, brief: Brief, wish: Wish, survey: Survey, say: Say
) -> Planned:
    from orchestrator.adapters.metering import MeteredModel
    from orchestrator.adapters.tokens import input_token_bound

    settings = home.settings
    # A cap binds what is added up under one name, so planning on its own has one too.
    run = wish.run or RunId(f"plan-{secrets.token_hex(6)}")
    left = await home.store.left(run=run, run_cap=wish.budget)
    whole = wish.budget or settings.budget.max_budget
    cap = min(whole.scaled(settings.planning_share), *left.values())
    metered = MeteredModel(
        catalogue=access.table.catalogue,
        ledger=home.store,
        clock=home.clock,
        environ=home.environ,
        repository=home.git.id,
        run_cap=wish.budget,
        repository_cap=settings.repository_cap,
    )
    planner = Planner(
        model=metered,
        catalogue=access.table.catalogue,
        alias=_planning_model(access.table),
        render=render,
        bound=input_token_bound,
        pack=_context(home, wish, survey).pack,
        digest=digest,
        # What a script says is no answer to keep.
        cache=None if access.scripted else PlanCacheFiles(cache_directory(home.environ)),
        say=say,
        keep=lambda text: keep_reply(home.state, text),
        run=run,
    )
    try:
        return await planner.plan(brief, cap=max(cap, ZERO), fresh=wish.fresh)
    finally:
        await metered.close()


def _answered(questions: Iterable[Question]) -> tuple[tuple[str, str], ...]:
    return tuple((question.text, question.answer) for question in questions if question.answer is not None)


def _priced(
    home: Home,
    planned: Planned,
    access: ModelAccess,
    wish: Wish,
    survey: Survey,
    notes: tuple[str, ...],
) -> Drawn:
    past = past_of(home)
    # In the plan, because a dry run of it looks at no journal and at no repository.
    plan = replace(planned.plan, suite=suite_time(home, survey, past))
    planned = replace(planned, plan=plan)
    return Drawn(
        plan=plan,
        making=planned,
        forecast=priced(home, plan, access.table, past, wish.manner),
        past=past,
        scripted=access.scripted,
        notes=notes,
        wish=wish,
    )
