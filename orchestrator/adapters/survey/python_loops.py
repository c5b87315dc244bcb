"""Loops of a Python file that do the same work again in each round, and bugs that only loops have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from orchestrator.adapters.survey.python_source import at, dotted, own_nodes
from orchestrator.core.facts import Finding, FindingKind

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Loop = ast.For | ast.AsyncFor | ast.While
_ONE_BY_ONE = {
    "execute": ("cursor", "cur", "conn", "connection", "db", "c", "session", "database"),
    "get": ("requests", "httpx", "objects"),
    "post": ("requests", "httpx"),
    "filter": ("objects",),
    "filter_by": ("query",),
    "find_one": None,
}  # fmt: skip


def loops(path: str, name: str, function: _Function) -> Iterator[Finding]:
    texts, lists = _known(function)
    for loop in own_nodes(function):
        if not isinstance(loop, _Loop):
            continue
        if isinstance(loop, ast.For):
            yield from _changed_while_iterated(path, name, loop)
            yield from _nested(path, name, loop)
        variables = _targets(loop)
        for node in _body(loop):
            match node:
                case ast.AugAssign(target=ast.Name(id=text), op=ast.Add()) if text in texts:
                    yield at(
                        FindingKind.PERFORMANCE, "string-concatenation", path, name, node,
                        f"the string `{text}` grows by `+=` inside the loop at line {loop.lineno}: "
                        "each round may copy all of it", 3,
                    )  # fmt: skip
                case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=owner)]) if (
                    owner in lists
                ):
                    yield at(
                        FindingKind.PERFORMANCE, "list-membership", path, name, node,
                        f"`in {owner}` searches the whole list in each round of the loop at line {loop.lineno}", 7,
                    )  # fmt: skip
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=owner), attr="pop" | "insert" as method)
                ) if owner in lists and node.args and _is_zero(node.args[0]):
                    yield at(
                        FindingKind.PERFORMANCE, "list-front", path, name, node,
                        f"`{owner}.{method}(0{', ...' if method == 'insert' else ''})` moves every item of the list "
                        f"in each round of the loop at line {loop.lineno}", 6,
                    )  # fmt: skip
                case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="count" | "index" as method)) if (
                    owner in lists or _iterates(loop, owner)
                ) and node.args and owner not in texts:  # fmt: skip
                    yield at(
                        FindingKind.PERFORMANCE, "list-search", path, name, node,
                        f"`{owner}.{method}(...)` searches the whole sequence in each round of the loop at line "
                        f"{loop.lineno}", 6,
                    )  # fmt: skip
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile")):
                    yield at(
                        FindingKind.PERFORMANCE, "compile-in-loop", path, name, node,
                        f"`re.compile` runs in each round of the loop at line {loop.lineno}", 3,
                    )  # fmt: skip
                case ast.Call(func=ast.Name(id="open"), args=[first, *_]) if not variables & _names(first):
                    if not isinstance(loop, ast.While) and not _assigned_in(loop, _names(first)):
                        yield at(
                            FindingKind.PERFORMANCE, "open-in-loop", path, name, node,
                            f"the same file is opened in each round of the loop at line {loop.lineno}", 6,
                        )  # fmt: skip
                case ast.Call(func=ast.Name(id="sorted"), args=[ast.Name(id=owner), *_]) if (
                    owner not in variables and not _assigned_in(loop, {owner}) and not _grows_in(loop, owner)
                ):
                    yield at(
                        FindingKind.PERFORMANCE, "sort-in-loop", path, name, node,
                        f"`sorted({owner})` sorts the same items in each round of the loop at line {loop.lineno}", 5,
                    )  # fmt: skip
                case ast.Call(func=ast.Attribute(value=owner_node, attr=method)) if (
                    # A few items written down in the code are a few calls.
                    isinstance(loop, ast.For)
                    and not isinstance(loop.iter, ast.Tuple | ast.List | ast.Dict | ast.Constant)
                    and _one_by_one(owner_node, method)
                ):
                    yield at(
                        FindingKind.PERFORMANCE, "call-per-item", path, name, node,
                        f"`{ast.unparse(node.func)}(...)` makes one round trip per item of the loop at line "
                        f"{loop.lineno}", 6,
                    )  # fmt: skip


def _known(function: _Function) -> tuple[set[str], set[str]]:
    """Names that are only ever strings, and names that are only ever lists that can grow, in this function."""
    kinds: dict[str, set[str]] = {}
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    for argument in every:
        annotation = ast.unparse(argument.annotation) if argument.annotation is not None else "?"
        kind = "text" if annotation == "str" else "list" if _is_list_annotation(annotation) else "?"
        kinds.setdefault(argument.arg, set()).add(kind)
    for node in own_nodes(function):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for item in ast.walk(target):
                        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
                            kinds.setdefault(item.id, set()).add(_kind(value) if item is target else "?")
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                kinds.setdefault(name, set()).add(_kind(value))
            case ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target):
                for item in ast.walk(target):
                    if isinstance(item, ast.Name):
                        kinds.setdefault(item.id, set()).add("?")
            case ast.NamedExpr(target=ast.Name(id=name)):
                kinds.setdefault(name, set()).add("?")
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                for name in names:
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


def _targets(loop: _Loop) -> set[str]:
    return _names(loop.target) if isinstance(loop, ast.For | ast.AsyncFor) else set()


def _names(node: ast.AST) -> set[str]:
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}


def _body(loop: _Loop) -> Iterator[ast.AST]:
    """The nodes that run in each round of this loop and in no loop inside it."""
    todo: list[ast.AST] = list(loop.body)
    if isinstance(loop, ast.While):
        todo.append(loop.test)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.For | ast.AsyncFor):
            todo.append(node.iter)
        elif not isinstance(
            node, ast.While | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            todo += ast.iter_child_nodes(node)


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0 and not isinstance(node.value, bool)


def _iterates(loop: _Loop, name: str) -> bool:
    return isinstance(loop, ast.For) and isinstance(loop.iter, ast.Name) and loop.iter.id == name


def _assigned_in(loop: _Loop, names: set[str]) -> bool:
    return any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names
        for statement in loop.body
        for node in ast.walk(statement)
    )


def _grows_in(loop: _Loop, name: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and dotted(node.func.value) == name
        for statement in loop.body
        for node in ast.walk(statement)
    )


def _one_by_one(owner: ast.expr, method: str) -> bool:
    if method not in _ONE_BY_ONE:
        return False
    owners = _ONE_BY_ONE[method]
    last = dotted(owner).rpartition(".")[2] if not isinstance(owner, ast.Call) else ""
    return bool(last) if owners is None else last in owners


def _changed_while_iterated(path: str, name: str, loop: ast.For) -> Iterator[Finding]:
    if not isinstance(loop.iter, ast.Name):
        return
    owner = loop.iter.id
    for block in _blocks(loop):
        for place, statement in enumerate(block):
            match statement:
                case ast.Expr(
                    value=ast.Call(
                        func=ast.Attribute(
                            value=ast.Name(id=changed), attr="remove" | "pop" | "insert" as method
                        )
                    )
                ) if changed == owner:
                    if any(isinstance(later, ast.Break | ast.Return | ast.Raise) for later in block[place:]):
                        continue
                    yield at(
                        FindingKind.BUG, "changed-while-iterated", path, name, statement,
                        f"`{owner}.{method}(...)` changes `{owner}` while the loop at line {loop.lineno} goes "
                        "over it: items are skipped", 9,
                    )  # fmt: skip


def _blocks(loop: ast.For) -> Iterator[list[ast.stmt]]:
    yield loop.body
    for node in _body(loop):
        for part in ("body", "orelse", "handlers", "finalbody"):
            block = getattr(node, part, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block


def _nested(path: str, name: str, loop: ast.For) -> Iterator[Finding]:
    outer = _targets(loop)
    for inner in _body(loop):
        if not isinstance(inner, ast.For):
            continue
        if isinstance(loop.iter, ast.Name) and _iterates(inner, loop.iter.id):
            yield at(
                FindingKind.PERFORMANCE, "nested-loops", path, name, inner,
                f"this loop goes over `{loop.iter.id}` inside the loop over `{loop.iter.id}` at line {loop.lineno}: "
                "quadratic", 7,
            )  # fmt: skip
            continue
        if not isinstance(inner.iter, ast.Name | ast.Attribute) or outer & _names(inner.iter):
            continue
        if _assigned_in(loop, _names(inner.iter)):
            continue
        for node in inner.body:
            match node:
                case ast.If(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
                    sides = (_names(left), _names(right))
                    mine = _targets(inner)
                    if (sides[0] & outer and sides[1] & mine) or (sides[1] & outer and sides[0] & mine):
                        yield at(
                            FindingKind.PERFORMANCE, "nested-loops", path, name, inner,
                            f"each round of the loop at line {loop.lineno} searches all of "
                            f"`{ast.unparse(inner.iter)}` for a match: quadratic", 7,
                        )  # fmt: skip


def recursion(path: str, name: str, function: _Function) -> Iterator[Finding]:
    if function.decorator_list:
        return
    parameters = {argument.arg for argument in function.args.args}
    calls = [
        node
        for node in own_nodes(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.name
    ]
    shrinking = [
        call
        for call in calls
        if any(
            isinstance(argument, ast.BinOp)
            and isinstance(argument.op, ast.Sub)
            and isinstance(argument.left, ast.Name)
            and argument.left.id in parameters
            for argument in call.args
        )
    ]
    if len(shrinking) >= 2 and _in_one_expression(function, shrinking):
        yield at(
            FindingKind.PERFORMANCE, "repeated-recursion", path, name, min(shrinking, key=lambda c: c.lineno),
            f"`{function.name}` calls itself {len(shrinking)} times in one expression and remembers nothing: "
            "the work doubles at each step", 7,
        )  # fmt: skip


def _in_one_expression(function: _Function, calls: list[ast.Call]) -> bool:
    wanted = {id(call) for call in calls}
    return any(
        len(wanted & {id(item) for item in ast.walk(node)}) >= 2
        for node in own_nodes(function)
        if isinstance(node, ast.BinOp)
    )
