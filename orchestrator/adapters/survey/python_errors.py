"""Errors that a Python file hides, and files it leaves open."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.adapters.survey.python_source import at, dotted, own_nodes
from orchestrator.core.facts import Finding, FindingKind

_Function = ast.FunctionDef | ast.AsyncFunctionDef
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
    inside = [node for statement in handler.body for node in ast.walk(statement)]
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


def open_files(path: str, name: str, function: _Function) -> Iterator[Finding]:
    managed = {
        id(item.context_expr)
        for node in own_nodes(function)
        if isinstance(node, ast.With | ast.AsyncWith)
        for item in node.items
    }
    closed: set[str] = set()
    handed_on: set[str] = set()
    opened: list[tuple[str, ast.Call]] = []
    for node in own_nodes(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="open")) as call, attr=method)):
                if (
                    method in ("read", "readlines", "write", "readline", "writelines")
                    and id(call) not in managed
                ):
                    yield at(
                        FindingKind.ERROR_HANDLING, "unclosed-file", path, name, node,
                        f"`open(...).{method}()` never closes the file, not even when it fails", 5,
                    )  # fmt: skip
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call(func=ast.Name(id="open")) as call):
                opened.append((target, call))
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="close")):
                closed.add(owner)
        match node:
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                handed_on |= _themselves(value)
            case ast.Call():
                handed_on |= {item.id for item in node.args if isinstance(item, ast.Name)}
                handed_on |= {item.value.id for item in node.keywords if isinstance(item.value, ast.Name)}
            case ast.Assign(value=ast.Name(id=other)):
                handed_on.add(other)
            case ast.withitem(context_expr=ast.Name(id=other)):
                handed_on.add(other)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                handed_on |= set(names)
    for target, call in opened:
        if target in handed_on:
            continue
        if target in closed:
            if not _closed_safely(function, target):
                yield at(
                    FindingKind.ERROR_HANDLING, "unclosed-file", path, name, call,
                    f"the file `{target}` stays open when an error comes between `open` and `{target}.close()`", 4,
                )  # fmt: skip
        else:
            yield at(
                FindingKind.ERROR_HANDLING, "unclosed-file", path, name, call,
                f"the file `{target}` is opened and never closed", 6,
            )  # fmt: skip


def _themselves(value: ast.expr) -> set[str]:
    """Names whose own value is part of an expression, not only that of their attributes."""
    owners = {id(node.value) for node in ast.walk(value) if isinstance(node, ast.Attribute)}
    return {node.id for node in ast.walk(value) if isinstance(node, ast.Name) and id(node) not in owners}


def _closed_safely(function: _Function, target: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "close"
        and dotted(node.func.value) == target
        for part in own_nodes(function)
        if isinstance(part, ast.Try | ast.TryStar)
        for statement in part.finalbody
        for node in ast.walk(statement)
    )
