"""One attempt under its checks, from the suites to the proof; what was found out, for `core.verdicts` to judge."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from orchestrator.adapters.attempt_runs import AttemptRuns
from orchestrator.adapters.background import in_background
from orchestrator.adapters.beneath import Beneath, PathRefused
from orchestrator.adapters.blame import blame, suite_results
from orchestrator.adapters.changes import Changes
from orchestrator.adapters.merging import landed
from orchestrator.adapters.other_checks import OtherChecks
from orchestrator.adapters.proving import Proving
from orchestrator.adapters.suites import Selection, files_named
from orchestrator.adapters.survey.languages import is_test
from orchestrator.core.domain import CheckKind, Problem, Subtask
from orchestrator.core.tests_first import Ahead
from orchestrator.core.verdicts import Evidence, Purpose, Status

# Below this a suite is run whole for every attempt, so that landing need not run it again.
SMALL_SUITE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Verification:
    """Gathers the evidence of one attempt. `moved` are tests that only have another name or place now."""

    runs: AttemptRuns
    subtask: Subtask
    purpose: Purpose
    changes: Changes
    moved: tuple[str, ...] = ()
    full: bool = False
    ahead: Ahead = field(default_factory=Ahead)

    async def gather(self) -> Evidence:
        try:
            return await self._gather()
        finally:
            await self.runs.close()

    async def _gather(self) -> Evidence:
        runs = self.runs
        everything = self.full or runs.baseline.seconds <= SMALL_SUITE_SECONDS
        await runs.run(None if everything else self._affected())
        evidence = Evidence(
            purpose=self.purpose,
            full=runs.complete,
            tests_passed=sum(status is Status.PASSED for status in runs.statuses.values()),
            faults=self._targets_missing(),
        )
        written = await in_background(self._written_for_it)
        evidence = await blame(
            evidence,
            runs,
            self.changes,
            moved=self.moved,
            owed=frozenset() if self.ahead.may_fail else written,
            ahead=self.ahead.may_fail and not self.ahead.of,
        )
        others = OtherChecks(
            runner=runs.runner,
            commands=runs.commands,
            baseline=runs.baseline,
            worktree=runs.worktree.path,
            environment=runs.environment,
        )
        checks = [*suite_results(evidence, runs), *await others.run(self.subtask, runs.base)]
        evidence = replace(
            evidence,
            checks=tuple(checks),
            mended=others.mended,
            measured=others.measured,
            notes=(*evidence.notes, *others.notes),
        )
        if not _lost(evidence):
            proving = Proving(runs=runs, changes=self.changes, subtask=self.subtask, written=written)
            evidence = await proving.prove(evidence)
        return evidence

    def _written_for_it(self) -> frozenset[str]:
        """Test files that earlier subtasks of this run wrote for the code of this one."""
        if not self.ahead.of:
            return frozenset()
        repository, since = self.runs.workspaces.repository, self.runs.workspaces.base
        found: set[str] = set()
        for entry in landed(repository, since, self.runs.worktree.base):
            if entry.subtask in self.ahead.of and not entry.undoes:
                found.update(repository.changed_in(entry.commit))
        return frozenset(path for path in found if is_test(path))

    def _named(self) -> list[str]:
        return [
            target
            for check in self.subtask.checks
            if check.kind is CheckKind.TESTS
            for target in check.targets
        ]

    def _affected(self) -> Selection:
        """Test files that changed, that the subtask names, or that use a changed module by its name."""
        stems = {_module_name(path) for path in self.changes.sources}
        words = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(stems)))})\b") if stems else None
        users = [
            file
            for file in sorted(set(self.runs.baseline.files.values()))
            if file and words is not None and words.search(_text(self.runs.worktree.path, file))
        ]
        return Selection(
            files=tuple(dict.fromkeys((*self.changes.tests, *files_named(self._named()), *users)))
        )

    def _targets_missing(self) -> tuple[Problem, ...]:
        """A check that names tests which did not run has not been passed."""
        statuses, files = self.runs.statuses, set(self.runs.files.values())
        if not any(files):
            return ()
        problems = []
        for target in self._named():
            path = target.partition("::")[0].rstrip("/")
            ran = any(file == path or file.startswith(path + "/") for file in files)
            named = target in statuses or any(
                name.startswith((f"{target}[", f"{target}::")) for name in statuses
            )
            # A runner's own ids may be written in another way than a plan does: its file is what counts then.
            if not ran and not named and path not in ("", "."):
                problems.append(Problem(where=target, what="is to be passed, and no such test ran"))
        return tuple(problems)


def _module_name(path: str) -> str:
    place = PurePosixPath(path)
    stem = place.name.split(".")[0]
    return place.parent.name if stem in ("__init__", "index", "mod") else stem


def _text(worktree: str, path: str) -> str:
    try:
        return (Beneath(worktree).read(path) or b"").decode("utf-8", "replace")
    except PathRefused:
        return ""


def _lost(evidence: Evidence) -> bool:
    return bool(
        evidence.faults or evidence.broken or evidence.new_failing or evidence.missing or evidence.skipped
        or evidence.unstable or any(check.passed is False for check in evidence.checks)
    )  # fmt: skip
