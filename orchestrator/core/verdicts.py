"""What the checks of an attempt have shown, and what it adds up to: proved, unbroken, unverified or rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.domain import CheckResult, ExecutorName, Problem, Subtask, Verdict, VerdictKind
from orchestrator.core.text import one_line

SHOWN_NAMES = 5
FASTER = 0.9
SLOWER = 1.1


class Status(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Purpose(StrEnum):
    """What a subtask is for, as far as it decides what proves it."""

    FIX = "fix"
    TESTS = "tests"
    SPEED = "speed"
    STYLE = "style"
    OTHER = "other"


_PURPOSES = (
    (Purpose.TESTS, r"\btests?\b|\bcoverage\b|\btesting\b"),
    (Purpose.STYLE, r"\bformat\w*|\bcomment\w*|\bdocstring\w*|\bstyle\b|\blint\w*|\bdocument\w*"),
    (Purpose.SPEED, r"\bperformance\b|\boptimi[sz]\w*|\bspeed\b|\bbottleneck\w*"),
    (Purpose.FIX, r"\bbugs?\b|\bfix\w*|\berror\w*|\bsyntax\b|\bdebug\w*|\bsecurity\b|\bfeature\w*"),
)


def purpose_of(subtask: Subtask) -> Purpose:
    """Read the purpose from the rule the subtask was tagged by, else from its title.

    A title alone never makes a test subtask: only there may tests be changed and taken away.
    """
    if subtask.executor is ExecutorName.TOOL:
        return Purpose.STYLE
    text = subtask.category.replace("-", " ") or subtask.title
    found = next((purpose for purpose, pattern in _PURPOSES if re.search(pattern, text, re.IGNORECASE)), None)
    return Purpose.OTHER if found is None or (found is Purpose.TESTS and not subtask.category) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutants:
    """How many small changes to the covered code the new tests noticed; `survived` describes some they did not."""

    made: int
    killed: int
    survived: tuple[str, ...] = ()
    example: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A declared command timed on the base and on the attempt, in one run; seconds are medians."""

    name: str
    before: float
    after: float

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before > 0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was found out about one attempt; test names are the runner's own ids.

    `faults` reject by themselves: files that do not parse, weakened tests, a change of layout only. `proofs` are
    tests that failed without the change and pass with it, `mended` checks that say less than before;
    `awaiting_code` are new tests that fail until a later subtask writes their code; `unstable` tests passed only
    sometimes with the change.
    `caveats` are said, and keep a verdict from being `proved`.
    """

    purpose: Purpose
    checks: tuple[CheckResult, ...] = ()
    faults: tuple[Problem, ...] = ()
    broken: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    unstable: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    failing_before: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    new_tests: tuple[str, ...] = ()
    new_failing: tuple[str, ...] = ()
    awaiting_code: tuple[str, ...] = ()
    mutants: Mutants | None = None
    measured: Measured | None = None
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tests_passed: int = 0
    full: bool = False


def judge(evidence: Evidence) -> Verdict:
    """Turn the evidence into a verdict, with the sentences that explain it, worst news first."""
    against = _against(evidence)
    said = [*evidence.caveats, *_remarks(evidence)]
    if against:
        kind, said = VerdictKind.REJECTED, [*against, *said]
    elif (proof := _proof(evidence)) is not None and not evidence.caveats:
        kind, said = VerdictKind.PROVED, [proof, *said]
    elif any(check.passed for check in evidence.checks):
        passed = ", ".join(check.name for check in evidence.checks if check.passed)
        why = "nothing shows that it does what was asked" if proof is None else f"{proof}, with a caveat"
        kind, said = VerdictKind.UNBROKEN, [f"{passed} passed; {why}", *said]
    else:
        kind, said = VerdictKind.UNVERIFIED, ["no check could run", *said]
    return Verdict(kind=kind, checks=evidence.checks, evidence=tuple(said), full=evidence.full)


def _against(evidence: Evidence) -> list[str]:
    said = [str(fault) for fault in evidence.faults]
    if evidence.broken:
        said.append(f"{_tests(evidence.broken)} passed before and {_do(evidence.broken)} not any more")
    if evidence.new_failing:
        said.append(f"{_tests(evidence.new_failing, 'new test')} {_do(evidence.new_failing)} not pass")
    if evidence.missing:
        said.append(f"{_tests(evidence.missing)} passed before and {_is(evidence.missing)} not run any more")
    if evidence.skipped:
        said.append(f"{_tests(evidence.skipped)} ran before and {_is(evidence.skipped)} skipped now")
    if evidence.unstable:
        said.append(f"{_tests(evidence.unstable)} passed only sometimes with the change")
    if evidence.mutants is not None and evidence.mutants.made and not evidence.mutants.killed:
        examples = "; ".join(evidence.mutants.survived[:3])
        said.append(
            f"the new tests notice none of {evidence.mutants.made} faults put into the code they cover: {examples}"
        )
    if evidence.measured is not None and evidence.measured.ratio > SLOWER:
        said.append(f"{_timing(evidence.measured)}: slower than before")
    failed = [check for check in evidence.checks if check.passed is False]
    explained = bool(
        evidence.broken or evidence.new_failing or evidence.missing or evidence.skipped or evidence.unstable
    )
    for check in failed:
        if not (explained and check.name.startswith("tests")):
            how = (
                "ran into its time limit"
                if check.exit_code is None
                else f"ended with exit code {check.exit_code}"
            )
            said.append(f"{check.name} {how}")
    return said


def _proof(evidence: Evidence) -> str | None:
    if not any(check.passed for check in evidence.checks):
        return None
    if evidence.measured is not None and evidence.measured.ratio <= FASTER:
        return _timing(evidence.measured)
    if evidence.purpose is Purpose.SPEED:
        return None
    if evidence.proofs:
        return f"{_tests(evidence.proofs)} failed without the change and {_passes(evidence.proofs)} with it"
    if evidence.mended:
        return "; ".join(evidence.mended)
    if evidence.mutants is not None and evidence.mutants.killed:
        found = f"{evidence.mutants.killed} of {evidence.mutants.made}"
        return (
            f"{len(evidence.new_tests)} new test{'s' * (len(evidence.new_tests) != 1)} pass and notice {found} faults "
            f"put into the code, such as {evidence.mutants.example}"
        )
    return None


def _remarks(evidence: Evidence) -> list[str]:
    said = list(evidence.notes)
    if evidence.awaiting_code:
        tests = _tests(evidence.awaiting_code, "new test")
        one = len(evidence.awaiting_code) == 1
        said.append(
            f"{tests} fail{'s' * one}, as {'it' if one else 'they'} should before the code is written"
        )
    if evidence.flaky:
        said.append(f"not blamed, flaky: {_names(evidence.flaky)}")
    if evidence.failing_before:
        said.append(f"not blamed, failing before: {_names(evidence.failing_before)}")
    return said


def _timing(measured: Measured) -> str:
    before, after = f"{measured.before:.2f} s", f"{measured.after:.2f} s"
    return f"{measured.name} took {before} before and {after} now, {measured.ratio:.2f} times as long"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(one_line(name, 160) for name in names[:SHOWN_NAMES])
    return shown + (f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else "")


def _tests(names: tuple[str, ...], word: str = "test") -> str:
    return f"{word} {_names(names)}" if len(names) == 1 else f"{len(names)} {word}s ({_names(names)})"


def _do(names: tuple[str, ...]) -> str:
    return "does" if len(names) == 1 else "do"


def _is(names: tuple[str, ...]) -> str:
    return "is" if len(names) == 1 else "are"


def _passes(names: tuple[str, ...]) -> str:
    return "passes" if len(names) == 1 else "pass"


def regressions(
    before: Mapping[str, Status], after: Mapping[str, Status]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Tests that passed before and now fail, are not there, or are skipped; each sorted."""
    passed = [name for name, status in before.items() if status is Status.PASSED]
    return (
        tuple(sorted(name for name in passed if after.get(name) is Status.FAILED)),
        tuple(sorted(name for name in passed if name not in after)),
        tuple(sorted(name for name in passed if after.get(name) is Status.SKIPPED)),
    )
