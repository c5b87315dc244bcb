"""The user's repository, as it is read; nothing here writes to it. Blocking; beside a loop use `in_background`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.git_command import OLDEST, Git, GitFailed, call, version
from orchestrator.adapters.state import digest
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

_IN_PROGRESS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or `git am`",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


class NotUsable(OrchestratorError):
    """There is no repository here that a run could start from; the message says why and what to do."""


class UnknownRevision(OrchestratorError):
    """A name that is no commit of this repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A checkout of the user's: `root` is its top directory, `git_dir` its own, `common_dir` the shared one.

    Paths of files are relative to `root` and may hold surrogates where a name is not UTF-8.
    """

    root: Path
    git: Git
    shallow: bool

    @classmethod
    def open(cls, path: str | Path, environ: Mapping[str, str] | None = None) -> Repository:
        """Find the repository that `path` lies in.

        Raises NotUsable when there is none, it is bare or without a commit, or git is too old; GitMissing.
        """
        environ = dict(os.environ if environ is None else environ)
        place = Path(path).absolute()
        shown = one_line(str(place))
        if not place.is_dir():
            raise NotUsable(f"{shown} is no directory: name the directory of a git repository")
        if (found := version(environ.get("PATH", os.defpath))) < OLDEST:
            wanted, old = ".".join(map(str, OLDEST)), ".".join(map(str, found))
            raise NotUsable(f"git {old} is too old: install git {wanted} or newer")
        asked = (
            "--is-bare-repository", "--is-inside-work-tree", "--is-shallow-repository",
            "--path-format=absolute", "--git-dir", "--git-common-dir",
        )  # fmt: skip
        done = call(["rev-parse", *asked], cwd=place, environ=environ)
        said = one_line(done.error_text.strip(), 300)
        if done.exit_code != 0:
            if "not a git repository" in said:
                raise NotUsable(
                    f"{shown} is not in a git repository: run `git init` and commit something first"
                )
            if "safe.bareRepository" in said:
                raise NotUsable(
                    f"{shown} is a bare repository or inside a .git directory: run this in a checkout"
                )
            raise NotUsable(f"{shown}: git refuses this repository: {said}")
        bare, inside, shallow, git_dir, common = os.fsdecode(done.stdout).split("\n")[:5]
        if bare == "true":
            raise NotUsable(
                f"{shown} is a bare repository or inside a .git directory: run this in a checkout"
            )
        if inside != "true":
            raise NotUsable(f"{shown} is inside a .git directory: run this in the checkout")
        top = call(["rev-parse", "--path-format=absolute", "--show-toplevel"], cwd=place, environ=environ)
        root = Path(os.fsdecode(top.stdout).removesuffix("\n"))
        git = Git(git_dir=Path(git_dir), work_tree=root, common_dir=Path(common), environ=environ)
        repository = cls(root=root, git=git, shallow=shallow == "true")
        if git.completed("rev-parse", "--verify", "--quiet", "HEAD^{commit}").exit_code != 0:
            raise NotUsable(f"{shown} has no commit yet: commit something first")
        return repository

    @property
    def common_dir(self) -> Path:
        return self.git.common_dir

    @property
    def id(self) -> str:
        """A stable name for the repository, the same from all of its worktrees."""
        return digest(os.fsencode(self.common_dir.resolve()))

    @property
    def linked(self) -> bool:
        """Whether this checkout is a linked worktree of another one."""
        return self.git.git_dir != self.common_dir

    def head(self) -> str:
        """The commit that is checked out, in full."""
        return self.git.text("rev-parse", "--verify", "HEAD^{commit}")

    def branch(self) -> str | None:
        """The branch that is checked out, without `refs/heads/`; None when HEAD is detached."""
        done = self.git.completed("symbolic-ref", "--quiet", "HEAD")
        name = os.fsdecode(done.stdout).removesuffix("\n")
        return name.removeprefix("refs/heads/") if done.exit_code == 0 else None

    def commit(self, revision: str) -> str:
        """The commit that a name stands for. Raises UnknownRevision, also for anything like an option."""
        # `--end-of-options` came to rev-parse with 2.30 but is echoed by some versions; a dash never is a name.
        if revision and not revision.startswith("-") and "\0" not in revision and "\n" not in revision:
            done = self.git.completed("rev-parse", "--verify", "--quiet", revision + "^{commit}")
            if done.exit_code == 0:
                return done.text.strip()
        raise UnknownRevision(f"{one_line(revision)!r} is no commit of {one_line(str(self.root))}")

    def ref(self, name: str) -> str | None:
        """The commit a full ref name (`refs/...`) points to, or None when there is no such ref."""
        done = self.git.completed("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return done.text.strip() if done.exit_code == 0 else None

    def refs(self, *prefixes: str) -> dict[str, str]:
        """Full ref names below the prefixes (all without one) and what they point to."""
        listing = self.git.output("for-each-ref", "--format=%(objectname) %(refname)", "--", *prefixes)
        pairs = (line.split(" ", 1) for line in os.fsdecode(listing).splitlines())
        return {name: commit for commit, name in pairs}

    def dirty(self) -> tuple[str, ...]:
        """Files with uncommitted changes, staged, unstaged or untracked (not ignored), sorted."""
        listing = self.git.output(
            "status",
            "--porcelain=v1",
            "-z",
            "--no-renames",
            "--untracked-files=all",
            "--ignore-submodules=none",
        )
        return tuple(sorted(os.fsdecode(entry[3:]) for entry in listing.split(b"\0") if entry))

    def in_progress(self) -> str | None:
        """What the user is in the midst of here (`a rebase`, `a merge`), or None."""
        for name, what in _IN_PROGRESS.items():
            if (self.git.git_dir / name).exists():
                return what
        return None

    def files_at(self, commit: str) -> tuple[str, ...]:
        """All files of a commit, links included, submodules not."""
        listing = self.git.output("ls-tree", "-r", "-z", "--full-tree", commit)
        return tuple(
            os.fsdecode(entry.partition(b"\t")[2])
            for entry in listing.split(b"\0")
            if entry and not entry.startswith(b"160000 ")
        )

    def submodules_at(self, commit: str) -> tuple[str, ...]:
        listing = self.git.output("ls-tree", "-r", "-z", "--full-tree", commit)
        entries = (entry for entry in listing.split(b"\0") if entry.startswith(b"160000 "))
        return tuple(os.fsdecode(entry.partition(b"\t")[2]) for entry in entries)

    def changed_in(self, commit: str) -> tuple[str, ...]:
        """The files that a commit changed from its parent."""
        listing = self.git.output("diff-tree", "--no-commit-id", "--name-only", "-r", "-z", commit)
        return tuple(os.fsdecode(path) for path in listing.split(b"\0") if path)

    def read_blob(self, commit: str, path: str) -> bytes | None:
        """The contents of a file in a commit, unfiltered; None when there is no such file."""
        listing = self.git.output("ls-tree", "-z", "--full-tree", commit, "--", path)
        kind, _, name = listing.rstrip(b"\0").partition(b"\t")
        if name != os.fsencode(path) or b" blob " not in kind:
            return None
        return self.git.output("cat-file", "blob", kind.split()[2].decode())

    def changed_between(self, old: str, new: str) -> tuple[str, ...]:
        """Files that differ between two commits; a renamed one under both names."""
        return self.git.paths("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)

    def diff(self, old: str, new: str, paths: tuple[str, ...] = ()) -> str:
        """The difference of two commits as a patch for people to read."""
        options = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/", "-M")
        return self.git.output("diff", *options, old, new, "--", *paths).decode("utf-8", "replace")

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` holds everything of `old`."""
        done = self.git.completed("merge-base", "--is-ancestor", old, new)
        if done.exit_code not in (0, 1):
            raise GitFailed(["merge-base"], done.exit_code, done.error_text)
        return done.exit_code == 0

    def configures_programs(self) -> tuple[str, ...]:
        """What in this repository's configuration and hooks would run programs: for one warning, none is run."""
        hooks = self.common_dir / "hooks"
        try:
            found = [hook.name for hook in hooks.iterdir() if not hook.name.endswith(".sample")]
        except OSError:
            found = []
        keys = self.git.completed("config", "--show-scope", "-z", "--get-regexp", _PROGRAMS)
        entries = os.fsdecode(keys.stdout).split("\0")
        named = [
            entry.partition("\n")[0]
            for scope, entry in zip(entries[::2], entries[1::2], strict=False)
            if scope in ("local", "worktree")
        ]
        drivers = self.git.drivers().executable
        return tuple(sorted({*named, *drivers, *(f"hook {name}" for name in found)}))


_PROGRAMS = (
    r"^(core\.(fsmonitor|hookspath|pager|editor|sshcommand|askpass|gitproxy)|diff\.external|gpg\..*program"
    r"|gpg\.program|credential\..*helper)$"
)
