"""One run in this process: its parts put together over a plan, started new or taken up again.

The choices a user made at the start are journalled in `RunStarted`, so that `resume` puts together the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator import __version__
from orchestrator.adapters.checks import ProjectChecker
from orchestrator.adapters.engine import LocalEngine
from orchestrator.adapters.executors.edit import EditExecutor
from orchestrator.adapters.executors.tool import ToolExecutor
from orchestrator.adapters.formats.ticking import ticking
from orchestrator.adapters.kept_replies import KeptReplies
from orchestrator.adapters.metering import MeteredModel
from orchestrator.adapters.outcomes import OutcomeFiles
from orchestrator.adapters.run_lock import RunLock
from orchestrator.adapters.sandbox import Kind, Sandbox
from orchestrator.adapters.scratch import clear_scratch
from orchestrator.adapters.state import attempt_directory
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.attempt_router import AttemptRouter
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    AttemptId,
    ExecutorName,
    Limits,
    ModelAlias,
    OrchestratorError,
    Plan,
    Policy,
    RunId,
    RunState,
    SubtaskId,
)
from orchestrator.core.events import (
    BaselineMeasured,
    Event,
    Noted,
    RunResumed,
    RunStarted,
    SelectionChanged,
)
from orchestrator.core.graph import no_collections
from orchestrator.core.money import Usd
from orchestrator.core.planning import plan_digest
from orchestrator.core.routing import usable_ladder
from orchestrator.core.schedule import Lineup, line_up
from orchestrator.core.tests_first import ahead_of_code
from orchestrator.ending import Ending
from orchestrator.execution import Execution, RunScope
from orchestrator.replanning import OPTION, Replanning
from orchestrator.runner import Runner, Watch
from orchestrator.wiring import Home, ModelAccess, SystemClock, default_parallel

# Of the half second that a start may be delayed by, with room for the schedule that is being tried at the end.
LOOK_AHEAD_SECONDS = 0.3

Meet = Callable[[Dispatch], None]


def _pass_by(dispatch: Dispatch) -> None:
    """Nobody asks where the run stands."""


class OtherModels(OrchestratorError):
    """A run goes on with the models it began with: played from a script, or real ones that cost money."""


class ChecksCannotRun(OrchestratorError):
    """Nothing in this repository can tell right work from wrong; said before anything is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user chose for a run. None leaves it to the settings; `run` is given when it was paid under already."""

    run: RunId | None = None
    budget: Usd | None = None
    model: ModelAlias | None = None
    only: tuple[SubtaskId, ...] | None = None
    parallel: int | None = None
    policy: Policy | None = None
    max_seconds: float | None = None
    accept_unverified: bool = False
    sandboxed: bool = True
    replan: int = 0
    source_file: str | None = None


def look_first(home: Home, choices: Choices) -> None:
    """Raise what would refuse the run anyway, before its planning costs anything: another run, no usable checks.

    The suite runs once on the commit; the run itself finds the kept result.
    """
    asyncio.run(_look_first(home, choices))


async def _look_first(home: Home, choices: Choices) -> None:
    run = choices.run or new_run_id(home.clock)
    wanted = choices.sandboxed and home.settings.sandbox != "none"
    with RunLock.acquire(home.git, home.state, run=run, clock=home.clock):
        await _clear_never_begun(home)
        if not choices.accept_unverified:
            workspaces = GitWorkspaces(home.git, run=run, base=home.git.head(), state=home.state)
            _need_checks(await _checker(home, workspaces, sandboxed=wanted).baseline())


async def _clear_never_begun(home: Home) -> None:
    from orchestrator.adapters.background import in_background
    from orchestrator.adapters.pruning import clear_never_begun

    begun = frozenset(home.store.run_ids())
    await in_background(clear_scratch)
    await in_background(lambda: clear_never_begun(home.git, state=home.state, begun=begun.__contains__))


def _need_checks(baseline: BaselineMeasured) -> None:
    if not baseline.can_check:
        raise ChecksCannotRun(
            f"checks cannot run here: {baseline.reason}; nothing was spent. Mend it, name the checks under "
            f"`orchestrator: checks:` in litellm_budget_config.yaml (the repository's own counts once "
            f"`orchestrator trust` was run), or add --accept-unverified"
        )


def new_run_id(clock: SystemClock) -> RunId:
    """A name that sorts by time and is not met twice: `20261123-101500-3f9a`."""
    stamp = clock.now()
    return RunId(f"{stamp[:10].replace('-', '')}-{stamp[11:19].replace(':', '')}-{secrets.token_hex(2)}")


def start(home: Home, plan: Plan, choices: Choices, watch: Watch) -> tuple[RunId, Ending]:
    """Run `plan` from the repository's HEAD until nothing more can be done. Raises before anything is spent.

    `watch` sees every event.
    """
    run = choices.run or new_run_id(home.clock)
    settings = home.settings
    with ModelAccess.open(home) as access:
        limits = Limits(
            parallel=choices.parallel or settings.parallel or default_parallel(),
            per_model=access.per_model,
            attempts_per_rung=settings.attempts_per_rung,
            smart_per_subtask=settings.smart_per_subtask,
        )
        lineup = _look_ahead(plan, limits, home.clock)
        ladder, passed_by = usable_ladder(access.table)
        started = RunStarted(
            run=run,
            plan=plan,
            repository=str(home.git.root),
            base_commit=home.git.head(),
            branch=f"orchestrator/{run}",
            budget=choices.budget,
            policy=choices.policy or settings.policy,
            limits=limits,
            ladder=ladder,
            tier_models=dict(access.table.tier_models),
            model_override=choices.model,
            accept_unverified=choices.accept_unverified,
            sandbox=Sandbox.probe(wanted=choices.sandboxed and settings.sandbox != "none").name,
            scripted=access.scripted,
            max_seconds=choices.max_seconds,
            started_at=home.clock.now(),
            version=__version__,
            source_file=choices.source_file,
            options={OPTION: str(choices.replan)},
            first=lineup.first,
            waits=lineup.waits,
        )
        opening: list[Event] = [started]
        opening += [Noted(code="rung-skipped", text=line, at=home.clock.now()) for line in passed_by]
        if choices.only is not None:
            opening.append(SelectionChanged(only=choices.only, at=home.clock.now()))
        return run, asyncio.run(_drive(home, access, started, (), opening, watch))


def _look_ahead(plan: Plan, limits: Limits, clock: SystemClock) -> Lineup:
    """A better order to start in, within a bounded time; the plan's digest seeds the search."""
    until = clock.monotonic() + LOOK_AHEAD_SECONDS
    seed = int(plan_digest(plan)[:8], 16)

    def time_left() -> float:
        return (until - clock.monotonic()) / LOOK_AHEAD_SECONDS

    return line_up(plan, limits, seed=seed, time_left=time_left) or Lineup()


def resume(
    home: Home,
    run: RunId,
    *,
    budget: Usd | None,
    also: Sequence[Event] = (),
    max_seconds: float | None = None,
    watch: Watch,
    journalled: Sequence[Event] = (),
    meet: Meet = _pass_by,
) -> Ending:
    """Go on with a run that stopped: what is finished is neither done nor paid again.

    `also` is journalled with the resumption. `journalled` are the run's first events where the caller has read them
    already; `meet` is given the machine that has taken in all of them, to look at.
    """
    with no_collections():
        events = [*journalled, *home.store.events(run, after=len(journalled))]
    if not events or not isinstance(events[0], RunStarted):
        raise OrchestratorError(f"no run {run}: `orchestrator runs` lists them")
    raised = [event.budget for event in events if isinstance(event, RunResumed) and event.budget]
    started = replace(events[0], budget=budget or (raised[-1] if raised else events[0].budget))
    if max_seconds is not None:
        started = replace(started, max_seconds=max_seconds)
    opening = [RunResumed(budget=budget, at=home.clock.now()), *also]
    with ModelAccess.open(home) as access:
        if started.scripted and not access.scripted:
            raise OtherModels(
                f"run {run} was played from a script and real models cost money: add --scripted FILE"
            )
        if access.scripted and not started.scripted:
            raise OtherModels(f"run {run} began with real models: leave --scripted out")
        return asyncio.run(_drive(home, access, started, events, opening, watch, meet))


async def _drive(
    home: Home,
    access: ModelAccess,
    started: RunStarted,
    before: Sequence[Event],
    opening: Sequence[Event],
    watch: Watch,
    meet: Meet = _pass_by,
) -> Ending:
    run = RunId(started.run)
    with RunLock.acquire(home.git, home.state, run=run, clock=home.clock):
        async with _parts(home, access, started, before, watch) as (runner, checker, workspaces):
            await _clear_never_begun(home)
            remarks = [*await workspaces.remarks(), *await workspaces.reclaim()]
            # The first event makes the run known; only then may anything of it be paid for.
            said: list[Event] = [Noted(code="remark", text=remark, at=home.clock.now()) for remark in remarks]
            baseline = next((event for event in before if isinstance(event, BaselineMeasured)), None)
            if baseline is None:
                baseline = await checker.baseline()
                said.append(baseline)
            if not started.accept_unverified:
                _need_checks(baseline)
            await workspaces.start()
            runner.replay(before)
            meet(runner.dispatch)
            with _interruptible(runner):
                ending = await runner.run([*opening, *said])
                if ending.state is not RunState.PAUSED:
                    # Nobody goes on with it, so what was cut off is kept and its worktrees go.
                    kept = [
                        Noted(code="remark", text=line, at=home.clock.now())
                        for line in await workspaces.reclaim()
                    ]
                    await home.store.append(run, kept)
                return ending


def checker_of(home: Home, workspaces: GitWorkspaces, started: RunStarted) -> ProjectChecker:
    """The checker of a run, in the sandbox it began with."""
    checker = _checker(home, workspaces, sandboxed=started.sandbox != Kind.NONE)
    checker.ahead = ahead_of_code(started.plan)
    return checker


def _checker(home: Home, workspaces: GitWorkspaces, *, sandboxed: bool) -> ProjectChecker:
    return ProjectChecker(
        workspaces=workspaces,
        settings=home.settings,
        sandbox=Sandbox.probe(wanted=sandboxed),
        clock=home.clock,
        environ=home.environ,
    )


@contextlib.asynccontextmanager
async def _parts(
    home: Home, access: ModelAccess, started: RunStarted, before: Sequence[Event], watch: Watch
) -> AsyncIterator[tuple[Runner, ProjectChecker, GitWorkspaces]]:
    run, settings, clock = RunId(started.run), home.settings, home.clock
    plan, store = started.plan, home.store
    workspaces = GitWorkspaces(home.git, run=run, base=started.base_commit, state=home.state)
    checker = checker_of(home, workspaces, started)
    model = MeteredModel(
        catalogue=access.table.catalogue,
        ledger=store,
        clock=clock,
        environ=home.environ,
        repository=home.git.id,
        run_cap=started.budget,
        repository_cap=settings.repository_cap,
        replies=KeptReplies(lambda attempt: attempt_directory(home.state, run, attempt)),
    )

    async def list_files(worktree: str) -> Sequence[str]:
        return await workspaces.files(worktree)

    async def charged(attempt: AttemptId) -> Usd:
        entries = store.entries(run, attempt=attempt)
        return Usd(sum(entry.counted.nano for entry in entries))

    router = AttemptRouter(home=home, access=access, started=started)
    outcomes = OutcomeFiles(home.state, run)
    dispatch = Dispatch.of(
        started, tier_models=access.table.tier_models, cost=router.expected, odds=router.odds
    )
    execution = Execution(
        scope=RunScope(
            run=run,
            goal=plan.goal,
            repository=started.repository,
            run_cap=started.budget,
            accept_unverified=started.accept_unverified,
        ),
        subtask=dispatch.subtask,
        workspaces=workspaces,
        checker=checker,
        executors={
            ExecutorName.EDIT: EditExecutor(model=model, list_files=list_files, denied=settings.deny_files),
            ExecutorName.TOOL: ToolExecutor(
                settings=settings,
                sandbox=checker.sandbox,
                environ=home.environ,
                prepared=checker.environment_of,
            ),
        },
        outcomes=outcomes,
        clock=clock,
        charged=charged,
        attempt_cap=router.cap_of,
        before_landing=ticking(plan),
    )
    engine = LocalEngine(
        execution.execute, outcomes, logs=lambda attempt: attempt_directory(home.state, run, attempt)
    )
    try:
        yield (
            Runner(
                run=run,
                dispatch=dispatch,
                journal=store,
                engine=engine,
                land=execution.land,
                landed=execution.landed,
                route=router.route,
                clock=clock,
                watch=watch,
                money_left=router.left,
                max_seconds=started.max_seconds,
                replan=Replanning.of(home, access, started, before),
            ),
            checker,
            workspaces,
        )
    finally:
        await model.close()


@contextlib.contextmanager
def _interruptible(runner: Runner) -> Iterator[None]:
    """SIGINT and SIGTERM end the run resumable."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, runner.interrupt, "interrupted", 130)
    loop.add_signal_handler(signal.SIGTERM, runner.interrupt, "terminated", 143)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
