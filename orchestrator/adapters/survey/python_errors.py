"""Errors that a Python file hides, and files it leaves open."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.adapters.survey.python_source import at, dotted
from orchestrator.adapters.survey.python_tree import Scope, walk
from orchestrator.core.facts import Finding, FindingKind

_BROAD = {"Exception", "BaseException"}
_LOG_NAMES = {
    "debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "print_exc", "format_exc",
    "capture_exception", "print_exception",
}  # fmt: skip


def handlers(path: str, node: ast.Try | ast.TryStar, lines: list[str]) -> Iterator[Finding]:
    for handler in node.handlers:
        caught = _caught(handler)
        if caught is None:
            continue
        what = "bare `except:`" if caught == "" else f"`except {caught}`"
        end = handler.end_lineno or handler.lineno
        text = "\n".join(lines[handler.lineno - 1 : end])
        if "noqa" in text or "pylint: disable" in text or "pragma: no cover" in text:
            continue
        does = _what_it_does(handler)
        if does is None:
            continue
        told, weight = does
        if "#" in text:
            # Somebody has thought about it and said so.
            weight = max(1, weight - 3)
        yield Finding(
            kind=FindingKind.ERROR_HANDLING,
            rule="swallowed-error" if weight > 3 else "broad-except",
            path=path,
            line=handler.lineno,
            end_line=end,
            fact=f"{what} {told}",
            weight=weight,
        )


def _caught(handler: ast.ExceptHandler) -> str | None:
    """What a broad handler catches, as written; `""` for everything, None when it is not broad."""
    if handler.type is None:
        return ""
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    if any(dotted(kind).removeprefix("builtins.") in _BROAD for kind in types):
        return ast.unparse(handler.type)
    return None


def _what_it_does(handler: ast.ExceptHandler) -> tuple[str, int] | None:
    """What becomes of the error, with the weight; None when it is raised again."""
    inside = [node for statement in handler.body for node in walk(statement)]
    if any(isinstance(node, ast.Raise) for node in inside):
        return None
    calls = [dotted(node.func).rpartition(".")[2] for node in inside if isinstance(node, ast.Call)]
    if not _LOG_NAMES.isdisjoint(calls):
        return "logs every error, programming errors included, and goes on", 3
    uses_error = handler.name is not None and any(
        isinstance(node, ast.Name) and node.id == handler.name for node in inside
    )
    if uses_error:
        return "catches every error, programming errors included", 3
    bare = all(
        isinstance(statement, ast.Pass | ast.Continue | ast.Break)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in handler.body
    )
    if bare:
        return "swallows every error without a trace", 8
    if any(isinstance(node, ast.Return) for node in inside):
        return "turns every error into an ordinary return value", 6
    return "hides every error, programming errors included", 5


_READS = ("read", "readlines", "write", "readline", "writelines")


def open_files(path: str, scope: Scope) -> Iterator[Finding]:
    calls = scope.nodes.of(ast.Call)
    if not any(isinstance(call.func, ast.Name) and call.func.id == "open" for call in calls):
        return
    name = scope.name
    managed = {id(item.context_expr) for item in scope.nodes.of(ast.withitem)}
    closed: set[str] = set()
    for node in calls:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="open")) as call, attr=method)):
                if method in _READS and id(call) not in managed:
                    yield at(
                        FindingKind.ERROR_HANDLING, "unclosed-file", path, name, node,
                        f"`open(...).{method}()` never closes the file, not even when it fails", 5,
                    )  # fmt: skip
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="close")):
                closed.add(owner)
    opened = [
        (node.targets[0].id, node.value)
        for node in scope.nodes.of(ast.Assign)
        if len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "open"
    ]
    handed_on = _handed_on(scope) if opened else set()
    for target, call in opened:
        if target in handed_on:
            continue
        if target in closed:
            if not _closed_safely(scope, target):
                yield at(
                    FindingKind.ERROR_HANDLING, "unclosed-file", path, name, call,
                    f"the file `{target}` stays open when an error comes between `open` and `{target}.close()`", 4,
                )  # fmt: skip
        else:
            yield at(
                FindingKind.ERROR_HANDLING, "unclosed-file", path, name, call,
                f"the file `{target}` is opened and never closed", 6,
            )  # fmt: skip


def _handed_on(scope: Scope) -> set[str]:
    """Names whose value goes somewhere else, where it may be closed."""
    handed: set[str] = set()
    results = [node.value for node in scope.nodes.of(ast.Return)]
    results += [node.value for node in scope.nodes.of(ast.Yield)]
    for result in results:
        if result is not None:
            handed |= _themselves(result)
    for call in scope.nodes.of(ast.Call):
        handed |= {item.id for item in call.args if isinstance(item, ast.Name)}
        handed |= {item.value.id for item in call.keywords if isinstance(item.value, ast.Name)}
    values = [assign.value for assign in scope.nodes.of(ast.Assign)]
    values += [item.context_expr for item in scope.nodes.of(ast.withitem)]
    handed |= {value.id for value in values if isinstance(value, ast.Name)}
    handed.update(*(node.names for node in scope.nodes.of(ast.Global)))
    handed.update(*(node.names for node in scope.nodes.of(ast.Nonlocal)))
    return handed


def _themselves(value: ast.expr) -> set[str]:
    """Names whose own value is part of an expression, not only that of their attributes."""
    owners = {id(node.value) for node in walk(value) if isinstance(node, ast.Attribute)}
    return {node.id for node in walk(value) if isinstance(node, ast.Name) and id(node) not in owners}


def _closed_safely(scope: Scope, target: str) -> bool:
    final = [part.finalbody for part in scope.nodes.of(ast.Try)]
    final += [part.finalbody for part in scope.nodes.of(ast.TryStar)]
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "close"
        and dotted(node.func.value) == target
        for block in final
        for statement in block
        for node in walk(statement)
    )
