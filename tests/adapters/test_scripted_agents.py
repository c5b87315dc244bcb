"""Real coding agents against the scripted provider: each edits a file, told to by the script alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.adapters.scripted import ScriptedProvider
from tests.conftest import find_tool, requires

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROMPT = "write the greeting into hello.txt"


def run_agent(command: list[str], *, directory: Path, home: Path, environ: dict[str, str]) -> str:
    """Run it with nothing of this machine's environment; return what it printed."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    done = subprocess.run(
        command,
        cwd=directory,
        env={**bare, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def script(tool: str, arguments: dict[str, str]) -> str:
    return json.dumps(
        {
            "rules": [
                {
                    "name": "edit",
                    "when": {"contains": PROMPT, "model": "smart"},
                    "play": "once",
                    "tool_calls": [{"name": tool, "arguments": arguments}],
                },
                {"name": "finish", "when": {"contains": PROMPT, "model": "smart"}, "text": "All done."},
                {"name": "side calls", "text": "Greeting"},
            ]
        }
    )


@requires("claude")
def test_claude_code_edits_a_file_over_the_messages_dialect(tmp_path: Path, home: Path):
    target = tmp_path / "work" / "hello.txt"
    target.parent.mkdir()
    claude = find_tool("claude")
    assert claude is not None
    with ScriptedProvider(script("Write", {"file_path": str(target), "content": "hello\n"})) as provider:
        environ = {
            "ANTHROPIC_BASE_URL": provider.url,
            "ANTHROPIC_API_KEY": "scripted-no-key",
            "ANTHROPIC_MODEL": "smart",
            "ANTHROPIC_SMALL_FAST_MODEL": "cheap",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "cheap",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        }
        command = [claude, "-p", PROMPT, "--output-format", "json", "--permission-mode", "acceptEdits"]
        printed = run_agent(
            [*command, "--allowedTools=Edit,Write,Read", "--setting-sources", "project", "--max-turns", "5"],
            directory=target.parent,
            home=home,
            environ=environ,
        )
    assert target.read_text() == "hello\n"
    assert json.loads(printed)["result"] == "All done."
    edits = [call for call in provider.calls if call.rule in ("edit", "finish")]
    assert [call.rule for call in edits] == ["edit", "finish"]
    assert {call.asked.dialect for call in provider.calls} == {"messages"}
    assert {call.outcome for call in edits} == {"replied"}


@requires("opencode")
def test_opencode_edits_a_file_over_the_chat_dialect(tmp_path: Path, home: Path):
    target = tmp_path / "work" / "hello.txt"
    target.parent.mkdir()
    opencode = find_tool("opencode")
    assert opencode is not None
    with ScriptedProvider(script("write", {"filePath": str(target), "content": "hello\n"})) as provider:
        limit = {"context": 128000, "output": 4096}
        gateway = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": provider.base_url, "apiKey": "scripted-no-key"},
            "models": {"smart": {"limit": limit}, "cheap": {"limit": limit}},
        }
        config = tmp_path / "opencode.json"
        config.write_text(
            json.dumps(
                {
                    "autoupdate": False,
                    "share": "disabled",
                    "enabled_providers": ["gw"],
                    "model": "gw/smart",
                    "small_model": "gw/cheap",
                    "provider": {"gw": gateway},
                    "permission": {"edit": "allow", "bash": "deny", "webfetch": "deny"},
                }
            ),
            encoding="utf-8",
        )
        environ = {
            "OPENCODE_CONFIG": str(config),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_CLAUDE_CODE": "1",
        }
        command = [opencode, "run", "--format", "json", "--model", "gw/smart", "--dir", str(target.parent)]
        run_agent([*command, PROMPT], directory=target.parent, home=home, environ=environ)
    assert target.read_text() == "hello\n"
    assert [call.rule for call in provider.calls if call.rule != "side calls"] == ["edit", "finish"]
