"""Write docs/reference/commands.md from the commands themselves. `--check` only says whether it is up to date."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# As on the command line: without it Typer renders help with Rich.
os.environ["TYPER_USE_RICH"] = "0"

import typer

from orchestrator.cli import COMMANDS, load

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "commands.md"
HEAD = """\
# Commands

`orchestrator COMMAND --help` says the same in the terminal. `orchestrator --version` prints the version, and
`orchestrator --debug COMMAND` shows the traceback of an error.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | some subtasks failed, or there is something to mend |
| 2 | wrong use or input that cannot be read; nothing was changed |
| 3 | the budget does not allow it; what was begun is paused, `resume --budget` goes on |
| 4 | no model that could do it: a key or a price is missing |
| 5 | the plan is invalid |
| 130, 143 | interrupted by you, by SIGTERM; `resume` goes on |
| 141 | the reader of the output has closed the pipe; a run that had begun goes on with `resume` |

What a program should read goes to standard output; progress, questions and errors go to standard error.
"""


def page() -> str:
    """The whole page, made from the commands as they are installed."""
    parts = [HEAD]
    for name in COMMANDS:
        parts += section(f"orchestrator {name}", load(name), "##")
    return "\n".join(parts)


def section(path: str, command: Any, level: str) -> Iterator[str]:
    """A heading, the text and the table of one command, then those of its own commands."""
    context = typer.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"{level} `{path}`\n\n{text(command.help)}\n\n    {path} {usage}\n"
    rows = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
    # An argument's type follows its name; what it may be is in its text.
    rows = [
        (left if left.startswith("-") else left.partition(" <")[0], right)
        for left, right in rows
        if "--help" not in left
    ]
    if rows:
        yield "| option | meaning |\n| --- | --- |"
        yield "\n".join(f"| `{cell(left)}` | {cell(text(right))} |" for left, right in rows) + "\n"
    for name, below in getattr(command, "commands", {}).items():
        yield from section(f"{path} {name}", below, "###")


def text(said: str | None) -> str:
    return " ".join((said or "").split())


def cell(said: str) -> str:
    return said.replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: scripts/command_reference.py [--check]")
    wanted = page()
    if sys.argv[1:] == ["--check"]:
        same = PAGE.is_file() and PAGE.read_text("utf-8") == wanted
        sys.exit(0 if same else f"{PAGE} is not what the commands say: `make reference` writes it")
    PAGE.write_text(wanted, "utf-8")
