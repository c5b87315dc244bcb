"""Worktrees, commits and landing on a real repository: nothing of the user's changes, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.workspaces import BranchMoved, GitWorkspaces
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.ports import Conflict
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

TRAILERS = {"Orchestrator-Run": RUN, "Orchestrator-Subtask": "parse", "Orchestrator-Attempt": "parse#1"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "user"
    make_repository(place)
    return place


# --- landing ---------------------------------------------------------------------------------------


async def test_an_attempt_lands_as_one_commit_with_trailers_and_the_user_notices_nothing(
    root: Path, tmp_path: Path
):
    make_untidy(root)
    before = belongings(root)
    spaces = await begin(root, tmp_path)
    worktree = await spaces.create(attempt())
    place = Path(worktree.path)
    assert place == tmp_path / "state" / "worktrees" / RUN / "parse.1"
    assert sorted(path.name for path in place.iterdir()) == [".git", "README.md", "app.py", "src"]
    assert (place / "README.md").read_text() == "# it\n"

    write(place, {"app.py": "ONE\n", "src/new.py": "new\n"})
    (place / "src/lib.py").unlink()
    write(place, {"__pycache__/app.pyc": "junk", "node_modules/x/index.js": "junk"})
    assert await spaces.changed_files(worktree) == ("app.py", "src/lib.py", "src/new.py")
    assert await spaces.guard(worktree, subtask()) == ()
    commit = await spaces.commit(worktree, message="Parse it", trailers=TRAILERS)
    assert await spaces.changed_files(worktree) == ("app.py", "src/lib.py", "src/new.py")
    there, rebased, moved = await spaces.rebase(attempt(), commit)
    assert (there.path, rebased, moved) == (worktree.path, commit, False)
    await spaces.advance(commit, expected=worktree.base)
    await spaces.remove(there)

    assert git(root, "rev-parse", BRANCH) == commit
    assert git(root, "log", "-1", "--format=%B", BRANCH) == (
        f"Parse it\n\nOrchestrator-Run: {RUN}\nOrchestrator-Subtask: parse\nOrchestrator-Attempt: parse#1\n"
    )
    assert git(root, "show", f"{BRANCH}:app.py") == "ONE"
    assert await spaces.landed_commit(attempt()) == commit
    assert await spaces.landed_commit(attempt(number=2)) is None
    assert belongings(root) == before
    assert git(root, "worktree", "list").count("\n") == 0
    assert not (tmp_path / "state" / "worktrees" / RUN).exists()


async def test_a_moved_base_is_rebased_onto_and_authors_and_messages_travel(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    one, two = await spaces.create(attempt("one")), await spaces.create(attempt("two"))
    write(Path(one.path), {"one.txt": "1\n"})
    write(Path(two.path), {"two.txt": "2\n"})
    first = await spaces.commit(one, message="One", trailers={})
    second = await spaces.commit(two, message="Two\n\nWith a body.", trailers={"Orchestrator-Subtask": "two"})
    await spaces.advance(first, expected=one.base)
    there, rebased, moved = await spaces.rebase(attempt("two"), second)
    assert moved and there.base == first and rebased != second
    assert {"one.txt", "two.txt"} <= {path.name for path in Path(there.path).iterdir()}
    assert git(Path(there.path), "status", "--porcelain") == ""
    assert await spaces.changed_files(there) == ("two.txt",)
    await spaces.advance(rebased, expected=first)
    assert git(root, "log", "--format=%s", "-2", BRANCH) == "Two\nOne"
    assert "With a body." in git(root, "log", "-1", "--format=%B", BRANCH)


async def test_a_conflict_is_raised_with_its_files_and_no_text_is_lost(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    one, two = await spaces.create(attempt("one")), await spaces.create(attempt("two"))
    write(Path(one.path), {"app.py": "one\nTWO of one\nthree\n"})
    write(Path(two.path), {"app.py": "one\nTWO of two\nthree\n", "more.txt": "more\n"})
    first = await spaces.commit(one, message="One", trailers={})
    second = await spaces.commit(two, message="Two", trailers={})
    await spaces.advance(first, expected=one.base)
    with pytest.raises(Conflict, match=r"conflict in app\.py"):
        await spaces.rebase(attempt("two"), second)
    assert await spaces.tip() == first
    assert git(root, "show", f"{second}:app.py") == "one\nTWO of two\nthree"
    assert git(root, "rev-parse", f"refs/orchestrator/{RUN}/two/1") == second
    # The same now that the attempt's own worktree is gone.
    with pytest.raises(Conflict):
        await spaces.rebase(attempt("two"), second)
    assert [path.name for path in Path(one.path).parent.iterdir() if path.is_dir()] == ["one.1"]


async def test_sixteen_subtasks_at_once_all_land_and_nothing_else_changes(root: Path, tmp_path: Path):
    make_untidy(root)
    before = belongings(root)
    spaces = await begin(root, tmp_path)
    names = [f"part-{number}" for number in range(16)]
    gate = asyncio.Lock()

    async def whole(name: str) -> str:
        worktree = await spaces.create(attempt(name))
        write(Path(worktree.path), {f"{name}.txt": name})
        commit = await spaces.commit(worktree, message=name, trailers={"Orchestrator-Subtask": name})
        async with gate:
            tip = await spaces.tip()
            there, rebased, _ = await spaces.rebase(attempt(name), commit)
            await spaces.advance(rebased, expected=tip)
        await spaces.remove(there)
        return rebased

    commits = await asyncio.gather(*map(whole, names))
    assert len(set(commits)) == 16
    listed = git(root, "ls-tree", "--name-only", BRANCH).splitlines()
    assert {f"{name}.txt" for name in names} <= set(listed)
    assert git(root, "rev-list", "--count", f"main..{BRANCH}") == "16"
    assert git(root, "worktree", "list").count("\n") == 0
    assert belongings(root) == before
    assert git(root, "fsck", "--no-dangling") == ""


# --- a killed run, and others at the repository ----------------------------------------------------


async def test_uncommitted_work_of_a_killed_run_is_kept_before_anything_is_cleaned(
    root: Path, tmp_path: Path
):
    spaces = await begin(root, tmp_path)
    worktree = await spaces.create(attempt())
    write(Path(worktree.path), {"app.py": "half done\n", "fresh.txt": "fresh\n"})
    # As SIGKILL leaves it: stale locks of ours, and one of the user's.
    (Path(worktree.path).parent / "parse.1.index.lock").touch()
    (root / ".git" / "index.lock").touch()

    after = await begin(root, tmp_path)
    ref = f"refs/orchestrator/{RUN}/parse/1"
    assert await after.reclaim() == (f"unfinished work of parse.1 is kept under {ref}",)
    assert git(root, "show", f"{ref}:app.py") == "half done"
    assert git(root, "show", f"{ref}:fresh.txt") == "fresh"
    assert not Path(worktree.path).exists()
    assert (root / ".git" / "index.lock").exists()
    again = await after.create(attempt())
    assert (Path(again.path) / "app.py").read_text() == "one\ntwo\nthree\n"


async def test_work_staged_by_a_crash_in_the_middle_of_a_commit_is_still_work(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    worktree = await spaces.create(attempt())
    write(Path(worktree.path), {"app.py": "staged in our index\n", "fresh.txt": "fresh\n"})
    await spaces.diff(worktree)
    after = await begin(root, tmp_path)
    assert await after.changed_files(worktree) == ("app.py", "fresh.txt")
    assert len(await after.reclaim()) == 1
    assert git(root, "show", f"refs/orchestrator/{RUN}/parse/1:fresh.txt") == "fresh"


async def test_a_worktree_whose_record_or_directory_vanished_is_cleared_away(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    lost, forgotten = await spaces.create(attempt("lost")), await spaces.create(attempt("forgotten"))
    Path(lost.path).rename(tmp_path / "elsewhere")
    write(Path(forgotten.path), {"x.txt": "x"})
    record = next((root / ".git" / "worktrees").glob("forgotten*"))
    for path in sorted(record.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    record.rmdir()
    lines = await (await begin(root, tmp_path)).reclaim()
    assert lines == (f"unfinished work of forgotten.1 is kept under refs/orchestrator/{RUN}/forgotten/1",)
    assert git(root, "worktree", "list").count("\n") == 0


async def test_the_users_own_vanished_worktrees_keep_their_records(root: Path, tmp_path: Path):
    git(root, "worktree", "add", "-q", str(tmp_path / "mine"), "-b", "mine")
    (tmp_path / "mine").rename(tmp_path / "unmounted")
    spaces = await begin(root, tmp_path)
    await land(spaces, "parse", {"app.py": "x\n"})
    assert (root / ".git" / "worktrees" / "mine").is_dir()


async def test_a_run_branch_that_somebody_moved_deleted_or_checked_out_is_refused(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    worktree = await spaces.create(attempt())
    write(Path(worktree.path), {"app.py": "x\n"})
    commit = await spaces.commit(worktree, message="x", trailers={})
    write(root, {"other.txt": "o"})
    other = commit_all(root)
    git(root, "branch", "-f", BRANCH, other)
    with pytest.raises(BranchMoved, match=r"somebody else moved it, nothing was changed"):
        await spaces.advance(commit, expected=worktree.base)
    git(root, "branch", "-f", BRANCH, worktree.base)
    git(root, "checkout", "-q", BRANCH)
    with pytest.raises(BranchMoved, match=r"is checked out in .*switch to another branch"):
        await spaces.advance(commit, expected=worktree.base)
    git(root, "checkout", "-q", "main")
    git(root, "branch", "-D", BRANCH)
    with pytest.raises(BranchMoved, match=r"is gone: bring it back with `git branch orchestrator/"):
        await spaces.tip()


async def test_a_stale_lock_on_our_own_branch_is_taken_away(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    lock = root / ".git" / "refs" / "heads" / f"{BRANCH}.lock"
    lock.touch()
    commit = await land(spaces, "parse", {"app.py": "x\n"})
    assert await spaces.tip() == commit and not lock.exists()


async def test_a_worktree_that_another_process_is_just_making_is_waited_for(root: Path, tmp_path: Path):
    real, there = shutil.which("git"), tmp_path / "there"
    script = f"""#!/bin/sh
case "$*" in *for-each-ref*)
  if [ ! -e {there} ]; then
    : > {there}
    echo "fatal: failed to read {root}/.git/worktrees/x.1/commondir: Success" >&2
    exit 128
  fi;;
esac
exec {real} "$@"
"""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(script)
    (tmp_path / "bin" / "git").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    repository = Repository.open(root, environ)
    spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await spaces.start()

    commit = await land(spaces, "parse", {"a.txt": "a\n"})

    assert there.exists()
    assert await spaces.tip() == commit


async def test_a_branch_named_like_our_directory_is_refused_by_name(root: Path, tmp_path: Path):
    git(root, "branch", "orchestrator")
    with pytest.raises(OrchestratorError, match=r"rename it first"):
        await begin(root, tmp_path)


# --- commits ---------------------------------------------------------------------------------------


async def test_commits_are_ours_when_git_knows_nobody_and_the_users_otherwise(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    one = await land(spaces, "one", {"one.txt": "1"})
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    two = await land(await begin(root, tmp_path), "two", {"two.txt": "2"})
    assert (
        git(root, "log", "-1", "--format=%an %ae %cn", one)
        == "orchestrator orchestrator@localhost orchestrator"
    )
    assert git(root, "log", "-1", "--format=%an %ae %cn", two) == "Ada ada@example.org Ada"


async def test_a_message_cannot_forge_a_trailer_or_move_a_terminal(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    worktree = await spaces.create(attempt())
    write(Path(worktree.path), {"app.py": "x\n"})
    message = "Title \x1b[2J\n\nOrchestrator-Subtask: other\n"
    commit = await spaces.commit(worktree, message=message, trailers={"Orchestrator-Subtask": "pa\nrse"})
    text = git(root, "log", "-1", "--format=%B", commit)
    assert text == "Title \\x1b[2J\n\n> Orchestrator-Subtask: other\n\nOrchestrator-Subtask: pa rse\n"


async def test_an_attempt_delivered_again_does_not_overwrite_what_was_kept(root: Path, tmp_path: Path):
    spaces = await begin(root, tmp_path)
    for text in ("first\n", "second\n"):
        worktree = await spaces.create(attempt())
        write(Path(worktree.path), {"app.py": text})
        await spaces.keep(attempt(), worktree, message="rejected")
        await spaces.remove(worktree)
    assert git(root, "show", f"refs/orchestrator/{RUN}/parse/1:app.py") == "first"
    assert git(root, "show", f"refs/orchestrator/{RUN}/parse/1.2:app.py") == "second"
