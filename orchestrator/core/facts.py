"""What a survey finds in a repository, as values: every fact has a place, and is true at one commit.

Paths are relative to the repository, with forward slashes; lines count from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SCHEMA = "survey"
VERSION = 1

# What the tool `ruff-fix` mends by itself, without changing what a program does: only findings of these rules
# with a safe fix are its work, and it has to select exactly them.
RUFF_FIX_RULES = (
    "B009", "B010", "B013", "B014", "B033", "E713", "E714", "F401", "F541", "F632", "PIE790", "PIE794", "PLR1711",
    "W605",
)  # fmt: skip


class CommandKind(StrEnum):
    SETUP = "setup"
    TEST = "test"
    TYPE = "type"
    BUILD = "build"
    LINT = "lint"
    FORMAT = "format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that the project itself declares, and where. It is run from the root of the repository.

    `name` is the kind for the first of its kind, else `kind:package` or `kind:tool`; unique in a survey.
    `package` is the directory it belongs to, `""` for the root. `source` quotes what was found there.
    """

    name: str
    kind: CommandKind
    argv: tuple[str, ...]
    path: str
    line: int
    package: str = ""
    source: str = ""

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of the repository: a directory with a manifest of its own."""

    name: str
    directory: str
    ecosystem: str
    path: str
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A text file in a language we know. `generated` files are counted, but nothing in them is a finding."""

    path: str
    language: str
    lines: int
    size_bytes: int
    test: bool = False
    package: str = ""
    generated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageShare:
    language: str
    files: int
    lines: int


class FindingKind(StrEnum):
    BUG = "bug"
    ERROR_HANDLING = "error handling"
    PERFORMANCE = "performance"
    STYLE = "style"
    FORMATTING = "formatting"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about one line. `weight` (1 to 10) says how much it is worth to act on it.

    `symbol` is the function or method around the line; `quote` the line itself, stripped. `fixable_by` names
    the deterministic tool that fixes it without a model, or is None.
    """

    kind: FindingKind
    rule: str
    path: str
    line: int
    fact: str
    weight: int = 5
    symbol: str = ""
    quote: str = ""
    fixable_by: str | None = None
    end_line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSize:
    """A function with its cyclomatic complexity (1 for straight code) and its length in lines."""

    path: str
    name: str
    line: int
    end_line: int
    complexity: int
    parameters: int

    @property
    def lines(self) -> int:
        return self.end_line - self.line + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HotSpot:
    """A file that changes often and is complex: `score` is commits x total complexity."""

    path: str
    commits: int
    complexity: int

    @property
    def score(self) -> int:
        return self.commits * self.complexity


@dataclass(frozen=True, slots=True, kw_only=True)
class Untested:
    """A module that no test imports or names. `symbols` are its public functions and classes with their lines.

    `test_path` is where a test of it would lie by the project's own habits; `near` an existing test to follow.
    """

    path: str
    symbols: tuple[tuple[str, int], ...]
    lines: int
    complexity: int
    test_path: str
    fact: str
    near: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Files left out of the survey, by reason."""

    reason: str
    files: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All facts of one repository at one commit, found without a model; equal inputs, equal digest.

    `functions` are those of complexity 5 and more, the most complex first; `function_count` counts all.
    `tests_of` names, for a module that tests import, some of those tests.
    """

    commit: str
    paths: tuple[str, ...] = ()
    files: tuple[SourceFile, ...] = ()
    languages: tuple[LanguageShare, ...] = ()
    packages: tuple[Package, ...] = ()
    commands: tuple[Command, ...] = ()
    findings: tuple[Finding, ...] = ()
    functions: tuple[FunctionSize, ...] = ()
    function_count: int = 0
    hot_spots: tuple[HotSpot, ...] = ()
    untested: tuple[Untested, ...] = ()
    tests_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    tools: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""
    schema: str = SCHEMA
    version: int = VERSION

    def command(self, kind: CommandKind, *, path: str = "") -> Command | None:
        """The command of this kind that covers `path`: its own package's, else the root's; None without one."""
        found: Command | None = None
        for command in self.commands:
            if command.kind is not kind or not _inside(path, command.package):
                continue
            if found is None or len(command.package) > len(found.package):
                found = command
        return found

    def commands_of(self, kind: CommandKind) -> tuple[Command, ...]:
        return tuple(command for command in self.commands if command.kind is kind)

    def findings_of(self, *kinds: FindingKind) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind in kinds)

    def file(self, path: str) -> SourceFile | None:
        return next((file for file in self.files if file.path == path), None)

    @property
    def lines(self) -> int:
        return sum(file.lines for file in self.files)


def _inside(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")


def shares(files: Iterable[SourceFile]) -> tuple[LanguageShare, ...]:
    """Files and lines per language, the largest first."""
    counted: dict[str, list[int]] = {}
    for file in files:
        entry = counted.setdefault(file.language, [0, 0])
        entry[0] += 1
        entry[1] += file.lines
    return tuple(
        LanguageShare(language=language, files=count, lines=lines)
        for language, (count, lines) in sorted(counted.items(), key=lambda item: (-item[1][1], item[0]))
    )
