"""How a goal becomes a priced plan in this program: survey, planner or offline planner, forecast.

A saved plan is read and priced without the network and without the ledger.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.adapters.plan_context import PlanContext
from orchestrator.adapters.plan_files import (
    PlanCacheFiles,
    checked_goal,
    is_plan_file,
    keep_reply,
    read_goal,
    read_plan,
    stale,
)
from orchestrator.adapters.prompts import render, template_digest
from orchestrator.adapters.state import cache_directory, digest, packaged
from orchestrator.core.calibration import Calibration, Observation, calibrate, observations
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
from orchestrator.core.events import BaselineMeasured, RunStarted
from orchestrator.core.facts import Survey
from orchestrator.core.forecast import Forecast, forecast
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.offline import NeedsModel, groups_of, plan_offline
from orchestrator.core.planning import OFFLINE_PLANNER, compile_plan
from orchestrator.core.routing import as_if_keyed, unusable_because
from orchestrator.planner import Brief, Planned, Planner, PlanningTooDear
from orchestrator.wiring import Home, ModelAccess, default_parallel

PROMPTS = ("plan-system.md.j2", "plan-user.md.j2", "plan-repair.md.j2", "plan-expand.md.j2")
IMPROVEMENT_LIMIT = 8
OTHER_LIMIT = 20
# Older runs say less of today's models, and a forecast is read in a moment.
_RUNS_OF_THE_PAST = 100

Say = Callable[[str], None]


class NoBudget(OrchestratorError):
    """Where nobody watches, planning with a model needs its own cap."""


class UnknownQuestion(OrchestratorError):
    """An answer was given to a question the plan does not ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for. `answers` are (question id, answer); `budget` caps the run the plan is for."""

    goal: str
    offline: bool = False
    paths: tuple[str, ...] = ()
    budget: Usd | None = None
    answers: tuple[tuple[str, str], ...] = ()
    fresh: bool = False
    run: RunId | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a forecast may learn from earlier runs; empty where there are none, or where it must not look."""

    calibration: Calibration = field(default_factory=Calibration)
    suite_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A plan ready to be shown: how it was made, what it will cost, why it may not fit any more."""

    planned: Planned
    forecast: Forecast
    stale: tuple[str, ...] = ()
    scripted: str = ""
    notes: tuple[str, ...] = ()
    wish: Wish | None = None
    past: Past = field(default_factory=Past)

    @property
    def plan(self) -> Plan:
        return self.planned.plan


def draw(home: Home, wish: Wish, say: Say) -> Drawn:
    """Make a plan for a goal: with a model where one is configured, else from the survey alone, and say which.

    Raises InvalidGoal, NeedsModel, PlanningTooDear, PlanNotUsable, InvalidPlan and what a model raises.
    """
    wish = replace(wish, goal=checked_goal(wish.goal))
    with ModelAccess.open(home) as access:
        planned, notes = asyncio.run(_draw(home, access, wish, say))
        return _priced(home, planned, access, wish, notes)


def redraw(
    home: Home,
    plan: Plan,
    say: Say,
    *,
    wish: Wish,
    remark: str = "",
    finished: Sequence[SubtaskId] = (),
    failed: Sequence[tuple[SubtaskId, str]] = (),
) -> Drawn:
    """Ask the planner again: with the user's remark and answers, or for what is left after failures.

    Raises NeedsModel when no model is configured.
    """
    with ModelAccess.open(home) as access:
        alias = _planning_model(access.table)
        if wish.offline or not access.table.catalogue.pool(alias):
            raise NeedsModel(remark or plan.goal)

        async def ask() -> Planned:
            survey = await _survey(home, wish)
            brief = _brief(home, access, wish, survey)
            brief = replace(
                brief,
                current=plan,
                remark=remark,
                answers=_answered(plan.questions),
                finished=tuple(finished),
                failed=tuple(failed),
            )
            return await _with_model(home, access, brief, wish, survey, say)

        planned = asyncio.run(ask())
        return _priced(home, planned, access, wish, ())


def reopened(home: Home, path: Path, *, past: Past | None = None) -> Drawn:
    """Read a saved plan and price it. Needs no network and no ledger; the same files give the same result.

    `past` prices it by the user's own runs too, which a dry run leaves out to stay the same.
    """
    plan = read_plan(path)
    commit = home.git.head() if home.repository is not None else None
    reasons = stale(plan, commit=commit, standard=home.standard.digest, prices=home.settings.prices_digest)
    return Drawn(
        planned=Planned(plan=plan),
        forecast=priced(home, plan, home.settings.table, past or Past()),
        stale=reasons,
        past=past or Past(),
    )


def repriced(home: Home, drawn: Drawn, plan: Plan) -> Drawn:
    """The plan as the user changed it, with its forecast; what it was made from stays as it was."""
    changed = priced(home, plan, home.settings.table, drawn.past)
    return replace(drawn, planned=replace(drawn.planned, plan=plan), forecast=changed)


def goal_or_plan(what: str) -> tuple[str, Path | None]:
    """Tell a goal from a file: return the goal's text, or the path of a saved plan."""
    path = Path(what) if len(what) < 4096 and "\n" not in what and "\0" not in what else None
    if path is None or not path.is_file():
        return what, None
    if is_plan_file(path) or path.suffix == ".json":
        return "", path
    return read_goal(path), None


def answered(plan: Plan, answers: Iterable[tuple[str, str]]) -> tuple[Plan, bool]:
    """Return the plan with the answers, and whether one differs from the default under which the plan was made.

    Raises UnknownQuestion.
    """
    given = dict(answers)
    asked = {question.id: question for question in plan.questions}
    for name in given:
        if name not in asked:
            have = ", ".join(asked) or "none"
            raise UnknownQuestion(f"the plan asks no question {name!r} (it asks: {have})")
    questions = tuple(
        replace(question, answer=given[question.id]) if question.id in given else question
        for question in plan.questions
    )
    changed = any(
        question.answer is not None and question.answer != (asked[question.id].answer or question.default)
        for question in questions
    )
    return replace(plan, questions=questions), changed


def priced(home: Home, plan: Plan, table: RoutingTable, past: Past) -> Forecast:
    """Return the forecast of `plan` under the user's settings, at the prices of `table`."""
    settings = home.settings
    return forecast(
        plan,
        as_if_keyed(table),
        suite_seconds=past.suite_seconds,
        parallel=settings.parallel or default_parallel(),
        attempts_per_rung=settings.attempts_per_rung,
        policy=settings.policy,
        calibration=past.calibration,
    )


def past_of(home: Home) -> Past:
    """What the journal says: the odds in the user's own runs, and how long this repository's suite took last."""
    from orchestrator.adapters.state import database

    if not database(home.state).exists():
        return Past()
    seen: list[Observation] = []
    suite: float | None = None
    for run in sorted(home.store.run_ids())[-_RUNS_OF_THE_PAST:]:
        events = list(home.store.events(run))
        seen += observations(events)
        here = events and isinstance(events[0], RunStarted) and events[0].repository == str(home.repository)
        for event in events if here else ():
            if isinstance(event, BaselineMeasured) and event.can_check:
                suite = event.seconds
    return Past(calibration=calibrate(seen), suite_seconds=suite)


# --- making one -----------------------------------------------------------------------------------


async def _draw(home: Home, access: ModelAccess, wish: Wish, say: Say) -> tuple[Planned, tuple[str, ...]]:
    table = access.table
    alias = _planning_model(table)
    survey = await _survey(home, wish)
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
        made_from=_origin(home, wish, survey, planner="model", template=template),
        facts=context.facts,
        commands=_commands(home, survey),
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
    left = await home.store.left(run=wish.run, run_cap=wish.budget)
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
        run=wish.run,
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
    notes: tuple[str, ...],
) -> Drawn:
    past = past_of(home)
    return Drawn(
        planned=planned,
        forecast=priced(home, planned.plan, access.table, past),
        past=past,
        scripted=access.scripted,
        notes=notes,
        wish=wish,
    )
