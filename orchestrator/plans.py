"""Plans as the program holds them: read, priced, answered. Light, because looking at a saved plan must be.

A saved plan is read and priced without the network and without the ledger; `plan_making` makes new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.plan_files import InvalidGoal, is_plan_file, read_goal, read_plan, stale
from orchestrator.core.calibration import Calibration, Observation, calibrate, observations
from orchestrator.core.domain import OrchestratorError, Plan, SuiteTime
from orchestrator.core.forecast import Forecast, forecast
from orchestrator.core.routing import as_if_keyed
from orchestrator.core.suite_time import assumed_suite, measured_suite
from orchestrator.core.text import one_line
from orchestrator.wiring import Home, default_parallel

if TYPE_CHECKING:
    from orchestrator.core.catalogue import RoutingTable
    from orchestrator.core.domain import ModelAlias, Policy, RunId
    from orchestrator.core.facts import Survey
    from orchestrator.core.money import Usd
    from orchestrator.planner_brief import Planned

# Older runs say less of today's models, and a forecast is read in a moment.
_RUNS_OF_THE_PAST = 100
# What nobody would say as a goal: taken as one, a mistyped name would be planned, and paid for.
_FILE_NAME = re.compile(r"\S+\.(json|md|markdown|txt|ya?ml)|\S*/|\.{1,2}", re.IGNORECASE)


class UnknownQuestion(OrchestratorError):
    """An answer was given to a question the plan does not ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the plan is to be carried out. None leaves it to the settings."""

    parallel: int | None = None
    policy: Policy | None = None
    model: ModelAlias | None = None


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
    manner: Manner = field(default_factory=Manner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a forecast may learn from earlier runs; empty where there are none, or where it must not look."""

    calibration: Calibration = field(default_factory=Calibration)
    suite: SuiteTime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A plan ready to be shown: what it will cost, why it may not fit any more, and how it was made, if just now."""

    plan: Plan
    forecast: Forecast
    making: Planned | None = None
    stale: tuple[str, ...] = ()
    scripted: str = ""
    notes: tuple[str, ...] = ()
    wish: Wish | None = None
    past: Past = field(default_factory=Past)


def reopened(home: Home, path: Path, *, past: Past | None = None, manner: Manner | None = None) -> Drawn:
    """Read a saved plan and price it. Needs no network and no ledger; the same files give the same result.

    `past` prices it by the user's own runs too, which a dry run leaves out to stay the same.
    """
    plan = read_plan(path)
    commit = home.git.head() if home.repository is not None else None
    reasons = stale(plan, commit=commit, standard=home.standard.digest, prices=home.settings.prices_digest)
    return Drawn(
        plan=plan,
        forecast=priced(home, plan, home.settings.table, past or Past(), manner),
        stale=reasons,
        past=past or Past(),
    )


def repriced(home: Home, drawn: Drawn, plan: Plan) -> Drawn:
    """The plan as the user changed it, with its forecast; what it was made from stays as it was."""
    manner = drawn.wish.manner if drawn.wish else None
    changed = priced(home, plan, home.settings.table, drawn.past, manner)
    return replace(drawn, plan=plan, forecast=changed)


def is_saved_plan(what: str) -> bool:
    """Whether the argument names a file that says it is a plan of ours."""
    path = _as_path(what)
    return path is not None and is_plan_file(path)


def _as_path(what: str) -> Path | None:
    """The argument as a path, when it can be one: a goal may be longer than any."""
    path = Path(what) if len(what) < 4096 and "\n" not in what and "\0" not in what else None
    try:
        return path if path is not None and path.is_file() else None
    except OSError:
        return None


def goal_or_plan(what: str) -> tuple[str, Path | None]:
    """Tell a goal from a file: return the goal's text, or the path of a saved plan. Raises InvalidGoal."""
    path = _as_path(what)
    if path is None:
        if _FILE_NAME.fullmatch(what):
            raise InvalidGoal(
                f"there is no file {one_line(what)}: name one that is there, or say the goal in words"
            )
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


def priced(home: Home, plan: Plan, table: RoutingTable, past: Past, manner: Manner | None = None) -> Forecast:
    """Return the forecast of `plan` under the user's settings and choices, at the prices of `table`."""
    settings, manner = home.settings, manner or Manner()
    return forecast(
        plan,
        as_if_keyed(table),
        suite=past.suite,
        parallel=manner.parallel or settings.parallel or default_parallel(),
        attempts_per_rung=settings.attempts_per_rung,
        policy=manner.policy or settings.policy,
        override=manner.model,
        calibration=past.calibration,
    )


def suite_time(home: Home, survey: Survey, past: Past) -> SuiteTime:
    """What the suites take that an attempt is judged by: as a run here measured it, else assumed from the survey."""
    from orchestrator.adapters.project_commands import project_commands

    if past.suite is not None:
        return past.suite
    suites = project_commands(home.settings.commands, survey.commands).suites
    tests = sum(file.test and not file.generated for file in survey.files)
    return assumed_suite([suite.argv[0] for suite in suites], test_files=tests)


def past_of(home: Home) -> Past:
    """What the journal says: the odds in the user's own runs, and how long this repository's suite took last."""
    from orchestrator.adapters.state import database
    from orchestrator.core.events import BaselineMeasured, RunStarted

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
    return Past(calibration=calibrate(seen), suite=measured_suite(suite) if suite is not None else None)
