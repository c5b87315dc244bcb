"""How long the project's own suite takes, and how much of that an attempt waits for: measured, or assumed by name."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.domain import SuiteTime

# What verification does with a suite: below this it is run again, in as many processes, each test so many times.
QUICK_SECONDS = 10.0
STABILITY_RUNS = 2
REPEATS = 4

# Seconds until the first test runs, by the program that is started: compilers first build what is tested.
_STARTS = {"cargo": 30, "mvn": 30, "gradle": 30, "./gradlew": 30, "./mvnw": 30, "dotnet": 20, "go": 10}
_OTHER_START = 3
_SECONDS_PER_TEST_FILE = 0.5


def assumed_suite(programs: Sequence[str], *, test_files: int) -> SuiteTime:
    """Return what suites of this size are taken to need before any run has measured them, with the assumption.

    `programs` are what the suites start with, such as `python` or `cargo`.
    """
    if not programs:
        return SuiteTime(seconds=0.0, basis="no command that tests the project is known")
    start = sum(_STARTS.get(program, _OTHER_START) for program in programs)
    suites = "" if len(programs) == 1 else f" {len(programs)} suites"
    return SuiteTime(
        seconds=round(start + _SECONDS_PER_TEST_FILE * test_files, 1),
        basis=f"assumed until a run measures it: {start} to start{suites}, "
        f"{_SECONDS_PER_TEST_FILE} for each of {test_files} test files",
    )


def measured_suite(seconds: float) -> SuiteTime:
    return SuiteTime(seconds=round(seconds, 1), basis="measured before an earlier run here")


def judging_seconds(suite_seconds: float) -> tuple[float, float, float]:
    """Return the seconds of suites that one attempt waits for: low, likely, high.

    A quick suite is run again to see whether it is steady, with tests repeated where the runner can; of a longer one
    some tests run with and without the change, and the whole again when other work has landed meanwhile.
    """
    if suite_seconds <= QUICK_SECONDS:
        return (
            suite_seconds,
            suite_seconds * (1 + STABILITY_RUNS),
            suite_seconds * (1 + STABILITY_RUNS * REPEATS),
        )
    return suite_seconds, suite_seconds, 2 * suite_seconds
