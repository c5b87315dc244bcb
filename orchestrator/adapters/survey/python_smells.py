"""Faults of one Python file that its syntax tree proves: swallowed errors, slow loops, bugs that ruff leaves out.

Each rule asks for enough context that its sentence is true of the line it names; where a name could be anything,
there is no finding.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.adapters.survey.python_errors import handlers, open_files
from orchestrator.adapters.survey.python_loops import loops, recursion
from orchestrator.adapters.survey.python_source import at, dotted, functions_of, lines_of, own_nodes
from orchestrator.core.facts import Finding, FindingKind

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_ONCE = {
    "datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "datetime.datetime.utcnow",
    "datetime.date.today", "date.today", "time.time", "time.monotonic", "uuid.uuid4", "uuid4", "random.random",
    "random.randint", "timezone.now", "os.getcwd",
}  # fmt: skip


def smells(path: str, source: str, tree: ast.Module) -> list[Finding]:
    """Every finding in a parsed file, in the order of its lines."""
    lines = lines_of(source)
    found: list[Finding] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.TryStar):
            found += handlers(path, node, lines)
        elif isinstance(node, ast.ClassDef):
            found += _methods(path, node)
    for name, function, _ in functions_of(tree):
        found += _defaults(path, name, function)
        found += _mutable_defaults(path, name, function)
        found += open_files(path, name, function)
        found += loops(path, name, function)
        found += recursion(path, name, function)
    return sorted(found, key=lambda finding: (finding.line, finding.rule))


def _methods(path: str, node: ast.ClassDef) -> Iterator[Finding]:
    if node.decorator_list or node.keywords or any(_odd_base(base) for base in node.bases):
        return
    for method in node.body:
        if not isinstance(method, _Function) or method.decorator_list:
            continue
        taken = method.args
        if not taken.posonlyargs and not taken.args and taken.vararg is None:
            yield Finding(
                kind=FindingKind.BUG,
                rule="missing-self",
                path=path,
                line=method.lineno,
                fact=f"the method `{method.name}` takes no `self`: calling it on an instance fails",
                weight=7,
                symbol=f"{node.name}.{method.name}",
            )


def _odd_base(base: ast.expr) -> bool:
    # Such classes are read by their own machinery and never instantiated in the ordinary way.
    last = dotted(base).rpartition(".")[2]
    return not last or last.endswith(("Interface", "Protocol", "Enum", "Meta", "type"))


_CHANGES = {
    "append", "extend", "insert", "update", "add", "setdefault", "pop", "popitem", "clear", "remove", "discard",
    "sort", "reverse",
}  # fmt: skip


def _mutable_defaults(path: str, name: str, function: _Function) -> Iterator[Finding]:
    taken = function.args
    positional = [*taken.posonlyargs, *taken.args]
    pairs = [*zip(positional[len(positional) - len(taken.defaults) :], taken.defaults, strict=True)]
    pairs += [(a, d) for a, d in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if d is not None]
    for argument, default in pairs:
        display = isinstance(default, ast.List | ast.Dict | ast.Set)
        made = isinstance(default, ast.Call) and dotted(default.func) in (
            "list",
            "dict",
            "set",
            "defaultdict",
        )
        if not display and not made:
            continue
        what, weight = _done_to(argument.arg, function)
        yield at(
            FindingKind.BUG, "mutable-default", path, name, default,
            f"all calls share the default `{ast.unparse(default)}` of `{argument.arg}`{what}", weight,
        )  # fmt: skip


def _done_to(argument: str, function: _Function) -> tuple[str, int]:
    """What the function does with a default that all calls share, and how bad that is."""
    for node in own_nodes(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) if name == argument:
                # `x = x or []`, `x = list(x)`: what happens afterwards happens to something else.
                return ", which is replaced before it is used", 1
    kept = False
    for node in own_nodes(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
                name == argument and method in _CHANGES
            ):
                return f", and `{argument}.{method}(...)` at line {node.lineno} changes it", 9
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name == argument:
                return f", and line {node.lineno} changes it", 9
            case ast.AugAssign(target=ast.Name(id=name)) if name == argument:
                return f", and line {node.lineno} changes it", 9
            case ast.Return(value=ast.Name(id=name)) if name == argument:
                kept = True
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()], value=ast.Name(id=name)) if (
                name == argument
            ):
                kept = True
    return (", and it is handed out of the function", 7) if kept else (", though nothing here changes it", 2)


def _defaults(path: str, name: str, function: _Function) -> Iterator[Finding]:
    for default in [*function.args.defaults, *function.args.kw_defaults]:
        if isinstance(default, ast.Call) and dotted(default.func) in _ONCE:
            call = ast.unparse(default.func)
            yield at(
                FindingKind.BUG, "default-evaluated-once", path, name, default,
                f"the default `{call}()` is evaluated once, when the module is imported, not at each call", 7,
            )  # fmt: skip
