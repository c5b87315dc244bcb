"""Facts of a survey -> things worth doing, each about one file or one function, with what it is worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.facts import (
    Command,
    CommandKind,
    Finding,
    FindingKind,
    FunctionSize,
    SourceFile,
    Survey,
    Untested,
)
from orchestrator.core.offline.goals import Group

# Below these a finding is shown in the survey but is not worth a subtask of its own.
_LEAST_WEIGHT: Mapping[FindingKind, int] = {
    FindingKind.BUG: 5,
    FindingKind.ERROR_HANDLING: 6,
    FindingKind.PERFORMANCE: 5,
}
_GROUPS: Mapping[FindingKind, Group] = {
    FindingKind.BUG: Group.BUGS,
    FindingKind.ERROR_HANDLING: Group.ERRORS,
    FindingKind.PERFORMANCE: Group.PERFORMANCE,
}
_MAX_FINDINGS = 6
_COMPLEX = 15
_LONG_LINES = 80
_LONG_COMPLEX = 10
_TESTABLE_COMPLEXITY = 3
_MAX_TOOL_FILES = 100
# Too light for a subtask, but mended along with heavier ones of the same kind in the same file.
_RIDES_ALONG = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing worth doing. `value` orders candidates, whatever their group; `path` is what it changes."""

    group: Group
    path: str
    value: float
    findings: tuple[Finding, ...] = ()
    untested: Untested | None = None
    function: FunctionSize | None = None
    tool: str | None = None
    paths: tuple[str, ...] = field(default=())

    @property
    def symbol(self) -> str:
        if self.function is not None:
            return self.function.name
        symbols = {finding.symbol for finding in self.findings}
        return symbols.pop() if len(symbols) == 1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What can judge a change of one file: tests that reach it, and commands by their names."""

    tests: tuple[str, ...]
    test_command: Command | None
    other: Command | None
    python: bool

    def any(self) -> bool:
        return bool(self.python or self.test_command or self.other)


class Facts:
    """A survey with the lookups that planning needs."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.files: dict[str, SourceFile] = {file.path: file for file in survey.files}
        self.commits = {spot.path: spot.commits for spot in survey.hot_spots}
        self.untested = {module.path: module for module in survey.untested}

    def checks(self, path: str) -> Checks:
        test = self.survey.command(CommandKind.TEST, path=path)
        kinds = (CommandKind.TYPE, CommandKind.LINT, CommandKind.BUILD)
        found = (command for kind in kinds if (command := self.survey.command(kind, path=path)))
        return Checks(
            tests=self.survey.tests_of.get(path, ()) if test else (),
            test_command=test,
            other=next(found, None),
            python=self.files[path].language == "Python",
        )

    def well_kept(self) -> bool:
        """Whether the project tests, lints and type-checks itself: there only what is certain is worth a change."""
        kinds = {command.kind for command in self.survey.commands}
        return {
            CommandKind.TEST,
            CommandKind.LINT,
            CommandKind.TYPE,
        } <= kinds and not self.survey.findings_of(FindingKind.BUG)


def candidates(facts: Facts) -> list[Candidate]:
    """Everything worth doing, the most valuable first; ties in the order of group and path."""
    found = [*_tools(facts), *_findings(facts), *_tests(facts), *_functions(facts)]
    order = list(Group)
    return sorted(found, key=lambda item: (-item.value, order.index(item.group), item.path, item.symbol))


def _tools(facts: Facts) -> Iterator[Candidate]:
    for tool, group, base in (
        ("ruff-fix", Group.MECHANICAL, 3.0),
        ("ruff-format", Group.FORMATTING, 1.5),
    ):
        mine = [finding for finding in facts.survey.findings if finding.fixable_by == tool]
        counted = Counter(finding.path for finding in mine)
        if not mine or (tool == "ruff-format" and len(counted) > _MAX_TOOL_FILES):
            continue  # So many files at once is a decision for people, and a commit of its own.
        # As many as one can look through, those with most findings.
        ranked_paths = sorted(counted, key=lambda path: (-counted[path], path))
        paths = tuple(sorted(ranked_paths[:_MAX_TOOL_FILES]))
        mine = [finding for finding in mine if finding.path in set(paths)]
        heaviest = max(finding.weight for finding in mine)
        value = max(base, float(heaviest)) + min(2.0, len(mine) / 10)
        ranked = sorted(mine, key=lambda finding: (-finding.weight, finding.path, finding.line))
        yield Candidate(
            group=group, path=paths[0], paths=paths, value=value, findings=tuple(ranked[:10]), tool=tool
        )


def _findings(facts: Facts) -> Iterator[Candidate]:
    """Bugs and error handling by file, performance by function: what is read together is changed together."""
    stricter = 1 if facts.well_kept() else 0
    by_place: dict[tuple[Group, str, str], list[Finding]] = {}
    light: dict[tuple[Group, str, str], list[Finding]] = {}
    for finding in facts.survey.findings:
        least = _LEAST_WEIGHT.get(finding.kind)
        file = facts.files.get(finding.path)
        if least is None or finding.fixable_by or file is None:
            continue
        group = _GROUPS[finding.kind]
        place = (group, finding.path, finding.symbol if group is Group.PERFORMANCE else "")
        if finding.weight >= least + stricter:
            by_place.setdefault(place, []).append(finding)
        elif finding.weight >= _RIDES_ALONG:
            light.setdefault(place, []).append(finding)
    for key, found in by_place.items():
        group, path, _ = key
        found.sort(key=lambda finding: (-finding.weight, finding.line))
        value = found[0].weight + 0.3 * (min(len(found), _MAX_FINDINGS) - 1)
        kept = sorted([*found, *light.get(key, ())][:_MAX_FINDINGS], key=lambda finding: finding.line)
        value += 2.0 if group is Group.BUGS else 0.0
        yield Candidate(group=group, path=path, value=value + _liveliness(facts, path), findings=tuple(kept))


def _tests(facts: Facts) -> Iterator[Candidate]:
    for module in facts.survey.untested:
        if module.complexity < _TESTABLE_COMPLEXITY:
            continue
        checks = facts.checks(module.path)
        if checks.test_command is None:
            continue  # A test that nothing runs proves nothing.
        value = 3.0 + min(4.0, math.log2(1 + module.complexity)) * 0.8 + _liveliness(facts, module.path)
        yield Candidate(group=Group.TESTS, path=module.path, value=value, untested=module)


def _functions(facts: Facts) -> Iterator[Candidate]:
    """The most complex function of each file that is beyond what one reads in one go."""
    seen: set[str] = set()
    for function in facts.survey.functions:
        file = facts.files.get(function.path)
        too_complex = function.complexity >= _COMPLEX
        too_long = function.lines >= _LONG_LINES and function.complexity >= _LONG_COMPLEX
        if file is None or function.path in seen or not (too_complex or too_long):
            continue
        if function.name.startswith("("):
            continue  # An anonymous function cannot be named to anybody.
        checks = facts.checks(function.path)
        if not checks.any():
            continue  # Whether it still does the same, nobody could say.
        seen.add(function.path)
        value = 4.0 + min(3.0, (function.complexity - _LONG_COMPLEX) / 12) + _liveliness(facts, function.path)
        value -= 0.0 if checks.test_command else 1.5
        yield Candidate(group=Group.ARCHITECTURE, path=function.path, value=value, function=function)


def _liveliness(facts: Facts, path: str) -> float:
    """Up to one point more for files that change often: there a change pays off."""
    return min(1.0, math.log2(1 + facts.commits.get(path, 0)) / 7)


def is_light(finding: Finding) -> bool:
    """Whether no tool fixes the finding and it is not worth a subtask of its own."""
    return finding.fixable_by is None and finding.weight < _LEAST_WEIGHT.get(finding.kind, 0)


def left_out(facts: Facts) -> int:
    """Findings without a tool that are too light for a subtask of their own."""
    return sum(1 for finding in facts.survey.findings if is_light(finding))


def untestable(facts: Facts) -> Sequence[Untested]:
    """Modules without tests where nothing could run a test."""
    return [
        module
        for module in facts.survey.untested
        if module.complexity >= _TESTABLE_COMPLEXITY and facts.checks(module.path).test_command is None
    ]


def chosen(found: Iterable[Candidate], limit: int) -> list[Candidate]:
    """The most valuable candidates, with a group's second and third worth less than another's first."""
    left: list[Candidate] = []
    seen: dict[Group, int] = {}
    for candidate in found:
        seen[candidate.group] = seen.get(candidate.group, 0) + 1
        if seen[candidate.group] <= limit:
            left.append(candidate)
    picked: list[Candidate] = []
    taken: dict[Group, int] = {}
    while left and len(picked) < limit:
        # The first of equals, which is the one that comes first in the list.
        best = max(left, key=lambda item: item.value * 0.8 ** taken.get(item.group, 0))
        left.remove(best)
        picked.append(best)
        taken[best.group] = taken.get(best.group, 0) + 1
    return picked
