"""Real Claude Code and real OpenCode in an Agent OS project: `/execute-tasks` shows our plan, the go carries it out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters.scripted import ScriptedProvider
from tests.conftest import find_tool, requires
from tests.doors.task_project import TASKS, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAW_IT = json.dumps(
    {
        "rules": [
            {
                "name": "saw the plan",
                "when": {"contains": "Orchestrator plan for"},
                "text": "Here is the plan.",
            },
            {"name": "saw the run", "when": {"contains": "The orchestrator carries out"}, "text": "It runs."},
            {"name": "side calls", "text": "Tasks"},
        ]
    }
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return made


def agent(project: Project, command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=project.root,
        env={**project.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    return done.stdout + done.stderr


def claude_environment(provider: ScriptedProvider) -> dict[str, str]:
    return {
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


def ticked_after_accept(project: Project) -> None:
    until = time.monotonic() + 90
    while "done" not in (said := project.run("runs", code=None)):
        assert time.monotonic() < until, said
        time.sleep(0.5)
    run = said.split()[0]
    assert project.tasks.read_text() == TASKS
    project.run("accept", run)
    assert project.tasks.read_text() == TASKS.replace("[ ] 2", "[x] 2")


@requires("claude")
@pytest.mark.parametrize("hook", [True, False], ids=["hook", "command"])
def test_claude_code_shows_our_plan_and_the_go_carries_it_out(project: Project, hook: bool):
    claude = find_tool("claude")
    assert claude is not None
    project.run("agent-os", "install", "--for", "claude", *(["--hook"] if hook else []))
    command = [claude, "-p", "--output-format", "json", "--setting-sources", "project", "--max-turns", "3"]
    with ScriptedProvider(SAW_IT) as provider:
        environ = claude_environment(provider)
        said = agent(project, [*command, "/execute-tasks 2"], environ)
        assert "saw the plan" in [call.rule for call in provider.calls], said
        assert "Here is the plan." in said
        assert "no runs yet" in project.run("runs")
        before = len(provider.calls)
        said = agent(project, [*command, "/execute-tasks go 2"], environ)
        if hook:
            # The prompt ends in the hook: the agent's own model was not asked.
            assert not [call for call in provider.calls[before:] if call.rule != "side calls"], said
        else:
            assert "saw the run" in [call.rule for call in provider.calls[before:]], said
    ticked_after_accept(project)
    project.run("agent-os", "uninstall")
    assert project.git("status", "--porcelain") == ""


@requires("claude")
def test_claude_code_with_the_command_of_agent_os_2_shows_our_plan(project: Project):
    claude = find_tool("claude")
    assert claude is not None
    project.git("mv", ".agent-os", "agent-os")
    command = project.root / ".claude" / "commands" / "agent-os" / "implement-tasks.md"
    command.parent.mkdir(parents=True)
    command.write_text("# Spec Implementation Process\n\nFollow each of these phases.\n")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "Agent OS 2")
    project.run("agent-os", "install", "--for", "claude", "--hook")
    with ScriptedProvider(SAW_IT) as provider:
        said = agent(
            project,
            [claude, "-p", "--setting-sources", "project", "--max-turns", "3", "/agent-os:implement-tasks 2"],
            claude_environment(provider),
        )
        assert "saw the plan" in [call.rule for call in provider.calls], said
    assert "no runs yet" in project.run("runs")
    project.run("agent-os", "uninstall")
    assert project.git("status", "--porcelain") == ""


@requires("opencode")
def test_opencode_shows_our_plan_and_the_go_carries_it_out(project: Project, tmp_path: Path):
    opencode = find_tool("opencode")
    assert opencode is not None
    project.run("agent-os", "install", "--for", "opencode")
    with ScriptedProvider(SAW_IT) as provider:
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
                }
            )
        )
        environ = {
            "OPENCODE_CONFIG": str(config),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_CLAUDE_CODE": "1",
        }
        command = [opencode, "run", "--model", "gw/smart", "--dir", str(project.root)]
        said = agent(project, [*command, "--command", "execute-tasks", "2"], environ)
        assert "saw the plan" in [call.rule for call in provider.calls], said
        agent(project, [*command, "--command", "execute-tasks", "go", "2"], environ)
    ticked_after_accept(project)
    project.run("agent-os", "uninstall")
    assert project.git("status", "--porcelain") == ""
