"""One Python file, parsed: its functions with their complexity, its public names, and what it imports."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from orchestrator.adapters.survey.python_tree import Function, Scope, Tree
from orchestrator.core.facts import Finding, FindingKind, FunctionSize


@dataclass(slots=True, kw_only=True)
class PythonFile:
    """What one file holds. `imports` are dotted names as written, relative ones with their leading dots."""

    path: str
    functions: list[FunctionSize] = field(default_factory=list)
    symbols: list[tuple[str, int]] = field(default_factory=list)
    imports: list[tuple[str, int]] = field(default_factory=list)


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


_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>\.*[\w.]*)[ \t]+import[ \t]+(?:\((?P<many>[^)]*)\)|(?P<names>[^\n#;]+))"
    r"|import[ \t]+(?P<modules>[^\n#;]+))",
    re.MULTILINE,
)


def imports(source: str) -> list[tuple[str, int]]:
    """What a file imports, as `PythonFile.imports`, read from its lines: enough for tests, and quick."""
    found: list[tuple[str, int]] = []
    for match in _IMPORT.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        listed = match["many"] or match["names"] or match["modules"]
        parts = [part.split("#")[0].split() for part in listed.replace("\n", ",").split(",")]
        imported = [part[0] for part in parts if part]
        if match["modules"]:
            found += [(name, line) for name in imported]
        else:
            base = match["base"]
            joint = "" if not base or base.endswith(".") else "."
            found += [(base, line), *((f"{base}{joint}{name}", line) for name in imported)]
    return found


def describe(path: str, tree: Tree) -> PythonFile:
    """Functions, public symbols and imports of a parsed file."""
    file = PythonFile(path=path)
    for scope in tree.scopes:
        node = scope.node
        file.functions.append(
            FunctionSize(
                path=path,
                name=scope.name,
                line=node.lineno,
                end_line=node.end_lineno or node.lineno,
                complexity=_complexity(scope),
                parameters=_parameters(node),
            )
        )
        if scope.depth == 0 and not node.name.startswith("_") and not _is_trivial(node):
            file.symbols.append((node.name, node.lineno))
    for statement in tree.module.body:
        if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
            methods = [item for item in statement.body if isinstance(item, Function)]
            if any(not _is_trivial(method) for method in methods):
                file.symbols.append((statement.name, statement.lineno))
    file.symbols.sort(key=lambda symbol: symbol[1])
    for item in tree.imports:
        if isinstance(item, ast.Import):
            file.imports += [(alias.name, item.lineno) for alias in item.names]
        else:
            base = "." * item.level + (item.module or "")
            file.imports.append((base, item.lineno))
            joint = "" if not base or base.endswith(".") else "."
            file.imports += [(f"{base}{joint}{alias.name}", item.lineno) for alias in item.names]
    return file


def _complexity(scope: Scope) -> int:
    """Cyclomatic complexity counted as lizard counts it: branches, loops, handlers, `and`, `or`."""
    nodes = scope.nodes
    return (
        1
        + nodes.count(ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
        + sum(len(node.values) - 1 for node in nodes.of(ast.BoolOp))
        + sum(1 + len(node.ifs) for node in nodes.of(ast.comprehension))
    )


def _parameters(function: Function) -> int:
    taken = function.args
    named = len(taken.posonlyargs) + len(taken.args) + len(taken.kwonlyargs)
    return named + (taken.vararg is not None) + (taken.kwarg is not None)


def _is_trivial(function: Function) -> bool:
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
