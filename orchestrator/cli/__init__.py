"""The command line: a table of commands, each loaded only when it is asked for.

`--help` and the read commands must stay light, so the table holds every command's module and summary, and
not even Typer is imported before the command is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast


class Entry(NamedTuple):
    module: str
    name: str
    summary: str
    first: bool = False


# The five verbs of a newcomer come first in `--help`; a group's object is called `app`.
COMMANDS: dict[str, Entry] = {
    "plan": Entry("plan", "plan", "Split a goal or a task file into priced subtasks; runs nothing.", True),
    "run": Entry("run", "run", "Carry out a goal, a plan or a task file within the budget.", True),
    "show": Entry("show", "show", "Show a run: states, commits, dollars; --html writes the report.", True),
    "accept": Entry("accept", "accept", "Take a run's commits into your branch.", True),
    "undo": Entry("undo", "undo", "Take one landed subtask back.", True),
    "do": Entry("do", "do", "Do one atomic request; text answers are printed."),
    "resume": Entry("steering", "resume", "Go on with an unfinished run."),
    "cancel": Entry("steering", "cancel", "Cancel a run, or one of its subtasks."),
    "skip": Entry("steering", "skip", "Leave one subtask out of a run."),
    "retry": Entry("steering", "retry", "Try a subtask again, perhaps on another model."),
    "runs": Entry("steering", "runs", "List runs; `runs prune` tidies finished ones."),
    "import": Entry("bridge", "import_", "Make a plan of a task list: Agent OS, task-master, spec-kit."),
    "export": Entry("bridge", "export", "Write a plan back as a task list, with what is done."),
    "agent-os": Entry("agent_os", "app", "Install into an Agent OS project, take it out, or show it."),
    "hook": Entry("hook", "app", "What `/execute-tasks` of a coding agent calls."),
    "mcp": Entry("mcp", "mcp", "Serve plan, run, status and more to a coding agent, over MCP."),
    "route": Entry("route", "route", "Say which model a request would go to, and why."),
    "tag": Entry("tag", "tag", "Say which tier a text gets, and by which rule."),
    "explain": Entry("explain", "explain", "Explain a subtask's tag, route and price."),
    "budget": Entry("budget", "app", "What is spent, held and left; presets and scenarios."),
    "survey": Entry("survey", "survey", "Show the facts that ground a plan, found without a model."),
    "standards": Entry("standards", "app", "Show or check the standard that tags subtasks."),
    "init": Entry("init", "init", "Write a commented configuration, standard and instructions."),
    "trust": Entry("trust", "trust", "Trust this repository's configuration as it is now."),
    "doctor": Entry("doctor", "doctor", "Check the installation, the configuration and the models."),
}


CLOSED_PIPE = 141  # What a shell reports of a program that SIGPIPE ended.
# Planning is paid for and the suite is measured before there is a view that could be put away.
OUTLIVE_THEIR_TERMINAL = ("run", "resume")

HELP_OPTIONS = ("-h", "--help", "help")


def usage() -> str:
    """The text of `orchestrator --help`."""
    lines = [
        "Usage: orchestrator [--version] [--debug] COMMAND [ARGS]...",
        "",
        "  Split a goal into priced subtasks and carry them out with cheap and smart models,",
        "  never past the budget.",
    ]
    width = max(map(len, COMMANDS))
    for title, first in (("The main verbs", True), ("More commands", False)):
        lines += ["", f"{title}:"]
        lines += [
            f"  {name:{width}}  {entry.summary}" for name, entry in COMMANDS.items() if entry.first is first
        ]
    lines += ["", "`orchestrator COMMAND --help` explains a command."]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the exit code of the design: errors are one line, no traceback."""
    import gc

    _replace_missing_streams()
    code = run(sys.argv[1:] if arguments is None else arguments)
    # The process ends: looking through all its modules for garbage first would be for nothing.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    while arguments and arguments[0] == "--debug":
        os.environ["ORCHESTRATOR_DEBUG"] = "1"
        arguments = arguments[1:]
    try:
        if not arguments or arguments[0] in HELP_OPTIONS:
            print(usage(), flush=True)
            return 0 if arguments else 2
        if arguments[0] == "--version":
            from orchestrator import __version__

            print(f"orchestrator {__version__}", flush=True)
            return 0
        if arguments[0] not in COMMANDS:
            from orchestrator.core.text import did_you_mean, one_line

            meant = did_you_mean(arguments[0], COMMANDS) or ": `orchestrator --help` lists them"
            _say(f"error: no command {one_line(arguments[0], 40)!r}{meant}")
            return 2
        return _run_command(arguments[0], arguments[1:])
    except BrokenPipeError:
        # The reader has gone; nothing more can be said to it, and Python must not try at exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        return CLOSED_PIPE


def _replace_missing_streams() -> None:
    """Let a standard stream that was closed be /dev/null: the next file opened would get its number otherwise."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            found = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(found, found == number)
            setattr(sys, name, os.fdopen(found, "w" if number else "r", encoding="utf-8", errors="replace"))


def _run_command(name: str, arguments: list[str]) -> int:
    # Typer's rich help costs more to import than the command itself.
    os.environ.setdefault("TYPER_USE_RICH", "0")
    # Typer uses pydantic, which otherwise reads the metadata of every installed package for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is imported stays; looking through it for garbage again and again is a tenth of a short command.
    import gc
    import signal

    gc.set_threshold(100_000, 50, 50)
    import typer

    from orchestrator.core.domain import OrchestratorError
    from orchestrator.core.text import safe_text

    # Typer carries a Click of its own and exports only this leaf of its family of usage errors.
    usage_error = cast(type[Exception], typer.BadParameter.__mro__[2])
    signal.signal(signal.SIGTERM, _terminate)
    if name in OUTLIVE_THEIR_TERMINAL:
        from orchestrator.cli.terminal import outliving

        sys.stdout, sys.stderr = outliving(sys.stdout), outliving(sys.stderr)
        # Not ignored, which the programs that it starts would inherit.
        signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        command = load(name)
        # Not its `main`, which makes of a closed pipe exit code 1, and of an interruption one that says nothing.
        with command.make_context(f"orchestrator {name}", list(arguments)) as context:
            outcome = command.invoke(context)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else 0
    except OrchestratorError as error:
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        # Having nothing to do is an answer, not an error.
        _say(f"{'error: ' if error.exit_code else ''}{safe_text(str(error))}")
        return error.exit_code
    except typer.Exit as stop:
        return int(stop.exit_code)
    except _Terminated:
        _say("terminated")
        return 143
    except (typer.Abort, EOFError, KeyboardInterrupt):
        _say("interrupted")
        return 130
    except usage_error as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else f"orchestrator {name}"
        _say(f"error: {safe_text(_wrong_use(error))}\n`{path} --help` explains the command.")
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        _say(f"error: {safe_text(str(error))}; nothing was lost: fix the cause and run the command again")
        return 2


def _wrong_use(error: Any) -> str:
    """What is wrong, with the option or argument that it is about."""
    if type(error).__name__ == "MissingParameter":
        return str(error.format_message()).rstrip(".")
    param = getattr(error, "param", None)
    where = getattr(error, "param_hint", None) or (param.opts[0] if param is not None else "")
    told = str(error)
    return told if not where or told.startswith(where) else f"{where}: {told}"


class _Terminated(SystemExit):
    """SIGTERM: what is open is closed on the way out, as after SIGINT. Typer and asyncio let only this class pass."""


def _terminate(number: int, frame: object) -> None:
    import logging

    # Where it interrupts a task, asyncio would report a task that failed.
    logging.getLogger("asyncio").disabled = "ORCHESTRATOR_DEBUG" not in os.environ
    raise _Terminated(143)


def load(name: str) -> Any:
    import importlib

    import typer

    entry = COMMANDS[name]
    found = getattr(importlib.import_module(f"orchestrator.cli.{entry.module}"), entry.name)
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
    if isinstance(found, typer.Typer):
        found.info.context_settings = settings
        command = typer.main.get_command(found)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(name, context_settings=settings)(found)
        command = typer.main.get_command(single)
    _leave_out_unused(command, settings["help_option_names"])
    return command


def _leave_out_unused(command: Any, helps: Sequence[str]) -> None:
    """Let an option that is not given stay None unchecked: Typer would load pydantic's types, a fifth of `show`."""
    for part in getattr(command, "commands", {}).values():
        _leave_out_unused(part, helps)
    import typer

    for option in command.get_params(typer.Context(command, help_option_names=list(helps))):
        if not option.required and (option.callback is None or option.name == "help"):
            option.process_value = partial(_given, option.process_value)


def _given(check: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    return None if value is None else check(context, value)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
