"""How much of a change does anything: layout and comments apart from what runs."""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


def layout_only(path: str, before: str, after: str) -> bool:
    """Whether two versions of a file do the same: only layout, comments and docstrings differ."""
    if path.endswith((".py", ".pyi")):
        old, new = _tree(before), _tree(after)
        return old is not None and new is not None and _program(old) == _program(new)
    return _bare(before) == _bare(after)


def reformatted_lines(path: str, before: str, after: str) -> int:
    """Lines that look different and say the same, in functions and statements that otherwise did not change."""
    if path.endswith((".py", ".pyi")):
        old, new = _tree(before), _tree(after)
        if old is None or new is None:
            return 0
        texts = Counter((unit.dump, unit.text) for unit in _units(old, before))
        known: dict[str, str] = {unit.dump: unit.text for unit in _units(old, before)}
        total = 0
        for unit in _units(new, after):
            if texts[unit.dump, unit.text]:
                texts[unit.dump, unit.text] -= 1
            elif unit.dump in known:
                total += _different(known[unit.dump], unit.text)
        return total
    return _same_but_for_spaces(before, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    dump: str
    text: str


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _program(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _units(tree: ast.Module, source: str) -> Iterator[_Unit]:
    """Functions and methods with their names, and the other statements of modules and classes."""
    lines = source.splitlines()

    def inside(body: list[ast.stmt], prefix: str) -> Iterator[_Unit]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from inside(node.body, f"{prefix}{node.name}.")
                continue
            end = node.end_lineno or node.lineno
            yield _Unit(dump=prefix + ast.dump(node), text="\n".join(lines[node.lineno - 1 : end]))

    yield from inside(tree.body, "")


def _different(before: str, after: str) -> int:
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal")


def _bare(text: str) -> str:
    """The text without spaces, comment lines, semicolons and trailing commas, and with one kind of quotes."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(//|/\*|\*|#)", line)]
    flat = re.sub(r"\s+", "", "".join(lines)).replace("'", '"').replace(";", "")
    return re.sub(r",([)\]}])", r"\1", flat)


def _same_but_for_spaces(before: str, after: str) -> int:
    old, new = before.splitlines(), after.splitlines()
    if len(old) > 20_000 or len(new) > 20_000:
        return 0
    total = 0
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "replace" and _bare("\n".join(old[i1:i2])) == _bare("\n".join(new[j1:j2])):
            total += max(i2 - i1, j2 - j1)
    return total
