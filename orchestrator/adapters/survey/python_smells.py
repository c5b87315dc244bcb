"""Faults of one Python file that its syntax tree proves: swallowed errors, slow loops, bugs that ruff leaves out.

Each rule asks for enough context that its sentence is true of the line it names; where a name could be anything,
there is no finding.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.adapters.survey.python_errors import handlers, open_files
from orchestrator.adapters.survey.python_loops import loops, recursion
from orchestrator.adapters.survey.python_source import at, dotted, lines_of
from orchestrator.adapters.survey.python_tree import Function, Scope, Tree
from orchestrator.core.facts import Finding, FindingKind

_ONCE = {
    "datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "datetime.datetime.utcnow",
    "datetime.date.today", "date.today", "time.time", "time.monotonic", "uuid.uuid4", "uuid4", "random.random",
    "random.randint", "timezone.now", "os.getcwd",
}  # fmt: skip


def smells(path: str, source: str, tree: Tree) -> list[Finding]:
    """Every finding in a parsed file, in the order of its lines."""
    lines = lines_of(source)
    found: list[Finding] = []
    for node in tree.tries:
        found += handlers(path, node, lines)
    for described in tree.classes:
        found += _methods(path, described)
    for scope in tree.scopes:
        found += _defaults(path, scope)
        found += _mutable_defaults(path, scope)
        found += open_files(path, scope)
        found += loops(path, scope)
        found += recursion(path, scope)
    return sorted(found, key=lambda finding: (finding.line, finding.rule))


def _methods(path: str, node: ast.ClassDef) -> Iterator[Finding]:
    if node.decorator_list or node.keywords or any(_odd_base(base) for base in node.bases):
        return
    for method in node.body:
        if not isinstance(method, Function) or method.decorator_list:
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


def _mutable_defaults(path: str, scope: Scope) -> Iterator[Finding]:
    taken = scope.node.args
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
        what, weight = _done_to(argument.arg, scope)
        yield at(
            FindingKind.BUG, "mutable-default", path, scope.name, default,
            f"all calls share the default `{ast.unparse(default)}` of `{argument.arg}`{what}", weight,
        )  # fmt: skip


def _done_to(argument: str, scope: Scope) -> tuple[str, int]:
    """What the function does with a default that all calls share, and how bad that is."""

    def is_it(node: ast.expr | None) -> bool:
        return isinstance(node, ast.Name) and node.id == argument

    nodes = scope.nodes
    if any(is_it(target) for assign in nodes.of(ast.Assign) for target in assign.targets):
        # `x = x or []`, `x = list(x)`: what happens afterwards happens to something else.
        return ", though the function assigns that name anew", 1
    changed = [
        (call.lineno, f"`{argument}.{call.func.attr}(...)` at line {call.lineno}")
        for call in nodes.of(ast.Call)
        if isinstance(call.func, ast.Attribute) and is_it(call.func.value) and call.func.attr in _CHANGES
    ]
    changed += [
        (item.lineno, f"line {item.lineno}")
        for item in nodes.of(ast.Subscript)
        if is_it(item.value) and not isinstance(item.ctx, ast.Load)
    ]
    changed += [
        (item.lineno, f"line {item.lineno}") for item in nodes.of(ast.AugAssign) if is_it(item.target)
    ]
    if changed:
        return f", and {min(changed)[1]} changes it", 9
    if any(is_it(item.value) for item in nodes.of(ast.Return)) or any(
        is_it(assign.value) and isinstance(assign.targets[0], ast.Attribute | ast.Subscript)
        for assign in nodes.of(ast.Assign)
    ):
        return ", and it is handed out of the function", 7
    return ", though nothing here changes it", 2


def _defaults(path: str, scope: Scope) -> Iterator[Finding]:
    for default in [*scope.node.args.defaults, *scope.node.args.kw_defaults]:
        if isinstance(default, ast.Call) and dotted(default.func) in _ONCE:
            call = ast.unparse(default.func)
            yield at(
                FindingKind.BUG, "default-evaluated-once", path, scope.name, default,
                f"the default `{call}()` is evaluated once, when the module is imported, not at each call", 7,
            )  # fmt: skip
