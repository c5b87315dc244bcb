"""Where a checkout lies, read from its `.git` without starting git: for commands that only look at runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.state import digest


@dataclass(frozen=True, slots=True)
class Place:
    """A checkout's top directory without links, and the repository's name, as `git.Repository` gives both."""

    root: Path
    id: str


def place_of(checkout: Path) -> Place | None:
    """Return the place of a directory that holds `.git`; None where only git itself can tell."""
    try:
        root = checkout.resolve(strict=True)
        entry = root / ".git"
        git_dir = entry if entry.is_dir() else root / _after_keyword(entry.read_bytes())
        common = git_dir / "commondir"
        common_dir = git_dir / _path(common.read_bytes()) if common.exists() else git_dir
        # `core.worktree` moves the checkout, and included configuration may hold it too.
        configuration = (common_dir / "config").read_bytes().lower()
        if b"worktree" in configuration or b"include" in configuration:
            return None
        return Place(root=root, id=digest(os.fsencode(common_dir.resolve(strict=True))))
    except (OSError, ValueError):
        return None


def _after_keyword(text: bytes) -> str:
    keyword, found, path = text.partition(b"gitdir: ")
    if keyword or not found:
        raise ValueError("no gitdir")
    return _path(path)


def _path(line: bytes) -> str:
    return os.fsdecode(line.rstrip(b"\r\n"))
