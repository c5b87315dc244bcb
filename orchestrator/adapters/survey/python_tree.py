"""A parsed Python file, walked once: the nodes of each function by their kind, and its loops with theirs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeVar, cast

Function = ast.FunctionDef | ast.AsyncFunctionDef
AnyLoop = ast.For | ast.AsyncFor | ast.While
N = TypeVar("N", bound=ast.AST)

# Fields that hold no code of their own: operators, contexts, names.
_NO_CODE = frozenset(
    {"ctx", "op", "ops", "id", "attr", "arg", "name", "asname", "module", "level", "kind", "type_comment", "value_",
     "type_ignores", "type_params", "simple", "conversion", "is_async"}
)  # fmt: skip
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Constant: (),
    ast.Name: (),
    ast.Global: (),
    ast.Nonlocal: (),
    ast.Import: (),
    ast.ImportFrom: (),
}


# What the rules and the complexity ask for.
KEPT = frozenset(
    {
        ast.AnnAssign, ast.Assign, ast.AsyncFor, ast.AugAssign, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare,
        ast.ExceptHandler, ast.For, ast.Global, ast.If, ast.IfExp, ast.NamedExpr, ast.Nonlocal, ast.Return,
        ast.Subscript, ast.Try, ast.TryStar, ast.While, ast.Yield, ast.comprehension, ast.match_case, ast.withitem,
    }
)  # fmt: skip
_LEAVES = frozenset({ast.Name, ast.Constant, ast.Pass, ast.Break, ast.Continue, ast.alias, ast.arg})


class Nodes:
    """Nodes by their exact kind, in the order of the text."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[type[ast.AST], list[ast.AST]] = {}

    def add(self, kind: type[ast.AST], node: ast.AST) -> None:
        if kind in self._kinds:
            self._kinds[kind].append(node)
        else:
            self._kinds[kind] = [node]

    def of(self, kind: type[N]) -> list[N]:
        """The nodes of one of the kinds in `KEPT`."""
        return cast(list[N], self._kinds.get(kind, []))

    def count(self, *kinds: type[ast.AST]) -> int:
        return sum(len(self._kinds.get(kind, ())) for kind in kinds)


class Loop:
    """One loop; `nodes` run in each of its rounds and in no loop, function or lambda inside it."""

    __slots__ = ("node", "nodes")

    def __init__(self, node: AnyLoop) -> None:
        self.node = node
        self.nodes = Nodes()


class Scope:
    """One function with its qualified name (`Class.method`); `nodes` are those of its body, not of inner functions."""

    __slots__ = ("depth", "loops", "name", "node", "nodes")

    def __init__(self, name: str, node: Function, depth: int) -> None:
        self.name = name
        self.node = node
        self.depth = depth
        self.nodes = Nodes()
        self.loops: list[Loop] = []


class Tree:
    """All functions of a file, and its classes, handlers and imports wherever they stand."""

    __slots__ = ("classes", "imports", "module", "scopes", "tries")

    def __init__(self, module: ast.Module) -> None:
        self.module = module
        self.scopes: list[Scope] = []
        self.classes: list[ast.ClassDef] = []
        self.tries: list[ast.Try | ast.TryStar] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self._walk()

    def _walk(self) -> None:
        # (node, the function it is in, the loop it is in, prefix of names, depth)
        todo: list[tuple[ast.AST, Scope | None, Loop | None, str, int]] = [(self.module, None, None, "", 0)]
        while todo:
            node, scope, loop, prefix, depth = todo.pop()
            kind = type(node)
            if scope is not None and kind in KEPT:
                scope.nodes.add(kind, node)
                if loop is not None:
                    loop.nodes.add(kind, node)
            if kind is ast.FunctionDef or kind is ast.AsyncFunctionDef:
                function = cast(Function, node)
                name = f"{prefix}{function.name}"
                inner = Scope(name, function, depth)
                self.scopes.append(inner)
                todo += [(child, inner, None, f"{name}.", depth + 1) for child in reversed(function.body)]
                continue
            if kind is ast.ClassDef:
                described = cast(ast.ClassDef, node)
                self.classes.append(described)
                inside = f"{prefix}{described.name}."
                todo += [(child, None, None, inside, depth + 1) for child in reversed(described.body)]
                continue
            if scope is not None and (kind is ast.For or kind is ast.While or kind is ast.AsyncFor):
                repeated = Loop(cast(AnyLoop, node))
                scope.loops.append(repeated)
                todo += [(child, scope, loop, prefix, depth) for child in reversed(repeated.node.orelse)]
                todo += [(child, scope, repeated, prefix, depth) for child in reversed(repeated.node.body)]
                if isinstance(repeated.node, ast.While):
                    todo.append((repeated.node.test, scope, repeated, prefix, depth))
                else:
                    todo.append((repeated.node.iter, scope, loop, prefix, depth))
                continue
            if kind is ast.Try or kind is ast.TryStar:
                self.tries.append(cast(ast.Try, node))
            elif kind is ast.Import or kind is ast.ImportFrom:
                self.imports.append(cast(ast.Import, node))
            elif kind is ast.Lambda:
                loop = None
            elif scope is None and not isinstance(
                node, ast.stmt | ast.Module | ast.ExceptHandler | ast.match_case
            ):
                continue  # Outside functions only statements are looked into.
            for child in reversed(children(node)):
                if type(child) not in _LEAVES:
                    todo.append((child, scope, loop, prefix, depth))


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below that hold code: no operators, no contexts."""
    kind = type(node)
    fields = _FIELDS.get(kind)
    if fields is None:
        fields = _FIELDS[kind] = tuple(name for name in kind._fields if name not in _NO_CODE)
    found: list[ast.AST] = []
    for name in fields:
        value = getattr(node, name, None)
        if value.__class__ is list:
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all nodes below that hold code."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo += children(node)


def names(node: ast.AST) -> set[str]:
    return {item.id for item in walk(node) if isinstance(item, ast.Name)}
