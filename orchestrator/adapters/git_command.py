"""One git call: argv only, with fixed overrides, so that nothing a repository configures is run.

Hooks, fsmonitor, external diffs, text conversions, signing, pagers, editors, transports and the repository's own
filter and merge drivers stay off. Filters that the user configured for all repositories (git-lfs) stay on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from orchestrator.adapters.processes import CannotStart, Completed, allowed_environment, run_blocking
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

# 2.31 is the first with `rev-parse --path-format`, on which every recorded path rests.
OLDEST = (2, 31)
SECONDS = 600.0
OUTPUT_BYTES = 1 << 28
NULL = os.devnull

_FIXED = {
    "core.fsmonitor": "false",
    "core.hooksPath": NULL,
    "core.pager": "cat",
    "core.editor": "true",
    "sequence.editor": "true",
    "core.sshCommand": "false",
    "core.askPass": "false",
    "core.alternateRefsCommand": "false",
    "credential.helper": "",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "diff.external": "",
    "log.showSignature": "false",
    "rerere.enabled": "false",
    "submodule.recurse": "false",
    "diff.ignoreSubmodules": "none",
    # Speeds nothing up here, and writes to files that belong to the user.
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.untrackedCache": "false",
    "core.splitIndex": "false",
    "index.skipHash": "false",
    # Would mark what it updates as never to be looked at again.
    "core.ignoreStat": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    # Would change the format of the user's repository.
    "worktree.useRelativePaths": "false",
    "core.quotePath": "false",
    "i18n.commitEncoding": "UTF-8",
    "core.logAllRefUpdates": "true",
    "advice.detachedHead": "false",
    "merge.conflictStyle": "merge",
    "merge.directoryRenames": "false",
    "color.ui": "false",
}
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    # Reading must not rewrite the user's index.
    "GIT_OPTIONAL_LOCKS": "0",
    # A file called `:(glob)*` is a file, not a pattern.
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_LFS_SKIP_DOWNLOAD_ERRORS": "1",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
}
_PASSED = (
    "XDG_CONFIG_HOME", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "EMAIL",
    "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL",
)  # fmt: skip
_HALF_MADE = re.compile(rb"failed to read .*worktrees/[^/]+/commondir")
_PAUSES = (0.01, 0.05, 0.1, 0.2, 0.4, 0.8)
_DRIVER = re.compile(
    r"(?P<section>filter|merge|diff|hook)\.(?P<name>.+)\.(?P<key>[^.]+)", re.DOTALL | re.IGNORECASE
)


class GitMissing(OrchestratorError):
    def __init__(self) -> None:
        super().__init__("git is not installed, or not on PATH: install git 2.31 or newer")


class GitFailed(OrchestratorError):
    """A git call that ended with an error; `said` is what git wrote about it."""

    exit_code = 1

    def __init__(self, arguments: Sequence[str], exit_code: int, said: str) -> None:
        self.arguments, self.status, self.said = tuple(arguments), exit_code, said
        verb = next((argument for argument in arguments if not argument.startswith("-")), "")
        super().__init__(
            f"git {verb} failed ({exit_code}): {one_line(said.strip() or 'it said nothing', 400)}"
        )


@dataclass(frozen=True, slots=True)
class Drivers:
    """What configurations would run: `run` filters are the user's own, `disabled` ones the repository's own."""

    overrides: tuple[tuple[str, str], ...] = ()
    run: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    executable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Where git is called: the recorded directory, never one that is found by looking.

    `common_dir` is where the shared configuration lies; `index` an index of our own instead of the checkout's.
    """

    git_dir: Path
    work_tree: Path | None
    common_dir: Path
    environ: Mapping[str, str] = field(repr=False)
    index: Path | None = None

    def at(self, *, work_tree: Path | None, git_dir: Path | None = None, index: Path | None = None) -> Git:
        return replace(self, work_tree=work_tree, git_dir=git_dir or self.git_dir, index=index)

    def drivers(self) -> Drivers:
        """The drivers of the configuration as it is now; read again when one of its files has changed."""
        return _drivers(self.git_dir, self.common_dir, _stamp(self._config_files()), _frozen(self.environ))

    def _config_files(self) -> Iterable[Path]:
        home = Path(self.environ.get("HOME", "/"))
        yield self.common_dir / "config"
        yield self.git_dir / "config.worktree"
        yield home / ".gitconfig"
        yield Path(self.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config"

    def completed(
        self, *arguments: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None
    ) -> Completed:
        """Run git and return what came of it, whatever the exit code."""
        chosen = dict(extra or {})
        if self.index is not None:
            chosen["GIT_INDEX_FILE"] = str(self.index)
        place = [f"--git-dir={self.git_dir}"]
        if self.work_tree is not None:
            place.append(f"--work-tree={self.work_tree}")
        argv = [*place, *_options(self.drivers().overrides), *arguments]
        pauses = iter(_PAUSES)
        while True:
            done = call(
                argv, cwd=self.work_tree or self.git_dir, environ=self.environ, stdin=stdin, extra=chosen
            )
            if done.exit_code != 128 or not _HALF_MADE.search(done.stderr):
                return done
            # Whatever looks at all worktrees dies of one that another process is just making or removing.
            pause = next(pauses, None)
            if pause is None:
                return done
            time.sleep(pause)

    def output(
        self, *arguments: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None
    ) -> bytes:
        """Run git and return its standard output. Raises GitFailed."""
        done = self.completed(*arguments, stdin=stdin, extra=extra)
        if done.exit_code != 0 or done.limit or done.truncated:
            why = "its output is too long" if done.truncated else done.error_text
            raise GitFailed(
                arguments, done.exit_code, f"stopped by a limit: {done.limit}" if done.limit else why
            )
        return done.stdout

    def text(
        self, *arguments: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None
    ) -> str:
        """Run git and return its standard output as text, without the last newline. Raises GitFailed."""
        return os.fsdecode(self.output(*arguments, stdin=stdin, extra=extra)).removesuffix("\n")

    def paths(self, *arguments: str, stdin: bytes | None = None) -> tuple[str, ...]:
        """Run git with `-z` among the arguments and return the names, undecodable bytes as surrogates."""
        return tuple(os.fsdecode(name) for name in self.output(*arguments, stdin=stdin).split(b"\0") if name)


def call(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    stdin: bytes | None = None,
    extra: Mapping[str, str] | None = None,
) -> Completed:
    """Run git with the fixed overrides and a cleaned environment; for finding a repository, else use Git."""
    try:
        return run_blocking(
            ["git", "--no-pager", *_options(_FIXED.items()), *arguments],
            cwd=cwd,
            env=environment(environ) | dict(extra or {}),
            timeout_seconds=SECONDS,
            stdin=stdin,
            max_output_bytes=OUTPUT_BYTES,
            contained=False,
        )
    except CannotStart as error:
        if cwd.is_dir():
            raise GitMissing from None
        raise OrchestratorError(f"{one_line(str(cwd))}: {error.reason}") from None


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    passed = {name: environ[name] for name in _PASSED if name in environ}
    return allowed_environment(environ, passed | _ENVIRONMENT)


def _options(settings: Iterable[tuple[str, str]]) -> list[str]:
    return [part for name, value in settings for part in ("-c", f"{name}={value}")]


def _frozen(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(environment(environ).items()))


def _stamp(files: Iterable[Path]) -> tuple[tuple[int, int, int, int] | None, ...]:
    stamps: list[tuple[int, int, int, int] | None] = []
    for file in files:
        try:
            found = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(stamps)


@lru_cache(maxsize=256)
def _drivers(
    git_dir: Path,
    common_dir: Path,
    stamp: tuple[tuple[int, int, int, int] | None, ...],
    environ: tuple[tuple[str, str], ...],
) -> Drivers:
    done = call(
        [
            f"--git-dir={git_dir}", "config", "--includes", "--show-scope", "-z", "--get-regexp",
            r"^(filter|merge|diff|hook)\..*\.",
        ],
        cwd=common_dir,
        environ=dict(environ),
    )  # fmt: skip
    if done.exit_code not in (0, 1):
        raise GitFailed(["config"], done.exit_code, done.error_text)
    return _sorted_out(os.fsdecode(done.stdout).split("\0"))


def _sorted_out(fields: Sequence[str]) -> Drivers:
    """Scopes and settings alternate. The user's own value is restored where the repository has changed it."""
    ours: dict[tuple[str, str, str], str] = {}
    theirs: dict[tuple[str, str, str], str] = {}
    for scope, entry in zip(fields[::2], fields[1::2], strict=False):
        key, _, value = entry.partition("\n")
        found = _DRIVER.fullmatch(key)
        if found is None or scope == "command":
            continue
        place = (found["section"].lower(), found["name"], found["key"].lower())
        (ours if scope in ("system", "global") else theirs)[place] = value
    overrides: list[tuple[str, str]] = []
    disabled, executable = set[str](), set[str]()
    for section, name in sorted({(section, name) for section, name, _ in theirs}):
        if "=" in name or "\n" in name:
            # `-c` cannot express it; no honest tool is called so.
            raise OrchestratorError(
                f"the repository configures a {section} driver called {one_line(name)!r}: remove it first"
            )
        users = {key: value for (s, n, key), value in ours.items() if (s, n) == (section, name)}
        executable.add(f"{section}.{name}")
        for key, off in _OFF[section].items():
            # An empty `process` turns the other two off as well, so it is set only where it has to be.
            if key in users or (section, name, key) in theirs or section == "hook":
                overrides.append((f"{section}.{name}.{key}", users.get(key, off)))
        if section == "filter" and (
            not users or ("process" not in users and (section, name, "process") in theirs)
        ):
            disabled.add(name)
    run = {name for section, name, key in ours if section == "filter" and key in ("clean", "process")}
    return Drivers(
        tuple(overrides), frozenset(run - disabled), frozenset(disabled), tuple(sorted(executable))
    )


_OFF: Mapping[str, Mapping[str, str]] = {
    "filter": {"clean": "", "smudge": "", "process": "", "required": "false"},
    # A merge driver that fails is a conflict: the careful answer.
    "merge": {"driver": "false"},
    "diff": {"command": "", "textconv": ""},
    "hook": {"enabled": "false"},
}


@lru_cache(maxsize=8)
def version(path: str) -> tuple[int, ...]:
    """The version of the git that is found on this PATH. Raises GitMissing."""
    said = call(["version"], cwd=Path("/"), environ={"PATH": path}).text
    return tuple(int(number) for number in re.findall(r"\d+", said)[:3])
