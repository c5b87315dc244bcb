"""The same operations as tools of the Model Context Protocol, over standard input and output.

Each tool is one command of ours in a process of its own: what it prints never meets the protocol's channel, and a
cancelled call ends it. Paths lie beneath the roots that the client declares; money is spent only by a call that names
a budget.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, ListRoots, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ContentBlock, ListRootsResult, ResourceLink, TextContent

from orchestrator.core.domain import OrchestratorError, RunId
from orchestrator.core.money import Usd
from orchestrator.core.text import one_line, safe_text
from orchestrator.launching import GUARD, ended, launch
from orchestrator.wiring import Home, open_home

MAX_RESULT_BYTES = 2_000
MAX_ARGUMENT_CHARACTERS = 20_000
_SECONDS = 120.0
_PLANNING_SECONDS = 600.0
_START_SECONDS = 60.0
_MOST_FULL_BYTES = 4 * 1024 * 1024


class Refused(OrchestratorError, ToolError):
    """A call that may not be carried out as it was made; nothing was changed or spent. The client is told."""


def declared_roots(context: Context[Any]) -> ListRoots | ListRootsResult:
    """Ask the client for its roots, where it says that it has some."""
    capabilities = context.client_capabilities
    if capabilities is None or capabilities.roots is None:
        return ListRootsResult(roots=[])
    return ListRoots()


Roots = Annotated[ListRootsResult, Resolve(declared_roots)]


def folders(roots: ListRootsResult) -> tuple[Path, ...]:
    """The directories of the roots; the server's own one where the client declares none."""
    found = []
    for root in roots.roots:
        parts = urlsplit(str(root.uri))
        if parts.scheme == "file" and parts.netloc in ("", "localhost"):
            found.append(Path(unquote(parts.path)).resolve())
    return tuple(path for path in found if path.is_dir()) if roots.roots else (Path.cwd().resolve(),)


def beneath(path: str, allowed: tuple[Path, ...]) -> Path:
    """Return the path a tool may use: links are followed first. Raises Refused."""
    if not allowed:
        raise Refused("the client declares no folder of this machine as a root")
    if "\0" in path or len(path) > 4096:
        raise Refused("that is no path")
    place = (allowed[0] / path).resolve()
    if not any(place.is_relative_to(root) for root in allowed):
        raise Refused(f"{one_line(path, 80)} is outside the roots of this client")
    return place


def _text(name: str, value: str) -> str:
    if not value.strip() or len(value) > MAX_ARGUMENT_CHARACTERS or "\0" in value:
        raise Refused(f"{name} must be a text of 1 to {MAX_ARGUMENT_CHARACTERS:,} characters")
    return value


def _run_id(run: str) -> str:
    if not run or not run.replace("-", "").isalnum() or run.startswith("-") or len(run) > 60:
        raise Refused(f"{one_line(run, 40)!r} is no run: leave it out for the latest one")
    return run


# --- commands ---------------------------------------------------------------------------------------


async def _command(directory: Path, *arguments: str, seconds: float = _SECONDS) -> tuple[int, str]:
    """Run one command of ours in `directory`; return its exit code and what it said. Ends with a cancelled call."""
    from orchestrator.adapters.processes import run

    argv = [sys.executable, "-m", "orchestrator", *arguments]
    done = await run(
        argv, cwd=directory, env={**os.environ, "NO_COLOR": "1"}, timeout_seconds=seconds, contained=False
    )
    out = done.stdout.decode("utf-8", "replace").strip()
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.timed_out:
        return 1, f"no answer within {seconds:g} seconds"
    return done.exit_code, out if out and done.exit_code == 0 else "\n".join(
        part for part in (out, said) if part
    )


def _result(home: Home, text: str, *, failed: bool = False) -> CallToolResult:
    """The text within 2 KB; a longer one is kept whole, and linked."""
    shown = safe_text(text) or "(nothing)"
    content: list[ContentBlock] = []
    data = shown.encode("utf-8", "replace")
    if len(data) > MAX_RESULT_BYTES:
        link = _kept(home, data)
        room = MAX_RESULT_BYTES - 80
        shown = data[:room].decode("utf-8", "ignore") + f"\n... {len(data):,} bytes in all: {link.name}"
        content.append(link)
    content.insert(0, TextContent(type="text", text=shown))
    return CallToolResult(content=content, is_error=failed)


def _kept(home: Home, data: bytes) -> ResourceLink:
    from orchestrator.adapters.formats.task_files import replace_file
    from orchestrator.adapters.state import digest

    name = digest(data)
    place = _results(home)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(place / name, data[:_MOST_FULL_BYTES])
    return ResourceLink(
        type="resource_link",
        uri=f"orchestrator://results/{name}",
        name=name,
        mime_type="text/plain",
        size=len(data),
    )


def _results(home: Home) -> Path:
    return home.state / "mcp"


async def _told(directory: Path, *arguments: str, seconds: float = _SECONDS) -> CallToolResult:
    code, said = await _command(directory, *arguments, seconds=seconds)
    return _result(open_home(), said, failed=code not in (0, 1))


def _budget(budget: float | None) -> Usd | None:
    if budget is None:
        return None
    try:
        cap = Usd.of(budget)
    except ValueError:
        cap = None
    if cap is None or cap.nano <= 0:
        raise Refused("budget must be an amount of dollars above 0")
    return cap


def build_server() -> MCPServer[Any]:
    """Return the server with its tools; nothing runs yet."""
    from orchestrator import __version__

    server: MCPServer[Any] = MCPServer(
        "orchestrator",
        version=__version__,
        instructions="Splits a goal or a task list into priced subtasks and carries them out within a budget. "
        "Show the user the plan before `run`; only the user decides on a budget.",
        log_level="ERROR",
    )

    @server.tool(structured_output=False)
    async def plan(
        what: str, roots: Roots, directory: str = ".", budget: float | None = None, limit: int | None = None
    ) -> CallToolResult:
        """Price a goal in words, or a task file or plan beneath the roots. Runs nothing. Without `budget` (dollars)
        no model is called and nothing is spent; with it a model plans within its share of it."""
        allowed = folders(roots)
        place = beneath(directory, allowed)
        cap = _budget(budget)
        arguments = ["--yes", "--json"]
        arguments += ["--offline"] if cap is None else ["--budget", str(cap.dollars)]
        arguments += ["--limit", str(limit)] if limit is not None else []
        return await _told(
            place, "plan", *arguments, "--", _what(what, place, allowed), seconds=_PLANNING_SECONDS
        )

    @server.tool(structured_output=False)
    async def check(file: str, roots: Roots) -> CallToolResult:
        """Say whether a saved plan beneath the roots could be run, with every problem."""
        place = beneath(file, folders(roots))
        return await _told(place.parent, "plan", "check", "--", str(place))

    @server.tool(structured_output=False)
    async def run(
        what: str,
        budget: float,
        context: Context[Any],
        roots: Roots,
        directory: str = ".",
        wait: bool = False,
    ) -> CallToolResult:
        """Carry out a goal, a task file or a plan beneath the roots, spending at most `budget` dollars. Goes on in the
        background unless `wait`; a waiting call reports progress, and cancels the run when it is cancelled."""
        allowed = folders(roots)
        place = beneath(directory, allowed)
        cap = _budget(budget)
        if os.environ.get(GUARD):
            raise Refused("this is part of a run already: it may not start another")
        try:
            home = open_home(repository=_root(place))
            run_id, process, log = _launched(home, _what(what, place, allowed), cap)
        except OrchestratorError as error:
            raise Refused(str(error)) from None
        async with _cancelled_with_the_call(place, run_id, process):
            await _begun(home, run_id, process, log)
            if not wait:
                return _result(
                    home, f"run {run_id} goes on in the background, at most {cap}; `status` says where it is"
                )
            return await _followed(home, place, run_id, process, context)

    @server.tool(structured_output=False)
    async def status(roots: Roots, run: str = "", directory: str = ".") -> CallToolResult:
        """Where a run stands: subtasks, verdicts, commits, dollars. Without `run` the latest one."""
        place = beneath(directory, folders(roots))
        return await _told(place, "show", *([_run_id(run)] if run else []))

    @server.tool(structured_output=False)
    async def cancel(run: str, roots: Roots, directory: str = ".") -> CallToolResult:
        """Cancel a run. What has landed stays on its branch, what was made is kept."""
        place = beneath(directory, folders(roots))
        return await _told(place, "cancel", _run_id(run))

    @server.tool(structured_output=False)
    async def route(text: str, roots: Roots, directory: str = ".") -> CallToolResult:
        """Say which model a request would go to, at which price, and why. Spends nothing."""
        return await _told(beneath(directory, folders(roots)), "route", "--", _text("text", text))

    @server.tool(structured_output=False)
    async def budget(roots: Roots, directory: str = ".") -> CallToolResult:
        """What is spent, held and left today."""
        return await _told(beneath(directory, folders(roots)), "budget", "status")

    @server.tool(structured_output=False)
    async def explain(file: str, subtask: str, roots: Roots) -> CallToolResult:
        """Why a subtask of a saved plan is cheap or smart, which model it starts on, and what it costs."""
        place = beneath(file, folders(roots))
        return await _told(place.parent, "explain", "--", str(place), _text("subtask", subtask))

    @server.resource("orchestrator://results/{name}", mime_type="text/plain")
    def result(name: str) -> str:
        """The whole of a result that was longer than a tool may return."""
        if not name.isalnum():
            raise Refused("no such result")
        place = _results(open_home()) / name
        if not place.is_file():
            raise Refused("no such result: it is kept until the state directory is tidied")
        return place.read_text("utf-8", "replace")

    return server


def _what(what: str, directory: Path, allowed: tuple[Path, ...]) -> str:
    """A goal as it is; a file only from beneath the roots."""
    text = _text("what", what)
    if text.strip() in ("-", "edit", "check"):
        raise Refused("name a goal or a file")
    path_like = len(text) < 4096 and "\n" not in text and (directory / text).exists()
    return str(beneath(str(directory / text), allowed)) if path_like else text


def _root(directory: Path) -> Path:
    for place in (directory, *directory.parents):
        if (place / ".git").exists():
            return place
    raise Refused(f"{directory} is not in a git repository")


def _launched(home: Home, what: str, cap: Usd | None) -> tuple[RunId, int, Path]:
    directory = _results(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = directory / f"run-{home.clock.epoch_seconds():.6f}.log"
    return *launch(home, what, log=log, budget=cap, environ=os.environ), log


@asynccontextmanager
async def _cancelled_with_the_call(directory: Path, run: RunId, process: int) -> AsyncIterator[None]:
    try:
        yield
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            code, _ = await _command(directory, "cancel", run)
            if code != 0 and not ended(process):
                # Not in the journal yet, and so unknown to `cancel`.
                os.kill(process, signal.SIGTERM)
        raise


async def _begun(home: Home, run: RunId, process: int, log: Path) -> None:
    """Wait for the run's first journalled event. Raises Refused when it ends before one."""
    with anyio.move_on_after(_START_SECONDS):
        while not any(True for _ in home.store.events(run)):
            if ended(process):
                said = log.read_text("utf-8", "replace").strip().splitlines()
                raise Refused(one_line(said[-1] if said else "the run did not start", 400))
            await anyio.sleep(0.2)


async def _followed(
    home: Home, directory: Path, run: RunId, process: int, context: Context[Any]
) -> CallToolResult:
    """Report each finished subtask until the run's process is gone."""
    from orchestrator.core.events import RunStarted, SubtaskLanded

    seen = -1
    while True:
        events = list(home.store.events(run))
        total = len(events[0].plan.subtasks) if events and isinstance(events[0], RunStarted) else None
        landed = sum(isinstance(event, SubtaskLanded) for event in events)
        if landed != seen:
            seen = landed
            await context.report_progress(landed, total, f"{landed} of {total} subtasks landed")
        if ended(process):
            break
        await anyio.sleep(0.5)
    _, said = await _command(directory, "show", run)
    return _result(home, said)


def serve() -> None:
    """Speak the protocol on standard input and output until the client is gone."""
    build_server().run("stdio")


def describe() -> str:
    """The entry for a client's configuration."""
    return json.dumps(
        {"mcpServers": {"orchestrator": {"command": "orchestrator", "args": ["mcp"]}}}, indent=2
    )
