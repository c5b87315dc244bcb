"""What evidence adds up to, and the sentences that say so."""

import pytest

from orchestrator.core.domain import (
    SMART,
    CheckResult,
    Estimate,
    ExecutorName,
    Problem,
    Range,
    Subtask,
    SubtaskId,
    Tag,
    VerdictKind,
)
from orchestrator.core.verdicts import (
    Evidence,
    Measured,
    Mutants,
    Purpose,
    Status,
    judge,
    purpose_of,
    regressions,
)

SOME = Range(1, 2, 3)


def subtask(category: str, title: str = "Do it", **changes) -> Subtask:
    return Subtask(
        id=SubtaskId("one"),
        title=title,
        instructions="",
        category=category,
        tag=Tag(tier=SMART, rule=category),
        estimate=Estimate(input_tokens=SOME, output_tokens=SOME, seconds=SOME),
        **changes,
    )


def check(name: str = "tests", passed: bool | None = True, exit_code: int | None = 0) -> CheckResult:
    return CheckResult(name=name, command=(name,), passed=passed, exit_code=exit_code, seconds=0.1)


def evidence(purpose: Purpose = Purpose.FIX, **found) -> Evidence:
    return Evidence(purpose=purpose, **({"checks": (check(),)} | found))


@pytest.mark.parametrize(
    ("category", "purpose"),
    [
        ("cheap/bug-fixes", Purpose.FIX),
        ("cheap/syntax-corrections", Purpose.FIX),
        ("cheap/error-handling", Purpose.FIX),
        ("cheap/unit-tests", Purpose.TESTS),
        ("cheap/code-formatting", Purpose.STYLE),
        ("cheap/adding-comments-docstrings", Purpose.STYLE),
        ("cheap/simple-refactoring", Purpose.OTHER),
        ("smart/architecture-design", Purpose.OTHER),
        ("smart/performance-analysis", Purpose.SPEED),
        ("smart/security-reviews", Purpose.FIX),
        ("smart/complex-debugging", Purpose.FIX),
    ],
)
def test_the_rule_says_what_a_subtask_is_for(category, purpose):
    assert purpose_of(subtask(category, "Add tests while fixing the speed")) is purpose


def test_a_title_counts_without_a_rule_but_never_makes_a_test_subtask():
    assert purpose_of(subtask("", "Fix the total")) is Purpose.FIX
    assert purpose_of(subtask("", "Rewrite the tests")) is Purpose.OTHER
    assert purpose_of(subtask("cheap/bug-fixes", executor=ExecutorName.TOOL)) is Purpose.STYLE


def test_a_test_that_fails_without_the_change_proves_it():
    verdict = judge(evidence(proofs=("tests.t",), full=True))
    assert verdict.kind is VerdictKind.PROVED and verdict.full
    assert verdict.evidence == ("test tests.t failed without the change and passes with it",)


def test_a_passing_suite_alone_leaves_it_unbroken():
    verdict = judge(evidence())
    assert verdict.kind is VerdictKind.UNBROKEN
    assert verdict.evidence == ("tests passed; nothing shows that it does what was asked",)


def test_nothing_that_ran_is_unverified_and_does_not_land():
    for checks in ((), (check(passed=None, exit_code=127),)):
        verdict = judge(evidence(checks=checks))
        assert verdict.kind is VerdictKind.UNVERIFIED and not verdict.lands


def test_new_tests_must_notice_a_fault():
    noticed = Mutants(made=3, killed=1, example="a.py line 3: Lt became GtE")
    verdict = judge(evidence(Purpose.TESTS, new_tests=("t", "u"), mutants=noticed))
    assert verdict.kind is VerdictKind.PROVED
    assert verdict.evidence[0].startswith("2 new tests pass and notice 1 of 3 faults put into the code")
    blind = Mutants(made=2, killed=0, survived=("a.py line 3: Lt became GtE", "a.py line 4: returns None"))
    verdict = judge(evidence(Purpose.TESTS, new_tests=("t",), mutants=blind))
    assert verdict.kind is VerdictKind.REJECTED
    assert "notice none of 2 faults" in verdict.evidence[0] and "line 4: returns None" in verdict.evidence[0]


@pytest.mark.parametrize(
    ("after", "kind", "said"),
    [
        (0.4, VerdictKind.PROVED, "0.40 times as long"),
        (0.95, VerdictKind.UNBROKEN, "nothing shows"),
        (1.3, VerdictKind.REJECTED, "slower than before"),
    ],
)
def test_an_optimisation_is_proved_by_its_measured_command_alone(after, kind, said):
    found = evidence(Purpose.SPEED, measured=Measured(name="bench", before=1.0, after=after), proofs=("t",))
    verdict = judge(found)
    assert verdict.kind is kind and any(said in line for line in verdict.evidence)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"faults": (Problem(where="a.py:3", what="is no Python any more"),)},
            "a.py:3: is no Python any more",
        ),
        ({"broken": ("t",)}, "test t passed before and does not any more"),
        ({"broken": ("t", "u")}, "2 tests (t, u) passed before and do not any more"),
        ({"missing": ("t",)}, "test t passed before and is not run any more"),
        ({"skipped": ("t",)}, "test t ran before and is skipped now"),
        ({"unstable": ("t",)}, "test t passed only sometimes with the change"),
        ({"new_failing": ("t",)}, "new test t does not pass"),
        ({"checks": (check(), check("lint", False, 1))}, "lint ended with exit code 1"),
        ({"checks": (check(passed=False, exit_code=None),)}, "tests ran into its time limit"),
    ],
)
def test_whatever_speaks_against_a_change_rejects_it_even_beside_a_proof(found, said):
    verdict = judge(evidence(**({"proofs": ("p",)} | found)))
    assert verdict.kind is VerdictKind.REJECTED and verdict.evidence[0] == said


def test_a_caveat_keeps_a_proof_from_proving():
    verdict = judge(evidence(proofs=("t",), caveats=("looks like an answer made for the tests",)))
    assert verdict.kind is VerdictKind.UNBROKEN
    assert "with a caveat" in verdict.evidence[0] and verdict.evidence[1].startswith("looks like")


def test_flakes_and_old_failures_are_said_and_not_blamed():
    verdict = judge(evidence(proofs=("t",), flaky=("f",), failing_before=("o",)))
    assert verdict.kind is VerdictKind.PROVED
    assert verdict.evidence[1:] == ("not blamed, flaky: f", "not blamed, failing before: o")


def test_a_check_that_says_less_than_before_proves_a_mechanical_change():
    verdict = judge(evidence(Purpose.STYLE, mended=("lint a.py finds 0 faults, 2 before",)))
    assert verdict.kind is VerdictKind.PROVED


def test_long_lists_of_tests_are_cut_with_their_number():
    (said, *_) = judge(evidence(broken=tuple(f"t{n}" for n in range(9)))).evidence
    assert said.startswith("9 tests (t0, t1, t2, t3, t4 and 4 more)")


def test_regressions_are_failing_missing_and_skipped_tests_that_passed():
    before = dict.fromkeys("abcd", Status.PASSED) | {"e": Status.FAILED}
    after = {
        "a": Status.PASSED,
        "b": Status.FAILED,
        "c": Status.SKIPPED,
        "e": Status.FAILED,
        "f": Status.FAILED,
    }
    assert regressions(before, after) == (("b",), ("d",), ("c",))
