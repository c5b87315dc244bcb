"""Loops of a Python file that do the same work again in each round, and bugs that only loops have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.adapters.survey.python_source import at, dotted
from orchestrator.adapters.survey.python_tree import AnyLoop, Function, Loop, Nodes, Scope, names, walk
from orchestrator.core.facts import Finding, FindingKind

_STATEMENTS = {"cursor", "cur", "conn", "connection", "db", "c", "session", "database"}
_ONE_BY_ONE = {
    "get": ("requests", "httpx", "objects"),
    "post": ("requests", "httpx"),
    "filter": ("objects",),
    "filter_by": ("query",),
    "find_one": None,
}  # fmt: skip


def loops(path: str, scope: Scope) -> Iterator[Finding]:
    if not scope.loops:
        return
    texts, lists = _known(scope)
    for loop in scope.loops:
        if isinstance(loop.node, ast.For):
            yield from _changed_while_iterated(path, scope, loop.node)
            yield from _nested(path, scope.name, loop.nodes, loop.node)
        yield from _growing(path, scope.name, loop, texts, lists)
        yield from _calls(path, scope.name, loop, texts, lists)


def _slow(path: str, name: str, node: ast.AST, rule: str, fact: str, weight: int) -> Finding:
    return at(FindingKind.PERFORMANCE, rule, path, name, node, fact, weight)


def _growing(path: str, name: str, loop: Loop, texts: set[str], lists: set[str]) -> Iterator[Finding]:
    line = loop.node.lineno
    for node in loop.nodes.of(ast.AugAssign):
        if not isinstance(node.target, ast.Name) or node.target.id not in texts:
            continue
        if isinstance(node.op, ast.Add) and not _made_in(loop.node, node.target.id):
            yield _slow(
                path, name, node, "string-concatenation",
                f"the string `{node.target.id}` grows by `+=` inside the loop at line {line}: each round may copy all "
                "of it", 3,
            )  # fmt: skip
    for test in loop.nodes.of(ast.Compare):
        match test:
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=owner)]):
                if owner not in lists or _made_in(loop.node, owner):
                    continue
                # A list that grows in the same loop makes the whole of it quadratic.
                weight = 7 if _grows_in(loop.node, owner) else 5
                yield _slow(
                    path, name, test, "list-membership",
                    f"`in {owner}` searches the whole list in each round of the loop at line {line}", weight,
                )  # fmt: skip


def _calls(path: str, name: str, loop: Loop, texts: set[str], lists: set[str]) -> Iterator[Finding]:
    line = loop.node.lineno
    for node in loop.nodes.of(ast.Call):
        match node.func:
            case ast.Attribute(value=ast.Name(id=owner), attr="pop" | "insert" as method) if owner in lists:
                if node.args and _is_zero(node.args[0]) and not _made_in(loop.node, owner):
                    yield _slow(
                        path, name, node, "list-front",
                        f"`{owner}.{method}(0{', ...' if method == 'insert' else ''})` moves every item of the list in "
                        f"each round of the loop at line {line}", 6,
                    )  # fmt: skip
            case ast.Attribute(value=ast.Name(id=owner), attr="count" | "index" as method):
                known = owner in lists or _iterates(loop.node, owner)
                if node.args and known and owner not in texts and not _made_in(loop.node, owner):
                    yield _slow(
                        path, name, node, "list-search",
                        f"`{owner}.{method}(...)` searches the whole sequence in each round of the loop at line {line}",
                        6,
                    )  # fmt: skip
            case ast.Attribute(value=ast.Name(id="re"), attr="compile"):
                yield _slow(
                    path, name, node, "compile-in-loop",
                    f"`re.compile` runs in each round of the loop at line {line}", 3,
                )  # fmt: skip
            case ast.Attribute() if (weight := _one_by_one(loop.node, node)) > 0:
                yield _slow(
                    path, name, node, "call-per-item",
                    f"`{ast.unparse(node.func)}(...)` is called once per item of the loop at line {line}", weight,
                )  # fmt: skip
            case ast.Name(id="open" | "sorted" as function) if node.args:
                if finding := _same_again(path, name, loop.node, node, function):
                    yield finding


def _same_again(path: str, name: str, loop: AnyLoop, node: ast.Call, function: str) -> Finding | None:
    """A file that is opened, or a list that is sorted, again in each round with nothing changed meanwhile."""
    first = node.args[0]
    used = names(first)
    if used & _targets(loop) or _assigned_in(loop, used):
        return None
    if function == "open" and not isinstance(loop, ast.While):
        return _slow(
            path, name, node, "open-in-loop",
            f"the same file is opened in each round of the loop at line {loop.lineno}", 6,
        )  # fmt: skip
    if function == "sorted" and isinstance(first, ast.Name) and not _grows_in(loop, first.id):
        return _slow(
            path, name, node, "sort-in-loop",
            f"`sorted({first.id})` sorts the same items in each round of the loop at line {loop.lineno}", 5,
        )  # fmt: skip
    return None


def _known(scope: Scope) -> tuple[set[str], set[str]]:
    """Names that are only ever strings, and names that are only ever lists that can grow, in this function."""
    kinds: dict[str, set[str]] = {}
    taken, nodes = scope.node.args, scope.nodes
    for argument in [*taken.posonlyargs, *taken.args, *taken.kwonlyargs]:
        annotation = ast.unparse(argument.annotation) if argument.annotation is not None else "?"
        kind = "text" if annotation == "str" else "list" if _is_list_annotation(annotation) else "?"
        kinds.setdefault(argument.arg, set()).add(kind)
    for assign in nodes.of(ast.Assign):
        for target in assign.targets:
            if isinstance(target, ast.Name):
                kinds.setdefault(target.id, set()).add(_kind(assign.value))
            elif isinstance(target, ast.Tuple | ast.List | ast.Starred):
                for name in names(target):
                    kinds.setdefault(name, set()).add("?")
    for annotated in nodes.of(ast.AnnAssign):
        if isinstance(annotated.target, ast.Name) and annotated.value is not None:
            kinds.setdefault(annotated.target.id, set()).add(_kind(annotated.value))
    targets = [loop.target for loop in nodes.of(ast.For)]
    targets += [loop.target for loop in nodes.of(ast.AsyncFor)]
    targets += [part.target for part in nodes.of(ast.comprehension)]
    for target in targets:
        for name in names(target):
            kinds.setdefault(name, set()).add("?")
    for expression in nodes.of(ast.NamedExpr):
        kinds.setdefault(expression.target.id, set()).add("?")
    for declared in [node.names for node in nodes.of(ast.Global)] + [
        node.names for node in nodes.of(ast.Nonlocal)
    ]:
        for name in declared:
            kinds.setdefault(name, set()).add("?")
    texts = {name for name, found in kinds.items() if found == {"text"}}
    lists = {name for name, found in kinds.items() if found == {"list"}}
    return texts, lists


def _kind(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return "text"
        # A list of constants is short and stays so; one that starts empty or is computed can be any length.
        case ast.List(elts=[]) | ast.ListComp():
            return "list"
        case ast.Call(func=ast.Name(id="list" | "sorted")):
            return "list"
    return "?"


def _is_list_annotation(annotation: str) -> bool:
    return annotation.strip("'\"").partition("[")[0] in ("list", "List", "typing.List")


def _targets(loop: AnyLoop) -> set[str]:
    return set() if isinstance(loop, ast.While) else names(loop.target)


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0 and not isinstance(node.value, bool)


def _iterates(loop: AnyLoop, name: str) -> bool:
    return isinstance(loop, ast.For) and isinstance(loop.iter, ast.Name) and loop.iter.id == name


def _assigned_in(loop: AnyLoop, names: set[str]) -> bool:
    return any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names
        for statement in loop.body
        for node in walk(statement)
    )


def _grows_in(loop: AnyLoop, name: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and dotted(node.func.value) == name
        for statement in loop.body
        for node in walk(statement)
    )


def _one_by_one(loop: AnyLoop, call: ast.Call) -> int:
    """What it weighs that a loop asks a database or a server item by item; 0 when it does not."""
    # A few items written down in the code are a few calls.
    if not isinstance(loop, ast.For) or isinstance(loop.iter, ast.Tuple | ast.List | ast.Dict | ast.Constant):
        return 0
    assert isinstance(call.func, ast.Attribute)
    owner = dotted(call.func.value).rpartition(".")[2]
    method = call.func.attr
    if method == "execute" and owner in _STATEMENTS:
        match call.args:
            case [ast.Constant(value=str(text)), *_]:
                # Reading row by row is what a join is for; tables are created one by one for good reason.
                return {"SELECT": 6, "INSERT": 5, "UPDATE": 5, "DELETE": 5}.get(
                    text.split(None, 1)[0].upper(), 0
                )
        return 4
    if method not in _ONE_BY_ONE:
        return 0
    owners = _ONE_BY_ONE[method]
    return 6 if owner and (owners is None or owner in owners) else 0


def _made_in(loop: AnyLoop, name: str) -> bool:
    """Whether the name is given a value of its own in each round; `+=` is none."""
    for statement in loop.body:
        for node in walk(statement):
            targets: list[ast.expr] = []
            match node:
                case ast.Assign():
                    targets = node.targets
                case ast.AnnAssign() | ast.For() | ast.AsyncFor() | ast.comprehension() | ast.NamedExpr():
                    targets = [node.target]
            if any(name in names(target) for target in targets):
                return True
    return False


def _changed_while_iterated(path: str, scope: Scope, loop: ast.For) -> Iterator[Finding]:
    if not isinstance(loop.iter, ast.Name):
        return
    owner = loop.iter.id
    changes = {
        id(call): call.func.attr
        for call in scope.nodes.of(ast.Call)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("remove", "pop", "insert")
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == owner
    }
    if not changes:
        return
    for block in _blocks(loop):
        for place, statement in enumerate(block):
            if not isinstance(statement, ast.Expr) or id(statement.value) not in changes:
                continue
            if any(isinstance(later, ast.Break | ast.Return | ast.Raise) for later in block[place:]):
                continue
            yield at(
                FindingKind.BUG, "changed-while-iterated", path, scope.name, statement,
                f"`{owner}.{changes[id(statement.value)]}(...)` changes `{owner}` while the loop at line {loop.lineno} "
                "goes over it: items are skipped", 9,
            )  # fmt: skip


def _blocks(loop: ast.For) -> Iterator[list[ast.stmt]]:
    yield loop.body
    for statement in loop.body:
        for node in walk(statement):
            for part in ("body", "orelse", "finalbody"):
                block = getattr(node, part, None)
                if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                    yield block


def _nested(path: str, name: str, nodes: Nodes, loop: ast.For) -> Iterator[Finding]:
    outer = _targets(loop)
    for inner in nodes.of(ast.For):
        if isinstance(loop.iter, ast.Name) and _iterates(inner, loop.iter.id):
            yield at(
                FindingKind.PERFORMANCE, "nested-loops", path, name, inner,
                f"this loop goes over `{loop.iter.id}` inside the loop over `{loop.iter.id}` at line {loop.lineno}: "
                "quadratic", 7,
            )  # fmt: skip
            continue
        if not isinstance(inner.iter, ast.Name | ast.Attribute) or outer & names(inner.iter):
            continue
        if _assigned_in(loop, names(inner.iter)):
            continue
        for node in inner.body:
            match node:
                case ast.If(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
                    sides = (names(left), names(right))
                    mine = _targets(inner)
                    if (sides[0] & outer and sides[1] & mine) or (sides[1] & outer and sides[0] & mine):
                        yield at(
                            FindingKind.PERFORMANCE, "nested-loops", path, name, inner,
                            f"each round of the loop at line {loop.lineno} searches all of "
                            f"`{ast.unparse(inner.iter)}` for a match: quadratic", 7,
                        )  # fmt: skip


def recursion(path: str, scope: Scope) -> Iterator[Finding]:
    function = scope.node
    shrinking = [
        call
        for call in scope.nodes.of(ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id == function.name and _shrinks(call, function)
    ]
    if len(shrinking) < 2 or function.decorator_list or not _in_one_expression(scope, shrinking):
        return
    yield at(
        FindingKind.PERFORMANCE, "repeated-recursion", path, scope.name, min(shrinking, key=lambda call: call.lineno),
        f"`{function.name}` calls itself {len(shrinking)} times in one expression and remembers nothing: "
        "the work doubles at each step", 7,
    )  # fmt: skip


def _shrinks(call: ast.Call, function: Function) -> bool:
    parameters = {argument.arg for argument in function.args.args}
    return any(
        isinstance(argument, ast.BinOp)
        and isinstance(argument.op, ast.Sub)
        and isinstance(argument.left, ast.Name)
        and argument.left.id in parameters
        for argument in call.args
    )


def _in_one_expression(scope: Scope, calls: list[ast.Call]) -> bool:
    wanted = {id(call) for call in calls}
    return any(len(wanted & {id(item) for item in walk(node)}) >= 2 for node in scope.nodes.of(ast.BinOp))
