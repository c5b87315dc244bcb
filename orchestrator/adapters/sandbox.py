"""The wall around everything that runs code of the repository, of a model or of a plan.

Inside: the worktree, a home and a temporary directory of the command's own, system directories and toolchains to
read, the repository's git data to read, no network, no processes of others. Which of bubblewrap, Landlock or
`sandbox-exec` holds is found out by running it, never by looking for it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from orchestrator.adapters.background import in_background
from orchestrator.adapters.processes import (
    DEFAULT_OUTPUT_BYTES,
    CannotStart,
    Completed,
    ResourceLimits,
    allowed_environment,
    run,
    run_blocking,
)
from orchestrator.adapters.sandbox_places import (
    etc_places,
    git_places,
    system_places,
    toolchains,
)
from orchestrator.adapters.scratch import scratch_directory
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

_LAUNCHER = str(Path(__file__).with_name("sandbox_landlock.py"))
_TRUSTED_BIN = ("/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin", "/run/wrappers/bin")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd")
_PROC = ("cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "sys", "uptime", "version")
_PROBE_SECONDS = 20.0
_SHARED_MEMORY = 1 << 30
_MOST_MEMORY, _MOST_FILE, _MOST_PROCESSES, _MOST_CPU_SECONDS = 16 << 30, 4 << 30, 1024, 4 * 3600


class Kind(StrEnum):
    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    SANDBOX_EXEC = "sandbox-exec"
    NONE = "none"


class NoSandbox(OrchestratorError):
    """Nothing on this machine can hold code in, and nobody has said that it may run without."""

    def __init__(self, tried: Sequence[str]) -> None:
        self.tried = tuple(tried)
        super().__init__(
            f"no sandbox works here ({'; '.join(tried)}): install bubblewrap, "
            f"or let checks run unprotected with --no-sandbox"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One way to hold a command in. `name` is what the screen and the report say; `none` holds nothing.

    `detail` says in a sentence what it does and does not prevent; `program` is what does it.
    """

    kind: Kind
    program: str = ""
    detail: str = ""

    @property
    def name(self) -> str:
        return str(self.kind)

    @classmethod
    def probe(cls, *, wanted: bool = True, environ: Mapping[str, str] | None = None) -> Sandbox:
        """Find the strongest sandbox that works here by running it; not `wanted` gives none at all.

        Raises NoSandbox, which says what was tried and why each failed.
        """
        if not wanted:
            return cls(kind=Kind.NONE, detail="commands run with all of your rights")
        environ = os.environ if environ is None else environ
        path = environ.get("PATH", os.defpath)
        return _probe(_find("bwrap", path), _find("sandbox-exec", path))

    def wrap(
        self,
        argv: Sequence[str],
        *,
        worktree: str | Path,
        scratch: str | Path,
        writable: Sequence[str | Path] = (),
        readable: Sequence[str | Path] = (),
        network: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Return the command line that runs `argv` inside, in the directory it is started in.

        `scratch` is an empty directory for this command alone (see `scratch_directory`); `writable` and
        `readable` are absolute paths beside worktree and toolchains, those that are missing left out.
        """
        places = _Places(
            worktree=Path(worktree),
            scratch=Path(scratch),
            writable=tuple(map(Path, writable)),
            readable=(*map(Path, readable), *toolchains(os.environ if environ is None else environ).readable),
            network=network,
        )
        match self.kind:
            case Kind.BUBBLEWRAP:
                return [self.program, *_bubblewrap(places), "--", *argv]
            case Kind.LANDLOCK:
                policy = json.dumps(_landlock(places))
                return [sys.executable, "-I", "-S", "-B", _LAUNCHER, policy, *argv]
            case Kind.SANDBOX_EXEC:
                return [self.program, "-p", _seatbelt(places), *argv]
            case Kind.NONE:
                return list(argv)


def default_limits() -> ResourceLimits:
    """Bounds for one check or tool: three quarters of this machine's memory, and numbers no honest suite reaches."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
    except (OSError, ValueError):
        memory = _MOST_MEMORY
    return ResourceLimits(
        memory_bytes=min(memory, _MOST_MEMORY),
        processes=_MOST_PROCESSES,
        file_bytes=_MOST_FILE,
        cpu_seconds=_MOST_CPU_SECONDS,
    )


def sandbox_environment(
    environ: Mapping[str, str], scratch: Path, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a command inside sees: the allow-list, its own HOME and TMPDIR, where toolchains are, then `extra`."""
    own = {
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "XDG_CACHE_HOME": str(scratch / "home" / ".cache"),
        "XDG_CONFIG_HOME": str(scratch / "home" / ".config"),
        "XDG_DATA_HOME": str(scratch / "home" / ".local" / "share"),
        # What git inside could be asked to run, or to ask.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        # It is not in there, and being refused it is an error to git.
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return allowed_environment(environ) | dict(toolchains(environ).variables) | own | dict(extra or {})


async def run_sandboxed(
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    worktree: str | Path,
    environ: Mapping[str, str],
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    writable: Sequence[str | Path] = (),
    readable: Sequence[str | Path] = (),
    network: bool = False,
    limits: ResourceLimits | None = None,
    stdin: bytes | None = None,
    max_output_bytes: int = DEFAULT_OUTPUT_BYTES,
    merge_stderr: bool = True,
) -> Completed:
    """Run one command inside, in the worktree (or `cwd` below it), with a home of its own that goes afterwards.

    `environ` is ours, of which the command gets the allow-list; `env` is laid over that. Nothing of its process
    tree is left when this returns. Raises CannotStart when the command does not exist outside.
    """
    with scratch_directory() as scratch:
        settings = sandbox_environment(environ, scratch, env)
        command = await in_background(
            lambda: sandbox.wrap(
                argv,
                worktree=worktree,
                scratch=scratch,
                writable=writable,
                readable=readable,
                network=network,
                environ=environ,
            )
        )
        if shutil.which(argv[0], path=_search_path(settings, worktree, cwd)) is None:
            raise CannotStart(argv, "No such file or directory")
        return await run(
            command,
            cwd=cwd or worktree,
            env=settings,
            timeout_seconds=timeout_seconds,
            stdin=stdin,
            max_output_bytes=max_output_bytes,
            limits=limits or default_limits(),
            merge_stderr=merge_stderr,
        )


def _search_path(settings: Mapping[str, str], worktree: str | Path, cwd: str | Path | None) -> str:
    """Where the command would be found from inside: relative entries of PATH mean its own directory."""
    here = Path(cwd or worktree)
    return os.pathsep.join(str(here / entry) for entry in settings.get("PATH", os.defpath).split(os.pathsep))


# --- finding one --------------------------------------------------------------------------------------


def _find(name: str, path: str) -> str | None:
    """An absolute path of the program: never one below the current directory, where a repository may have put it."""
    here = Path.cwd()
    for directory in (*_TRUSTED_BIN, *path.split(os.pathsep)):
        place = Path(directory)
        if place.is_absolute() and not place.is_relative_to(here):
            candidate = place / name
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
    return None


@lru_cache(maxsize=8)
def _probe(bwrap: str | None, seatbelt: str | None) -> Sandbox:
    tried: list[str] = []
    candidates: list[Sandbox] = []
    if sys.platform == "linux":
        if bwrap is None:
            tried.append("bubblewrap is not installed")
        else:
            detail = "own file system view, processes and network"
            candidates.append(Sandbox(kind=Kind.BUBBLEWRAP, program=bwrap, detail=detail))
        detail = "no writing or reading elsewhere, no sockets; the process list stays visible"
        candidates.append(Sandbox(kind=Kind.LANDLOCK, program=_LAUNCHER, detail=detail))
    elif sys.platform == "darwin" and seatbelt is not None:
        detail = "no writing or reading elsewhere, no network"
        candidates.append(Sandbox(kind=Kind.SANDBOX_EXEC, program=seatbelt, detail=detail))
    for sandbox in candidates:
        why = _fault(sandbox)
        if why is None:
            return sandbox
        tried.append(f"{sandbox.name}: {why}")
    raise NoSandbox(tried or [f"none is known for {sys.platform}"])


def _fault(sandbox: Sandbox) -> str | None:
    """Run a small program inside that has to succeed, next to a file it must not be able to read."""
    with scratch_directory() as outside, scratch_directory() as worktree, scratch_directory() as scratch:
        secret = outside / "home" / "secret"
        secret.write_text("secret")
        script = f"echo inside > inside && ! cat '{secret}' 2>/dev/null && ! echo x 2>/dev/null >'{secret}'"
        try:
            done = run_blocking(
                sandbox.wrap(["/bin/sh", "-c", script], worktree=worktree, scratch=scratch),
                cwd=worktree,
                env=sandbox_environment(os.environ, scratch),
                timeout_seconds=_PROBE_SECONDS,
                max_output_bytes=4000,
                merge_stderr=True,
            )
        except CannotStart as error:
            return error.reason
        if done.exit_code != 0:
            return one_line(done.text.strip() or f"exit code {done.exit_code}", 120)
        if secret.read_text() != "secret" or not (worktree / "inside").exists():
            return "it does not hold"
    return None


# --- the three ways -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    worktree: Path
    scratch: Path
    writable: tuple[Path, ...]
    readable: tuple[Path, ...]
    network: bool


def _bubblewrap(places: _Places) -> list[str]:
    """Mounts from the outside in, so that a deeper one is never hidden by one above it."""
    arguments = [
        "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev",
    ]  # fmt: skip
    if places.network:
        arguments.append("--share-net")
    mounts: dict[Path, tuple[str, Path]] = {}
    links: list[str] = []
    for place in system_places():
        if place.is_symlink():
            links += ["--symlink", os.readlink(place), str(place)]  # noqa: PTH115  # as written: a Path is made normal
        else:
            mounts[place] = ("--ro-bind", place)
    linked = {Path(link) for link in links[2::3]}
    for place in (*etc_places(), *places.readable):
        if place.exists() and not linked & {place, *place.parents}:
            # A link (/etc/resolv.conf) may lead to where nothing is mounted: its aim is put in its place.
            mounts[place] = ("--ro-bind", place.resolve())
            if place not in etc_places():
                mounts[place.resolve()] = ("--ro-bind", place.resolve())
    mounts[Path("/tmp")] = ("--bind", places.scratch / "tmp")
    for place in (places.scratch, *places.writable, places.worktree):
        if place.exists():
            mounts[place] = ("--bind", place)
    if git := git_places(places.worktree):
        for directory in git.directories:
            mounts[directory] = ("--ro-bind", directory)
        plain = places.scratch / "git-config"
        plain.write_text(git.plain_config)
        mounts[git.config] = ("--ro-bind", plain)
        mounts[git.link] = ("--ro-bind", git.link)
    arguments += links
    for place in sorted(mounts, key=lambda place: len(place.parts)):
        option, source = mounts[place]
        above = next((mounts[parent] for parent in place.parents if parent in mounts), None)
        # What is there already by a directory above needs no mount, and could not get one if that is read-only.
        if above is None or above[0] != option or not _shows(above[1], place, mounts):
            arguments += [option, str(source), str(place)]
    arguments += ["--symlink", "/tmp", "/var/tmp"]
    # What is left writable of these lies in memory, without a bound.
    return [
        *arguments,
        "--size",
        str(_SHARED_MEMORY),
        "--tmpfs",
        "/dev/shm",
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
    ]


def _shows(source: Path, place: Path, mounts: Mapping[Path, tuple[str, Path]]) -> bool:
    """Whether a mount above shows `place` where it is outside as well, with what belongs there."""
    above = next(parent for parent in place.parents if parent in mounts)
    return source == above and mounts[place][1] in (place, place.resolve())


def _landlock(places: _Places) -> dict[str, object]:
    read = [*system_places(), *etc_places(), *places.readable, Path(_LAUNCHER)]
    # Not /proc itself: what other processes were started with (`environ`) may hold keys.
    read += [Path("/proc") / name for name in _PROC]
    write = [places.worktree, places.scratch, *places.writable]
    write += [Path("/dev") / name for name in _DEVICES]
    git = git_places(places.worktree)
    # Landlock cannot lay a harmless configuration over the real one: with credentials in it, git stays outside.
    if git is not None and not git.secret:
        read += git.directories
    return {"read": list(map(str, read)), "write": list(map(str, write)), "network": places.network}


def _seatbelt(places: _Places) -> str:
    def below(paths: Sequence[Path]) -> str:
        return " ".join(
            f"(subpath {json.dumps(str(form))})" for path in paths for form in {path, path.resolve()}
        )

    read = [*system_places(), *etc_places(), *places.readable, Path("/private/etc/ssl"), Path("/dev")]
    if (git := git_places(places.worktree)) and not git.secret:
        read += git.directories
    write = [places.worktree, places.scratch, *places.writable]
    lines = [
        "(version 1)", "(deny default)", "(allow process*)", "(allow signal (target same-sandbox))",
        "(allow sysctl-read)", "(allow mach-lookup)", "(allow ipc-posix*)", "(allow file-read-metadata)",
        f"(allow file-read* (literal \"/\") {below(read)})",
        f"(allow file-read* file-write* {below(write)} (literal \"/dev/null\") (literal \"/dev/tty\"))",
    ]  # fmt: skip
    if git is not None:
        lines.append(f"(deny file-write* (literal {json.dumps(str(git.link))}))")
    if places.network:
        lines.append("(allow network*)")
    return "\n".join(lines)
