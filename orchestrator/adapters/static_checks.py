"""What can be said against a change without running anything.

It does not parse, it weakens tests, it does nothing, it reformats what it should leave alone, or it answers its
tests instead of doing its work.
"""

from __future__ import annotations

import ast
import json
import tomllib
import warnings
from collections.abc import Callable, Iterator

from orchestrator.adapters.changes import Changes
from orchestrator.adapters.survey.languages import CODE, language_of
from orchestrator.core.domain import Problem
from orchestrator.core.shortcuts import shortcuts
from orchestrator.core.substance import layout_only, reformatted_lines
from orchestrator.core.verdicts import Purpose
from orchestrator.core.weakening import weakened

MOST_REFORMATTED = 10


def faults(changes: Changes, purpose: Purpose) -> tuple[Problem, ...]:
    """Everything but weakened tests; see `tests_weakened`."""
    found = [*_unreadable(changes)]
    if purpose is not Purpose.STYLE:
        found += _without_substance(changes)
        found += [problem for problem, certain in _shortcuts(changes) if certain]
    return tuple(found)


def doubts(changes: Changes) -> tuple[str, ...]:
    """What looks like an answer made for the tests; it keeps a verdict from being `proved`."""
    return tuple(str(problem) for problem, certain in _shortcuts(changes) if not certain)


def tests_weakened(changes: Changes) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Ways in which existing tests ask less, and names of tests that only moved; see `core.weakening`."""
    before = {path: text for path in changes.tests if (text := changes.texts(path)[0]) is not None}
    return weakened(before, {path: changes.texts(path)[1] for path in changes.tests})


def _unreadable(changes: Changes) -> Iterator[Problem]:
    """Changed files that cannot be parsed, and could before or are new."""
    for path in changes.paths:
        parse = _PARSERS.get(path.rpartition(".")[2])
        before, after = changes.texts(path)
        if parse is None or after is None:
            continue
        fault = parse(after)
        if fault is not None and (before is None or parse(before) is None):
            line, what = fault
            yield Problem(where=f"{path}:{line}" if line else path, what=what)


def _without_substance(changes: Changes) -> Iterator[Problem]:
    pairs = {path: changes.texts(path) for path in changes.paths}
    code = {
        path: (before, after)
        for path, (before, after) in pairs.items()
        if before is not None and after is not None and language_of(path) in CODE
    }
    if len(code) == len(pairs) and all(layout_only(path, *texts) for path, texts in code.items()):
        yield Problem(where=", ".join(code), what="only layout or comments changed, nothing that runs")
        return
    lines = {path: reformatted_lines(path, *texts) for path, texts in code.items()}
    if sum(lines.values()) > MOST_REFORMATTED:
        where = ", ".join(path for path, count in lines.items() if count)
        what = f"{sum(lines.values())} lines were only reformatted: leave what the subtask does not ask for as it was"
        yield Problem(where=where, what=what)


def _shortcuts(changes: Changes) -> Iterator[tuple[Problem, bool]]:
    tests = [text for path in changes.tests if (text := changes.texts(path)[1]) is not None]
    for path in changes.sources:
        before, after = changes.texts(path)
        if after is not None:
            for found in shortcuts(path, before or "", after, tests):
                yield Problem(where=f"{path}:{found.line}", what=found.what), found.certain


def _python(text: str) -> tuple[int, str] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 0, f"is no Python any more: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return 0, f"is no Python any more: {error}"
    return None


def _json(text: str) -> tuple[int, str] | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno, f"is no JSON any more: {error.msg}"
    except RecursionError:
        return 0, "is nested too deeply"
    return None


def _toml(text: str) -> tuple[int, str] | None:
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return 0, f"is no TOML any more: {error}"
    return None


_PARSERS: dict[str, Callable[[str], tuple[int, str] | None]] = {
    "py": _python,
    "pyi": _python,
    "json": _json,
    "toml": _toml,
}
