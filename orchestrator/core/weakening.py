"""Whether a changed test file still asks all that it asked before: deleted, emptied, loosened or skipped tests."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.core.domain import Problem

_SKIPS = re.compile(r"\bskip|\bxfail\b|expectedFailure")
_RAISES = (
    "raises",
    "warns",
    "assertRaises",
    "assertRaisesRegex",
    "assertWarns",
    "assertLogs",
    "deprecated_call",
)
# Line counts that must not fall, by language: tests, assertions; and what may not be added.
_COUNTED: Mapping[str, tuple[str, str, str]] = {
    "javascript": (
        r"\b(?:it|test)(?:\.each)?\s*[(`]",
        r"\bexpect\s*\(|\bassert\b(?:\.\w+)?\s*\(|\.should\b",
        r"\b(?:it|test|describe)\.(?:skip|only|todo|failing)\b|\bx(?:it|test|describe)\s*\(|\bf(?:it|describe)\s*\(",
    ),
    "go": (
        r"^func (?:Test|Fuzz|Benchmark|Example)\w*\(",
        r"\b(?:t|tb|b)\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\(|\b(?:assert|require)\.\w+\(",
        r"\bt\.Skip(?:f|Now)?\(",
    ),
    "rust": (r"#\[(?:\w+::)*test\b", r"\b(?:debug_)?assert(?:_eq|_ne|_matches)?!", r"#\[ignore"),
}
_LANGUAGES = {
    "js": "javascript", "jsx": "javascript", "mjs": "javascript", "cjs": "javascript", "ts": "javascript",
    "tsx": "javascript", "mts": "javascript", "cts": "javascript", "go": "go", "rs": "rust",
}  # fmt: skip


def weakened(
    before: Mapping[str, str], after: Mapping[str, str | None]
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Compare test files by path; `after` has None for a deleted one.

    Return the ways in which they ask less, and the names of tests that only moved or were renamed.
    """
    problems: list[Problem] = []
    moved: list[str] = []
    bodies = {body for text in after.values() if text for body in _bodies(text)}
    for path, old in sorted(before.items()):
        new = after.get(path)
        if path.endswith(".py"):
            found, gone = _python(path, old, new or "", bodies)
            problems += found
            moved += gone
        elif (language := _LANGUAGES.get(path.rpartition(".")[2])) is not None:
            problems += _counted(path, old, new or "", _COUNTED[language])
    return tuple(problems), tuple(moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    name: str
    line: int
    node: ast.FunctionDef | ast.AsyncFunctionDef
    skipped: bool

    @property
    def body(self) -> str:
        return "\n".join(ast.dump(statement) for statement in _statements(self.node.body))


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Without a docstring."""
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return body[1:]
    return body


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bodies(text: str) -> set[str]:
    tree = _parse(text)
    return {case.body for case in _cases(tree)} if tree else set()


def _cases(tree: ast.Module) -> Iterator[_Case]:
    def inside(body: list[ast.stmt], prefix: str, skipped: bool) -> Iterator[_Case]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from inside(node.body, f"{prefix}{node.name}.", skipped or _is_skipped(node))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                yield _Case(
                    name=prefix + node.name,
                    line=node.lineno,
                    node=node,
                    skipped=skipped or _is_skipped(node) or _skips_itself(node),
                )

    yield from inside(tree.body, "", _module_skips(tree))


def _is_skipped(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(_SKIPS.search(ast.unparse(decorator)) for decorator in node.decorator_list)


def _skips_itself(node: ast.AST) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and re.search(r"\bskip\w*$|\bxfail$", ast.unparse(inner.func)):
            return True
        if isinstance(inner, ast.Raise) and inner.exc is not None and "SkipTest" in ast.unparse(inner.exc):
            return True
    return False


def _module_skips(tree: ast.Module) -> bool:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.Expr | ast.Raise):
            text = ast.unparse(node)
            if re.search(r"pytestmark.*(skip|xfail)|pytest\.skip\(|SkipTest|__test__\s*=\s*False", text):
                return True
    return False


def _python(path: str, old: str, new: str, bodies: set[str]) -> tuple[list[Problem], list[str]]:
    before, after = _parse(old), _parse(new)
    if before is None or after is None:
        return [], []
    problems: list[Problem] = []
    moved: list[str] = []
    cases = list(_cases(after))
    for name, count in Counter(case.name for case in cases).items():
        if count > 1 and count > sum(case.name == name for case in _cases(before)):
            line = next(case.line for case in reversed(cases) if case.name == name)
            problems.append(
                Problem(where=f"{path}:{line}", what=f"{name} is defined twice, so one of them never runs")
            )
    known = {case.name: case for case in cases}
    for case in _cases(before):
        now = known.get(case.name)
        if now is None:
            if case.body in bodies:
                moved.append(case.name)
            else:
                problems.append(Problem(where=path, what=f"the test {case.name} was deleted"))
            continue
        where = f"{path}:{now.line}"
        if now.skipped and not case.skipped:
            problems.append(Problem(where=where, what=f"{case.name} is skipped, which it was not"))
        elif why := _loosened(case, now):
            problems.append(Problem(where=where, what=f"{case.name} {why}"))
    return problems, moved


def _loosened(before: _Case, after: _Case) -> str | None:
    if before.body == after.body and _parameters(before) == _parameters(after):
        return None
    old, new = _assertions(before.node), _assertions(after.node)
    lost = Counter(old) - Counter(new)
    gained = Counter(new) - Counter(old)
    shapes = Counter({_shape(text): count for text, count in gained.items()})
    for text, count in lost.items():
        shape = _shape(text)
        # The same question about a thing that was renamed.
        if shapes[shape] >= count:
            shapes[shape] -= count
            continue
        return f"does not ask any more: {text if len(text) <= 100 else text[:99] + '…'}"
    if _hides(after.node) > _hides(before.node):
        return "catches what it should report, or returns before its end"
    return None


def _assertions(node: ast.AST) -> list[str]:
    found = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            found.append(f"assert {ast.unparse(inner.test)}")
        elif isinstance(inner, ast.Call):
            name = ast.unparse(inner.func).rpartition(".")[2]
            if name in _RAISES or name.startswith(("assert", "fail")):
                found.append(ast.unparse(inner))
    return found


def _shape(text: str) -> str:
    """The assertion with every name but those of assertions and exceptions replaced: a rename keeps it."""
    tree = _parse(text)
    if tree is None:
        return text
    return ast.unparse(_Nameless().visit(tree))


_KEPT = re.compile(r"[A-Z]|assert|raises$|warns$|approx$|fail")


class _Nameless(ast.NodeTransformer):
    """Every name, dotted or not, becomes the same one; what asks stays, and so does what is raised."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        keep = _KEPT.match(node.id) or node.id in ("self", "pytest")
        return node if keep else ast.Name(id="name", ctx=node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        inner = self.visit(node.value)
        if _KEPT.match(node.attr):
            return ast.Attribute(value=inner, attr=node.attr, ctx=node.ctx)
        if isinstance(inner, ast.Name) and inner.id == "name":
            return ast.Name(id="name", ctx=node.ctx)
        return ast.Attribute(value=inner, attr="name", ctx=node.ctx)


def _parameters(case: _Case) -> str:
    return "\n".join(ast.unparse(decorator) for decorator in case.node.decorator_list)


def _hides(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    count = 0
    for inner in ast.walk(node):
        if isinstance(inner, ast.Return):
            count += 1
        elif isinstance(inner, ast.ExceptHandler):
            count += not any(isinstance(deep, ast.Raise) for deep in ast.walk(inner))
        elif isinstance(inner, ast.Call) and ast.unparse(inner.func).endswith("suppress"):
            count += 1
    return count


def _counted(path: str, old: str, new: str, patterns: tuple[str, str, str]) -> list[Problem]:
    tests, assertions, skips = (
        (len(re.findall(pattern, old, re.MULTILINE)), len(re.findall(pattern, new, re.MULTILINE)))
        for pattern in patterns
    )
    problems = []
    if tests[1] < tests[0]:
        problems.append(Problem(where=path, what=f"has {tests[1]} tests, and had {tests[0]}"))
    if assertions[1] < assertions[0]:
        problems.append(Problem(where=path, what=f"has {assertions[1]} assertions, and had {assertions[0]}"))
    if skips[1] > skips[0]:
        problems.append(Problem(where=path, what="skips tests, or singles some out, which it did not"))
    return problems
