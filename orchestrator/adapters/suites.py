"""A project's test commands, run whole or in part, and read test by test where the runner can say so."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestrator.adapters import suite_reports as reports
from orchestrator.adapters.check_runner import CheckRunner, Environment, Ran
from orchestrator.adapters.scratch import scratch_directory
from orchestrator.core.verdicts import Status

_UNITTEST_REPORT = Path(__file__).with_name("unittest_report.py")


class Runner(StrEnum):
    PYTEST = "pytest"
    UNITTEST = "unittest"
    GO = "go"
    CARGO = "cargo"
    JEST = "jest"
    VITEST = "vitest"
    NODE = "node"
    MOCHA = "mocha"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One test command. `package` is the directory it belongs to, `""` for the root; `script` what npm would run."""

    argv: tuple[str, ...]
    runner: Runner
    package: str = ""
    script: str = ""
    label: str = ""

    @property
    def name(self) -> str:
        which = self.package or self.label
        return f"tests:{which}" if which else "tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tests to run: these ids, and all tests of these files; `times` over where the runner can repeat."""

    ids: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """What one run of a suite came to. `complete` is false when only a selection was asked for.

    A runner that does not name its tests counts as one test, called like the suite.
    """

    suite: Suite
    ran: Ran
    statuses: Mapping[str, Status] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True


def suite_of(argv: Sequence[str], *, package: str = "", source: str = "") -> Suite:
    """Recognise the runner of a test command; `source` is the text of the script when the command only names one."""
    words = tuple(argv)
    script = source.partition(": ")[2] if words[0] in ("npm", "pnpm", "yarn", "bun") else ""
    if script and not package and (alone := _tests_alone(script)):
        words = ("npx", "--no-install", *alone)
        script = " ".join(alone)
    return Suite(argv=words, runner=_runner(list(words), script), package=package, script=script)


def _tests_alone(script: str) -> list[str] | None:
    """The command of a script that runs the tests, where all others only look at the code (`xo && ava`)."""
    parts = [part.split() for part in script.split("&&")]
    others = [part for part in parts if not _looks(part)]
    if len(parts) == 1 or len(others) != 1 or re.search(r"[;|<>$`\"'*?{}()\[\]]", " ".join(others[0])):
        return None
    return others[0] if Path(others[0][0]).name in _TEST_TOOLS else None


def _looks(part: list[str]) -> bool:
    words = [
        word for word in part if word not in ("npx", "npm", "pnpm", "yarn", "bun", "run", "-s", "--silent")
    ]
    return bool(words) and re.fullmatch(_LOOKING_PATTERN, words[0]) is not None


_TEST_TOOLS = ("jest", "vitest", "mocha", "ava", "tap", "tape", "uvu", "node", "jasmine", "c8", "nyc", "tsd")
_LOOKING = (
    "xo", "eslint", "prettier", "standard", "tsc", "tsd", "oxlint", "biome", "lint", "format", "typecheck", "types",
    "check", "attw", "publint", "size-limit", "knip", "stylelint", "semistandard", "ts-standard",
)  # fmt: skip
_LOOKING_PATTERN = re.compile(rf"(\w+:)?({'|'.join(_LOOKING)})(:[\w:-]+)?")


def _runner(words: list[str], script: str) -> Runner:
    name = Path(words[0]).name
    if name.startswith("python") and words[1:2] == ["-m"] and len(words) > 2:
        return {"pytest": Runner.PYTEST, "unittest": Runner.UNITTEST}.get(words[2], Runner.OTHER)
    if name in ("pytest", "py.test"):
        return Runner.PYTEST
    if name == "go" and "test" in words[1:4]:
        return Runner.GO
    if name == "cargo" and words[1:2] == ["test"]:
        return Runner.CARGO
    # Options can be added at the end only, so what counts is the last command of a script.
    last = re.split(r"&&|\|\||;|\|", script or " ".join(words))[-1].split()
    while last and (
        "=" in last[0] or Path(last[0]).name in ("npx", "cross-env", "c8", "nyc", "--no-install")
    ):
        last.pop(0)
    if not last:
        return Runner.OTHER
    tool = Path(last[0]).name
    if tool == "node" and "--test" in last:
        return Runner.NODE
    # Plain `vitest` watches on a terminal only, and a check has none.
    if tool == "vitest" and (last[1:2] in ([], ["run"]) or "--run" in last):
        return Runner.VITEST
    return {"jest": Runner.JEST, "mocha": Runner.MOCHA}.get(tool, Runner.OTHER)


async def run_suite(
    runner: CheckRunner,
    suite: Suite,
    *,
    worktree: str,
    environment: Environment,
    selection: Selection | None = None,
    seconds: float | None = None,
) -> SuiteRun:
    """Run the suite, or the selected tests of it where its runner can select; else all of it."""
    with scratch_directory() as place:
        report = place / "tmp"
        command = _command(suite, report, selection, worktree)
        ran = await runner.run(
            command.argv,
            worktree=worktree,
            environment=environment,
            seconds=seconds,
            writable=(str(report),),
        )
        # What a person would type, without what we add to read the outcome.
        shown = Ran(
            argv=suite.argv,
            exit_code=ran.exit_code,
            seconds=ran.seconds,
            output=ran.output,
            started=ran.started,
            limit=ran.limit,
        )
        tests = list(command.read(report, ran.output, worktree))
    if suite.runner in (Runner.GO, Runner.CARGO):
        tests = [test for test in tests if test.name]
    statuses: dict[str, Status] = {}
    files: dict[str, str] = {}
    messages: dict[str, str] = {}
    for test in tests:
        # Parts of one test are told one by one: the worst counts.
        if statuses.get(test.name) is not Status.FAILED:
            statuses[test.name] = test.status
        files[test.name] = test.file
        if test.status is Status.FAILED:
            messages.setdefault(test.name, runner.plain(test.message, worktree, environment))
    if not tests and ran.started and not command.names_tests:
        statuses[suite.name] = Status.PASSED if ran.exit_code == 0 else Status.FAILED
    if command.names_tests and tests and suite.runner is Runner.GO:
        shown = Ran(
            argv=shown.argv,
            exit_code=shown.exit_code,
            seconds=shown.seconds,
            output=reports.go_output(ran.output),
        )
    return SuiteRun(
        suite=suite,
        ran=shown,
        statuses=statuses,
        files=files,
        messages=messages,
        complete=selection is None or not command.selects,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    argv: tuple[str, ...]
    read: reports.Read
    names_tests: bool = True
    selects: bool = False


def _command(suite: Suite, report: Path, selection: Selection | None, worktree: str) -> _Command:
    words = suite.argv
    match suite.runner:
        case Runner.PYTEST:
            extra = [
                "--continue-on-collection-errors", "--maxfail=0", "-p", "no:cacheprovider", "-o",
                "junit_family=xunit1", f"--junitxml={report / 'report.xml'}",
            ]  # fmt: skip
            kept = words
            if selection is not None:
                kept = tuple(word for word in words if not _is_target(word, words, worktree))
                # An id is of no use when its file is asked for as well, and of none when it is no node id.
                extra += [name for name in selection.ids if name.partition("::")[0] not in selection.files]
                extra += [name for name in selection.files if (Path(worktree) / name).is_file()]
            return _Command(
                argv=(*kept, *extra), read=reports.junit(suite.package), selects=selection is not None
            )
        case Runner.UNITTEST:
            shutil.copyfile(_UNITTEST_REPORT, report / "unittest_report.py")
            chosen = None if selection is None else asdict(selection)
            (report / "selection.json").write_text(json.dumps(chosen))
            index = words.index("unittest")
            return _Command(
                argv=(
                    *words[: index - 1],
                    str(report / "unittest_report.py"),
                    str(report / "report.jsonl"),
                    str(report / "selection.json"),
                    *(word for word in words[index + 1 :] if word not in ("-v", "-q", "-f", "--failfast")),
                ),
                read=reports.json_lines,
                selects=selection is not None and "discover" in words,
            )
        case Runner.GO:
            at = words.index("test") + 1
            argv = (*words[:at], "-json", "-count=1", *words[at:])
            if selection is not None and selection.ids and not selection.files:
                names = sorted({name.rpartition("::")[2].partition("/")[0] for name in selection.ids})
                argv = (*words[:at], "-json", "-count=1", "-run", f"^({'|'.join(names)})$", *words[at:])
                return _Command(argv=argv, read=reports.go, selects=True)
            return _Command(argv=argv, read=reports.go)
        case Runner.CARGO:
            return _Command(argv=(*words, "--no-fail-fast"), read=reports.cargo)
        case Runner.JEST:
            added: tuple[str, ...] = (
                "--json",
                f"--outputFile={report / 'report.json'}",
                "--testLocationInResults",
            )
            return _node(suite, added, selection, reports.jest, worktree)
        case Runner.VITEST:
            added = ("--reporter=default", "--reporter=json", f"--outputFile.json={report / 'report.json'}")
            return _node(suite, added, selection, reports.jest, worktree)
        case Runner.MOCHA:
            added = ("--reporter", "json", "--reporter-option", f"output={report / 'report.json'}")
            return _node(suite, added, None, reports.mocha, worktree)
        case Runner.NODE:
            added = (
                "--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=junit",
                f"--test-reporter-destination={report / 'report.xml'}",
            )  # fmt: skip
            return _node(suite, added, None, reports.node_junit, worktree)
        case Runner.OTHER:
            return _Command(argv=words, read=reports.nothing, names_tests=False)


def _node(
    suite: Suite, added: Sequence[str], selection: Selection | None, read: reports.Read, worktree: str
) -> _Command:
    files: tuple[str, ...] = ()
    if selection is not None and selection.files and not selection.ids:
        files = tuple(name for name in selection.files if (Path(worktree) / name).is_file())
        prefix = suite.package + "/" if suite.package else ""
        files = tuple(name.removeprefix(prefix) for name in files)
    words = suite.argv
    if suite.runner is Runner.NODE and "--test" in words:
        # Node takes its options before the files only.
        at = words.index("--test") + 1
        return _Command(argv=(*words[:at], *added, *words[at:]), read=read)
    dashes = ("--",) if words[0] == "npm" and "--" not in words else ()
    return _Command(argv=(*words, *dashes, *added, *files), read=read, selects=bool(files))


def _is_target(word: str, words: Sequence[str], worktree: str) -> bool:
    """Whether an argument of pytest names what to run, rather than how."""
    place = words.index(word)
    if place == 0 or word.startswith("-") or words[place - 1] in ("-m", "-p", "-c", "-k", "-o", "-n", "-W"):
        return False
    return (Path(worktree) / word.partition("::")[0]).exists()


def files_named(names: Iterable[str]) -> tuple[str, ...]:
    """The files of check targets, which are paths or node ids (`tests/test_a.py::test_b`)."""
    return tuple(dict.fromkeys(name.partition("::")[0] for name in names))
