"""Runs on odd repositories: strange names, a rebase under way, linked, shallow and sparse checkouts, modules, LFS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import OrchestratorError
from tests.adapters.repositories import (
    belongings,
    commit_all,
    git,
    make_repository,
    make_untidy,
    subtask,
    write,
)
from tests.adapters.workspace_building import BRANCH, RUN, attempt, begin, land


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "user"
    make_repository(place)
    return place


@pytest.mark.parametrize(
    "name",
    ["new\nline.py", 'quo"te.py', "-rf", ":(glob)*", "--output=PWN", "a b$(touch PWN).py", "ü\u3000.py"],
)
async def test_strange_file_names_are_plain_names(root: Path, tmp_path: Path, name: str):
    spaces = await begin(root, tmp_path)
    await land(spaces, "add", {name: "1\n", "plain.py": "2\n"})
    await land(spaces, "edit", {name: "3\n"})
    assert git(root, "show", f"{BRANCH}:{name}") == "3"
    assert git(root, "show", f"{BRANCH}:plain.py") == "2"
    assert not list(tmp_path.rglob("PWN"))


@pytest.mark.parametrize("branch", ["a$(touch${IFS}PWN)", "x\u3000;id", "a|b", "ünï"])
async def test_strange_branch_names_are_plain_names(root: Path, tmp_path: Path, branch: str):
    git(root, "checkout", "-q", "-b", branch)
    assert Repository.open(root).branch() == branch
    spaces = await begin(root, tmp_path)
    await land(spaces, "parse", {"app.py": "x\n"})
    assert not list(tmp_path.rglob("PWN*"))


async def test_a_file_name_that_is_not_utf8_is_kept_but_may_not_be_changed(root: Path, tmp_path: Path):
    raw = os.fsdecode(b"caf\xe9.txt")
    write(root, {raw: "1\n"})
    commit_all(root)
    spaces = await begin(root, tmp_path)
    worktree = await spaces.create(attempt())
    write(Path(worktree.path), {raw: "2\n"})
    problems = await spaces.guard(worktree, subtask(touches=None))
    assert [problem.what for problem in problems] == ["has a name that is not UTF-8"]
    json.dumps([str(problem) for problem in problems]).encode()
    await spaces.remove(worktree)
    assert git(root, "show", f"refs/orchestrator/{RUN}/parse/1:{raw}") == "2"


Prepare = Callable[[Path], None]


def _detached(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")


def _rebasing(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "side")
    write(root, {"app.py": "side\n"})
    commit_all(root)
    git(root, "checkout", "-q", "main")
    write(root, {"app.py": "main\n"})
    commit_all(root)
    try:
        git(root, "rebase", "side")
    except AssertionError:
        return
    raise AssertionError("the rebase should have stopped")


def _sparse(root: Path) -> None:
    git(root, "sparse-checkout", "set", "--cone", "src")


@pytest.mark.parametrize("prepare", [_detached, _rebasing, _sparse])
async def test_odd_states_of_the_checkout_do_not_matter_to_a_run(
    root: Path, tmp_path: Path, prepare: Prepare
):
    prepare(root)
    before = belongings(root)
    spaces = await begin(root, tmp_path)
    await land(spaces, "parse", {"src/lib.py": "changed\n", "docs/new.md": "new\n"})
    assert git(root, "show", f"{BRANCH}:docs/new.md") == "new"
    assert git(root, "show", f"{BRANCH}:README.md") == "# it"
    assert belongings(root) == before


async def test_a_linked_worktree_a_shallow_clone_and_a_submodule_work(root: Path, tmp_path: Path):
    write(root, {"app.py": "second\n"})
    commit_all(root)
    git(root, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", "shallow")
    holder = tmp_path / "holder"
    make_repository(holder)
    git(holder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(root), "module")
    commit_all(holder)
    for place in (tmp_path / "linked", tmp_path / "shallow", holder):
        before = belongings(place) if (place / ".git").is_dir() else {}
        repository = Repository.open(place)
        state = tmp_path / f"state-{place.name}"
        spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=state)
        await spaces.start()
        await land(spaces, "parse", {"src/lib.py": "changed\n"})
        assert git(place, "show", f"{BRANCH}:src/lib.py") == "changed"
        if place != holder:
            assert not before or belongings(place) == before
        else:
            assert "submodules stay empty in the worktrees: module" in await spaces.remarks()
            worktree = await spaces.create(attempt("touching"))
            write(Path(worktree.path), {"module/x.txt": "x\n", "app.py": "x\n"})
            (problem,) = await spaces.guard(worktree, subtask(touches=None))
            assert str(problem).startswith("module: is a submodule or a repository of its own")
            with pytest.raises(OrchestratorError, match="holds what cannot be committed: module"):
                await spaces.remove(worktree)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"


async def test_pointers_of_git_lfs_stay_pointers_and_cannot_be_changed(tmp_path: Path):
    root = tmp_path / "pointed"
    make_repository(
        root, {"app.py": "1\n", "assets/.gitattributes": "*.bin filter=lfs -text\n", "assets/x.bin": POINTER}
    )
    before = belongings(root)
    spaces = await begin(root, tmp_path)
    assert await spaces.remarks() == (
        "files in Git LFS are pointers in the worktrees: git-lfs is not set up for this user",
    )
    await land(spaces, "parse", {"app.py": "2\n"})
    assert git(root, "show", f"{BRANCH}:assets/x.bin") == POINTER.strip()
    worktree = await spaces.create(attempt("touching"))
    write(Path(worktree.path), {"assets/x.bin": "contents\n"})
    (problem,) = await spaces.guard(worktree, subtask(touches=None))
    assert str(problem).startswith("assets/x.bin: is rewritten by a filter")
    await spaces.remove(worktree)
    assert belongings(root) == before


async def test_remarks_name_what_is_not_part_of_the_run(root: Path, tmp_path: Path):
    make_untidy(root)
    (root / ".git" / "hooks" / "post-checkout").write_text("#!/bin/sh\n")
    spaces = await begin(root, tmp_path)
    assert await spaces.remarks() == (
        "uncommitted changes are not part of the run: .env, README.md, staged.txt, untracked/x.txt",
        "hooks and drivers of this repository are not run: hook post-checkout",
    )
