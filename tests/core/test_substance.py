"""Layout and comments are told from what runs, and shortcuts from work."""

import pytest

from orchestrator.core.mutants import modules_used, names_used, python_mutants, text_mutants
from orchestrator.core.shortcuts import shortcuts
from orchestrator.core.substance import layout_only, reformatted_lines

CODE = '''def total(items, fee=0):
    """Add."""
    found = sum(item.price for item in items)
    return round(found + fee, 2)


def other(a, b):
    return [a, b]
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('    """Add."""\n', "", True),
        ("    return round(", "    # Cents.\n    return round(", True),
        ("return [a, b]", "return [\n        a,\n        b,\n    ]", True),
        ("found + fee", "(found + fee)", True),
        ("found + fee", "found - fee", False),
        ("[a, b]", "[b, a]", False),
    ],
)
def test_layout_comments_and_docstrings_run_the_same(old, new, same):
    assert layout_only("a.py", CODE, CODE.replace(old, new)) is same


def test_other_languages_are_compared_without_spaces_and_comments():
    before = "// adds\nfunction f(a, b) { return a + b; }\n"
    assert layout_only("a.js", before, "function f(a, b) {\n  return a + b\n}\n")
    assert not layout_only("a.js", before, "function f(a, b) { return a - b; }\n")


def test_only_lines_of_code_that_did_not_change_count_as_reformatted():
    spread = CODE.replace("return [a, b]", "return [\n        a,\n        b,\n    ]")
    assert reformatted_lines("a.py", CODE, spread) == 4
    changed_too = spread.replace("found + fee", "found - fee")
    assert reformatted_lines("a.py", CODE, changed_too) == 4
    assert reformatted_lines("a.py", CODE, CODE.replace("found + fee", "found - fee")) == 0
    assert reformatted_lines("a.js", "f(a,b)\ng()\n", "f(a, b)\ng()\n") == 1
    assert reformatted_lines("a.py", "def broken(", CODE) == 0


TESTS = (
    "def test_a():\n    assert price(7) == 42\n",
    'def test_b():\n    found = parse("2026-03-01;in;bolt;7")\n    assert found.quantity == 7\n',
    'def test_c():\n    assert parse("in") == 1 and load("{")\n',
)
BEFORE = "def price(n):\n    return n * 2\n"


@pytest.mark.parametrize(
    ("added", "certain"),
    [
        ("    if n == 7:\n        return 42\n", True),
        ("    if n in (7, 8):\n        return 42.0\n", True),
        ("    return {7: 42}.get(n, n * 2)\n", True),
        ("    return 42 if n == 7 else n * 2\n", True),
        ("    match n:\n        case 7:\n            return 42\n", True),
        ('    if n == "2026-03-01;in;bolt;7":\n        return Movement("in", 7)\n', True),
        ('    import sys\n    if "pytest" in sys.modules:\n        return 42\n', True),
        ('    if os.environ.get("PYTEST_CURRENT_TEST"):\n        return 42\n', True),
        ('    if open(n).read() == "{":\n        raise SystemExit\n', False),
    ],
)
def test_answers_made_for_the_tests_are_seen(added, certain):
    after = BEFORE.replace("    return n * 2\n", added + "    return n * 2\n")
    found = list(shortcuts("a.py", BEFORE, after, TESTS))
    assert found and any(one.certain is certain for one in found)
    assert list(shortcuts("a.py", after, after, TESTS)) == []


@pytest.mark.parametrize(
    "added",
    [
        "    if n == 0:\n        return 0\n",
        "    if n is None:\n        return 1\n",
        "    if n > 7:\n        return 42\n",
        '    if n == "in":\n        return 1\n',
        "    if n == 8:\n        return 43\n",
        "    if n == 7:\n        return compute(42)\n",
        '    if n == "--":\n        return []\n',
    ],
)
def test_ordinary_cases_are_not(added):
    after = BEFORE.replace("    return n * 2\n", added + "    return n * 2\n")
    assert [one for one in shortcuts("a.py", BEFORE, after, TESTS) if one.certain] == []


def test_mutants_are_parsable_different_and_named():
    mutants = python_mutants(CODE, {"total"}, limit=8)
    assert mutants and all(mutant.text != CODE for mutant in mutants)
    for mutant in mutants:
        compile(mutant.text, "a.py", "exec")
        assert mutant.said.startswith(f"line {mutant.line}: ")
    assert all(3 <= mutant.line <= 4 or mutant.line == 1 for mutant in mutants)
    assert python_mutants("def f(:", None, limit=3) == () == python_mutants(CODE, {"nobody"}, limit=3)


def test_mutants_of_other_languages_leave_strings_comments_and_imports_alone():
    source = 'import a from "b";\n// a === b\nconst s = "x === y";\nif (a === b && c) {\n  return 1;\n}\n'
    said = [mutant.said for mutant in text_mutants(source, limit=9)]
    assert said == ["line 4: === became !==", "line 4: && became ||"]


def test_names_and_modules_of_a_test_are_what_it_may_be_about():
    text = "import os.path\nfrom shop import stock, price as p\n\ndef test():\n    stock.add(p)\n"
    assert {"stock", "add", "p", "price"} <= names_used(text)
    assert modules_used(text) == ("os.path", "shop", "shop.stock", "shop.price")
    assert names_used("def (") == frozenset()
