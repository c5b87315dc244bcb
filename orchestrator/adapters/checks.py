"""The project's own checks as a `Checker`: found, measured once on the base, and run on every attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.adapters.attempt_runs import AttemptRuns
from orchestrator.adapters.baseline import Baseline, BaselineStore, measure
from orchestrator.adapters.canary import look
from orchestrator.adapters.changes import Changes, changes_of, restore
from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.preparation import Preparation, acts_in_set_up
from orchestrator.adapters.preparation_recipe import CannotPrepare
from orchestrator.adapters.project_commands import ProjectCommands, project_commands
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.adapters.state import cache_directory, digest
from orchestrator.adapters.static_checks import doubts, faults, tests_weakened
from orchestrator.adapters.suites import Runner
from orchestrator.adapters.verification import Verification
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import Problem, Subtask, SubtaskId, Verdict
from orchestrator.core.events import BaselineMeasured
from orchestrator.core.ports import Clock, Worktree
from orchestrator.core.tests_first import Ahead
from orchestrator.core.verdicts import Evidence, Purpose, judge, purpose_of

if TYPE_CHECKING:
    from orchestrator.adapters.settings import Settings
    from orchestrator.core.facts import Command


class ProjectChecker:
    """Judges the attempts of one run; `workspaces.base` is the commit its baseline is taken at.

    `ahead` are the subtasks that write tests before their code, and those that write that code.
    """

    def __init__(
        self,
        *,
        workspaces: GitWorkspaces,
        settings: Settings,
        sandbox: Sandbox,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self.workspaces, self.settings, self.sandbox, self.clock = workspaces, settings, sandbox, clock
        self.environ = environ
        self.cache = cache_directory(environ)
        self.runner = CheckRunner(sandbox=sandbox, environ=environ, seconds=settings.check_seconds)
        self.preparation = Preparation(
            repository=workspaces.repository,
            base=workspaces.base,
            changed=workspaces.changed_files,
            sandbox=sandbox,
            environ=environ,
            cache=self.cache,
            commands=settings.setup,
            network=settings.network_in_setup,
            denied=settings.deny_files,
        )
        self._environments: dict[str, Environment] = {}
        self._commands: ProjectCommands | None = None
        self._baseline: Baseline | None = None
        self.ahead: Mapping[SubtaskId, Ahead] = {}
        self._once = asyncio.Lock()

    # --- the baseline -----------------------------------------------------------------------------

    async def baseline(self) -> BaselineMeasured:
        """Run the suite on the base; kept by commit and commands. Says why checks cannot run, when they cannot."""
        commands = await self.commands()
        if not commands.suites and not commands.others:
            return BaselineMeasured(
                passed=None, can_check=False, reason="no test, lint or build command was found"
            )
        baseline = await self._measured()
        passing, failing = baseline.passing, baseline.failing
        reason = _why_not(baseline, commands)
        return BaselineMeasured(
            passed=None if reason else not failing,
            tests_passed=len(passing),
            tests_failed=failing,
            flaky=baseline.flaky,
            seconds=baseline.seconds,
            canary=baseline.canary,
            can_check=not reason,
            reason=reason,
        )

    async def commands(self) -> ProjectCommands:
        """The commands of this project at the base."""
        if self._commands is None:
            from orchestrator.adapters.survey import SurveyFailed, survey

            detected: tuple[Command, ...] = ()
            if not {"test", "type", "lint", "build"} <= self.settings.commands.keys():
                place = self.cache / "survey"
                place.mkdir(parents=True, exist_ok=True)
                try:
                    found = await survey(
                        self.workspaces.repository.root,
                        commit=self.workspaces.base,
                        cache=place,
                        environ=self.environ,
                    )
                    detected = found.commands
                except SurveyFailed:
                    detected = ()
            self._commands = project_commands(self.settings.commands, detected)
            wanted = {suite.runner for suite in self._commands.suites}
            self.preparation.needs = ("pytest",) if Runner.PYTEST in wanted else ()
        return self._commands

    async def _measured(self) -> Baseline:
        async with self._once:
            if self._baseline is None:
                self._baseline = await self._load_or_measure()
            return self._baseline

    async def _load_or_measure(self) -> Baseline:
        commands = await self.commands()
        store = BaselineStore(self.cache / "baselines")
        key = digest(
            "baseline",
            self.workspaces.repository.id,
            self.workspaces.base,
            commands.canonical(),
            self.sandbox.name,
            *(" ".join(argv) for argv in self.settings.setup),
        )
        if (kept := store.load(key)) is not None:
            return kept
        worktree = await self.workspaces.checkout("baseline.0", self.workspaces.base)
        try:
            environment = await self.preparation.prepare(worktree)
            canary = await look(self.runner, worktree.path, environment)
            if canary.fault:
                return Baseline(cannot=canary.fault)
            measured = await measure(self.runner, commands, worktree=worktree.path, environment=environment)
            proved = "; ".join(part for part in (canary.proved, environment.said) if part)
            baseline = replace(measured, canary=proved)
        except CannotPrepare as error:
            return Baseline(cannot=str(error))
        finally:
            await restore(self.workspaces, worktree, Changes(before={}, after={}))
            await self.workspaces.remove(worktree)
        if baseline.passing:
            # A suite that does not run may run after the next repair of this machine.
            store.save(key, baseline)
        return baseline

    # --- one attempt ------------------------------------------------------------------------------

    async def prepare(self, worktree: Worktree) -> None:
        """Set the worktree up for its checks. Raises CannotPrepare."""
        await self.commands()
        self._environments[worktree.path] = await self.preparation.prepare(worktree)

    def environment_of(self, worktree: str) -> Environment:
        """With which tools the worktree at this path was set up; ours for one that was not."""
        return self._environments.get(worktree, Environment())

    async def _environment(self, worktree: Worktree) -> Environment:
        if worktree.path not in self._environments:
            await self.prepare(worktree)
        return self._environments[worktree.path]

    async def verify(self, worktree: Worktree, subtask: Subtask, *, full: bool) -> Verdict:
        """Run what the change may affect (all of it when `full`, or when it is quick) and judge."""
        purpose = purpose_of(subtask)
        changes = await changes_of(self.workspaces, worktree)
        problems = faults(changes, purpose)
        weaker, moved = tests_weakened(changes)
        caveats = doubts(changes)
        if purpose is Purpose.TESTS:
            caveats += tuple(str(problem) for problem in weaker)
        else:
            problems += weaker
        if not problems and acts_in_set_up(changes.paths):
            try:
                await self.prepare(worktree)
            except CannotPrepare as error:
                problems = (Problem(where="set-up", what=str(error)),)
        if problems:
            return judge(Evidence(purpose=purpose, faults=problems))
        verification = Verification(
            runs=AttemptRuns(
                runner=self.runner,
                commands=await self.commands(),
                baseline=await self._measured(),
                workspaces=self.workspaces,
                worktree=worktree,
                environment=await self._environment(worktree),
                prepare=self.preparation.prepare,
            ),
            subtask=subtask,
            purpose=purpose,
            changes=changes,
            moved=moved,
            full=full,
            ahead=self.ahead.get(subtask.id, Ahead()),
        )
        try:
            evidence = await verification.gather()
        finally:
            # What checks leave behind is no part of the work.
            await restore(self.workspaces, worktree, changes)
        return judge(replace(evidence, caveats=(*caveats, *evidence.caveats)))


def _why_not(baseline: Baseline, commands: ProjectCommands) -> str:
    """Why nothing can be judged by the tests; empty when it can. Lint or types alone are checks too."""
    if baseline.cannot:
        return baseline.cannot
    if not commands.suites or baseline.passing:
        return ""
    if any(baseline.exits.get(other.name) == 0 for other in commands.others):
        return ""
    suite = commands.suites[0]
    if suite.name in baseline.absent:
        return f"{suite.argv[0]} is not installed"
    said = baseline.said.get(suite.name, "").splitlines()
    # A closing rule of dashes says nothing.
    telling = [line.strip() for line in said if any(map(str.isalnum, line))]
    last = telling[-1] if telling else "it names none"
    return f"no test passes on the commit it starts from: `{' '.join(suite.argv)}` says: {last[:160]}"
