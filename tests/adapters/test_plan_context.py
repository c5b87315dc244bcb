"""What a planner is shown: the relevant files within the bound, none that is denied, facts with their places."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.adapters.plan_context import PlanContext
from orchestrator.core.facts import (
    Command,
    CommandKind,
    Finding,
    FindingKind,
    FunctionSize,
    HotSpot,
    LanguageShare,
    SourceFile,
    Survey,
    Untested,
)

# The deny-list is read by a pattern name that pathspec now calls otherwise; it matches the same.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")


class FakeCommit:
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.read: list[str] = []

    def files_at(self, commit: str) -> tuple[str, ...]:
        return tuple(sorted(self.files))

    def read_blob(self, commit: str, path: str) -> bytes | None:
        self.read.append(path)
        return self.files.get(path)


FILES = {
    "README.md": b"# Shop\n",
    "src/cart.py": b"total = 0\n" * 40,
    "src/orders.py": b"x = 1\n" * 20,
    "src/quiet.py": b"y = 2\n",
    "src/generated.py": b"z = 3\n",
    "src/picture.py": b"\x00\x01binary",
    "src/latin.py": b"# caf\xe9\n",
    ".env": b"SECRET=sk-canary\n",
    "deploy/server.pem": b"PRIVATE canary\n",
    "private/plan.py": b"canary = 1\n",
}


def survey() -> Survey:
    def source(path: str, *, generated: bool = False) -> SourceFile:
        lines = FILES[path].count(b"\n")
        return SourceFile(
            path=path, language="Python", lines=lines, size_bytes=len(FILES[path]), generated=generated
        )

    bug = Finding(
        kind=FindingKind.BUG, rule="B006", path="src/cart.py", line=3, fact="mutable default", weight=8
    )
    secret = Finding(kind=FindingKind.BUG, rule="B006", path=".env", line=1, fact="canary", weight=9)
    return Survey(
        commit="c0ffee",
        files=(
            *(source(f"src/{name}.py") for name in ("cart", "orders", "quiet", "picture", "latin")),
            source("src/generated.py", generated=True),
        ),
        languages=(LanguageShare(language="Python", files=6, lines=62),),
        commands=(
            Command(name="test", kind=CommandKind.TEST, argv=("pytest",), path="pyproject.toml", line=4),
        ),
        findings=(bug, secret),
        functions=tuple(
            FunctionSize(path=path, name="place", line=7, end_line=19, complexity=14, parameters=3)
            for path in ("src/orders.py", "private/plan.py")
        ),
        hot_spots=tuple(HotSpot(path=path, commits=9, complexity=20) for path in ("src/orders.py", "private/plan.py")),
        untested=(
            Untested(
                path="private/plan.py", symbols=(("place", 7),), lines=20, complexity=14,
                test_path="tests/test_plan.py", fact="no test names it",
            ),
            Untested(
                path="src/orders.py", symbols=(("place", 7),), lines=20, complexity=14,
                test_path="tests/test_orders.py", fact="no test names it",
            ),
        ),
    )  # fmt: skip


def context(goal: str = "Improve this application", git: FakeCommit | None = None) -> PlanContext:
    return PlanContext(
        git or FakeCommit(FILES),
        root="/",
        commit="c0ffee",
        survey=survey(),
        goal=goal,
        denied=("private/**",),
    )


def test_denied_files_are_neither_read_nor_named():
    git = FakeCommit(FILES)
    shown = context("Look at .env, deploy/server.pem and private/plan.py", git)
    packed = shown.pack(1_000_000)
    text = "".join(file.path + file.text for file in packed) + shown.facts(100)
    assert "canary" not in text
    assert not {".env", "deploy/server.pem", "private/plan.py"} & {*git.read, *(file.path for file in packed)}
    assert "server.pem" not in text
    assert "private/" not in text


def test_the_relevant_files_come_first_and_within_the_bound():
    everything = [file.path for file in context().pack(1_000_000)]
    assert everything == ["README.md", "src/cart.py", "src/orders.py", "src/quiet.py"]
    few = context().pack(450)
    assert [file.path for file in few] == ["README.md", "src/orders.py"] or sum(
        len(file.text) for file in few
    ) <= 450
    assert context().pack(300) == ()


def test_a_file_named_in_the_goal_is_shown_before_all_others():
    (first, *_) = sorted(context("Tidy src/quiet.py").pack(410), key=lambda file: file.path != "src/quiet.py")
    assert first.path == "src/quiet.py"
    (first, *_) = sorted(context("Tidy quiet.py.").pack(410), key=lambda file: file.path != "src/quiet.py")
    assert first.path == "src/quiet.py"


def test_a_large_file_is_cut_at_a_line_and_says_so():
    git = FakeCommit({**FILES, "src/cart.py": b"total = 0\n" * 4_000})
    cart = next(file for file in context(git=git).pack(1_000_000) if file.path == "src/cart.py")
    assert cart.part.startswith("lines 1 to ")
    assert cart.part.endswith(" of 4000")
    assert set(cart.text.split("\n")) == {"total = 0"}


def test_facts_have_their_places_and_the_weightiest_comes_first():
    lines = context().facts(100).splitlines()
    assert lines[0] == "6 files, 63 lines: Python 62"
    assert "pyproject.toml:4: test command `test` = pytest" in lines
    places = [line.split(": ")[0] for line in lines]
    assert places.index("src/cart.py:3") < places.index("src/orders.py:1") < places.index("src/orders.py:7")
    assert lines[-1].startswith("all files: README.md, src/cart.py")
    assert any(line.endswith("of less weight") for line in context().facts(3).splitlines())


def test_lines_are_known_for_every_file_of_the_commit_and_no_other():
    lines = context().lines
    assert (lines["src/cart.py"], lines["README.md"], lines["src/picture.py"]) == (40, 1, 0)
    assert lines.get("src/none.py") is None
    assert len(lines) == len(list(lines)) == len(FILES)
    with pytest.raises(KeyError):
        lines["../x"]
