"""The user's editor on a temporary file."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.processes import CannotStart, run_in_terminal
from orchestrator.core.domain import OrchestratorError

_USUAL = ("nano", "vim", "vi")


class NoEditor(OrchestratorError):
    """There is no editor to open, or it failed. Nothing was changed."""


def edit_text(text: str, *, name: str, environ: Mapping[str, str]) -> str:
    """Let the user edit `text` in their editor, on the terminal, and return what they saved. Raises NoEditor."""
    chosen = environ.get("VISUAL") or environ.get("EDITOR") or next(filter(shutil.which, _USUAL), None)
    if not chosen:
        raise NoEditor("no editor is set: set EDITOR to the one you like, or change the plan file by hand")
    try:
        command = shlex.split(chosen)
    except ValueError as error:
        raise NoEditor(f"EDITOR cannot be read as a command: {error}") from None
    with tempfile.TemporaryDirectory(prefix="orchestrator-edit-") as directory:
        path = Path(directory) / name
        path.write_text(text, encoding="utf-8")
        if not command or shutil.which(command[0]) is None:
            raise NoEditor(f"the editor {chosen!r} is not there: set EDITOR to one that is")
        try:
            code = run_in_terminal([*command, str(path)], environ)
        except CannotStart as error:
            raise NoEditor(f"{error}: set EDITOR to one that works") from None
        if code != 0:
            raise NoEditor(f"the editor {chosen!r} ended with exit code {code}; nothing was changed")
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoEditor(f"what the editor left cannot be read: {error}; nothing was changed") from None
