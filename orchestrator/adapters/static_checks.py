"""What can be said against a change without running anything: it does not parse, or it weakens tests."""

from __future__ import annotations

import ast
import json
import tomllib
import warnings
from collections.abc import Callable

from orchestrator.adapters.changes import Changes
from orchestrator.core.domain import Problem
from orchestrator.core.verdicts import Purpose
from orchestrator.core.weakening import weakened


def unreadable(changes: Changes) -> tuple[Problem, ...]:
    """Changed files that cannot be parsed, and could before or are new."""
    problems: list[Problem] = []
    for path in changes.paths:
        parse = _PARSERS.get(path.rpartition(".")[2])
        before, after = changes.texts(path)
        if parse is None or after is None:
            continue
        fault = parse(after)
        if fault is not None and (before is None or parse(before) is None):
            line, what = fault
            problems.append(Problem(where=f"{path}:{line}" if line else path, what=what))
    return tuple(problems)


def tests_weakened(changes: Changes, purpose: Purpose) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Ways in which existing tests ask less; the work of a test subtask, and a fault in any other."""
    before = {path: text for path in changes.tests if (text := changes.texts(path)[0]) is not None}
    return weakened(before, {path: changes.texts(path)[1] for path in changes.tests})


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
