"""Where everything of ours lies: state and caches outside any repository, packaged data beside the code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.core.domain import AttemptId, OrchestratorError, RunId


class NoStateDirectory(OrchestratorError):
    """There is no place to keep the ledger, so nothing may be spent."""


def state_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The user's state directory, made when missing: `$ORCHESTRATOR_STATE`, else the platform's own place."""
    return _directory("ORCHESTRATOR_STATE", "user_state_path", environ)


def cache_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The user's cache directory, made when missing; everything in it may be deleted at any time."""
    return _directory("ORCHESTRATOR_CACHE", "user_cache_path", environ)


def config_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The user's configuration directory; it need not exist."""
    chosen = (os.environ if environ is None else environ).get("ORCHESTRATOR_CONFIG_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_config_path("orchestrator", appauthor=False))


def _directory(variable: str, kind: str, environ: Mapping[str, str] | None) -> Path:
    chosen = (os.environ if environ is None else environ).get(variable)
    if chosen:
        path = Path(chosen)
    else:
        import platformdirs

        path = Path(getattr(platformdirs, kind)("orchestrator", appauthor=False))
    if not path.is_absolute():
        raise NoStateDirectory(
            f"{path} is no absolute path to keep state in: set HOME, or {variable} to a directory"
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NoStateDirectory(
            f"cannot make {path}: {error.strerror}; set {variable} to a directory you can write to"
        ) from None
    return path


def database(state: Path) -> Path:
    """Journal and ledger in one file, so that an event and its money are one transaction."""
    return state / "orchestrator.sqlite3"


def run_directory(state: Path, run: RunId) -> Path:
    return state / "runs" / run


def attempt_directory(state: Path, run: RunId, attempt: AttemptId) -> Path:
    """Where the one that does an attempt leaves its result and its logs."""
    return run_directory(state, run) / "attempts" / f"{attempt.subtask}.{attempt.number}"


def worktrees_directory(state: Path, run: RunId) -> Path:
    return state / "worktrees" / run


def packaged(*parts: str) -> Path:
    """A packaged file: beside the package in a checkout or editable install, else in the wheel's data."""
    package = Path(__file__).resolve().parent.parent
    beside = package.parent.joinpath(*parts)
    return beside if beside.exists() else package.joinpath("_data", *parts)


def digest(*parts: str | bytes) -> str:
    """A short stable name for contents: the first 16 hex digits of SHA-256 over the parts, each delimited."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:16]
