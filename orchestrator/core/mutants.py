"""Small faults put into code on purpose: tests that notice none of them test nothing.

Python is changed by its syntax tree; other languages by operators and constants in their text.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """The file's text with one fault; `said` names it, such as `line 12: < became >=`."""

    text: str
    said: str
    line: int


def python_mutants(source: str, names: Collection[str] | None, *, limit: int) -> tuple[Mutant, ...]:
    """Return at most `limit` faults in the functions called `names` (None: all), spread over them.

    A class counts with all its methods. Text that is no Python gives none.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    bodies = [node for node in _functions(tree) if names is None or _named(node, names)]
    places: list[list[tuple[int, int]]] = []
    nodes = list(ast.walk(tree))
    order = {id(node): place for place, node in enumerate(nodes)}
    for body in bodies:
        found = [
            (order[id(node)], variant) for node in ast.walk(body.node) for variant in range(_variants(node))
        ]
        places.append(found)
    mutants: list[Mutant] = []
    seen: set[tuple[int, int]] = set()
    for place in _round_robin(places):
        if place in seen or len(mutants) >= limit:
            continue
        seen.add(place)
        changed = copy.deepcopy(tree)
        node = list(ast.walk(changed))[place[0]]
        said = _change(node, place[1])
        if said is None:
            continue
        line = getattr(nodes[place[0]], "lineno", 0)
        mutants.append(
            Mutant(
                text=ast.unparse(ast.fix_missing_locations(changed)) + "\n",
                said=f"line {line}: {said}",
                line=line,
            )
        )
    return tuple(mutants)


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    owner: str
    node: ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.Module) -> Iterator[_Function]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _Function(node.name, "", node)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield _Function(inner.name, node.name, inner)


def _named(function: _Function, names: Collection[str]) -> bool:
    return function.name in names or function.owner in names


def _round_robin(lists: list[list[tuple[int, int]]]) -> Iterator[tuple[int, int]]:
    """One of each list in turn, and of each list from its ends and its middle: neighbours fail alike."""
    queues = [_spread(items) for items in lists]
    while any(queues):
        for queue in queues:
            if queue:
                yield queue.pop(0)


def _spread(items: list[tuple[int, int]]) -> list[tuple[int, int]]:
    step = max(1, len(items) // 4)
    return [items[place] for start in range(step) for place in range(start, len(items), step)]


def _variants(node: ast.AST) -> int:
    match node:
        case ast.Compare() if len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
            return 1
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            return 1
        case ast.AugAssign() if type(node.op) in _ARITHMETIC:
            return 1
        case ast.BoolOp():
            return 1
        case ast.UnaryOp(op=ast.Not()):
            return 1
        case ast.Return(value=ast.expr()) if not _is_none(node.value):
            return 1
        case ast.Constant(value=bool()):
            return 1
        case ast.Constant(value=int() | float()):
            return 1
    return 0


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _change(node: ast.AST, variant: int) -> str | None:
    match node:
        case ast.Compare():
            old = node.ops[0]
            node.ops[0] = _COMPARISONS[type(old)]()
            return f"{type(old).__name__} became {type(node.ops[0]).__name__}"
        case ast.BinOp() | ast.AugAssign():
            before = node.op
            node.op = _ARITHMETIC[type(before)]()
            return f"{type(before).__name__} became {type(node.op).__name__}"
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return "`and` and `or` swapped"
        case ast.UnaryOp():
            node.op, node.operand = (
                ast.Not(),
                ast.UnaryOp(op=ast.Not(), operand=node.operand),
            )
            return "`not` dropped"
        case ast.Return():
            node.value = ast.Constant(value=None)
            return "returns None"
        case ast.Constant(value=bool()):
            node.value = not node.value
            return f"{not node.value} became {node.value}"
        case ast.Constant(value=int() | float()):
            told = node.value
            node.value = told + 1  # type: ignore[operator]  # the pattern has seen that it is a number
            return f"{told!r} became {node.value!r}"
    return None


_SWAPS = (
    ("===", "!=="), ("!==", "==="), ("<=", ">"), (">=", "<"), ("==", "!="), ("!=", "=="), ("&&", "||"),
    ("||", "&&"), (" < ", " >= "), (" > ", " <= "), (" + ", " - "), (" - ", " + "), (" * ", " + "),
    ("true", "false"), ("false", "true"),
)  # fmt: skip
_OPERATORS = re.compile(
    r"===|!==|<=|>=|==|!=|&&|\|\|| < | > | \+ | - | \* |\btrue\b|\bfalse\b|\breturn (?=[\w\"'`({\[])"
)
_NOT_CODE = re.compile(r"^\s*(//|\*|/\*|#|import\b|from\b|export \*|use\b|package\b)")


def text_mutants(source: str, *, limit: int) -> tuple[Mutant, ...]:
    """Faults in a language with C's operators, line by line; comments, imports and strings are left alone."""
    swaps = dict(_SWAPS)
    found: list[Mutant] = []
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if _NOT_CODE.match(line):
            continue
        for match in _OPERATORS.finditer(line):
            before = line[: match.start()]
            if any(before.count(quote) % 2 for quote in "\"'`") or "//" in before:
                continue
            old = match.group()
            new = swaps.get(old)
            if new is None or "=>" in line[match.start() - 1 : match.end() + 1]:
                continue
            changed = [*lines[:number], before + new + line[match.end() :], *lines[number + 1 :]]
            said = f"line {number + 1}: {old.strip()} became {new.strip()}"
            found.append(Mutant(text="\n".join(changed), said=said, line=number + 1))
    step = max(1, len(found) // limit) if limit else 1
    return tuple(found[::step][:limit])


def names_used(source: str) -> frozenset[str]:
    """The names and attributes a Python file mentions: what its tests may be about."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                found.add(node.id)
            case ast.Attribute():
                found.add(node.attr)
            case ast.ImportFrom():
                found.update(alias.name for alias in node.names)
    return frozenset(found)


def modules_used(source: str) -> tuple[str, ...]:
    """Dotted names of all modules a Python file imports, `from a import b` as both `a` and `a.b`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found += [alias.name for alias in node.names]
            case ast.ImportFrom(module=str() as module, level=0):
                found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(found))
