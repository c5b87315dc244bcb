"""The command line: a table of commands, each loaded only when it is asked for.

`--help` and the read commands must stay light, so the table holds every command's module and summary, and
nothing but Typer's own Click is imported before the command is known.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import click


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


def build() -> click.Group:
    """Return the Click group of all commands; building it imports no command module."""
    import click

    class LazyGroup(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(COMMANDS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return _load(cmd_name) if cmd_name in COMMANDS else None

        def resolve_command(
            self, ctx: click.Context, args: list[str]
        ) -> tuple[str | None, click.Command | None, list[str]]:
            if args and not args[0].startswith("-") and args[0] not in COMMANDS:
                from orchestrator.core.text import did_you_mean, one_line

                raise click.UsageError(
                    f"no command {one_line(args[0], 40)!r}{did_you_mean(args[0], COMMANDS) or ': see --help'}"
                )
            return super().resolve_command(ctx, args)

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            for title, first in (("The main verbs", True), ("More commands", False)):
                rows = [(name, entry.summary) for name, entry in COMMANDS.items() if entry.first is first]
                with formatter.section(title):
                    formatter.write_dl(rows)

    return LazyGroup(
        name="orchestrator",
        help="Split a goal into priced subtasks and carry them out with cheap and smart models, "
        "never past the budget.",
        params=[
            click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version),
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
        ],
        callback=_remember_debug,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        no_args_is_help=True,
    )


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from orchestrator import __version__

        print(f"orchestrator {__version__}")
        context.exit(0)


def _remember_debug(debug: bool = False) -> None:
    if debug:
        os.environ["ORCHESTRATOR_DEBUG"] = "1"


def _load(name: str) -> click.Command:
    import importlib

    entry = COMMANDS[name]
    # Typer's rich help costs more to import than the command itself.
    os.environ.setdefault("TYPER_USE_RICH", "0")
    import typer

    found = getattr(importlib.import_module(f"orchestrator.cli.{entry.module}"), entry.name)
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
    if isinstance(found, typer.Typer):
        found.info.context_settings = settings
        command: click.Command = typer.main.get_command(found)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(name, context_settings=settings)(found)
        command = typer.main.get_command(single)
    command.name = name
    command.short_help = entry.summary
    return command


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the exit code of the design: errors are one line, no traceback."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    import click

    from orchestrator.core.domain import OrchestratorError
    from orchestrator.core.text import safe_text

    try:
        outcome = build().main(args=arguments, prog_name="orchestrator", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except OrchestratorError as error:
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        _say(f"error: {safe_text(str(error))}")
        return error.exit_code
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.exceptions.Abort:
        return 130
    except click.UsageError as error:
        usage = error.ctx.get_usage() if error.ctx else ""
        _say(f"{usage}\nerror: {safe_text(error.format_message())}".lstrip())
        return 2
    except click.ClickException as error:
        _say(f"error: {safe_text(error.format_message())}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # The reader has gone; nothing more can be said to it, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if os.environ.get("ORCHESTRATOR_DEBUG"):
            raise
        _say(f"error: {safe_text(str(error))}; nothing was lost: fix the cause and run the command again")
        return 2


def _say(text: str) -> None:
    print(text, file=sys.stderr)
