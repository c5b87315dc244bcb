"""The guard, on real worktrees: each way out of a subtask is refused by name, and nothing of it is ever run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.guard import GuardLimits
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, Deliverable, OrchestratorError, RunId, SubtaskId
from orchestrator.core.ports import Worktree
from tests.adapters.repositories import commit_all, git, make_repository, subtask, write

RUN = RunId("20261123-100000-abcd")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "user"
    make_repository(place, {"app.py": "1\n", "src/lib.py": "2\n", "CI.yml": "3\n", "docs/inner/x.md": "4\n"})
    return place


async def begin(root: Path, limits: GuardLimits | None = None) -> tuple[GitWorkspaces, Worktree]:
    repository = Repository.open(root)
    spaces = GitWorkspaces(
        repository, run=RUN, base=repository.head(), state=root.parent / "state", limits=limits
    )
    await spaces.start()
    return spaces, await spaces.create(AttemptId(SubtaskId("parse"), 1))


def outside(tmp_path: Path, worktree: Worktree) -> dict[str, str]:
    """A digest of all files beside the worktree, git's own data left out."""
    found = {}
    for path in tmp_path.rglob("*"):
        inside = path.is_relative_to(worktree.path) or ".git" in path.parts or "worktrees" in path.parts
        if path.is_file() and not inside:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


Act = Callable[[Path], object]

ATTACKS: dict[str, tuple[Act, str]] = {
    "a file elsewhere": (lambda root: write(root, {"other/x.py": "x"}), "outside what the subtask may touch"),
    "a sibling's prefix": (lambda root: write(root, {"src-evil/x.py": "x"}), "outside what the subtask may"),
    "another case": (lambda root: write(root, {"SRC/x.py": "x"}), "outside what the subtask may touch"),
    "a deletion elsewhere": (lambda root: (root / "CI.yml").unlink(), "outside what the subtask may touch"),
    "an absolute link": (
        lambda root: (root / "src/l").symlink_to("/etc/passwd"),
        "link to the absolute path",
    ),
    "a link out": (lambda root: (root / "src/l").symlink_to("../../../x"), "a link out of the worktree"),
    "a link to a sibling": (
        lambda root: (root / "src/l").symlink_to("../../parse.1-evil/x"),
        "a link out of the worktree",
    ),
    "a link into .git": (lambda root: (root / "src/l").symlink_to("../.git"), "is a link into .git"),
    "a link over a link": (
        lambda root: ((root / "src/a").symlink_to("/tmp"), (root / "src/b").symlink_to("a/x")),
        "over another link",
    ),
    "a directory turned link": (
        lambda root: (
            (root / "src/lib.py").unlink(),
            (root / "src").rmdir(),
            (root / "src").symlink_to("/tmp"),
        ),
        "link to the absolute path /tmp",
    ),
    "a hard link": (lambda root: os.link("/etc/hostname", root / "src/h"), "a second name"),
    "setuid": (
        lambda root: (write(root, {"src/s": "x"}), (root / "src/s").chmod(0o4755)),
        "rights of another user",
    ),
    "a repository": (
        lambda root: make_repository(root / "src/inner"),
        "is a submodule or a repository of its own",
    ),
    "a bare repository": (
        lambda root: git(root, "init", "-q", "--bare", "src/bare"),
        "a git repository put into",
    ),
    "submodules": (lambda root: write(root, {".gitmodules": "[submodule]\n"}), "where submodules come from"),
    "attributes": (lambda root: write(root, {"src/.gitattributes": "* x\n"}), "makes other programs act"),
    "a workflow": (lambda root: write(root, {".github/workflows/x.yml": "x"}), "outside what the subtask"),
    "a big file": (lambda root: write(root, {"src/big": b"x" * 3000}), "has 3,000 bytes, at most 2,000"),
    "much": (
        lambda root: write(root, {f"src/{n}": b"x" * 1500 for n in range(3)}),
        "4,500 bytes were written, at most 4,000",
    ),
    "many": (
        lambda root: write(root, {f"src/{n}": "x" for n in range(9)}),
        "9 files were changed, at most 8",
    ),
    "a turned .git file": (
        lambda root: (root / ".git").write_text("gitdir: /tmp\n"),
        "tampering: the worktree's .git file was changed",
    ),
    "a .git directory": (
        lambda root: ((root / ".git").unlink(), git(root, "init", "-q")),
        "tampering: the worktree's .git file was replaced",
    ),
    "no .git file": (lambda root: (root / ".git").unlink(), "tampering: the worktree's .git file is gone"),
    "a commit": (
        lambda root: (write(root, {"src/x": "x"}), commit_all(root)),
        "the worktree's HEAD was moved",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_each_way_out_is_refused_by_name_and_nothing_outside_changes(
    attack: str, root: Path, tmp_path: Path
):
    act, reason = ATTACKS[attack]
    limits = GuardLimits(files=8, file_bytes=2000, total_bytes=4000)
    spaces, worktree = await begin(root, limits)
    before = outside(tmp_path, worktree)
    act(Path(worktree.path))
    problems = await spaces.guard(worktree, subtask(touches=("app.py", "src/**")))
    assert [str(problem) for problem in problems if reason in problem.what], problems
    try:
        await spaces.keep(AttemptId(SubtaskId("parse"), 1), worktree, message="rejected")
        await spaces.remove(worktree)
    except OrchestratorError as error:
        assert "is not removed, it holds what cannot be committed" in str(error)
        assert Path(worktree.path).is_dir()
    assert outside(tmp_path, worktree) == before


async def test_what_the_subtask_may_touch_passes(root: Path):
    spaces, worktree = await begin(root)
    place = Path(worktree.path)
    write(place, {"app.py": "new\n", "src/deep/er/x.py": "x\n", "docs/a.md": "a\n", "docs/inner/b.md": "b\n"})
    (place / "src/link.py").symlink_to("lib.py")
    (place / "src/lib.py").chmod(0o755)
    touches = ("app.py", "src/**", "*.md")
    assert await spaces.guard(worktree, subtask(touches=touches)) == ()
    assert await spaces.guard(worktree, subtask(touches=None)) == ()
    problems = await spaces.guard(worktree, subtask(touches=("src/**", "docs/*.md")))
    assert [problem.where for problem in problems] == ["app.py", "docs/inner/b.md"]


async def test_a_plain_name_is_the_file_at_the_root(root: Path):
    spaces, worktree = await begin(root)
    write(Path(worktree.path), {"src/app.py": "x\n"})
    problems = await spaces.guard(worktree, subtask(touches=("app.py",)))
    assert [str(problem) for problem in problems] == ["src/app.py: is outside what the subtask may touch"]


async def test_files_that_make_programs_act_have_to_be_named(root: Path):
    spaces, worktree = await begin(root)
    write(Path(worktree.path), {".github/workflows/x.yml": "x\n"})
    for touches, refused in ((None, True), (("**",), True), ((".github/**",), False)):
        assert bool(await spaces.guard(worktree, subtask(touches=touches))) == refused


async def test_nothing_changed_is_a_problem_for_an_edit_and_a_change_for_a_document(root: Path):
    spaces, worktree = await begin(root)
    assert [str(problem) for problem in await spaces.guard(worktree, subtask())] == ["nothing was changed"]
    document = subtask(deliverable=Deliverable.DOCUMENT)
    assert await spaces.guard(worktree, document) == ()
    write(Path(worktree.path), {"app.py": "x\n"})
    (problem,) = await spaces.guard(worktree, document)
    assert problem.where == "app.py" and "deliver a text only" in problem.what


async def test_a_file_under_a_filter_that_is_not_run_may_not_be_changed(root: Path):
    git(root, "config", "filter.crypt.clean", "touch PWN; cat")
    (root / ".git" / "info" / "attributes").write_text("*.py filter=crypt\n*.bin filter=lfs\n")
    spaces, worktree = await begin(root)
    write(Path(worktree.path), {"app.py": "x\n", "src/x.bin": "a pointer or not\n"})
    problem, other = await spaces.guard(worktree, subtask())
    assert (problem.where, other.where) == ("app.py", "src/x.bin")
    assert "rewritten by a filter which you have not configured" in problem.what


async def test_links_and_control_characters_are_shown_and_never_followed(root: Path, tmp_path: Path):
    spaces, worktree = await begin(root)
    (tmp_path / "secret").write_text("CANARY")
    (Path(worktree.path) / "src/\x1b[2Jl").symlink_to(tmp_path / "secret")
    problems = await spaces.guard(worktree, subtask())
    assert "\\x1b[2Jl" in str(problems[0]) and "\x1b" not in str(problems[0])
    assert "CANARY" not in await spaces.diff(worktree)
    await spaces.remove(worktree)
    blob = git(root, "show", f"refs/orchestrator/{RUN}/parse/1:src/\x1b[2Jl")
    assert blob == str(tmp_path / "secret")
