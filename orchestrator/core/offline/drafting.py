"""Candidates -> the draft of a plan, in the plain form that a model's reply has too: the compiler reads both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.facts import Survey
from orchestrator.core.offline import wording
from orchestrator.core.offline.candidates import (
    Candidate,
    Checks,
    Facts,
    candidates,
    chosen,
    is_light,
    left_out,
    untestable,
)
from orchestrator.core.offline.goals import Group, groups_of
from orchestrator.core.offline.places import places_of, within
from orchestrator.core.planning_draft import slug
from orchestrator.core.standards import Standard, UnknownRule
from orchestrator.core.text import one_line
from orchestrator.core.words import counted

DEFAULT_LIMIT = 8
_MAX_TESTED = 4
_BYTES_PER_TOKEN = 4
_CATEGORIES: Mapping[Group, tuple[str, ...]] = {
    Group.MECHANICAL: ("cheap/syntax-corrections", "cheap/simple-refactoring"),
    Group.BUGS: ("cheap/bug-fixes",),
    Group.ERRORS: ("cheap/error-handling", "cheap/bug-fixes"),
    Group.TESTS: ("cheap/unit-tests",),
    Group.PERFORMANCE: ("smart/performance-analysis",),
    Group.ARCHITECTURE: ("smart/architecture-design",),
    Group.FORMATTING: ("cheap/code-formatting",),
}


class NothingToImprove(OrchestratorError):
    """The survey found nothing that is worth a subtask; said instead of inventing one."""

    exit_code = 0


def plan_offline(
    goal: str, survey: Survey, standard: Standard, *, commit: str, limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    """Return the draft of a plan for an improvement goal: `{"subtasks": [...], "notes": [...]}`.

    At most `limit` subtasks, the most valuable ones, fewer when there is less to do; the same facts give the
    same draft, byte for byte. Raises NeedsModel for other goals, NotThere for one about a file that is not there,
    NothingToImprove when no fact is worth a subtask.
    """
    wanted = groups_of(goal, names=_names(survey))
    places = places_of(goal, survey)
    facts = Facts(within(survey, places) if places else survey)
    found = [candidate for candidate in candidates(facts) if candidate.group in wanted]
    picked = _with_protection(chosen(found, limit), found, limit)
    order = list(Group)
    picked.sort(key=lambda item: (order.index(item.group), -item.value, item.path, item.symbol))
    notes = _notes(facts, found, picked, wanted, commit)
    if places:
        notes.append(f"kept to what the goal names: {one_line(', '.join(places), 200)}")
    if not picked:
        raise NothingToImprove(
            f"nothing to improve was found without a model in {len(survey.files)} files: {'; '.join(notes)}"
        )
    drafts = [_draft(facts, candidate, standard, commit) for candidate in picked]
    _name(drafts, picked)
    _link(drafts, picked)
    return {"subtasks": drafts, "notes": notes}


def _names(survey: Survey) -> set[str]:
    """Words by which a user may call this repository and its parts."""
    names = {package.name.rpartition("/")[2] for package in survey.packages}
    for file in survey.files:
        *folders, name = file.path.split("/")
        names.update(folders[:3])
        names.update((name, name.rpartition(".")[0]))
    return names | {language.language for language in survey.languages}


def _with_protection(picked: list[Candidate], found: Sequence[Candidate], limit: int) -> list[Candidate]:
    """Put the tests of an untested module before its refactoring; without room the refactoring stays out."""
    kept = list(picked)
    tests = {candidate.path: candidate for candidate in found if candidate.group is Group.TESTS}
    for candidate in picked:
        if candidate.group not in (Group.ARCHITECTURE, Group.PERFORMANCE) or candidate.path not in tests:
            continue
        protection = tests[candidate.path]
        if protection in kept:
            continue
        if len(kept) < limit:
            kept.append(protection)
            continue
        others = [item for item in kept if item.group is Group.TESTS and not _protects(item, kept)]
        if others:
            kept[kept.index(others[-1])] = protection
        elif candidate.group is Group.ARCHITECTURE:
            kept.remove(candidate)
    return kept


def _protects(tests: Candidate, kept: Sequence[Candidate]) -> bool:
    return any(
        item.path == tests.path and item.group in (Group.ARCHITECTURE, Group.PERFORMANCE) for item in kept
    )


def _notes(
    facts: Facts,
    found: Sequence[Candidate],
    picked: Sequence[Candidate],
    wanted: frozenset[Group],
    commit: str,
) -> list[str]:
    survey = facts.survey
    notes = [
        f"made without a model from {counted(len(survey.findings), 'finding')} and "
        f"{counted(len(survey.untested), 'module')} without tests in {counted(len(survey.files), 'file')} "
        f"at commit {commit[:12]}"
    ]
    rest = len(found) - len(picked)
    if rest > 0:
        notes.append(f"{counted(rest, 'possible subtask')} of less value left out")
    light = left_out(facts) - sum(1 for item in picked for finding in item.findings if is_light(finding))
    if light > 0:
        notes.append(f"{counted(light, 'finding')} too light for a subtask: `orchestrator survey` lists them")
    bare = untestable(facts) if Group.TESTS in wanted else ()
    if bare:
        notes.append(
            f"no test command was found for {counted(len(bare), 'module')} without tests, {bare[0].path} the "
            "first, so no unit tests are proposed there: declare a test command in the project or in the configuration"
        )
    return notes


# --- one subtask ----------------------------------------------------------------------------------


def _draft(facts: Facts, candidate: Candidate, standard: Standard, commit: str) -> dict[str, Any]:
    checks = facts.checks(candidate.path)
    draft: dict[str, Any] = {"group": candidate.group.value}
    if category := _category(candidate, standard):
        draft["category"] = category
    if candidate.tool is not None:
        _tool(candidate, draft)
    elif candidate.untested is not None:
        _unit_tests(facts, candidate, checks, draft)
    elif candidate.function is not None:
        _architecture(facts, candidate, checks, draft, commit)
    else:
        _mend(facts, candidate, checks, draft, commit)
    if "checks" not in draft:
        draft["checks"] = _checks(candidate.path, checks)
    if not checks.any() and candidate.tool is None:
        draft["notes"] = [
            "no test, type, lint or build command covers this file: nothing can check the change"
        ]
    elif checks.test_command is None and candidate.group in (Group.PERFORMANCE, Group.ARCHITECTURE):
        draft["notes"] = ["no test command covers this file: read the change before you accept it"]
    return draft


def _category(candidate: Candidate, standard: Standard) -> str | None:
    """The rule of the standard for this group; None when it has none, and its signal words decide."""
    wanted = _CATEGORIES[candidate.group]
    if any(finding.rule == "syntax-error" for finding in candidate.findings):
        wanted = ("cheap/syntax-corrections", *wanted)
    ids = {rule.id for rule in standard.rules}
    for rule in wanted:
        if rule in ids:
            return rule
    for rule in wanted:
        try:
            return standard.rule(rule.partition("/")[2]).id
        except UnknownRule:
            continue
    return None


def _tool(candidate: Candidate, draft: dict[str, Any]) -> None:
    count = len(candidate.paths)
    where = candidate.paths[0] if count == 1 else f"{count} files"
    if candidate.tool == "ruff-fix":
        draft["title"] = f"Fix mechanically what ruff can fix in {where}"
        draft["instructions"] = (
            f"Run `ruff check --fix` (safe fixes only) on: {', '.join(candidate.paths)}. No model is needed."
        )
    else:
        draft["title"] = f"Format {where} with ruff"
        draft["instructions"] = f"Run `ruff format` on: {', '.join(candidate.paths)}. No model is needed."
    draft |= {
        "executor": "tool",
        "tool": candidate.tool,
        "touches": list(candidate.paths),
        "evidence": _evidence(candidate),
        "checks": [{"kind": "lint", "targets": list(candidate.paths)}],
        "estimate": {"input_tokens": [0, 0, 0], "output_tokens": [0, 0, 0], "seconds": [1, 3, 15]},
    }


def _mend(facts: Facts, candidate: Candidate, checks: Checks, draft: dict[str, Any], commit: str) -> None:
    path, findings = candidate.path, candidate.findings
    count = len(findings)
    inside = f"{candidate.symbol} of {path}" if _nameable(candidate.symbol) else path
    touches = [path]
    match candidate.group:
        case Group.PERFORMANCE:
            draft["title"] = f"Optimize {inside}"
            draft["instructions"] = wording.performance(path, findings, commit)
            function = _around(facts, candidate)
            output = max(1000, 400 + 14 * function)
        case group:
            test_path, exists = _test_path(facts, path, checks)
            proof = ""
            if test_path and not facts.files[path].test:
                touches.append(test_path)
                proof = wording.tested(
                    test_path, exists=exists, runner=wording.runner_of(checks.test_command)
                )
            say = wording.errors if group is Group.ERRORS else wording.bugs
            draft["instructions"] = say(path, findings, commit, proof)
            if any(finding.rule == "syntax-error" for finding in findings):
                draft["title"] = f"Fix the syntax error in {path}, line {findings[0].line}"
            elif group is Group.ERRORS:
                draft["title"] = f"Handle errors in {inside}"
            else:
                draft["title"] = f"Fix {'a bug' if count == 1 else f'{count} bugs'} in {inside}"
            if proof and exists:
                draft["checks"] = [{"kind": "tests", "targets": [test_path]}, *_checks(path, checks)[1:]]
            output = min(950, 180 + 110 * count + (160 if proof else 0))
    draft |= {
        "touches": touches,
        "evidence": _evidence(candidate),
        "estimate": _estimate(facts, touches, output),
    }


def _unit_tests(facts: Facts, candidate: Candidate, checks: Checks, draft: dict[str, Any]) -> None:
    module = candidate.untested
    assert module is not None
    weights = {
        function.name.partition(".")[0]: function.complexity
        for function in reversed(facts.survey.functions)
        if function.path == module.path
    }
    ranked = sorted(module.symbols, key=lambda symbol: (-weights.get(symbol[0], 0), symbol[1]))
    named = sorted(ranked[:_MAX_TESTED], key=lambda symbol: symbol[1])
    runner = wording.runner_of(checks.test_command)
    inline = module.test_path == module.path
    draft["title"] = f"Add unit tests for {module.path}"
    draft["instructions"] = wording.tests(module, named, runner, module.near)
    draft |= {
        "touches": [module.test_path],
        "checks": _checks(module.path, checks) if inline else _test_checks(module.test_path, checks),
        "evidence": [{"path": module.path, "line": module.symbols[0][1], "fact": module.fact}],
        "estimate": _estimate(facts, [module.path, module.near], min(950, 250 + 170 * len(named))),
    }


def _architecture(
    facts: Facts, candidate: Candidate, checks: Checks, draft: dict[str, Any], commit: str
) -> None:
    function = candidate.function
    assert function is not None
    path = function.path
    if checks.tests:
        protected = (
            f"The tests in {', '.join(f'`{test}`' for test in checks.tests)} stay as they are and pass."
        )
    elif path in facts.untested and checks.test_command:
        protected = f"The tests in `{facts.untested[path].test_path}` pass before and after."
    else:
        protected = "The existing tests stay as they are and pass." if checks.test_command else ""
    draft["title"] = f"Refactor {function.name} of {path}"
    draft["instructions"] = wording.architecture(function, facts.files[path], commit, protected).rstrip()
    evidence = [
        {
            "path": path,
            "line": function.line,
            "fact": f"`{function.name}` has a cyclomatic complexity of {function.complexity} over "
            f"{function.lines} lines",
        }
    ]
    if commits := facts.commits.get(path):
        evidence.append(
            {"path": path, "line": 0, "fact": f"changed in {commits} commits of the recent history"}
        )
    draft |= {
        "touches": [path],
        "evidence": evidence,
        "estimate": _estimate(facts, [path], max(1200, 300 + 30 * function.lines)),
    }


def _nameable(symbol: str) -> bool:
    return bool(symbol) and not symbol.startswith("(")


def _around(facts: Facts, candidate: Candidate) -> int:
    """Lines of the function a finding lies in; a guess for small functions, which the survey does not list."""
    line = candidate.findings[0].line
    for function in facts.survey.functions:
        if function.path == candidate.path and function.line <= line <= function.end_line:
            return function.lines
    return 15


def _test_path(facts: Facts, path: str, checks: Checks) -> tuple[str, bool]:
    """The test file for a change of `path`, and whether it is there already; "" when no test could run."""
    if checks.tests:
        return checks.tests[0], True
    module = facts.untested.get(path)
    if module is not None and module.test_path != path and checks.test_command:
        return module.test_path, module.test_path in facts.files
    return "", False


def _evidence(candidate: Candidate) -> list[dict[str, Any]]:
    return [
        {
            "path": finding.path,
            "line": 0 if finding.rule == "ruff-format" else finding.line,
            "fact": finding.fact,
        }
        for finding in candidate.findings
    ]


def _checks(path: str, checks: Checks) -> list[dict[str, Any]]:
    """Tests that reach the file, else the test command; then its types, its linter or its build."""
    found: list[dict[str, Any]] = []
    if checks.tests:
        found.append({"kind": "tests", "targets": list(checks.tests)})
    elif checks.test_command is not None:
        found.append({"kind": "command", "targets": [checks.test_command.name]})
    if checks.python:
        found.append({"kind": "lint", "targets": [path]})
    elif checks.other is not None:
        found.append({"kind": "command", "targets": [checks.other.name]})
    return found


def _test_checks(test_path: str, checks: Checks) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"kind": "tests", "targets": [test_path]}]
    if checks.python:
        found.append({"kind": "lint", "targets": [test_path]})
    return found


def _estimate(facts: Facts, read: Sequence[str], output: int) -> dict[str, list[int]]:
    """Tokens in, from the sizes of the files that are read; tokens out as given; seconds of the model alone."""
    size = sum(facts.files[path].size_bytes for path in read if path in facts.files) // _BYTES_PER_TOKEN
    likely = 1200 + size
    return {
        "input_tokens": [600 + size * 2 // 3, likely, 2 * likely + 4000],
        "output_tokens": [output // 3, output, 3 * output],
        "seconds": [3 + output // 150, 6 + output // 60, 30 + output // 10],
    }


# --- names and order ------------------------------------------------------------------------------

_VERBS: Mapping[Group, str] = {
    Group.BUGS: "fix",
    Group.ERRORS: "handle-errors",
    Group.TESTS: "test",
    Group.PERFORMANCE: "speed-up",
    Group.ARCHITECTURE: "refactor",
}


def _name(drafts: Sequence[dict[str, Any]], picked: Sequence[Candidate]) -> None:
    """Give every draft an id: verb and module, with function, folder or number where that is not enough."""
    taken: set[str] = set()
    for draft, candidate in zip(drafts, picked, strict=True):
        folder, _, name = candidate.path.rpartition("/")
        stem = name.partition(".")[0] if not name.startswith("__init__") else folder.rpartition("/")[2]
        if candidate.tool is not None:
            choices = [candidate.tool]
        else:
            verb = _VERBS[candidate.group]
            last = candidate.symbol.rpartition(".")[2] if _nameable(candidate.symbol) else ""
            by_function = candidate.group in (Group.PERFORMANCE, Group.ARCHITECTURE) and last
            choices = [slug(f"{verb}-{last if by_function else stem}")]
            choices += [slug(f"{verb}-{stem}-{last}"), slug(f"{verb}-{folder.rpartition('/')[2]}-{stem}")]
        base = choices[0] or "subtask"
        choices += [f"{base[:74]}-{number}" for number in range(2, 1000)]
        draft["id"] = next(choice for choice in choices if choice and choice not in taken)
        taken.add(draft["id"])


def _link(drafts: Sequence[dict[str, Any]], picked: Sequence[Candidate]) -> None:
    """Order what touches the same file along the list, and tests before what they protect; no edge twice over."""
    needs: list[set[int]] = []
    for place, draft in enumerate(drafts):
        direct: set[int] = set()
        known: set[int] = set()
        mine = set(draft["touches"])
        for earlier in range(place - 1, -1, -1):
            protects = (
                picked[earlier].group is Group.TESTS
                and picked[earlier].path == picked[place].path
                and picked[place].group in (Group.PERFORMANCE, Group.ARCHITECTURE)
            )
            if earlier not in known and (protects or mine & set(drafts[earlier]["touches"])):
                direct.add(earlier)
                known |= {earlier} | needs[earlier]
        needs.append(known)
        draft["depends_on"] = [drafts[earlier]["id"] for earlier in sorted(direct)]
