"""What `doctor` finds out about the machine: the installation, git, the sandbox, coding agents."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.adapters.diagnosis import Finding, Level
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

OLDEST_PYTHON = (3, 11)
TESTED_LITELLM = "1.106.2"
# Releases that were tampered with, or whose signatures the maintainers do not vouch for.
BAD_LITELLM = ("1.82.7", "1.82.8")
BAD_LITELLM_SERIES = ("1.107.",)
# Before it, a write-ahead log could lose a transaction when a checkpoint raced with a commit.
SAFE_SQLITE = (3, 51, 3)
AGENTS = {"opencode": "OpenCode", "claude": "Claude Code", "codex": "Codex"}
NEEDED = (
    "litellm",
    "mcp",
    "jinja2",
    "pyyaml",
    "networkx",
    "typer",
    "rich",
    "google-re2",
    "apsw",
    "platformdirs",
)
PROBE_SECONDS = 20.0
SETUP_SECONDS = 1800.0


def diagnose_machine(environ: Mapping[str, str], *, state: Path, sandbox: str = "auto") -> list[Finding]:
    """Every check that needs no configuration. Starts git, the sandbox and the coding agents it finds."""
    return [
        *_python(),
        *_installation(environ),
        _sqlite(),
        _litellm(),
        _git(environ),
        _sandbox(environ, sandbox),
        *_agents(environ),
        *_state(state),
    ]


def _python() -> list[Finding]:
    found = sys.version_info[:2]
    shown = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if found < OLDEST_PYTHON:
        return [
            Finding(
                area="python",
                level=Level.ERROR,
                what=f"{shown} is too old",
                remedy="install Python 3.11 or newer and run ./setup.sh",
            )
        ]
    findings = [Finding(area="python", level=Level.OK, what=shown)]
    if sys.maxsize < 2**32:
        findings.append(
            Finding(
                area="python",
                level=Level.ERROR,
                what="this is a 32-bit Python, for which some packages have no wheels",
                remedy="use a 64-bit system",
            )
        )
    return findings


def _installation(environ: Mapping[str, str]) -> list[Finding]:
    """The virtual environment, or wherever else we are installed: is it whole?"""
    prefix = Path(sys.prefix)
    isolated = sys.prefix != sys.base_prefix
    findings = []
    missing = []
    for name in NEEDED:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    home = _base_of(prefix)
    if isolated and home is not None and not home.exists():
        findings.append(_broken(environ, f"the Python that {prefix} was made from is gone ({home})"))
    if missing:
        findings.append(_broken(environ, f"{prefix} lacks {', '.join(missing)}"))
    if isolated and "VIRTUAL_ENV" in environ and Path(environ["VIRTUAL_ENV"]).resolve() != prefix.resolve():
        findings.append(
            Finding(
                area="environment",
                level=Level.NOTE,
                what=f"the active virtual environment is {environ['VIRTUAL_ENV']}, this runs in {prefix}",
            )
        )
    if not findings:
        kind = "virtual environment" if isolated else "no virtual environment; installed in"
        findings.append(Finding(area="environment", level=Level.OK, what=f"{kind} {prefix}"))
    return findings


def _base_of(prefix: Path) -> Path | None:
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = dict(line.partition(" = ")[::2] for line in lines)
    return Path(fields["home"]) if "home" in fields else None


def _broken(environ: Mapping[str, str], what: str) -> Finding:
    """A damaged installation. Where our own checkout has a setup.sh, it can be made anew from the lock."""
    setup = Path(__file__).resolve().parents[2] / "setup.sh"
    if not setup.is_file():
        again = "install it again, for example `uv tool install --reinstall orchestrator`"
        return Finding(area="environment", level=Level.ERROR, what=what, remedy=again)
    return Finding(
        area="environment",
        level=Level.ERROR,
        what=what,
        remedy=f"run {setup}",
        repair=lambda: set_up(setup, environ),
    )


def set_up(setup: Path, environ: Mapping[str, str]) -> str:
    """Run a checkout's setup.sh; return what was done. Raises OrchestratorError with its last line."""
    from orchestrator.adapters.processes import run_blocking

    # The user's own set-up, with the user's own environment: the package index may be configured there.
    done = run_blocking(
        [str(setup)], cwd=setup.parent, env=environ, timeout_seconds=SETUP_SECONDS, merge_stderr=True
    )
    if done.exit_code != 0:
        last = done.text.strip().splitlines()[-1:] or [""]
        raise OrchestratorError(f"{setup} ended with {done.exit_code}: {one_line(last[0], 200)}")
    return f"ran {setup}"


def judge_sqlite(found: str) -> Finding:
    """Whether the ledger is safe in this version of SQLite."""
    if tuple(int(part) for part in found.split(".")) < SAFE_SQLITE:
        return Finding(
            area="sqlite",
            level=Level.ERROR,
            what=f"SQLite {found} can lose entries of the ledger",
            remedy="run ./setup.sh, which brings a newer one",
        )
    return Finding(area="sqlite", level=Level.OK, what=f"SQLite {found}")


def _sqlite() -> Finding:
    import apsw

    return judge_sqlite(apsw.sqlite_lib_version())


def judge_litellm(found: str | None) -> Finding:
    """Whether this release of LiteLLM may be used; None is none at all."""
    if found is None:
        return Finding(
            area="litellm", level=Level.ERROR, what="LiteLLM is not installed", remedy="run ./setup.sh"
        )
    if found in BAD_LITELLM or found.startswith(BAD_LITELLM_SERIES):
        return Finding(
            area="litellm",
            level=Level.ERROR,
            what=f"LiteLLM {found} is a release that was tampered with or is not vouched for",
            remedy=f"remove it, change every key it could read, and run ./setup.sh, which brings {TESTED_LITELLM}",
        )
    if found != TESTED_LITELLM:
        return Finding(
            area="litellm",
            level=Level.WARNING,
            what=f"LiteLLM {found} is not the one that this was tested with, {TESTED_LITELLM}",
            remedy="run ./setup.sh",
        )
    return Finding(area="litellm", level=Level.OK, what=f"LiteLLM {found}, no advisory known")


def _litellm() -> Finding:
    try:
        return judge_litellm(version("litellm"))
    except PackageNotFoundError:
        return judge_litellm(None)


def _git(environ: Mapping[str, str]) -> Finding:
    from orchestrator.adapters.git_command import OLDEST, version

    wanted = ".".join(str(part) for part in OLDEST)
    try:
        found = version(environ.get("PATH", os.defpath))
    except OrchestratorError as error:
        return Finding(
            area="git", level=Level.ERROR, what=str(error), remedy=f"install git {wanted} or newer"
        )
    shown = ".".join(str(part) for part in found)
    if found < OLDEST:
        return Finding(
            area="git",
            level=Level.ERROR,
            what=f"git {shown} is too old",
            remedy=f"install git {wanted} or newer",
        )
    return Finding(area="git", level=Level.OK, what=f"git {shown}")


def _sandbox(environ: Mapping[str, str], wanted: str) -> Finding:
    from orchestrator.adapters.sandbox import NoSandbox, Sandbox

    if wanted == "none":
        return Finding(
            area="sandbox",
            level=Level.WARNING,
            what="switched off by orchestrator.sandbox: none; checks run unprotected",
            remedy="set it to auto",
        )
    try:
        found = Sandbox.probe(environ=environ)
    except NoSandbox as error:
        return Finding(
            area="sandbox",
            level=Level.WARNING,
            what=f"none works here: {one_line('; '.join(error.tried), 300)}",
            remedy="install bubblewrap; until then only --no-sandbox runs checks",
        )
    return Finding(area="sandbox", level=Level.OK, what=f"{found.name} works")


def _agents(environ: Mapping[str, str]) -> list[Finding]:
    from orchestrator.adapters.processes import CannotStart, allowed_environment, run_blocking

    findings = []
    for command, name in AGENTS.items():
        path = shutil.which(command, path=environ.get("PATH", os.defpath))
        if path is None:
            findings.append(
                Finding(area="agents", level=Level.NOTE, what=f"{name} ({command}) is not on PATH")
            )
            continue
        try:
            done = run_blocking(
                [path, "--version"],
                cwd=Path(path).parent,
                env=allowed_environment(environ),
                timeout_seconds=PROBE_SECONDS,
                merge_stderr=True,
            )
            said = next(iter(done.text.strip().splitlines()), "") if done.exit_code == 0 else ""
        except CannotStart:
            said = ""
        if said:
            findings.append(
                Finding(area="agents", level=Level.OK, what=f"{name}: {one_line(said, 80)} ({path})")
            )
        else:
            findings.append(
                Finding(area="agents", level=Level.WARNING, what=f"{name}: {path} does not tell its version")
            )
    return findings


def _state(state: Path) -> list[Finding]:
    """The ledger's directory: ours alone, and with room."""
    mode = stat.S_IMODE(state.stat().st_mode)
    findings = []
    if mode & 0o077:
        findings.append(
            Finding(
                area="state",
                level=Level.WARNING,
                what=f"{state} can be read or written by others (mode {mode:o})",
                remedy=f"chmod 700 {state}",
                repair=lambda: _close(state),
            )
        )
    free = shutil.disk_usage(state).free
    if free < 200_000_000:
        findings.append(
            Finding(
                area="state",
                level=Level.WARNING,
                what=f"{free // 1_000_000} MB are free where {state} lies",
                remedy="make room: worktrees and the ledger need it",
            )
        )
    return findings or [Finding(area="state", level=Level.OK, what=str(state))]


def _close(state: Path) -> str:
    state.chmod(0o700)
    return f"closed {state} to others"
