"""Real git repositories for tests, and what of them must be byte-identical after a run."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from orchestrator.core.domain import CHEAP, Deliverable, Estimate, Range, Subtask, SubtaskId, Tag


def git(root: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Run git as the user would, with a fixed identity."""
    identity = {
        "GIT_AUTHOR_NAME": "User", "GIT_AUTHOR_EMAIL": "user@example.org",
        "GIT_COMMITTER_NAME": "User", "GIT_COMMITTER_EMAIL": "user@example.org",
    }  # fmt: skip
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=root, input=stdin, capture_output=True, check=False, env=os.environ | identity,
    )  # fmt: skip
    assert done.returncode == 0, (arguments, done.stderr.decode(errors="replace"))
    return os.fsdecode(done.stdout).removesuffix("\n")


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, contents in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)


def commit_all(root: Path, message: str = "a commit") -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def make_repository(root: Path, files: Mapping[str, str | bytes] | None = None) -> str:
    """A repository on branch main with one commit; return the commit."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q")
    write(root, files or {"app.py": "one\ntwo\nthree\n", "src/lib.py": "lib\n", "README.md": "# it\n"})
    return commit_all(root, "first")


def make_untidy(root: Path) -> None:
    """What a user has lying about: a stash, a staged file, an unstaged change, untracked and ignored files."""
    write(root, {"app.py": "stashed\n"})
    git(root, "stash", "-q")
    write(root, {"staged.txt": "staged\n"})
    git(root, "add", "staged.txt")
    write(root, {"README.md": "# changed\n", "untracked/x.txt": "untracked\n", ".env": "SECRET=1\n"})
    git(root, "tag", "v1")
    git(root, "branch", "other")


def belongings(root: Path) -> dict[str, str]:
    """A digest of everything of the user's: each file with its mode, index, stash, HEAD, config, hooks, each ref.

    What the orchestrator may add (refs and worktrees of its own, objects, logs of its refs) is left out.
    """
    found = {}
    ours = ("worktrees", "objects", "refs/orchestrator", "refs/heads/orchestrator", "logs/refs")
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        inner = name.removeprefix(".git/")
        if inner != name and any(inner == own or inner.startswith(own + "/") for own in ours):
            continue
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"  # noqa: PTH115
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = f"{path.stat().st_mode:o} {digest}"
    for line in git(root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines():
        name, _, commit = line.partition(" ")
        if not name.startswith(("refs/orchestrator/", "refs/heads/orchestrator/")):
            found[name] = commit
    found["stash"] = git(root, "stash", "list")
    return found


def subtask(
    subtask_id: str = "parse",
    *,
    touches: tuple[str, ...] | None = ("app.py", "src/**"),
    deliverable: Deliverable = Deliverable.EDIT,
) -> Subtask:
    some = Range(1, 2, 3)
    return Subtask(
        id=SubtaskId(subtask_id),
        title=f"Do {subtask_id}",
        instructions="do it",
        category="cheap/bug-fixes",
        tag=Tag(tier=CHEAP, rule="cheap/bug-fixes"),
        estimate=Estimate(input_tokens=some, output_tokens=some, seconds=some),
        touches=touches,
        deliverable=deliverable,
    )
