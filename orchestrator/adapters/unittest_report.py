"""Runs a unittest suite and writes one JSON line per test; a copy of this file runs with the project's own Python.

    python unittest_report.py REPORT SELECTION discover -s tests ...

SELECTION is a JSON file with the ids and files of the tests to run, `null` for all. Standard library of Python
3.6 and later only.
"""

import copy
import json
import sys
import time
import unittest
from pathlib import Path
from typing import Any, Iterator, Optional, Set


class Result(unittest.TextTestResult):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.began = time.monotonic()
        self.failed_parts: Set[str] = set()

    def startTest(self, test: unittest.TestCase) -> None:
        self.began = time.monotonic()
        super().startTest(test)

    def tell(self, test: unittest.TestCase, status: str, message: str = "") -> None:
        line = {
            "id": name_of(test),
            "file": file_of(test),
            "status": status,
            "message": message[-4000:],
            "seconds": round(time.monotonic() - self.began, 4),
        }
        with REPORT.open("a", encoding="utf-8") as report:
            report.write(json.dumps(line) + "\n")

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        if name_of(test) not in self.failed_parts:
            self.tell(test, "passed")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.tell(test, "failed", self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.tell(test, "failed", self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed_parts.add(name_of(test))
            self.tell(test, "failed", str(subtest))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.tell(test, "skipped", str(reason))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self.tell(test, "skipped", "expected failure")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self.tell(test, "failed", "unexpected success")


def name_of(test: unittest.TestCase) -> str:
    # What could not be imported stands in the suite as `unittest.loader._FailedTest.<module>`.
    return test.id().replace("unittest.loader._FailedTest.", "")


def file_of(test: unittest.TestCase) -> str:
    if type(test).__name__ == "_FailedTest":
        parts = name_of(test).split(".")
        # Seen from the top directory of the discovery, which need not be the one we run in.
        found = sorted(Path().glob("**/" + "/".join(parts) + ".py"), key=lambda path: len(path.parts))
        return found[0].as_posix() if found else ""
    place = getattr(sys.modules.get(type(test).__module__), "__file__", None)
    try:
        return Path(place or "").resolve().relative_to(HERE).as_posix() if place else ""
    except ValueError:
        return ""


def flat(suite: Any) -> Iterator[unittest.TestCase]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flat(item)
        else:
            yield item


class Loader(unittest.TestLoader):
    """Loads everything as always, and then keeps what was selected."""

    def discover(self, *arguments: Any, **keywords: Any) -> unittest.TestSuite:
        suite = super().discover(*arguments, **keywords)
        if SELECTION is None:
            return suite
        ids, files = set(SELECTION["ids"]), set(SELECTION["files"])
        chosen = [test for test in flat(suite) if name_of(test) in ids or file_of(test) in files]
        # Each needs an instance of its own for every run: what one run leaves in it is no part of the next.
        return self.suiteClass([copy.copy(test) for _ in range(SELECTION["times"]) for test in chosen])


if __name__ == "__main__":
    HERE = Path.cwd().resolve()
    REPORT = Path(sys.argv[1])
    SELECTION: Optional[Any] = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    # As `python -m unittest` has it: the directory it was started in, not this file's.
    sys.path[0] = str(HERE)
    unittest.main(
        module=None,
        argv=["python -m unittest", *sys.argv[3:]],
        testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=2),
        testLoader=Loader(),
    )
