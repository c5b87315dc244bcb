"""`orchestrator agent-os install|uninstall|status`: our instructions, standard and commands in an Agent OS project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(no_args_is_help=True)

_AGENTS = ("claude", "opencode")
_USER = typer.Option("--user", help="Your home folder (~/.agent-os, ~/.claude) instead of the project.")


class NowhereToInstall(OrchestratorError):
    """There is no project around the current directory."""


@app.command()
def install(
    user: Annotated[bool, _USER] = False,
    agent: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="AGENT", help="claude, opencode or none; else those found."),
    ] = None,
    hook: Annotated[
        bool,
        typer.Option("--hook", help="Also the hook in Claude Code's settings, so that nothing slips past."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes, make none.")] = False,
) -> None:
    """Put instructions, standard and slash commands in. A file of yours gets one marked block at most."""
    from orchestrator.adapters.agent_os_files import Installed, layouts, opencode_folder, wanted
    from orchestrator.core.text import safe_text

    root, state = _places(user)
    opencode = opencode_folder(root, user=user, configuration=os.environ.get("XDG_CONFIG_HOME"))
    installed = Installed(root, state)
    changes = wanted(
        root,
        agents=_agents(agent, root, opencode),
        hook=hook,
        opencode=opencode,
        ours=installed.unchanged(),
    )
    if not layouts(root):
        typer.echo(f"no Agent OS in {root}: only the slash commands", err=True)
    if not changes:
        typer.echo("everything is installed already")
        return
    if dry_run:
        for change in changes:
            typer.echo(safe_text(change.diff()), nl=False)
        return
    installed.install(changes)
    for change in changes:
        typer.echo(
            f"{change.path.relative_to(root.resolve())}: {'new' if change.before is None else 'changed'}"
        )
    typer.echo("`orchestrator agent-os uninstall` takes it all back")


@app.command()
def uninstall(user: Annotated[bool, _USER] = False) -> None:
    """Take everything out again; files that you did not change since are as they were, byte for byte."""
    from orchestrator.adapters.agent_os_files import Installed

    root, state = _places(user)
    lines = list(Installed(root, state).uninstall())
    typer.echo("\n".join(lines) if lines else f"nothing is installed in {root}")


@app.command()
def status(
    user: Annotated[bool, _USER] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which Agent OS folders are here and what of ours is in them."""
    import json

    from orchestrator.adapters.agent_os_files import Installed, layouts

    root, state = _places(user)
    found = [str(path.relative_to(root)) for path in layouts(root)]
    states = dict(Installed(root, state).states())
    if as_json:
        typer.echo(json.dumps({"root": str(root), "layouts": found, "files": states}, indent=2))
        return
    typer.echo(f"{root}: {', '.join(found) or 'no Agent OS'}")
    for name, where in states.items():
        typer.echo(f"  {name}: {where}")
    if not states:
        typer.echo("  nothing installed: `orchestrator agent-os install`")


def _places(user: bool) -> tuple[Path, Path]:
    from orchestrator.wiring import open_home

    home = open_home()
    if user:
        return Path.home().resolve(), home.state
    if home.repository is None:
        raise NowhereToInstall("not in a git repository: change to the project, or add --user")
    return home.repository.resolve(), home.state


def _agents(chosen: list[str] | None, root: Path, opencode: Path) -> Sequence[str]:
    if chosen:
        for name in chosen:
            if name not in (*_AGENTS, "none"):
                raise typer.BadParameter("claude, opencode or none", param_hint="--for")
        return [name for name in chosen if name != "none"]
    marks = {
        "claude": (root / ".claude", root / "CLAUDE.md"),
        "opencode": (opencode, root / "opencode.json", root / "opencode.jsonc"),
    }
    found = [name for name in _AGENTS if any(mark.exists() for mark in marks[name])]
    return found or _AGENTS
