"""One Python file, parsed: its functions with their complexity, its public names, and what it imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.core.facts import Finding, FindingKind, FunctionSize

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True, kw_only=True)
class PythonFile:
    """What one file holds. `imports` are dotted names as written, relative ones with their leading dots."""

    path: str
    functions: list[FunctionSize] = field(default_factory=list)
    symbols: list[tuple[str, int]] = field(default_factory=list)
    imports: list[tuple[str, int]] = field(default_factory=list)
    classes: list[tuple[str, int, int, int]] = field(default_factory=list)
    statements: int = 0


_LINE = re.compile(r"\r\n|\r|\n")


def lines_of(source: str) -> list[str]:
    """The lines as Python's parser and every editor count them; `str.splitlines` also splits at form feeds."""
    return _LINE.split(source)


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None when this Python cannot parse it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def describe(path: str, tree: ast.Module) -> PythonFile:
    """Functions, public symbols and imports of a parsed file."""
    file = PythonFile(path=path)
    for name, node, depth in functions_of(tree):
        file.functions.append(
            FunctionSize(
                path=path,
                name=name,
                line=node.lineno,
                end_line=node.end_lineno or node.lineno,
                complexity=_complexity(node),
                parameters=_parameters(node),
            )
        )
        if depth == 0 and not node.name.startswith("_") and not _is_trivial(node):
            file.symbols.append((node.name, node.lineno))
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            methods = [item for item in statement.body if isinstance(item, _Function)]
            end = statement.end_lineno or statement.lineno
            file.classes.append((statement.name, statement.lineno, len(methods), end))
            if not statement.name.startswith("_") and any(not _is_trivial(method) for method in methods):
                file.symbols.append((statement.name, statement.lineno))
        if not isinstance(statement, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign | ast.AnnAssign):
            file.statements += 1
    file.symbols.sort(key=lambda symbol: symbol[1])
    for item in ast.walk(tree):
        match item:
            case ast.Import():
                file.imports += [(alias.name, item.lineno) for alias in item.names]
            case ast.ImportFrom():
                base = "." * item.level + (item.module or "")
                file.imports.append((base, item.lineno))
                joint = "" if not base or base.endswith(".") else "."
                file.imports += [(f"{base}{joint}{alias.name}", item.lineno) for alias in item.names]
    return file


def functions_of(tree: ast.Module) -> Iterator[tuple[str, _Function, int]]:
    """Every function with its qualified name (`Class.method`) and its depth in other scopes."""
    todo: list[tuple[ast.AST, str, int]] = [(tree, "", 0)]
    while todo:
        node, prefix, depth = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _Function):
                name = f"{prefix}{child.name}"
                yield name, child, depth
                todo.append((child, f"{name}.", depth + 1))
            elif isinstance(child, ast.ClassDef):
                todo.append((child, f"{prefix}{child.name}.", depth + 1))
            elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                todo.append((child, prefix, depth))


def own_nodes(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions and classes inside it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def _complexity(function: _Function) -> int:
    """Cyclomatic complexity counted as lizard counts it: branches, loops, handlers, `and`, `or`."""
    total = 1
    for node in own_nodes(function):
        match node:
            case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While() | ast.ExceptHandler():
                total += 1
            case ast.BoolOp():
                total += len(node.values) - 1
            case ast.comprehension():
                total += 1 + len(node.ifs)
            case ast.match_case():
                total += 1
    return total


def _parameters(function: _Function) -> int:
    taken = function.args
    named = len(taken.posonlyargs) + len(taken.args) + len(taken.kwonlyargs)
    return named + (taken.vararg is not None) + (taken.kwarg is not None)


def _is_trivial(function: _Function) -> bool:
    """Whether there is nothing to test: a docstring, `pass`, `...` or a bare raise."""
    return all(
        isinstance(statement, ast.Pass | ast.Raise)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in function.body
    )


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a chain of names, else an empty string."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def at(
    kind: FindingKind, rule: str, path: str, symbol: str, node: ast.AST, fact: str, weight: int
) -> Finding:
    """A finding at a node of the tree."""
    line = getattr(node, "lineno", 1)
    end = getattr(node, "end_lineno", None) or line
    return Finding(
        kind=kind, rule=rule, path=path, line=line, end_line=end, fact=fact, weight=weight, symbol=symbol
    )
