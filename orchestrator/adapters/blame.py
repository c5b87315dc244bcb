"""Which tests a change broke: failing ones are run again, with it and without it, before anything is blamed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.adapters.attempt_runs import AttemptRuns
from orchestrator.adapters.changes import Changes
from orchestrator.adapters.check_runner import Ran
from orchestrator.adapters.suites import SuiteRun
from orchestrator.core.domain import CheckResult
from orchestrator.core.verdicts import Evidence, Purpose, Status, regressions

MORE_RUNS = 2
MOST_BLAMED = 200
MESSAGE = 1500
SHOWN_MESSAGES = 6


async def blame(
    evidence: Evidence,
    runs: AttemptRuns,
    changes: Changes,
    *,
    moved: tuple[str, ...] = (),
    owed: frozenset[str] = frozenset(),
    ahead: bool = False,
) -> Evidence:
    """Fill in what broke, is missing, is skipped, only sometimes passes, or was no better before.

    `owed` are test files that were written for this change and must pass with it. `ahead`: new tests of a change of
    tests alone may fail, because their code is still to be written.
    """
    after, files, baseline = runs.statuses, runs.files, runs.baseline
    known = dict(baseline.statuses)
    if not runs.complete:
        ran = set(files.values())
        known = {name: status for name, status in known.items() if baseline.files.get(name) in ran}
    _, missing, skipped = regressions(known, after)
    failing = [
        name
        for name, status in after.items()
        if status is Status.FAILED and baseline.statuses.get(name) is not Status.FAILED
    ]
    flaky = tuple(name for name in failing if name in baseline.flaky)
    failing = [name for name in failing if name not in flaky]
    before = tuple(name for name in baseline.failing if after.get(name) is Status.FAILED)
    # A file that cannot be loaded any more takes its tests with it.
    unloaded = {files[name] for name in failing if files.get(name) and files[name] in _as_files(name)}
    lost = tuple(name for name in missing if baseline.files.get(name) in unloaded)
    missing = tuple(name for name in missing if name not in lost and not _went(name, moved))
    if lost:
        taken = {baseline.files.get(name) for name in lost}
        failing = [name for name in failing if files.get(name) not in taken]
    if missing and runs.worktree.base != runs.workspaces.base:
        # Work that landed meanwhile may have taken tests away: what is gone at the base is not our doing.
        there = await runs.again(ids=missing, where=await runs.base())
        missing = tuple(name for name in missing if name in there)
    caveats: tuple[str, ...] = ()
    if evidence.purpose is Purpose.TESTS:
        own = set(changes.tests)
        noted = tuple(name for name in missing if baseline.files.get(name) in own)
        missing = tuple(name for name in missing if name not in noted)
        caveats = (f"tests are gone: {', '.join(noted[:5])}",) if noted else ()
    evidence = replace(
        evidence, flaky=flaky, failing_before=before, missing=missing, skipped=skipped, broken=lost,
        caveats=(*evidence.caveats, *caveats),
    )  # fmt: skip
    if not failing:
        return evidence
    evidence = await _sort_out(evidence, runs, tuple(failing[:MOST_BLAMED]), set(changes.tests) | owed)
    if ahead and not changes.sources:
        evidence = replace(evidence, new_failing=(), awaiting_code=evidence.new_failing)
    return evidence


async def _sort_out(
    evidence: Evidence, runs: AttemptRuns, failing: tuple[str, ...], own: set[str]
) -> Evidence:
    files = runs.files
    mine = [runs.statuses, await runs.again(ids=failing)]
    theirs = [await runs.again(ids=failing, where=await runs.base())]
    mixed = [name for name in failing if mine[1].get(name) is Status.PASSED]
    for _ in range(MORE_RUNS if mixed else 0):
        mine.append(await runs.again(ids=mixed))
        theirs.append(await runs.again(ids=mixed, where=await runs.base()))
    broken, new, unstable, flaky, before = [], [], [], [], []
    for name in failing:
        bad = sum(run.get(name) is Status.FAILED for run in mine)
        seen = [run[name] for run in theirs if name in run]
        if name in mixed:
            # Failing once in four may be the machine; a test that is steady without the change is not.
            steady = all(status is Status.PASSED for status in seen)
            if files.get(name) in own or (steady and bad > 1):
                unstable.append(name)
            else:
                flaky.append(name)
        elif seen and seen[0] is Status.PASSED:
            broken.append(name)
        elif seen and files.get(name) not in own:
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


def suite_results(evidence: Evidence, runs: AttemptRuns) -> Iterable[CheckResult]:
    """One result per suite: it has passed when nothing in it is to be blamed."""
    blamed = {
        *evidence.broken,
        *evidence.new_failing,
        *evidence.unstable,
        *evidence.missing,
        *evidence.skipped,
    }
    for run in runs.runs:
        name = run.suite.name
        ran = _with_messages(run, blamed)
        if not run.ran.started or (not run.statuses and run.ran.exit_code not in (0, None)):
            could = runs.baseline.exits.get(name) == 0 or runs.baseline.passing
            yield ran.result(name, passed=False if could else None)
            continue
        failed = any(status is Status.FAILED for status in run.statuses.values())
        passed: bool | None = not (blamed & (run.statuses.keys() | set(runs.baseline.statuses)))
        odd = not failed and run.complete and run.ran.exit_code != 0 and runs.baseline.exits.get(name) == 0
        if run.ran.exit_code is None or odd:
            passed = False
        if passed and not any(status is Status.PASSED for status in run.statuses.values()):
            passed = None
        yield ran.result(name, passed=passed)


def _with_messages(run: SuiteRun, blamed: set[str]) -> Ran:
    """The output with what the blamed tests said at its end, where a reader of the last lines finds it."""
    told = [
        f"--- {name}\n{run.messages[name][-MESSAGE:]}" for name in sorted(blamed) if run.messages.get(name)
    ]
    return replace(run.ran, output="\n".join([run.ran.output, *told[:SHOWN_MESSAGES]])) if told else run.ran


def _as_files(name: str) -> tuple[str, ...]:
    """What a failing "test" stands for when it is a file that could not be loaded."""
    return (name, name.replace(".", "/") + ".py")


def _went(name: str, moved: tuple[str, ...]) -> bool:
    tail = name.replace("::", ".").partition("[")[0]
    return any(tail == place or tail.endswith(f".{place}") for place in moved)
