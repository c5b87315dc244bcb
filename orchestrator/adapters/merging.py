"""Commits made by us, and put onto others: in a worktree of ours, with conflicts raised and never resolved."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.adapters.git import Repository
from orchestrator.adapters.git_command import Git, GitFailed
from orchestrator.adapters.worktrees import Worktrees
from orchestrator.core.ports import Conflict
from orchestrator.core.text import one_line, safe_text

RUN, SUBTASK, ATTEMPT = "Orchestrator-Run", "Orchestrator-Subtask", "Orchestrator-Attempt"
UNDOES = "Orchestrator-Undoes"
_OWN_NAME, _OWN_ADDRESS = "orchestrator", "orchestrator@localhost"
_TRAILER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """One commit of a run as its branch has it; `undoes` is the commit it reverts, if any."""

    commit: str
    subtask: str
    attempt: str
    subject: str
    undoes: str = ""


def identity(git: Git) -> dict[str, str]:
    """Who commits: the user, as git knows them, or we under our own name when it knows nobody."""
    environ = git.environ
    if all(
        environ.get(f"GIT_{role}_{part}") for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
    ):
        return {}
    done = git.completed("config", "-z", "--get-regexp", r"^user\.(name|email)$")
    known = dict(entry.split("\n", 1) for entry in done.text.split("\0") if "\n" in entry)
    if known.get("user.name") and known.get("user.email"):
        return {}
    names = {f"GIT_{role}_NAME": _OWN_NAME for role in ("AUTHOR", "COMMITTER")}
    return names | {f"GIT_{role}_EMAIL": _OWN_ADDRESS for role in ("AUTHOR", "COMMITTER")}


def with_trailers(message: str, trailers: Mapping[str, str]) -> str:
    """The commit message with its trailers as the last paragraph; raises ValueError for no trailer's name."""
    for name in trailers:
        if not _TRAILER.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a trailer")
    # A line of the message must not pass for a trailer of ours.
    body = re.sub(r"(?im)^(orchestrator-)", r"> \1", safe_text(message).strip() or "No message")
    lines = [f"{name}: {one_line(value, 400)}" for name, value in trailers.items()]
    return body + "\n\n" + "\n".join(lines) + "\n" if lines else body + "\n"


def commit_tree(
    git: Git, tree: str, parents: Sequence[str], message: str, author: Mapping[str, str] | None = None
) -> str:
    """Make a commit object: no hook, no signature, no index. `author` overrides name, address and date."""
    arguments = [part for parent in parents for part in ("-p", parent)]
    said = message.encode("utf-8", "replace")
    return git.text(
        "commit-tree", tree, *arguments, "-F", "-", stdin=said, extra=identity(git) | dict(author or {})
    )


def author_of(git: Git, commit: str) -> dict[str, str]:
    fields = git.text("log", "-1", "--no-show-signature", "--format=%an%x00%ae%x00%ad", "--date=raw", commit)
    name, address, date = fields.split("\0")
    author = {"GIT_AUTHOR_DATE": date}
    if name and address:
        author |= {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address}
    return author


def message_of(git: Git, commit: str) -> str:
    return git.text("log", "-1", "--no-show-signature", "--format=%B", commit) + "\n"


def pick(worktrees: Worktrees, name: str, commit: str, onto: str) -> str:
    """Put one commit onto `onto` in the worktree; return the new commit. Raises Conflict, the worktree at `onto`."""
    return _replay(worktrees, name, ["cherry-pick", "--no-commit", "--allow-empty", commit], commit, onto)


def revert(worktrees: Worktrees, name: str, commit: str, onto: str, message: str) -> str:
    """Take one commit back on top of `onto`; return the new commit. Raises Conflict, the worktree at `onto`."""
    return _replay(worktrees, name, ["revert", "--no-commit", commit], commit, onto, message)


def merge(worktrees: Worktrees, name: str, ours: str, theirs: str, message: str) -> str:
    """Merge two commits in the worktree; return the merge commit. Raises Conflict, the worktree at `ours`."""
    worktrees.move_to(name, ours)
    git = worktrees.inside(name)
    arguments = ["merge", "--no-commit", "--no-ff", "--no-verify", "--no-edit", "--quiet", theirs]
    _apply(worktrees, name, git, arguments, ours, theirs)
    tree = git.text("write-tree")
    merged = commit_tree(git, tree, [ours, theirs], message)
    _settle(worktrees, name, git, merged)
    return merged


def _replay(
    worktrees: Worktrees, name: str, arguments: list[str], commit: str, onto: str, message: str | None = None
) -> str:
    worktrees.move_to(name, onto)
    git = worktrees.inside(name)
    _apply(worktrees, name, git, arguments, onto, commit)
    tree = git.text("write-tree")
    author = author_of(git, commit) if message is None else None
    made = commit_tree(git, tree, [onto], message_of(git, commit) if message is None else message, author)
    _settle(worktrees, name, git, made)
    return made


def _apply(worktrees: Worktrees, name: str, git: Git, arguments: list[str], onto: str, commit: str) -> None:
    done = git.completed(*arguments, extra=identity(git))
    if done.exit_code == 0:
        return
    unmerged = git.output("ls-files", "-z", "--unmerged")
    files = sorted({os.fsdecode(entry.partition(b"\t")[2]) for entry in unmerged.split(b"\0") if entry})
    _settle(worktrees, name, git, onto)
    worktrees.move_to(name, onto)
    if not files:
        raise GitFailed(arguments, done.exit_code, done.error_text or done.text)
    shown = ", ".join(one_line(path) for path in files[:5]) + (", ..." if len(files) > 5 else "")
    raise Conflict(f"{commit[:12]} does not apply to {onto[:12]}: conflict in {shown}")


def _settle(worktrees: Worktrees, name: str, git: Git, commit: str) -> None:
    """End what the merge machinery has begun, and let the worktree stand at `commit`."""
    for left in ("CHERRY_PICK_HEAD", "REVERT_HEAD", "MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "AUTO_MERGE"):
        (git.git_dir / left).unlink(missing_ok=True)
    worktrees.committed(name, commit)


def landed(repository: Repository, base: str, tip: str) -> tuple[Landed, ...]:
    """The commits of `base..tip` that carry our trailers, oldest first."""
    trailers = "%x00".join(
        f"%(trailers:key={key},valueonly,separator=%x2C)" for key in (SUBTASK, ATTEMPT, UNDOES)
    )
    listing = repository.git.text(
        "log", "--reverse", "--topo-order", "--no-show-signature", f"--format=%H%x00{trailers}%x00%s%x01",
        f"{base}..{tip}",
    )  # fmt: skip
    found = []
    for entry in listing.split("\x01"):
        fields = entry.strip("\n").split("\0")
        if len(fields) == 5 and (fields[1] or fields[3]):
            commit, subtask, attempt, undoes, subject = fields
            found.append(
                Landed(commit=commit, subtask=subtask, attempt=attempt, undoes=undoes, subject=subject)
            )
    return tuple(found)
