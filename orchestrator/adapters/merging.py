"""Commits made by us, and put onto others: in a worktree of ours, with conflicts raised and never resolved."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Carry:
    """Files whose changes are not put onto other versions of them line by line.

    `carried` takes (path, before, after, now) and returns `now` with what changed from `before` to `after`; None
    leaves the file to git.
    """

    files: frozenset[str]
    carried: Callable[[str, bytes, bytes, bytes], bytes | None]


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


def pick(worktrees: Worktrees, name: str, commit: str, onto: str, carry: Carry | None = None) -> str:
    """Put one commit onto `onto` in the worktree; return the new commit. Raises Conflict, the worktree at `onto`."""
    arguments = ["cherry-pick", "--no-commit", "--allow-empty", commit]
    tree = _applied(worktrees, name, arguments, _Change(f"{commit}^", commit, onto), carry)
    git = worktrees.inside(name)
    return _made(worktrees, name, tree, [onto], message_of(git, commit), author_of(git, commit))


def revert(
    worktrees: Worktrees, name: str, commit: str, onto: str, message: str, carry: Carry | None = None
) -> str:
    """Take one commit back on top of `onto`; return the new commit. Raises Conflict, the worktree at `onto`."""
    arguments = ["revert", "--no-commit", commit]
    tree = _applied(worktrees, name, arguments, _Change(commit, f"{commit}^", onto), carry)
    return _made(worktrees, name, tree, [onto], message)


def merge(
    worktrees: Worktrees, name: str, ours: str, theirs: str, message: str, carry: Carry | None = None
) -> str:
    """Merge two commits in the worktree; return the merge commit. Raises Conflict, the worktree at `ours`."""
    arguments = ["merge", "--no-commit", "--no-ff", "--no-verify", "--no-edit", "--quiet", theirs]
    base = worktrees.repository.git.completed("merge-base", ours, theirs).text.strip()
    change = _Change(base, theirs, ours)
    tree = _applied(worktrees, name, arguments, change, carry if base else None)
    return _made(worktrees, name, tree, [ours, theirs], message)


@dataclass(frozen=True, slots=True)
class _Change:
    """What changed between two commits, to be put onto a third."""

    before: str
    after: str
    onto: str


def _made(
    worktrees: Worktrees,
    name: str,
    tree: str,
    parents: Sequence[str],
    message: str,
    author: Mapping[str, str] | None = None,
) -> str:
    git = worktrees.inside(name)
    made = commit_tree(git, tree, parents, message, author)
    _settle(worktrees, name, git, made)
    return made


def _applied(
    worktrees: Worktrees, name: str, arguments: list[str], change: _Change, carry: Carry | None
) -> str:
    """Run the git command that applies the change; return the tree, with `carry`'s files as it has them."""
    worktrees.move_to(name, change.onto)
    git = worktrees.inside(name)
    done = git.completed(*arguments, extra=identity(git))
    carried = carry is not None and _carry(git, change, carry)
    unmerged = git.output("ls-files", "-z", "--unmerged")
    files = sorted({os.fsdecode(entry.partition(b"\t")[2]) for entry in unmerged.split(b"\0") if entry})
    if not files and (done.exit_code == 0 or carried):
        return git.text("write-tree")
    _settle(worktrees, name, git, change.onto)
    worktrees.move_to(name, change.onto)
    if not files:
        raise GitFailed(arguments, done.exit_code, done.error_text or done.text)
    commit = arguments[-1]
    shown = ", ".join(one_line(path) for path in files[:5]) + (", ..." if len(files) > 5 else "")
    raise Conflict(f"{commit[:12]} does not apply to {change.onto[:12]}: conflict in {shown}")


def _carry(git: Git, change: _Change, carry: Carry) -> bool:
    """Put what `carry` makes of the changed files into index and checkout; return whether it made any."""
    listing = git.output(
        "diff-tree", "-r", "-z", "--no-renames", "--diff-filter=M", change.before, change.after
    )
    entries = listing.split(b"\0")
    carried = False
    for header, path in zip(entries[::2], entries[1::2], strict=False):
        _, _, before, after, _ = header.decode().split()
        shown = os.fsdecode(path)
        if shown not in carry.files:
            continue
        there = git.output("ls-tree", "-z", change.onto, "--", shown).rstrip(b"\0")
        mode, kind, blob = ([*there.partition(b"\t")[0].decode().split(), "", "", ""])[:3]
        if kind != "blob" or mode not in ("100644", "100755"):
            continue
        versions = [git.output("cat-file", "blob", name) for name in (before, after, blob)]
        made = carry.carried(shown, *versions)
        if made is None:
            continue
        made_blob = git.text("hash-object", "-w", "--no-filters", "--stdin", stdin=made)
        entry = f"{mode},{made_blob},".encode() + path
        git.text("update-index", "--add", "--cacheinfo", os.fsdecode(entry))
        git.text("checkout-index", "-f", "--", shown)
        carried = True
    return carried


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
