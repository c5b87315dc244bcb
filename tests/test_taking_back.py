"""What `undo` takes back: as little as the text and the checks allow, all of it at once or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.acceptance import taken_back_by, undo
from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import (
    AttemptId,
    CheckResult,
    RunId,
    Subtask,
    SubtaskId,
    Verdict,
    VerdictKind,
)
from orchestrator.core.events import BaselineMeasured
from orchestrator.core.ports import Conflict, Worktree
from orchestrator.taking_back import reverted
from tests.adapters.repositories import git, make_repository, subtask, write

RUN = RunId("20261123-100000-abcd")
ONE, TWO = SubtaskId("one"), SubtaskId("two")


class Checks:
    """A checker whose tests pass where `good` says so of the worktree."""

    def __init__(self, good: Callable[[Path], bool]) -> None:
        self.good = good

    async def baseline(self) -> BaselineMeasured:
        raise AssertionError("nothing is measured again")

    async def prepare(self, worktree: Worktree) -> None:
        return None

    async def verify(self, worktree: Worktree, subtask: Subtask, *, full: bool) -> Verdict:
        assert full
        check = CheckResult(
            name="tests", command=("t",), passed=self.good(Path(worktree.path)), exit_code=0, seconds=0.0
        )
        return Verdict(kind=VerdictKind.UNBROKEN, checks=(check,))


@pytest.fixture
async def spaces(tmp_path: Path) -> GitWorkspaces:
    """A run in which `two` builds on `one`: in the same line of a.txt, and by a file of its own."""
    root = tmp_path / "user"
    make_repository(root, {"a.txt": "0\n", "b.txt": "0\n"})
    repository = Repository.open(root)
    made = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await made.start()
    for name, files in {"one": {"a.txt": "1\n"}, "two": {"b.txt": "2\n"}, "more": {"c.txt": "3\n"}}.items():
        await land(made, name, files)
    return made


async def land(spaces: GitWorkspaces, name: str, files: dict[str, str]) -> None:
    worktree = await spaces.create(AttemptId(SubtaskId(name), 1))
    write(Path(worktree.path), files)
    trailers = {"Orchestrator-Subtask": name, "Orchestrator-Attempt": f"{name}#1"}
    commit = await spaces.commit(worktree, message=f"Do {name}", trailers=trailers)
    await spaces.advance(commit, expected=worktree.base)
    await spaces.remove(worktree)


async def back(spaces: GitWorkspaces, good: Callable[[Path], bool]) -> tuple[str, list[SubtaskId], list[str]]:
    undone, also, failed = await reverted(spaces, Checks(good), ONE, subtask, [TWO], "", None)
    assert git(spaces.repository.root, "rev-parse", spaces.branch) == undone.expected
    return undone.commit, also, failed


def has(name: str) -> Callable[[Path], bool]:
    return lambda root: (root / name).read_text() != "0\n"


async def test_what_builds_on_it_is_kept_while_the_checks_pass_and_goes_when_only_that_passes(
    spaces: GitWorkspaces,
):
    root = spaces.repository.root
    commit, also, failed = await back(spaces, lambda root: True)
    assert (also, failed) == ([], []) and git(root, "show", f"{commit}:b.txt") == "2"
    commit, also, failed = await back(spaces, lambda root: has("a.txt")(root) or not has("b.txt")(root))
    assert (also, failed) == ([TWO], [])
    assert git(root, "show", f"{commit}:a.txt") == git(root, "show", f"{commit}:b.txt") == "0"
    assert git(root, "show", f"{commit}:c.txt") == "3"
    # Nothing helps: as little as possible goes, and it is said.
    commit, also, failed = await back(spaces, lambda root: False)
    assert (also, failed) == ([], ["tests"]) and git(root, "show", f"{commit}:b.txt") == "2"


async def test_a_later_commit_that_does_not_depend_on_it_leaves_everything_as_it_was(spaces: GitWorkspaces):
    await land(spaces, "three", {"a.txt": "3\n"})
    tip = git(spaces.repository.root, "rev-parse", spaces.branch)
    with pytest.raises(Conflict, match=r"one cannot be undone, later commits build on it"):
        await reverted(spaces, Checks(lambda root: True), ONE, subtask, [TWO], "", None)
    # Not even the dependents, which would apply, are taken back.
    assert git(spaces.repository.root, "rev-parse", spaces.branch) == tip


async def test_a_subtask_that_is_off_the_branch_is_known_to_be(spaces: GitWorkspaces):
    assert await taken_back_by(spaces, ONE) is None
    undone = await undo(spaces, ONE)
    await spaces.advance(undone.commit, expected=undone.expected)
    await spaces.remove(undone.worktree)
    assert await taken_back_by(spaces, ONE) == undone.commit
    assert await taken_back_by(spaces, TWO) is None
    await land(spaces, "one", {"a.txt": "again\n"})
    assert await taken_back_by(spaces, ONE) is None
