"""The checks beside the tests: types, lint, build, and what a subtask names itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.adapters.baseline import Baseline
from orchestrator.adapters.check_runner import CheckRunner, Environment, Ran
from orchestrator.adapters.counterpart import Counterpart
from orchestrator.adapters.project_commands import ProjectCommands
from orchestrator.core.domain import CheckKind, CheckResult, Subtask
from orchestrator.core.verdicts import Measured, Purpose, purpose_of

ROUNDS = 3
# What a shell ends with when it finds no such program, or may not run it.
_NO_PROGRAM = (126, 127)
_PLACE = re.compile(r":\d+(:\d+)?|\(\d+,\d+\)|\bline \d+")


@dataclass(slots=True, kw_only=True)
class OtherChecks:
    """Runs them; `mended`, `measured` and `notes` are there afterwards."""

    runner: CheckRunner
    commands: ProjectCommands
    baseline: Baseline
    worktree: str
    environment: Environment
    mended: tuple[str, ...] = ()
    measured: Measured | None = None
    notes: tuple[str, ...] = ()

    async def run(self, subtask: Subtask, base: Callable[[], Awaitable[Counterpart]]) -> list[CheckResult]:
        results: list[CheckResult] = []
        for other in self.commands.others:
            if other.name in self.baseline.absent:
                continue
            ran = await self._run(other.argv)
            results.append(self._compared(other.name, ran))
        for check in subtask.checks:
            match check.kind:
                case CheckKind.LINT:
                    results += await self._lint(check.targets, base)
                case CheckKind.COMMAND:
                    results += await self._named(check.targets, subtask, base)
                case CheckKind.TESTS:
                    pass  # They are a part of the suites.
        return results

    async def _run(self, argv: Sequence[str], where: Counterpart | None = None) -> Ran:
        return await self.runner.run(
            argv,
            worktree=where.worktree.path if where else self.worktree,
            environment=where.environment if where else self.environment,
        )

    def _compared(self, name: str, ran: Ran) -> CheckResult:
        """A command that failed before is blamed for what it says now and did not say then."""
        if not ran.started:
            return ran.result(name, passed=None)
        if ran.exit_code == 0:
            return ran.result(name, passed=True)
        if self.baseline.exits.get(name, 0) == 0:
            return ran.result(name, passed=False)
        fresh = findings(ran.output) - findings(self.baseline.said.get(name, ""))
        if fresh:
            said = "\n".join(fresh.elements())
            return Ran(
                argv=ran.argv, exit_code=ran.exit_code, seconds=ran.seconds, output=f"new findings:\n{said}"
            ).result(name, passed=False)
        self.notes = (*self.notes, f"{name} failed before as it does now")
        return ran.result(name, passed=None)

    async def _lint(
        self, targets: Sequence[str], base: Callable[[], Awaitable[Counterpart]]
    ) -> list[CheckResult]:
        paths = [target for target in targets if target.endswith((".py", ".pyi")) or "." not in target]
        if not paths:
            return []
        name = f"lint {' '.join(paths)}"
        argv = ("ruff", "check", "--no-cache", "--output-format=concise", "--force-exclude", "--", *paths)
        ran = await self._run(argv)
        if not ran.started or ran.exit_code not in (0, 1):
            return [ran.result(name, passed=None)]
        before = await self._run(argv, await base())
        fresh = findings(ran.output) - findings(before.output)
        if fresh:
            return [ran.result(name, passed=False)]
        now, then = _count(ran.output), _count(before.output)
        if then > now:
            self.mended = (*self.mended, f"{name} finds {now} faults, {then} before")
        return [ran.result(name, passed=True)]

    async def _named(
        self, names: Sequence[str], subtask: Subtask, base: Callable[[], Awaitable[Counterpart]]
    ) -> list[CheckResult]:
        results = []
        for name in names:
            argv = self.commands.named.get(name)
            if argv is None:
                self.notes = (*self.notes, f"no command {name} is configured")
                continue
            if purpose_of(subtask) is Purpose.SPEED:
                results.append(await self._timed(name, argv, await base()))
                continue
            ran = await self._run(argv)
            passed = ran.exit_code == 0 if ran.started else None
            if passed is False:
                before = await self._run(argv, await base())
                if before.exit_code != 0:
                    self.notes = (*self.notes, f"{name} fails without the change too")
                    passed = _no_better(ran, before, purpose_of(subtask))
            results.append(ran.result(name, passed=passed))
        return results

    async def _timed(self, name: str, argv: Sequence[str], base: Counterpart) -> CheckResult:
        """Base and attempt in turn, so that a busy machine is busy for both."""
        before: list[float] = []
        after: list[float] = []
        ran = await self._run(argv)
        if ran.exit_code != 0:
            return ran.result(name, passed=False if ran.started else None)
        for _ in range(ROUNDS):
            before.append((await self._run(argv, base)).seconds)
            after.append((await self._run(argv)).seconds)
        self.measured = Measured(name=name, before=median(before), after=median(after))
        return ran.result(name, passed=True)


def _no_better(ran: Ran, before: Ran, purpose: Purpose) -> bool | None:
    """Judge a command that fails with and without the change: False only where the change is to blame."""
    if ran.exit_code == before.exit_code and ran.exit_code in _NO_PROGRAM:
        return None
    if purpose is Purpose.FIX:
        return False
    return False if findings(ran.output) - findings(before.output) else None


def findings(output: str) -> Counter[str]:
    """The lines of a checker's output that speak of a place, without the numbers in it: edits move lines."""
    return Counter(
        _PLACE.sub("", line).strip()
        for line in output.splitlines()
        if _PLACE.search(line) and not line.startswith((" ", "\t", "|"))
    )


def _count(output: str) -> int:
    return findings(output).total()
