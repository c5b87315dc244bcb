"""The MCP server over its own standard input and output, driven by the client of the official SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, ListRootsResult, Root

from tests.doors.task_project import SPEC, Project

NAME = f".agent-os/specs/{SPEC}/tasks.md"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@asynccontextmanager
async def client_of(project: Project, *roots: Path) -> AsyncIterator[Client]:
    async def declared(*_: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=root.as_uri()) for root in roots])

    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "orchestrator", "mcp"], env=project.environ, cwd=str(project.root)
    )
    async with Client(parameters, list_roots_callback=declared if roots else None) as client:
        yield client


async def until(word: str, project: Project) -> None:
    with anyio.fail_after(60):
        while word not in project.run("runs", code=None):  # noqa: ASYNC110 - another process writes it
            await anyio.sleep(0.3)


def text(result: CallToolResult) -> str:
    shown = "\n".join(part.text for part in result.content if part.type == "text")
    assert len(shown.encode()) <= 2048
    return shown


async def test_every_tool_answers_the_official_client(project: Project):
    async with client_of(project, project.root) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"plan", "check", "run", "status", "cancel", "route", "budget", "explain"}
        planned = await client.call_tool("plan", {"what": NAME})
        assert "Write a goodbye" in text(planned)
        links = [part for part in planned.content if part.type == "resource_link"]
        whole = await client.read_resource(str(links[0].uri))
        assert len(json.loads(whole.contents[0].text)["plan"]["subtasks"]) == 3
        project.run("import", NAME, "--out", "plan.json")
        assert "a plan of 3 subtasks" in text(await client.call_tool("check", {"file": "plan.json"}))
        said = text(await client.call_tool("explain", {"file": "plan.json", "subtask": "2-1"}))
        assert "2-1" in said
        assert "cheap" in text(await client.call_tool("route", {"text": "fix a typo"}))
        assert "$" in text(await client.call_tool("budget", {}))
        seen: list[float] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(done)

        ran = await client.call_tool(
            "run", {"what": NAME, "budget": 0.5, "wait": True}, progress_callback=progress
        )
        assert "2 succeeded, 1 failed" in text(ran)
        assert seen[-1] == 2
        assert "2 succeeded" in text(await client.call_tool("status", {}))
        run = text(await client.call_tool("status", {})).split()[1].rstrip(":")
        assert not (await client.call_tool("cancel", {"run": run})).content[0].text.startswith("Traceback")


async def test_paths_outside_the_roots_bad_budgets_and_wrong_types_are_refused(
    project: Project, tmp_path: Path
):
    secret = tmp_path / "outside.json"
    secret.write_text("{}")
    (project.root / "link.json").symlink_to(secret)
    async with client_of(project, project.root) as client:
        for tool, arguments in (
            ("check", {"file": str(secret)}),
            ("check", {"file": "link.json"}),
            ("check", {"file": "../outside.json"}),
            ("plan", {"what": "../outside.json"}),
            ("plan", {"what": NAME, "directory": "/"}),
            ("explain", {"file": "/etc/passwd", "subtask": "a"}),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error and "outside the roots" in text(result), (tool, arguments)
        for arguments in (
            {"what": NAME},
            {"what": NAME, "budget": 0},
            {"what": NAME, "budget": "lots"},
            {"what": 7, "budget": 1},
            {"what": "", "budget": 1},
        ):
            assert (await client.call_tool("run", arguments)).is_error
        assert (await client.call_tool("cancel", {"run": "--all"})).is_error
    assert json.loads(project.run("runs", "--json")) in ([], {"runs": []})


async def test_a_cancelled_call_cancels_its_run(project: Project):
    project.script.write_text(
        "rules:\n  - when: {contains: You complete a task list}\n    text: '{}'\n"
        "  - text: later\n    latency_seconds: 60\n"
    )
    async with client_of(project, project.root) as client:

        async def call() -> None:
            await client.call_tool("run", {"what": NAME, "budget": 0.5, "wait": True})

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until("running", project)
            group.cancel_scope.cancel()
        await until("cancelled", project)


def exchange(project: Project, sent: bytes) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "mcp"],
        cwd=project.root,
        env=project.environ,
        input=sent,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "0"},
    },
}


@pytest.mark.parametrize(
    "noise",
    [
        b"garbage\n",
        b'{"jsonrpc": "2.0", "id": 9, "method": "no/such"}\n',
        b'[{"jsonrpc": "2.0", "id": 9, "method": "ping"}]\n',
        b'{"jsonrpc": "2.0", "id": [], "method": 5}\n',
        b'{"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": 3}}\n',
        b'"' + b"x" * 10_000_000 + b'"\n',
        b"\xff\xfe\x00\n",
    ],
    ids=["garbage", "method", "batch", "types", "call", "ten-megabytes", "bytes"],
)
def test_noise_on_the_channel_is_answered_in_json_or_passed_over(project: Project, noise: bytes):
    sent = json.dumps(HELLO).encode() + b"\n" + noise
    code, answers, said = exchange(project, sent)
    # The client is gone then: a clean end, and nothing but JSON-RPC on standard output.
    assert code == 0, said
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    assert any(answer.get("id") == 1 and "result" in answer for answer in answers)
    assert "Traceback" not in said
