"""How wide what is printed may be."""

from __future__ import annotations

import shutil


def columns() -> int:
    """The width of the terminal; where there is none, what reads well in a log."""
    return shutil.get_terminal_size((100, 24)).columns
