"""Finds the standard: the repository's, the user's, else the packaged one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.adapters.state import digest, packaged
from orchestrator.core.domain import InvalidDocument, OrchestratorError, Problem
from orchestrator.core.standards import MAX_CHARACTERS, USUAL_TIERS, Standard, read_standard

FILE_NAME = "prompt-optimization.md"


class NoStandard(OrchestratorError):
    """A standard that was asked for cannot be read."""


def standard_places(repository: Path | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a standard is looked for, first found first used. It is text only, so it needs no trust."""
    places = []
    if repository is not None:
        places += [repository / ".agent-os", repository / "agent-os"]
    if environ.get("HOME"):
        places.append(Path(environ["HOME"]) / ".agent-os")
    return (
        *(place / "standards" / FILE_NAME for place in places),
        packaged("agent-os", "standards", FILE_NAME),
    )


def load_standard(
    *, repository: Path | None, environ: Mapping[str, str], tiers: Iterable[str] = USUAL_TIERS
) -> Standard:
    """Read the standard in force. Raises InvalidDocument (every problem with its line) or NoStandard.

    `tiers` are those that have a model, so that a misspelt one is noticed.
    """
    places = standard_places(repository, environ)
    path = next((place for place in places if place.is_file()), places[-1])
    return read_standard_file(path, tiers=tiers)


def read_standard_file(path: Path, *, tiers: Iterable[str] = USUAL_TIERS) -> Standard:
    """Read one standard. Raises InvalidDocument or NoStandard."""
    try:
        with path.open("rb") as stream:
            content = stream.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        raise NoStandard(f"{path} cannot be read: {error.strerror}; name another standard") from None
    shown = _shown(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidDocument([Problem(where=f"{shown}:{line}", what="this is no UTF-8 text")]) from None
    return read_standard(text, source=shown, digest=digest(content), known_tiers=tiers)


def _shown(path: Path) -> str:
    """A name that says which standard it is, the same on every machine: tags are part of plans, and plans travel."""
    resolved = path.resolve()
    if resolved == packaged("agent-os", "standards", FILE_NAME).resolve():
        return f"the packaged {FILE_NAME}"
    for find_root, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        try:
            return prefix + str(resolved.relative_to(find_root().resolve()))
        except (ValueError, OSError, RuntimeError):
            # Not below it, or there is no such directory.
            continue
    return str(path)
