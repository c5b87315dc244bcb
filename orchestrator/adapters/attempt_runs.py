"""The suites as they ran on one attempt, and single tests of them run again, there or on the attempt's base."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from orchestrator.adapters.baseline import Baseline
from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.counterpart import Counterpart, counterpart
from orchestrator.adapters.project_commands import ProjectCommands
from orchestrator.adapters.suites import Selection, SuiteRun, run_suite
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.ports import Worktree
from orchestrator.core.verdicts import Status


@dataclass(slots=True, kw_only=True)
class AttemptRuns:
    """`base()` gives the counterpart, made when it is first asked for; `close` takes it away."""

    runner: CheckRunner
    commands: ProjectCommands
    baseline: Baseline
    workspaces: GitWorkspaces
    worktree: Worktree
    environment: Environment
    prepare: Callable[[Worktree], Awaitable[Environment]]
    runs: list[SuiteRun] = field(default_factory=list)
    seconds: float = 0.0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _base: Counterpart | None = None

    async def run(self, selection: Selection | None) -> None:
        for place in range(len(self.commands.suites)):
            self.runs.append(await self._run(place, None, selection))

    async def base(self) -> Counterpart:
        if self._base is None:
            self._base = await self._stack.enter_async_context(
                counterpart(self.workspaces, self.worktree, self.prepare)
            )
        return self._base

    async def close(self) -> None:
        await self._stack.aclose()

    async def again(
        self,
        *,
        ids: Iterable[str] = (),
        files: Iterable[str] = (),
        where: Counterpart | None = None,
        times: int = 1,
    ) -> dict[str, Status]:
        """Run these tests once more, each in its own suite; what a runner cannot select runs as a whole.

        With `times` each runs so often where the runner can do that, and has failed when one of them failed.
        """
        wanted, places = tuple(ids), tuple(files)
        found: dict[str, Status] = {}
        for place, run in enumerate(self.runs):
            own = tuple(name for name in wanted if self._belongs(name, run))
            here = tuple(path for path in places if self._holds(path, run))
            if own or here:
                found |= (await self._run(place, where, Selection(ids=own, files=here, times=times))).statuses
        return found

    async def _run(self, place: int, where: Counterpart | None, selection: Selection | None) -> SuiteRun:
        run = await run_suite(
            self.runner,
            self.commands.suites[place],
            worktree=where.worktree.path if where else self.worktree.path,
            environment=where.environment if where else self.environment,
            selection=selection,
        )
        self.seconds += run.ran.seconds
        return run

    def _belongs(self, name: str, run: SuiteRun) -> bool:
        if name in run.statuses or len(self.runs) == 1:
            return True
        # Tests that are gone are known by their file only.
        path = self.baseline.files.get(name, "")
        return name not in self.statuses and self._holds(path, run)

    def _holds(self, path: str, run: SuiteRun) -> bool:
        if len(self.runs) == 1:
            return True
        package = run.suite.package
        known = set(run.files.values())
        return path in known or bool(package and path.startswith(package + "/"))

    @property
    def statuses(self) -> dict[str, Status]:
        return {name: status for run in self.runs for name, status in run.statuses.items()}

    @property
    def files(self) -> dict[str, str]:
        return {name: file for run in self.runs for name, file in run.files.items()}

    @property
    def complete(self) -> bool:
        return bool(self.runs) and all(run.complete for run in self.runs)
