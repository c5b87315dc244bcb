from __future__ import annotations

import pathspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.globs import normal, overlap, path_fault

PARTS = ["a", "b", "ab", "a.py", "b.py", "x"]
WILD_PARTS = [*PARTS, "*", "**", "*.py", "a*", "?", "[ab]"]
paths = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join)
patterns = st.lists(st.sampled_from(WILD_PARTS), min_size=1, max_size=3).map("/".join)


@given(paths, patterns, patterns)
def test_two_globs_that_match_one_file_overlap(path: str, one: str, other: str):
    def matches(pattern: str) -> bool:
        # Anchored, as a plain name in a plan is meant.
        anchored = pattern if "*" in pattern and "/" not in pattern else f"/{pattern}"
        spec = pathspec.PathSpec.from_lines("gitignore", [anchored])
        # In .gitignore the name of a directory covers what lies below it, in a plan it does not.
        directories = [path.rsplit("/", drop)[0] for drop in range(1, path.count("/") + 1)]
        covered = not pattern.endswith("**") and any(spec.match_file(directory) for directory in directories)
        return spec.match_file(path) and not covered

    if matches(one) and matches(other):
        assert overlap(one, other)
        assert overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/a.py", "src/b.py", False),
        ("src/*.py", "src/b.py", True),
        ("src/*.py", "src/b/c.py", False),
        ("src/**", "src/b/c.py", True),
        ("src/", "src/b/c.py", True),
        ("src/**/test_*.py", "src/a/b/test_c.py", True),
        ("src/**/test_*.py", "lib/**", False),
        ("*.md", "docs/a/b.md", True),
        ("README.md", "docs/README.md", False),
        ("a[0-9].py", "a5.py", True),
        ("a[0-9].py", "ax.py", False),
        ("**", "anything/at/all", True),
        ("a?c", "abc", True),
        ("*a*a*a*a*a*a*a*a*a*b", "a" * 200, True),
    ],
)
def test_overlap_of_globs(one: str, other: str, expected: bool):
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


ORDINARY = ["a.py", "src/a b.py", "src/é.py", ".github/ci.yml", "a..b/c", "x", "src/*.py", ".gitignore"]
HARMFUL = ["", " ", "/a", "~/a", "C:/a", "a\\b", "-rf", "../a", "a/..", ".git", ".git/config", "a/.Git/x"]
HARMFUL += ["a/.git./x", "a\nb", "a\x7f", "a/" * 600, "\ud800"]


@pytest.mark.parametrize("path", ORDINARY)
def test_an_ordinary_path_has_no_fault(path: str):
    assert path_fault(path) is None


@pytest.mark.parametrize("path", HARMFUL)
def test_a_path_that_could_do_harm_is_named(path: str):
    assert path_fault(path)


def test_a_path_is_made_normal():
    assert normal("./a//b/./c.py") == "a/b/c.py"
    assert normal("src/./") == "src/"
    assert normal("src/*.py") == "src/*.py"
