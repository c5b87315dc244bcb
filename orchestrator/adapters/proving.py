"""What shows that a change does what was asked: tests that fail without it, or new tests that notice planted faults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from orchestrator.adapters.attempt_runs import AttemptRuns
from orchestrator.adapters.changes import Changes
from orchestrator.adapters.survey.languages import is_test
from orchestrator.core.domain import Problem, Subtask
from orchestrator.core.mutants import modules_used, names_used, python_mutants, text_mutants
from orchestrator.core.suite_time import QUICK_SECONDS, REPEATS, STABILITY_RUNS
from orchestrator.core.verdicts import Evidence, Mutants, Purpose, Status

MOST_MUTANTS = 8
ENOUGH_KILLED = 2
MUTANT_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Proving:
    """Run after the suites have passed; every step costs runs of a few test files only.

    `written` are test files that were written for this change before it.
    """

    runs: AttemptRuns
    changes: Changes
    subtask: Subtask
    written: frozenset[str] = frozenset()

    async def prove(self, evidence: Evidence) -> Evidence:
        after, files, baseline = self.runs.statuses, self.runs.files, self.runs.baseline
        mended = [
            name
            for name in baseline.failing
            if after.get(name) is Status.PASSED and name not in baseline.flaky
        ]
        own = set(self.changes.tests) | self.written
        named = any(files.values())
        candidates = [
            name
            for name, status in after.items()
            if status is Status.PASSED and own and (files.get(name) in own or not named)
        ]
        new = tuple(name for name in candidates if name not in baseline.statuses)
        evidence = replace(evidence, new_tests=new)
        evidence = await self._steady(evidence, (*new, *mended))
        if evidence.unstable:
            return evidence
        evidence = await self._originals(evidence)
        if evidence.faults or evidence.purpose is Purpose.SPEED:
            return evidence
        test_files = tuple(sorted({files[name] for name in candidates if files.get(name)}))
        proofs: list[str] = []
        if mended and self.changes.sources:
            there = await self.runs.again(ids=mended, where=await self.runs.base())
            proofs += [name for name in mended if there.get(name) is Status.FAILED]
        if candidates and self.changes.sources:
            proofs += await self._fail_without(candidates, test_files)
        evidence = replace(evidence, proofs=tuple(dict.fromkeys(proofs)))
        if not evidence.proofs and new and not self.changes.sources:
            evidence = await self._mutate(evidence, new)
        return evidence

    # --- steadiness -------------------------------------------------------------------------------

    async def _steady(self, evidence: Evidence, names: tuple[str, ...]) -> Evidence:
        """Run what is new, and a quick suite as a whole, a few times more: passing sometimes proves nothing."""
        quick = self.runs.baseline.seconds <= QUICK_SECONDS and bool(self.changes.sources)
        quick = quick and evidence.purpose is not Purpose.STYLE
        chosen = tuple(self.runs.statuses) if quick else names
        watched = {name for name in chosen if self.runs.statuses.get(name) is Status.PASSED}
        watched -= set(self.runs.baseline.flaky)
        unstable: set[str] = set()
        for _ in range(STABILITY_RUNS if watched else 0):
            again = await self.runs.again(ids=watched, times=REPEATS)
            unstable |= {name for name in watched if again.get(name) is Status.FAILED}
        old = unstable - set(names)
        if old:
            # Once without the change tells a test that was never steady from one that is not any more.
            for _ in range(STABILITY_RUNS + 1):
                there = await self.runs.again(ids=old, where=await self.runs.base(), times=REPEATS)
                unstable -= {name for name in old if there.get(name) is Status.FAILED}
        return replace(evidence, unstable=(*evidence.unstable, *sorted(unstable)))

    # --- tests ------------------------------------------------------------------------------------

    def _put(self, files: Iterable[str], versions: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        return {path: versions[path] for path in files}

    async def _originals(self, evidence: Evidence) -> Evidence:
        """The tests as they were must pass with the new code too: what an edit of a test hides, shows here."""
        changed = [path for path in self.changes.tests if self.changes.before.get(path) is not None]
        if not changed or not self.changes.sources or evidence.purpose is Purpose.TESTS:
            return evidence
        baseline = self.runs.baseline
        if not any(baseline.files.values()):
            return evidence
        wanted = [name for name in baseline.passing if baseline.files.get(name) in changed]
        if not wanted:
            # Fixtures and data serve tests that lie elsewhere.
            wanted = [name for name in baseline.passing if baseline.files.get(name)]
        base = await self.runs.base()
        base.put(self._put(self.changes.sources, self.changes.after))
        found = await self.runs.again(ids=wanted, where=base)
        base.put(self._put(self.changes.sources, self.changes.before))
        hidden = [
            name for name in wanted if found.get(name) is not Status.PASSED and name not in baseline.flaky
        ]
        if not hidden:
            return evidence
        what = f"as it was, {hidden[0]} does not pass with the change" + (
            f", and {len(hidden) - 1} more" if len(hidden) > 1 else ""
        )
        if evidence.purpose is Purpose.OTHER:
            return replace(
                evidence, caveats=(*evidence.caveats, f"tests had to change with the code: {what}")
            )
        where = baseline.files[hidden[0]]
        return replace(evidence, faults=(*evidence.faults, Problem(where=where, what=what)))

    async def _fail_without(self, candidates: list[str], test_files: tuple[str, ...]) -> list[str]:
        """Tests that fail with the old code and pass with the new, both in the same place."""
        base = await self.runs.base()
        base.put(self._put(self.changes.tests, self.changes.after))
        ids = () if test_files else tuple(candidates)
        without = await self.runs.again(ids=ids, files=test_files, where=base)
        gone = [name for name in candidates if without.get(name) is not Status.PASSED]
        if gone:
            once_more = await self.runs.again(ids=ids, files=test_files, where=base)
            gone = [name for name in gone if once_more.get(name) is not Status.PASSED]
        if not gone:
            return []
        # The control: here too it is the change that makes them pass, and not the place.
        base.put(self._put(self.changes.sources, self.changes.after))
        with_it = await self.runs.again(ids=ids, files=test_files, where=base)
        return [name for name in gone if with_it.get(name) is Status.PASSED]

    # --- mutants ----------------------------------------------------------------------------------

    async def _mutate(self, evidence: Evidence, new: tuple[str, ...]) -> Evidence:
        """Put faults into the code the new tests are about, one at a time, until they notice enough of them."""
        base = await self.runs.base()
        base.put(self._put(self.changes.paths, self.changes.after))
        began = self.runs.seconds
        killed: list[str] = []
        survived: list[str] = []
        for path, original, text, said in self._mutants():
            made = len(killed) + len(survived)
            if made >= MOST_MUTANTS or len(killed) >= ENOUGH_KILLED:
                break
            if self.runs.seconds - began > MUTANT_SECONDS and made:
                break
            base.put({path: text})
            found = await self.runs.again(ids=new, where=base)
            base.put({path: original})
            noticed = any(found.get(name) is not Status.PASSED for name in new)
            (killed if noticed else survived).append(f"{path} {said}")
        if not killed and not survived:
            return evidence
        return replace(
            evidence,
            mutants=Mutants(
                made=len(killed) + len(survived),
                killed=len(killed),
                survived=tuple(survived),
                example=killed[0] if killed else "",
            ),
        )

    def _mutants(self) -> Iterator[tuple[str, bytes, bytes, str]]:
        """(path, the file as it is, the file with a fault, what the fault is)."""
        repository, base = self.runs.workspaces.repository, self.runs.worktree.base
        texts = [text for path in self.changes.tests if (text := self.changes.texts(path)[1]) is not None]
        used = frozenset[str]().union(*(names_used(text) for text in texts))
        for path in self._covered(texts):
            data = repository.read_blob(base, path)
            try:
                source = (data or b"").decode("utf-8")
            except UnicodeDecodeError:
                continue
            if path.endswith(".py"):
                mutants = python_mutants(source, used, limit=MOST_MUTANTS)
            else:
                mutants = text_mutants(source, limit=MOST_MUTANTS)
            for mutant in mutants:
                yield path, data or b"", mutant.text.encode(), mutant.said

    def _covered(self, tests: list[str]) -> list[str]:
        """The source files that the new tests are about: by the plan's evidence, then by what they import."""
        tracked = set(self.runs.workspaces.repository.files_at(self.runs.worktree.base))
        cited = [
            fact.path for fact in self.subtask.evidence if fact.path in tracked and not is_test(fact.path)
        ]
        modules = {module.replace(".", "/") for text in tests for module in modules_used(text)}
        imported = [
            path
            for path in sorted(tracked)
            if path.endswith(".py") and not is_test(path) and not modules.isdisjoint(_module_places(path))
        ]
        named = {word for text in tests for word in _paths_in(text)}
        required = [
            path
            for path in sorted(tracked)
            if path.endswith(_SCRIPTS)
            and not is_test(path)
            and path.rpartition("/")[2].split(".")[0] in named
        ]
        return list(dict.fromkeys((*cited, *imported, *required)))


_SCRIPTS = (".js", ".mjs", ".cjs", ".ts", ".jsx", ".tsx")


def _paths_in(text: str) -> Iterator[str]:
    """The last parts of what a JavaScript file imports or requires, without their suffix."""
    for match in re.finditer(r"(?:from|require\(|import\()\s*[\"']([^\"']+)[\"']", text):
        yield match.group(1).rpartition("/")[2].split(".")[0]


def _module_places(path: str) -> list[str]:
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
