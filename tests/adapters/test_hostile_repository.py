"""A repository, or an executor, that plants programs for git to run: none runs in the whole cycle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.adapters.acceptance import AcceptRefused, accept, undo
from orchestrator.adapters.git import Repository
from orchestrator.adapters.pruning import prune
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from orchestrator.core.ports import Conflict
from tests.adapters.repositories import commit_all, git, make_repository, subtask, write

RUN = RunId("20261123-100000-abcd")
HOOKS = (
    "applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit", "prepare-commit-msg",
    "commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge", "pre-push", "pre-auto-gc",
    "post-rewrite", "reference-transaction", "post-index-change", "fsmonitor-watchman",
)  # fmt: skip


def plant(git_dir: Path, canary: Path) -> None:
    """Every program that git can be told to run, each leaving its name in `canary`."""

    def program(name: str) -> str:
        return f"sh -c 'echo {name} >> {canary}; cat'"

    hooks = git_dir / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in HOOKS:
        (hooks / hook).write_text(f"#!/bin/sh\necho hook-{hook} >> {canary}\n")
        (hooks / hook).chmod(0o755)
    settings = {
        "core.fsmonitor": program("fsmonitor"),
        "core.hooksPath": str(hooks),
        "core.pager": program("pager"),
        "core.editor": program("editor"),
        "sequence.editor": program("sequence-editor"),
        "core.sshCommand": program("ssh"),
        "core.askPass": program("askpass"),
        "core.gitProxy": program("proxy"),
        "core.alternateRefsCommand": program("alternates"),
        "diff.external": program("external"),
        "diff.evil.textconv": program("textconv"),
        "diff.evil.command": program("diff-command"),
        "filter.evil.clean": program("clean"),
        "filter.evil.smudge": program("smudge"),
        "filter.evil.process": program("process"),
        "filter.evil.required": "true",
        "merge.evil.driver": program("driver"),
        "merge.default": "evil",
        "commit.gpgSign": "true",
        "tag.gpgSign": "true",
        "gpg.program": program("gpg"),
        "credential.helper": "!" + program("credential"),
        "rerere.enabled": "true",
        "trailer.x.command": program("trailer"),
        "alias.status": "!" + program("alias"),
        "gc.auto": "1",
        "core.untrackedCache": "true",
        "worktree.useRelativePaths": "true",
        "hook.evil.command": program("config-hook"),
        "hook.evil.event": "post-commit",
    }
    for name, value in settings.items():
        git(git_dir.parent, "config", "--file", str(git_dir / "config"), name, value)
    attributes = git_dir / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("*.py filter=evil diff=evil merge=evil\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "user"
    make_repository(place)
    return place


async def cycle(root: Path, state: Path) -> None:
    """Everything we ever do with git, a conflict, a kept attempt and an accept with a merge included."""
    repository = Repository.open(root)
    repository.dirty(), repository.configures_programs(), repository.diff("HEAD", "HEAD")
    spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=state)
    await spaces.start()
    await spaces.remarks()
    made = {}
    for name, files in {
        "one": {"README.md": "one\n", "a.py": "1\n"},
        "two": {"b.txt": "2\n"},
        "three": {"README.md": "three\n"},
        "four": {"app.py": "4\n"},
    }.items():
        attempt = AttemptId(SubtaskId(name), 1)
        worktree = await spaces.create(attempt)
        write(Path(worktree.path), files)
        await spaces.guard(worktree, subtask(touches=None))
        await spaces.diff(worktree), await spaces.changed_files(worktree), await spaces.files(worktree.path)
        trailers = {"Orchestrator-Subtask": name, "Orchestrator-Attempt": str(attempt)}
        made[attempt] = (worktree, await spaces.commit(worktree, message=name, trailers=trailers))
    for attempt, (worktree, commit) in made.items():
        tip = await spaces.tip()
        try:
            there, rebased, _ = await spaces.rebase(attempt, commit)
        except Conflict:
            await spaces.remove(worktree)
            continue
        await spaces.advance(rebased, expected=tip)
        await spaces.remove(there)
    undone = await undo(spaces, SubtaskId("two"))
    await spaces.advance(undone.commit, expected=undone.expected)
    await spaces.remove(undone.worktree)
    left = await spaces.create(AttemptId(SubtaskId("five"), 1))
    write(Path(left.path), {"app.py": "left\n"})
    await spaces.reclaim()
    repository.diff("main", spaces.branch)
    try:
        accept(repository, run=RUN, state=state)
    except AcceptRefused as refused:
        assert "pass through a filter that only this repository configures" in str(refused)
    prune(repository, state=state)


async def test_nothing_that_the_repository_configures_is_run_from_plan_to_prune(root: Path, tmp_path: Path):
    canary = tmp_path / "CANARY"
    plant(root / ".git", canary)
    await cycle(root, tmp_path / "state")
    assert not canary.exists(), canary.read_text()
    named = Repository.open(root).configures_programs()
    assert {"hook pre-commit", "core.fsmonitor", "filter.evil", "merge.evil", "gpg.program"} <= set(named)


async def test_what_an_executor_plants_during_the_run_is_not_run_either(root: Path, tmp_path: Path):
    canary = tmp_path / "CANARY"
    repository = Repository.open(root)
    spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await spaces.start()
    attempt = AttemptId(SubtaskId("evil"), 1)
    worktree = await spaces.create(attempt)
    place = Path(worktree.path)
    # Without a sandbox it can write to the repository, and it turns its own link to one of its making.
    plant(root / ".git", canary)
    evil = tmp_path / "evil"
    make_repository(evil)
    plant(evil / ".git", canary)
    git(place, "init", "-q", "--bare", "inner")
    plant(place / "inner", canary)
    write(place, {"app.py": "changed\n", ".gitattributes": "* filter=evil diff=evil\n"})
    (place / ".git").write_text(f"gitdir: {evil}/.git\n")

    problems = [str(problem) for problem in await spaces.guard(worktree, subtask(touches=None))]
    assert ".git: tampering: the worktree's .git file was changed" in problems
    assert "inner: is a git repository put into the worktree" in problems
    assert any(problem.startswith("app.py: is rewritten by a filter") for problem in problems)
    await spaces.diff(worktree)
    ref = await spaces.keep(attempt, worktree, message="rejected")
    await spaces.remove(worktree)
    await cycle(root, tmp_path / "state")
    assert not canary.exists(), canary.read_text()
    assert git(root, "-c", "core.fsmonitor=false", "cat-file", "-p", f"{ref}:app.py") == "changed"


async def test_a_filter_of_the_users_own_configuration_works_even_where_the_repository_replaced_it(
    root: Path, tmp_path: Path, home: Path
):
    script = home / "rot13"
    script.write_text("#!/bin/sh\nexec tr a-z n-za-m\n")
    script.chmod(0o755)
    for end in ("clean", "smudge"):
        git(root, "config", "--global", f"filter.lfs.{end}", str(script))
        git(root, "config", f"filter.lfs.{end}", f"touch {tmp_path}/PWN; cat")
    write(root, {".gitattributes": "*.bin filter=lfs\n"})
    git(root, "config", "--unset", "filter.lfs.clean")
    write(root, {"x.bin": "hello\n"})
    commit_all(root)
    assert git(root, "cat-file", "-p", "HEAD:x.bin") == "uryyb"
    (tmp_path / "PWN").unlink(missing_ok=True)
    repository = Repository.open(root)
    spaces = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await spaces.start()
    worktree = await spaces.create(AttemptId(SubtaskId("parse"), 1))
    assert (Path(worktree.path) / "x.bin").read_text() == "hello\n"
    write(Path(worktree.path), {"x.bin": "world\n"})
    assert await spaces.guard(worktree, subtask(touches=None)) == ()
    commit = await spaces.commit(worktree, message="x", trailers={})
    assert git(root, "cat-file", "-p", f"{commit}:x.bin") == "jbeyq"
    assert not (tmp_path / "PWN").exists()


async def test_git_sees_no_key_and_none_of_the_users_git_variables(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-canary")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {tmp_path}/PWN")
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {tmp_path}/PWN")
    real = next(
        Path(place) / "git" for place in os.environ["PATH"].split(":") if (Path(place) / "git").exists()
    )
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nenv >> {tmp_path}/seen\necho "$@" >> {tmp_path}/seen\nexec {real} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    repository = Repository.open(root)
    repository.dirty(), repository.diff("HEAD", "HEAD")
    seen = (tmp_path / "seen").read_text()
    assert "sk-canary" not in seen and "/nowhere" not in seen and "PWN" not in seen
    assert "GIT_TERMINAL_PROMPT=0" in seen
    assert not (tmp_path / "PWN").exists()
