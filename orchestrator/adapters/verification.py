"""One attempt under its checks: what ran, what broke and is to blame for it, and what proves the change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from orchestrator.adapters.baseline import Baseline
from orchestrator.adapters.changes import Changes
from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.counterpart import Counterpart, counterpart
from orchestrator.adapters.other_checks import OtherChecks
from orchestrator.adapters.project_commands import ProjectCommands
from orchestrator.adapters.suites import Selection, SuiteRun, files_named, run_suite
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import CheckKind, CheckResult, Problem, Subtask
from orchestrator.core.mutants import modules_used, names_used, python_mutants, text_mutants
from orchestrator.core.ports import Worktree
from orchestrator.core.verdicts import Evidence, Mutants, Purpose, Status, regressions

# Below this a suite is run whole for every attempt, so that landing need not run it again.
SMALL_SUITE_SECONDS = 60.0
STABILITY_RUNS = 3
MOST_MUTANTS = 8
MUTANT_SECONDS = 60.0
MOST_BLAMED = 200


@dataclass(slots=True, kw_only=True)
class Verification:
    """Gathers the evidence of one attempt. Made anew for each; `prepare` readies any worktree."""

    runner: CheckRunner
    commands: ProjectCommands
    baseline: Baseline
    workspaces: GitWorkspaces
    worktree: Worktree
    environment: Environment
    prepare: Callable[[Worktree], Awaitable[Environment]]
    subtask: Subtask
    purpose: Purpose
    changes: Changes
    moved: tuple[str, ...] = ()
    full: bool = False
    runs: list[SuiteRun] = field(default_factory=list)

    async def gather(self) -> Evidence:
        async with AsyncExitStack() as stack:
            base = _Lazily(self, stack)
            everything = self.full or self.baseline.seconds <= SMALL_SUITE_SECONDS
            selection = None if everything else self._affected()
            self.runs = [
                await self._run(place, self.worktree.path, self.environment, selection)
                for place in range(len(self.commands.suites))
            ]
            evidence = Evidence(
                purpose=self.purpose,
                full=bool(self.runs) and all(run.complete for run in self.runs),
                tests_passed=sum(status is Status.PASSED for status in self._statuses.values()),
                faults=self._targets_missing(),
            )
            evidence = await self._blame(evidence, base)
            others = OtherChecks(
                runner=self.runner,
                commands=self.commands,
                baseline=self.baseline,
                worktree=self.worktree.path,
                environment=self.environment,
            )
            checks = [*self._suite_results(evidence)]
            checks += await others.run(self.changes, self.subtask, base.get)
            evidence = replace(
                evidence,
                checks=tuple(checks),
                mended=others.mended,
                measured=others.measured,
                notes=(*evidence.notes, *others.notes),
            )
            if not _lost(evidence):
                evidence = await self._prove(evidence, base)
            return evidence

    # --- running ----------------------------------------------------------------------------------

    async def _run(
        self, place: int, worktree: str, environment: Environment, selection: Selection | None
    ) -> SuiteRun:
        return await run_suite(
            self.runner,
            self.commands.suites[place],
            worktree=worktree,
            environment=environment,
            selection=selection,
        )

    async def _again(
        self, ids: Iterable[str], files: Iterable[str], where: Counterpart | None
    ) -> dict[str, Status]:
        """Run single tests again, in the attempt or in its counterpart; each in the suite it belongs to."""
        wanted = tuple(ids)
        found: dict[str, Status] = {}
        places = tuple(files)
        for place, run in enumerate(self.runs):
            own = tuple(
                name
                for name in wanted
                if name in run.statuses or len(self.runs) == 1 or name not in self._statuses
            )
            if not own and not places:
                continue
            again = await self._run(
                place,
                where.worktree.path if where else self.worktree.path,
                where.environment if where else self.environment,
                Selection(ids=own, files=places),
            )
            found |= again.statuses
        return found

    @property
    def _statuses(self) -> dict[str, Status]:
        return {name: status for run in self.runs for name, status in run.statuses.items()}

    @property
    def _files(self) -> dict[str, str]:
        return {name: file for run in self.runs for name, file in run.files.items()}

    def _affected(self) -> Selection:
        """Test files that changed, that the subtask names, or that use a changed module by its name."""
        named = files_named(
            target
            for check in self.subtask.checks
            if check.kind is CheckKind.TESTS
            for target in check.targets
        )
        stems = {_module_name(path) for path in self.changes.sources}
        users = [
            file
            for file in sorted(set(self.baseline.files.values()))
            if file and any(stem and stem in _words(self.worktree.path, file) for stem in stems)
        ]
        return Selection(files=tuple(dict.fromkeys((*self.changes.tests, *named, *users))))

    def _targets_missing(self) -> tuple[Problem, ...]:
        """A check that names tests which did not run has not been passed."""
        problems = []
        files = set(self._files.values())
        if not any(files):
            return ()
        for check in self.subtask.checks:
            if check.kind is not CheckKind.TESTS:
                continue
            for target in check.targets:
                path, _, inner = target.partition("::")
                if (
                    inner
                    and target not in self._statuses
                    and not any(name.startswith((f"{target}[", f"{target}::")) for name in self._statuses)
                    and path not in files
                ):
                    problems.append(Problem(where=target, what="is to be passed, and there is no such test"))
                elif not inner and not any(
                    file == path or file.startswith(path.rstrip("/") + "/") for file in files
                ):
                    problems.append(Problem(where=path, what="is to be passed, and no test of it ran"))
        return tuple(problems)

    # --- blame ------------------------------------------------------------------------------------

    async def _blame(self, evidence: Evidence, base: _Lazily) -> Evidence:
        after, files = self._statuses, self._files
        known = dict(self.baseline.statuses)
        if not all(run.complete for run in self.runs):
            ran = set(files.values())
            known = {name: status for name, status in known.items() if self.baseline.files.get(name) in ran}
        _, missing, skipped = regressions(known, after)
        failing = [
            name
            for name, status in after.items()
            if status is Status.FAILED and self.baseline.statuses.get(name) is not Status.FAILED
        ]
        flaky = [name for name in failing if name in self.baseline.flaky]
        failing = [name for name in failing if name not in flaky]
        before = [name for name in self.baseline.failing if after.get(name) is Status.FAILED]
        whole = {files[name] for name in failing if files.get(name) and files[name] in _as_files(name)}
        # A file that cannot be loaded any more takes its tests with it.
        lost = [name for name in missing if self.baseline.files.get(name) in whole]
        missing = tuple(name for name in missing if name not in lost and not self._moved_away(name))
        if lost:
            failing = [name for name in failing if files.get(name) not in whole]
        evidence = replace(evidence, flaky=tuple(flaky), failing_before=tuple(before))
        if missing and self.worktree.base != self.workspaces.base:
            # Work that landed meanwhile may have taken tests away: what is gone at the base is not our doing.
            there = await self._again(missing, (), await base.get())
            missing = tuple(name for name in missing if name in there)
        if self.purpose is Purpose.TESTS:
            own = set(self.changes.tests)
            noted = tuple(name for name in missing if self.baseline.files.get(name) in own)
            missing = tuple(name for name in missing if name not in noted)
            if noted:
                evidence = replace(
                    evidence, caveats=(f"{len(noted)} tests are gone: {', '.join(noted[:5])}",)
                )
        evidence = replace(evidence, missing=missing, skipped=skipped, broken=tuple(lost))
        return await self._sort_out(evidence, tuple(failing[:MOST_BLAMED]), base) if failing else evidence

    def _moved_away(self, name: str) -> bool:
        tail = name.replace("::", ".").partition("[")[0]
        return any(tail == moved or tail.endswith(f".{moved}") for moved in self.moved)

    async def _sort_out(self, evidence: Evidence, failing: tuple[str, ...], base: _Lazily) -> Evidence:
        """Run newly failing tests again, on the attempt and on its base, before anything is blamed."""
        own = set(self.changes.tests)
        files = self._files
        mine = [self._statuses, await self._again(failing, (), None)]
        theirs = [await self._again(failing, (), await base.get())]
        mixed = [name for name in failing if mine[1].get(name) is Status.PASSED]
        for _ in range(STABILITY_RUNS - 1 if mixed else 0):
            mine.append(await self._again(mixed, (), None))
            theirs.append(await self._again(mixed, (), await base.get()))
        broken, new, unstable, flaky, before = [], [], [], [], []
        for name in failing:
            bad = sum(run.get(name) is Status.FAILED for run in mine)
            base_seen = [run[name] for run in theirs if name in run]
            if name in mixed:
                # Failing once in four may be the machine; a test that is steady without the change is not.
                steady = all(status is Status.PASSED for status in base_seen)
                if files.get(name) in own or (steady and bad > 1):
                    unstable.append(name)
                else:
                    flaky.append(name)
            elif base_seen and base_seen[0] is Status.PASSED:
                broken.append(name)
            elif base_seen and files.get(name) not in own:
                before.append(name)
            else:
                new.append(name)
        return replace(
            evidence,
            broken=(*evidence.broken, *broken),
            new_failing=tuple(new),
            unstable=tuple(unstable),
            flaky=(*evidence.flaky, *flaky),
            failing_before=(*evidence.failing_before, *before),
        )

    def _suite_results(self, evidence: Evidence) -> Iterable[CheckResult]:
        blamed = {
            *evidence.broken,
            *evidence.new_failing,
            *evidence.unstable,
            *evidence.missing,
            *evidence.skipped,
        }
        for run in self.runs:
            if not run.ran.started or (not run.statuses and run.ran.exit_code not in (0, None)):
                could = self.baseline.exits.get(run.suite.name) == 0 or self.baseline.statuses
                yield run.ran.result(run.suite.name, passed=False if could else None)
                continue
            failed = [name for name, status in run.statuses.items() if status is Status.FAILED]
            explained = not failed and self.baseline.exits.get(run.suite.name) == 0 and run.complete
            passed: bool | None = not (blamed & (run.statuses.keys() | set(self.baseline.statuses)))
            if run.ran.exit_code is None or (explained and run.ran.exit_code != 0):
                passed = False
            if passed and not any(status is Status.PASSED for status in run.statuses.values()):
                passed = None
            yield run.ran.result(run.suite.name, passed=passed)

    # --- proof ------------------------------------------------------------------------------------

    async def _prove(self, evidence: Evidence, base: _Lazily) -> Evidence:
        after, files = self._statuses, self._files
        mended = [
            name
            for name in self.baseline.failing
            if after.get(name) is Status.PASSED and name not in self.baseline.flaky
        ]
        own = set(self.changes.tests)
        candidates = [
            name for name, status in after.items() if status is Status.PASSED and files.get(name, "") in own
        ]
        if not any(files.values()) and own:
            candidates = [name for name, status in after.items() if status is Status.PASSED]
        new = tuple(name for name in candidates if name not in self.baseline.statuses)
        evidence = replace(evidence, new_tests=new)
        if self.purpose is Purpose.SPEED:
            return evidence
        test_files = tuple(sorted({files[name] for name in candidates if files.get(name)}))
        evidence = await self._steady(evidence, (*new, *mended))
        if evidence.unstable:
            return evidence
        proofs: list[str] = []
        if mended and self.changes.sources:
            there = await self._again(mended, (), await base.get())
            proofs += [name for name in mended if there.get(name) is Status.FAILED]
        if candidates and self.changes.sources:
            proofs += await self._fail_without(candidates, test_files, await base.get())
        evidence = replace(evidence, proofs=tuple(dict.fromkeys(proofs)))
        if not evidence.proofs and new and self.purpose is Purpose.TESTS:
            evidence = await self._mutate(evidence, new, test_files, await base.get())
        return evidence

    async def _steady(self, evidence: Evidence, names: tuple[str, ...]) -> Evidence:
        """Run new tests a few times more: what passes only sometimes proves nothing."""
        unstable: set[str] = set()
        for _ in range(STABILITY_RUNS - 1 if names else 0):
            again = await self._again(names, (), None)
            unstable |= {name for name in names if again.get(name) is not Status.PASSED}
        return replace(evidence, unstable=tuple(sorted(unstable)))

    async def _fail_without(
        self, candidates: list[str], test_files: tuple[str, ...], base: Counterpart
    ) -> list[str]:
        """Tests that fail with the old code and pass with the new, both in the same place."""
        tests = {path: self.changes.after[path] for path in self.changes.tests}
        base.put(tests)
        without = await self._again((), test_files, base)
        gone = [name for name in candidates if without.get(name) is not Status.PASSED]
        if not gone:
            return []
        once_more = await self._again((), test_files, base)
        gone = [name for name in gone if once_more.get(name) is not Status.PASSED]
        # The control: here too it is the change that makes them pass, and not the place.
        base.put({path: self.changes.after[path] for path in self.changes.sources})
        with_it = await self._again((), test_files, base)
        return [name for name in gone if with_it.get(name) is Status.PASSED]

    async def _mutate(
        self, evidence: Evidence, new: tuple[str, ...], test_files: tuple[str, ...], base: Counterpart
    ) -> Evidence:
        """Put faults into the code the new tests are about, one at a time, until they notice one of them."""
        base.put({path: self.changes.after[path] for path in self.changes.paths})
        made = killed = 0
        survived: list[str] = []
        example = ""
        seconds = 0.0
        for path, data, said in self._mutants(base):
            if made >= MOST_MUTANTS or seconds > MUTANT_SECONDS or killed >= 2:
                break
            original = self.changes.after.get(path) or self.workspaces.repository.read_blob(
                self.worktree.base, path
            )
            base.put({path: data})
            found = await self._again(new, (), base)
            base.put({path: original})
            made += 1
            seconds += sum(run.ran.seconds for run in self.runs[:1])
            if any(found.get(name) is not Status.PASSED for name in new):
                killed += 1
                example = example or f"{path} {said}"
            else:
                survived.append(f"{path} {said}")
        if not made:
            return evidence
        return replace(
            evidence,
            mutants=Mutants(made=made, killed=killed, survived=tuple(survived), example=example),
        )

    def _mutants(self, base: Counterpart) -> Iterable[tuple[str, bytes, str]]:
        tests = [text for path in self.changes.tests if (text := self.changes.texts(path)[1]) is not None]
        used = frozenset[str]().union(*(names_used(text) for text in tests))
        for path in self._covered(tests):
            data = self.workspaces.repository.read_blob(self.worktree.base, path)
            if data is None:
                continue
            try:
                source = data.decode("utf-8")
            except UnicodeDecodeError:
                continue
            if path.endswith(".py"):
                mutants = python_mutants(source, used, limit=MOST_MUTANTS)
            else:
                mutants = text_mutants(source, limit=MOST_MUTANTS)
            for mutant in mutants:
                yield path, mutant.text.encode(), mutant.said

    def _covered(self, tests: list[str]) -> list[str]:
        """The source files that the new tests are about: by the plan's evidence, then by what they import."""
        from orchestrator.adapters.survey.languages import is_test

        tracked = set(self.workspaces.repository.files_at(self.worktree.base))
        cited = [
            fact.path for fact in self.subtask.evidence if fact.path in tracked and not is_test(fact.path)
        ]
        modules = {module.replace(".", "/") for text in tests for module in modules_used(text)}
        imported = [
            path
            for path in sorted(tracked)
            if path.endswith(".py")
            and not is_test(path)
            and any(
                place in modules
                for place in _module_places(path.removesuffix(".py").removesuffix("/__init__"))
            )
        ]
        return list(dict.fromkeys((*cited, *imported)))


def _module_name(path: str) -> str:
    place = PurePosixPath(path)
    stem = place.name.split(".")[0]
    return place.parent.name if stem in ("__init__", "index", "mod") else stem


def _module_places(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _as_files(name: str) -> tuple[str, ...]:
    """What a failing "test" stands for when it is a file that could not be loaded."""
    return (name, name.replace(".", "/") + ".py")


def _words(worktree: str, path: str) -> str:
    from orchestrator.adapters.beneath import Beneath, PathRefused

    try:
        return (Beneath(worktree).read(path) or b"").decode("utf-8", "replace")
    except PathRefused:
        return ""


def _lost(evidence: Evidence) -> bool:
    return bool(
        evidence.faults or evidence.broken or evidence.new_failing or evidence.missing or evidence.skipped
        or evidence.unstable or any(check.passed is False for check in evidence.checks)
    )  # fmt: skip


@dataclass(slots=True)
class _Lazily:
    """The counterpart, made when it is first needed."""

    verification: Verification
    stack: AsyncExitStack
    made: Counterpart | None = None

    async def get(self) -> Counterpart:
        if self.made is None:
            own = self.verification
            self.made = await self.stack.enter_async_context(
                counterpart(own.workspaces, own.worktree, own.prepare)
            )
        return self.made
