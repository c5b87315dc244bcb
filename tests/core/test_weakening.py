"""A changed test file still asks everything it asked before, or says what it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.weakening import weakened

BEFORE = '''
import unittest
import pytest


class Totals(unittest.TestCase):
    def test_sum(self):
        """Adds."""
        self.assertEqual(total([1, 2]), 3)
        self.assertTrue(total([]) == 0)

    def test_refuses(self):
        with self.assertRaises(ValueError):
            total(None)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_square(n):
    assert square(n) == n * n
'''


def faults(old: str, new: str, before: str = BEFORE) -> list[str]:
    assert old in before
    problems, _ = weakened({"tests/test_a.py": before}, {"tests/test_a.py": before.replace(old, new)})
    return [problem.what for problem in problems]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    def test_refuses", "    def check_refuses", "Totals.test_refuses was deleted"),
        (
            "        self.assertTrue(total([]) == 0)\n",
            "",
            "does not ask any more: self.assertTrue(total([]) == 0)",
        ),
        ("assertEqual(total([1, 2]), 3)", "assertTrue(total([1, 2]))", "does not ask any more"),
        ("[1, 2]), 3)", "[1, 2]), 4)", "does not ask any more"),
        ("assertRaises(ValueError)", "assertRaises(Exception)", "does not ask any more"),
        ("assert square(n) == n * n", "assert square(n)", "does not ask any more"),
        ("assert square(n) == n * n", "assert square(n) == n * n or True", "does not ask any more"),
        ("    def test_sum", '    @unittest.skip("later")\n    def test_sum', "is skipped"),
        ("class Totals", '@unittest.skipIf(True, "x")\nclass Totals', "is skipped"),
        ("import pytest\n", "import pytest\npytestmark = pytest.mark.skip\n", "is skipped"),
        ('        """Adds."""\n', '        self.skipTest("later")\n', "is skipped"),
        (
            "def test_square(n):\n",
            "def test_square(n):\n    if n > 1:\n        return\n",
            "returns before its end",
        ),
        (
            "    assert square(n) == n * n",
            "    try:\n        assert square(n) == n * n\n    except AssertionError:\n        pass",
            "catches what it should report",
        ),
        (
            "@pytest.mark",
            "def test_square(n):\n    assert square(n) == n * n\n\n@pytest.mark",
            "defined twice",
        ),
    ],
)
def test_each_way_to_ask_less_is_seen(old, new, said):
    assert any(said in fault for fault in faults(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('        """Adds."""\n', ""),
        ("        self.assertTrue(", "        self.assertEqual(total([5]), 5)\n        self.assertTrue("),
        ("total(", "summed("),
        ("def test_square(n):\n", "def test_square(n):\n    # a comment\n"),
        ("import unittest\n", "import unittest\nimport math\n\n\ndef test_more():\n    assert math.pi > 3\n"),
        ("assert square(n) == n * n", "assert powers.square(n) == n * n"),
    ],
)
def test_asking_the_same_or_more_is_no_fault(old, new):
    assert faults(old, new) == []


def test_a_test_that_moved_to_another_file_is_not_gone():
    moved = "def test_square(n):\n    assert square(n) == n * n\n"
    problems, names = weakened(
        {"tests/test_a.py": BEFORE},
        {"tests/test_a.py": BEFORE.partition("@pytest")[0], "tests/test_b.py": moved},
    )
    assert (problems, names) == ((), ("test_square",))


def test_a_deleted_file_is_all_its_tests():
    problems, _ = weakened({"tests/test_a.py": BEFORE}, {"tests/test_a.py": None})
    assert len(problems) == 3


JS = """
describe("total", () => {
  it("adds", () => { expect(total([1, 2])).toBe(3); expect(total([])).toBe(0); });
  test("refuses", () => { expect(() => total(null)).toThrow(); });
});
"""


GO = "func TestA(t *testing.T) {\n\tt.Fatal(1)\n}\n"


@pytest.mark.parametrize(
    ("path", "before", "old", "new", "said"),
    [
        ("a.test.js", JS, ' expect(total([])).toBe(0);', "", "has 2 assertions, and had 3"),
        ("a.test.ts", JS, 'it("adds"', 'it.skip("adds"', "skips tests"),
        ("a.test.ts", JS, 'test("refuses"', 'test.only("refuses"', "singles some out"),
        ("a.test.js", JS, 'test("refuses"', 'function refuses("refuses"', "has 1 tests, and had 2"),
        ("a_test.go", GO, "\tt.Fatal(1)\n", "", "has 0 assertions"),
        ("a_test.go", GO, "\tt.Fatal(1)", "\tt.Skip()\n\tt.Fatal(1)", "skips"),
        ("tests/a.rs", "#[test]\nfn a() { assert_eq!(1, 1); }\n", "#[test]\n", "#[test]\n#[ignore]\n", "skips"),
    ],
)  # fmt: skip
def test_other_languages_are_counted(path, before, old, new, said):
    assert old in before
    problems, _ = weakened({path: before}, {path: before.replace(old, new)})
    assert any(said in problem.what for problem in problems)


@given(
    st.text(max_size=200), st.text(max_size=200), st.sampled_from(["a.py", "a.test.js", "a_test.go", "x.txt"])
)
def test_no_texts_make_the_comparison_fail(before, after, path):
    weakened({path: before}, {path: after})
