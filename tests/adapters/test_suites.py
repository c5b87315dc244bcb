"""Test runners told apart, run for real, and read test by test."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from orchestrator.adapters import suite_reports as reports
from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.project_commands import project_commands
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.adapters.suites import Runner, Selection, run_suite, suite_of
from orchestrator.core.facts import Command, CommandKind
from orchestrator.core.verdicts import Status
from tests.adapters.repositories import write
from tests.conftest import find_tool, skip_unless


@pytest.mark.parametrize(
    ("argv", "source", "runner"),
    [
        ("python -m pytest", "", Runner.PYTEST),
        ("pytest -q tests", "", Runner.PYTEST),
        ("python -m unittest discover -s tests", "", Runner.UNITTEST),
        ("python manage.py test", "", Runner.OTHER),
        ("go test ./...", "", Runner.GO),
        ("go -C sub test ./...", "", Runner.GO),
        ("cargo test --workspace", "", Runner.CARGO),
        ("npm run test", "test: jest --ci", Runner.JEST),
        ("npm run test", "test: NODE_ENV=test npx mocha", Runner.MOCHA),
        ("pnpm run test", "test: vitest run", Runner.VITEST),
        ("npm run test", "test: vitest", Runner.VITEST),
        ("npm run test", "test: vitest bench", Runner.OTHER),
        ("npm run test", "test: node --test", Runner.NODE),
        ("npm run test", "test: xo && ava && tsd", Runner.OTHER),
        ("npm run test", "test: npm run build && jest", Runner.JEST),
        ("make test", "", Runner.OTHER),
    ],
)
def test_the_runner_is_recognised_by_its_command(argv, source, runner):
    assert suite_of(argv.split(), source=source).runner is runner


def test_of_a_script_that_also_lints_only_the_tests_are_run():
    assert suite_of(("npm", "run", "test"), source="test: xo && ava && tsd").argv == (
        "npx",
        "--no-install",
        "ava",
    )
    assert suite_of(("pnpm", "run", "test"), source="test: pnpm lint && vitest run --typecheck").argv == (
        "npx", "--no-install", "vitest", "run", "--typecheck",
    )  # fmt: skip
    kept = suite_of(("npm", "run", "test"), source="test: npm run build && jest")
    assert kept.argv == ("npm", "run", "test")


def command(kind: CommandKind, argv: str, package: str = "", name: str = "") -> Command:
    return Command(
        name=name or kind.value, kind=kind, argv=tuple(argv.split()), path="x", line=1, package=package
    )


def test_configured_commands_come_before_detected_ones():
    detected = [
        command(CommandKind.TEST, "tox"),
        command(CommandKind.TEST, "python -m pytest"),
        command(CommandKind.TYPE, "python -m mypy"),
        command(CommandKind.LINT, "ruff check ."),
        command(CommandKind.BUILD, "python -m build"),
    ]
    found = project_commands({}, detected)
    assert [suite.argv for suite in found.suites] == [("python", "-m", "pytest")]
    assert [other.name for other in found.others] == ["type", "lint"]
    configured = project_commands({"test": ("pytest", "-q"), "bench": ("python", "b.py")}, detected)
    assert [suite.argv for suite in configured.suites] == [("pytest", "-q")]
    assert configured.named["bench"] == ("python", "b.py")


def test_packages_have_suites_of_their_own_where_the_root_has_none_that_tells_tests_apart():
    packages = [
        command(CommandKind.TEST, "pnpm --dir packages/a run test", "packages/a"),
        command(CommandKind.TEST, "pnpm --dir packages/b run test", "packages/b"),
    ]
    found = project_commands({}, packages)
    assert [suite.name for suite in found.suites] == ["tests:packages/a", "tests:packages/b"]


# --- real runners -------------------------------------------------------------------------------------

PYTHON = {
    "shop/__init__.py": "",
    "shop/price.py": "def double(n):\n    return n * 2\n",
    "tests/__init__.py": "",
    "tests/test_price.py": """
import unittest
from shop.price import double

class Doubles(unittest.TestCase):
    def test_good(self):
        self.assertEqual(double(2), 4)

    def test_bad(self):
        self.assertEqual(double(2), 5)

    def test_parts(self):
        for n in (1, 2):
            with self.subTest(n=n):
                self.assertEqual(double(n), 2)

    @unittest.skip("later")
    def test_later(self):
        pass

    @unittest.expectedFailure
    def test_known(self):
        self.fail()
""",
    "tests/test_broken.py": "import nowhere_to_be_found\n",
}


@pytest.fixture
def run(tmp_path):
    """Run a command line as a suite in a directory with these files."""

    def go(files, argv, selection=None, source="", times=1):
        root = (tmp_path / "wt").resolve()
        write(root, files)
        runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
        environment = Environment(variables={"PYTHONPATH": str(root)})
        return asyncio.run(
            run_suite(
                runner,
                suite_of(tuple(argv.split()), source=source),
                worktree=str(root),
                environment=environment,
                selection=selection,
            )
        )

    return go


DOUBLES = "tests.test_price.Doubles"


def test_unittest_is_read_test_by_test(run):
    done = run(PYTHON, "python -m unittest discover -s tests -t . -q -f")
    assert done.statuses == {
        f"{DOUBLES}.test_good": Status.PASSED,
        f"{DOUBLES}.test_bad": Status.FAILED,
        f"{DOUBLES}.test_parts": Status.FAILED,
        f"{DOUBLES}.test_later": Status.SKIPPED,
        f"{DOUBLES}.test_known": Status.SKIPPED,
        "tests.test_broken": Status.FAILED,
    }
    assert done.files[f"{DOUBLES}.test_good"] == "tests/test_price.py"
    assert done.files["tests.test_broken"] == "tests/test_broken.py"
    assert "4 != 5" in done.messages[f"{DOUBLES}.test_bad"]
    assert done.complete and done.ran.exit_code == 1
    assert done.ran.argv == ("python", "-m", "unittest", "discover", "-s", "tests", "-t", ".", "-q", "-f")
    assert str(Path.cwd()) not in done.ran.output


def test_unittest_runs_a_selection_by_id_and_by_file_as_often_as_asked(run):
    chosen = Selection(ids=(f"{DOUBLES}.test_good",), files=("tests/test_broken.py",), times=3)
    done = run(PYTHON, "python -m unittest discover -s tests -t .", chosen)
    assert set(done.statuses) == {f"{DOUBLES}.test_good", "tests.test_broken"}
    assert done.ran.output.count("test_good (") == 3 and not done.complete


def test_pytest_is_read_test_by_test_and_runs_selections(run):
    files = PYTHON | {
        "tests/test_more.py": "import pytest\n\n"
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_n(n):\n    assert n == 1\n",
        "pytest.ini": "[pytest]\naddopts = -x -q\n",
    }
    done = run(files, "python -m pytest")
    assert done.statuses["tests/test_price.py::Doubles::test_good"] is Status.PASSED
    assert done.statuses["tests/test_price.py::Doubles::test_bad"] is Status.FAILED
    assert done.statuses["tests/test_price.py::Doubles::test_later"] is Status.SKIPPED
    assert done.statuses["tests/test_more.py::test_n[1]"] is Status.PASSED
    assert done.statuses["tests/test_more.py::test_n[2]"] is Status.FAILED
    assert done.statuses["tests/test_broken.py"] is Status.FAILED
    assert done.files["tests/test_more.py::test_n[2]"] == "tests/test_more.py"
    some = run(files, "python -m pytest tests", Selection(ids=("tests/test_more.py::test_n[1]",)))
    assert some.statuses == {"tests/test_more.py::test_n[1]": Status.PASSED}
    several = run(files, "python -m pytest tests", Selection(files=("tests/test_more.py",)))
    assert set(several.statuses) == {"tests/test_more.py::test_n[1]", "tests/test_more.py::test_n[2]"}


def test_a_runner_that_names_no_tests_counts_as_one(run):
    good = run({"t.py": "print('fine')\n"}, "python t.py")
    assert good.statuses == {"tests": Status.PASSED}
    bad = run({"t.py": "raise SystemExit(3)\n"}, "python t.py")
    assert bad.statuses == {"tests": Status.FAILED} and bad.ran.exit_code == 3


def test_a_missing_runner_and_one_without_end_are_results(run, tmp_path):
    gone = run({"a": ""}, "no-such-runner --all")
    assert not gone.ran.started and gone.statuses == {}
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=0.5)
    write(tmp_path / "wt", {"t.py": "while True: pass\n"})
    endless = asyncio.run(
        run_suite(
            runner, suite_of(("python", "t.py")), worktree=str(tmp_path / "wt"), environment=Environment()
        )
    )
    assert endless.ran.exit_code is None and endless.statuses == {"tests": Status.FAILED}
    assert "limit of time" in endless.ran.output


def test_nodes_own_runner_is_read_test_by_test(run):
    skip_unless(find_tool("node"), "node is not installed")
    files = {
        "package.json": json.dumps({"name": "a", "scripts": {"test": "node --test"}}),
        "sum.test.js": "const test = require('node:test');\nconst assert = require('node:assert');\n"
        "test('adds', () => assert.equal(1 + 1, 2));\ntest('fails', () => assert.equal(1, 2));\n"
        "test('later', { skip: true }, () => {});\n",
    }
    done = run(files, "node --test")
    assert {name.rpartition(" > ")[2]: status for name, status in done.statuses.items()} == {
        "adds": Status.PASSED, "fails": Status.FAILED, "later": Status.SKIPPED,
    }  # fmt: skip


# --- recorded reports ---------------------------------------------------------------------------------

GO = """{"Action":"start","Package":"example.org/m"}
{"Action":"run","Package":"example.org/m","Test":"TestA"}
{"Action":"output","Package":"example.org/m","Test":"TestA","Output":"=== RUN   TestA\\n"}
{"Action":"pass","Package":"example.org/m","Test":"TestA","Elapsed":0}
{"Action":"run","Package":"example.org/m","Test":"TestB/part"}
{"Action":"output","Package":"example.org/m","Test":"TestB/part","Output":"    m_test.go:9: boom\\n"}
{"Action":"fail","Package":"example.org/m","Test":"TestB/part","Elapsed":0}
{"Action":"fail","Package":"example.org/m","Test":"TestB","Elapsed":0}
{"Action":"skip","Package":"example.org/m","Test":"TestC","Elapsed":0}
{"Action":"output","Package":"example.org/m","Output":"FAIL\\texample.org/m\\t0.002s\\n"}
{"Action":"fail","Package":"example.org/m","Elapsed":0.002}
{"Action":"output","Package":"example.org/n","Output":"FAIL\\texample.org/n [build failed]\\n"}
{"Action":"fail","Package":"example.org/n","Elapsed":0}
"""


def test_go_events_become_tests_and_a_package_that_does_not_build_fails_itself(tmp_path):
    found = {test.name: test for test in reports.go(tmp_path, GO, str(tmp_path))}
    assert {name: test.status.value for name, test in found.items()} == {
        "example.org/m::TestA": "passed", "example.org/m::TestB/part": "failed", "example.org/m::TestB": "failed",
        "example.org/m::TestC": "skipped", "example.org/n": "failed",
    }  # fmt: skip
    assert "boom" in found["example.org/m::TestB/part"].message
    assert "boom" in reports.go_output(GO) and "=== RUN" not in reports.go_output(GO)


def test_cargo_lines_become_tests_of_their_targets(tmp_path):
    output = (
        "     Running unittests src/lib.rs (target/debug/deps/a-1)\n\nrunning 2 tests\ntest tests::adds ... ok\n"
        "test tests::fails ... FAILED\n     Running tests/it.rs (target/debug/deps/it-2)\n"
        "test slow ... ignored, later\n"
        "   Doc-tests a\ntest src/lib.rs - f (line 3) ... ok\n"
    )
    assert {test.name: test.status.value for test in reports.cargo(tmp_path, output, "")} == {
        "src/lib.rs::tests::adds": "passed", "src/lib.rs::tests::fails": "failed", "tests/it.rs::slow": "skipped",
        "doc a::src/lib.rs - f (line 3)": "passed",
    }  # fmt: skip


def test_jest_and_mocha_reports_name_file_and_test(tmp_path):
    write(tmp_path, {"a.test.js": "", "b.test.js": ""})
    root = str(tmp_path)
    document = {
        "testResults": [
            {"name": f"{root}/a.test.js", "status": "failed", "assertionResults": [
                {"fullName": "sum adds", "status": "passed"},
                {"fullName": "sum fails", "status": "failed", "failureMessages": ["boom"]},
                {"fullName": "sum later", "status": "pending"},
            ]},
            {"name": f"{root}/b.test.js", "status": "failed", "message": "no such module", "assertionResults": []},
        ]
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(document))
    found = {test.name: (test.status.value, test.message) for test in reports.jest(tmp_path, "", root)}
    assert found == {
        "a.test.js > sum adds": ("passed", ""),
        "a.test.js > sum fails": ("failed", "boom"),
        "a.test.js > sum later": ("skipped", ""),
        "b.test.js": ("failed", "no such module"),
    }
    told = {"passes": [{"fullTitle": "adds", "file": f"{root}/a.test.js"}], "failures": [], "pending": []}
    (tmp_path / "report.json").write_text(json.dumps(told))
    assert [test.name for test in reports.mocha(tmp_path, "", root)] == ["a.test.js > adds"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not xml at all",
        "<testsuites><testcase",
        '<!DOCTYPE x [<!ENTITY a "b">]><testsuites><testcase name="&a;"/></testsuites>',
        "[" * 100_000,
        "null",
        '{"testResults": 3}',
    ],
)
def test_a_broken_report_is_no_test_at_all(tmp_path, text):
    for name in ("report.xml", "report.json", "report.jsonl"):
        (tmp_path / name).write_text(text)
    for read in (
        reports.junit(""),
        reports.node_junit,
        reports.jest,
        reports.mocha,
        reports.json_lines,
    ):
        assert list(read(tmp_path, text, str(tmp_path))) == []


def test_a_report_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "real.xml").write_text('<testsuite><testcase classname="a" name="b"/></testsuite>')
    (tmp_path / "report.xml").symlink_to(tmp_path / "real.xml")
    assert list(reports.junit("")(tmp_path, "", str(tmp_path))) == []
    assert sys.version_info >= (3, 11)
