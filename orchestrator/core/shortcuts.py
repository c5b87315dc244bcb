"""Code that answers its tests instead of doing its work: asks whether it is tested, or returns their examples."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SNIFFS = re.compile(
    r"PYTEST_CURRENT_TEST|PYTEST_VERSION|[\"'](?:pytest|_pytest|unittest|nose)[\"']\s+(?:not\s+)?in\s+sys\.modules"
    r"|sys\.modules(?:\.get\(|\[)\s*[\"'](?:pytest|_pytest|unittest)[\"']|JEST_WORKER_ID|VITEST_WORKER_ID"
    r"|process\.env\.(?:VITEST|JEST\w*)|(?:inspect\.stack|sys\._getframe|traceback\.extract_stack)\(.*test"
    r"|sys\.argv.*(?:pytest|unittest)"
)

LONG_INPUT = 14
# What a program may well ask for by name: commands, kinds, extensions, separators of one character repeated.
_WORD = re.compile(r"'[\w.\-+ ]{0,40}'|'(\W)\1+'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """`certain` ones are faults; of the others one can only say that they look like it."""

    line: int
    what: str
    certain: bool = True


def shortcuts(path: str, before: str, after: str, tests: Iterable[str]) -> Iterator[Shortcut]:
    """Yield each shortcut that `after` has and `before` had not; `tests` are the texts of test files."""
    had = set(before.splitlines())
    for number, text in enumerate(after.splitlines(), 1):
        if text not in had and _SNIFFS.search(text):
            yield Shortcut(line=number, what=f"asks whether it is being tested: {text.strip()[:80]}")
    if not path.endswith(".py"):
        return
    old, new = _tree(before), _tree(after)
    if old is None or new is None:
        return
    examples = [example for text in tests for example in _examples(text)]
    known = {ast.dump(node) for node in ast.walk(old)}
    for line, shown, asked, given in _special_cases(new, known):
        if any(asked & example and given <= example for example in examples):
            yield Shortcut(line=line, what=f"answers an example of the tests: {shown}")
    inputs = frozenset[str]().union(*examples)
    for line, shown, text in _recognised(new, known):
        if text in inputs:
            what = f"recognises an example of the tests: {shown}"
            yield Shortcut(line=line, what=what, certain=len(text) > LONG_INPUT)


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _examples(text: str) -> Iterator[frozenset[str]]:
    """The constants of each assertion, its statement's other calls included."""
    tree = _tree(text)
    if tree is None:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            for statement in ast.walk(node):
                if isinstance(statement, ast.Assert | ast.Expr | ast.With):
                    yield _constants(statement)
            # `result = f(7)` and `assert result == 42` are one example.
            if len(node.body) <= 6:
                yield _constants(node)


def _constants(node: ast.AST) -> frozenset[str]:
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant):
            found.add(_plain(inner.value))
        elif (
            isinstance(inner, ast.UnaryOp)
            and isinstance(inner.op, ast.USub)
            and isinstance(inner.operand, ast.Constant)
        ):
            found.add(f"-{_plain(inner.operand.value)}")
    return frozenset(found)


def _plain(value: object) -> str:
    """Numbers that are equal read the same: 5 and 5.0."""
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)


def _recognised(tree: ast.Module, known: set[str]) -> Iterator[tuple[int, str, str]]:
    """New comparisons of something given with one whole text that is no plain word: line, text, the constant."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or ast.dump(node) in known or len(node.ops) != 1:
            continue
        if isinstance(node.ops[0], ast.Eq):
            for side in (node.left, node.comparators[0]):
                if isinstance(side, ast.Constant) and isinstance(side.value, str):
                    asked = _plain(side.value)
                    if asked not in _TRIVIAL and (len(asked) > LONG_INPUT or not _WORD.fullmatch(asked)):
                        yield node.lineno, ast.unparse(node)[:80], asked


_TRIVIAL = frozenset(map(repr, (None, True, False, "", 0, 1, b"", "\n", " ", Ellipsis))) | {"-1"}


def _special_cases(
    tree: ast.Module, known: set[str]
) -> Iterator[tuple[int, str, frozenset[str], frozenset[str]]]:
    """New code that compares an argument with a constant and then gives another: line, text, both constants."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        for node in ast.walk(function):
            if ast.dump(node) in known:
                continue
            match node:
                case ast.If(test=test, body=[ast.Return(value=ast.expr() as given), *_]):
                    yield from _pair(node.lineno, test, given, arguments)
                case ast.If(test=test, body=[ast.Assign(value=given), *_]):
                    yield from _pair(node.lineno, test, given, arguments)
                case ast.IfExp(test=test, body=given):
                    yield from _pair(node.lineno, test, given, arguments)
                case ast.match_case(
                    pattern=ast.MatchValue(value=asked), body=[ast.Return(value=ast.expr() as given)]
                ):
                    yield from _both(asked.lineno, asked, given, f"case {ast.unparse(asked)}")
                case ast.Dict(keys=keys, values=values) if _is_looked_up(function, node):
                    for key, value in zip(keys, values, strict=True):
                        if key is not None:
                            yield from _both(node.lineno, key, value, f"{{{ast.unparse(key)}: ...}}")


def _pair(
    line: int, test: ast.expr, given: ast.expr, arguments: set[str]
) -> Iterator[tuple[int, str, frozenset[str], frozenset[str]]]:
    compares = [inner for inner in ast.walk(test) if isinstance(inner, ast.Compare)]
    exact = [
        inner
        for inner in compares
        if all(isinstance(operator, ast.Eq | ast.In | ast.Is) for operator in inner.ops)
        and any(isinstance(name, ast.Name) and name.id in arguments for name in ast.walk(inner))
    ]
    if exact and len(exact) == len(compares):
        yield from _both(line, test, given, f"if {ast.unparse(test)}")


def _both(
    line: int, asked: ast.expr, given: ast.expr, shown: str
) -> Iterator[tuple[int, str, frozenset[str], frozenset[str]]]:
    names = [inner for inner in ast.walk(given) if isinstance(inner, ast.Name | ast.Call | ast.Attribute)]
    # A plain word is a kind, a unit, a command: programs decide by those all the time.
    question = frozenset(text for text in _constants(asked) - _TRIVIAL if not _WORD.fullmatch(text))
    answer = _constants(given)
    if question and answer and not names:
        yield line, f"{shown} gives {ast.unparse(given)}"[:100], question, answer


def _is_looked_up(function: ast.AST, wanted: ast.Dict) -> bool:
    """Whether a dictionary is only there to be asked once: `{7: 42}.get(n)`, `{7: 42}[n]`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and node.value is wanted:
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.value is wanted:
            return True
    return False
