"""An Agent OS project: install and uninstall to the byte, and `/execute-tasks` from the prompt to ticked boxes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.agent_os_files import Change, Installed, InstallRefused, wanted
from orchestrator.launching import DidNotStart, await_start, launch
from orchestrator.wiring import Home
from tests.doors.task_project import SPEC, TASKS, Project

ROOT = Path(__file__).parents[2]
NAME = f".agent-os/specs/{SPEC}/tasks.md"
SETTINGS = '{"permissions":{"allow":["Bash(ls:*)"]},\n\n  "hooks": {}}'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def prompt(project: Project, text: str = "/execute-tasks", **more: object) -> str:
    sent = {
        "session_id": "s",
        "hook_event_name": "UserPromptSubmit",
        "cwd": str(project.root),
        "prompt": text,
    }
    return json.dumps({**sent, **more})


def run_in(said: str) -> str:
    return re.search(r"run (\d{8}-\d{6}-[0-9a-f]{4})", said)[1]


def ended(project: Project, run: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if "  done" in project.run("show", run, code=None):
            return
        time.sleep(0.5)
    raise AssertionError(project.run("show", run, code=None))


# --- install --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["v1", "flat", "v2"])
def test_install_and_uninstall_leave_the_project_as_it_was_to_the_byte(project: Project, layout: str):
    claude = project.root / ".claude"
    (claude / "commands").mkdir(parents=True)
    (claude / "commands" / "execute-tasks.md").write_bytes(
        b"---\ndescription: mine\n---\r\nFollow @.agent-os\r\n"
    )
    (claude / "settings.json").write_text(SETTINGS)
    match layout:
        case "v1":
            own = project.root / ".agent-os" / "instructions" / "core" / "execute-tasks.md"
        case "flat":
            own = project.root / ".agent-os" / "instructions" / "execute-tasks.md"
        case _:
            project.git("mv", ".agent-os", "agent-os")
            own = project.root / "agent-os" / "standards" / "global" / "style.md"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"My own words, without a last line end")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "mine")
    shown = project.run("agent-os", "install", "--hook", "--dry-run")
    assert project.git("status", "--porcelain") == ""
    project.run("agent-os", "install", "--hook")
    installed = (claude / "commands" / "execute-tasks.md").read_bytes()
    assert installed.startswith(b"---\ndescription: mine\n---\r\n") or b"orchestrator:begin" in installed
    assert json.loads((claude / "settings.json").read_text())["permissions"] == {"allow": ["Bash(ls:*)"]}
    assert "orchestrator hook execute-tasks" in (claude / "settings.json").read_text()
    if layout != "v2":
        assert own.read_bytes().endswith(b"My own words, without a last line end")
        assert b"orchestrator:begin" in own.read_bytes() and "orchestrator:begin" in shown
    assert "already" in project.run("agent-os", "install", "--hook")
    assert "installed" in project.run("agent-os", "status")
    project.run("agent-os", "uninstall")
    assert project.git("status", "--porcelain", "--ignored") == ""
    assert "nothing is installed" in project.run("agent-os", "uninstall")


def all_files(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("core", ["core", ""], ids=["core", "flat"])
def test_the_home_folder_gets_what_a_project_gets_and_gives_it_back(
    project: Project, tmp_path: Path, core: str
):
    home = tmp_path / "home"
    own = home / ".agent-os" / "instructions" / core / "execute-tasks.md"
    command = home / ".claude" / "commands" / "execute-tasks.md"
    for path, text in ((own, b"Mine.\r\n"), (command, b"---\r\ndescription: x\r\n---\r\nFollow it\r\n")):
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
    (home / ".config" / "opencode").mkdir(parents=True)
    # What versions 2 and 3 install projects from is nothing that an agent reads.
    (home / "agent-os" / "scripts").mkdir(parents=True)
    (home / "agent-os" / "scripts" / "project-install.sh").touch()
    (home / "agent-os" / "config.yml").touch()
    before = all_files(home)
    project.environ |= {"HOME": str(home)}
    project.environ.pop("XDG_CONFIG_HOME", None)
    project.run("agent-os", "install", "--user", "--hook")
    assert own.read_bytes().startswith(b"<!-- orchestrator:begin") and own.read_bytes().endswith(b"Mine.\r\n")
    assert command.read_bytes().startswith(b"---\r\ndescription: x\r\n---\r\n<!-- orchestrator:begin")
    new = set(all_files(home)) - set(before)
    assert {
        ".agent-os/standards/prompt-optimization.md",
        ".config/opencode/command/execute-tasks.md",
        ".claude/settings.json",
    } <= new
    assert not any(name.startswith("agent-os/") for name in new)
    assert project.git("status", "--porcelain", "--ignored") == ""
    assert ".config/opencode" in project.run("agent-os", "status", "--user")
    project.run("agent-os", "uninstall", "--user")
    assert all_files(home) == before


@pytest.mark.slow
def test_the_commands_of_version_2_hand_their_tasks_over_too(project: Project):
    project.git("mv", ".agent-os", "agent-os")
    (project.root / "agent-os" / "config.yml").write_text("version: 2.1.1\n")
    own = [
        project.root / ".claude" / "commands" / "agent-os" / "implement-tasks.md",
        project.root / "agent-os" / "commands" / "implement-tasks" / "implement-tasks.md",
        project.root / "agent-os" / "commands" / "orchestrate-tasks" / "orchestrate-tasks.md",
    ]
    for path in own:
        path.parent.mkdir(parents=True)
        path.write_text("# Spec Implementation Process\n")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "version 2")
    project.run("agent-os", "install")
    assert all("orchestrator hook execute-tasks --plan" in path.read_text() for path in own)
    said = json.loads(
        project.run("hook", "execute-tasks", stdin=prompt(project, "/agent-os:implement-tasks 2"))
    )
    assert "`/agent-os:implement-tasks go 2`" in said["hookSpecificOutput"]["additionalContext"]
    assert project.run("hook", "execute-tasks", stdin=prompt(project, "/implement-tasks-later")) == ""
    project.run("agent-os", "uninstall")
    assert project.git("status", "--porcelain", "--ignored") == ""


def test_uninstall_keeps_what_the_user_wrote_since(project: Project):
    own = project.root / ".agent-os" / "instructions" / "core" / "execute-tasks.md"
    own.parent.mkdir(parents=True)
    own.write_text("mine\n")
    project.run("agent-os", "install", "--for", "none", "--hook")
    own.write_text(own.read_text() + "and more\n")
    settings = project.root / ".claude" / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model": "x"}))
    project.run("agent-os", "uninstall")
    assert own.read_text() == "mine\nand more\n"
    assert json.loads(settings.read_text()) == {"model": "x"}


def test_a_later_version_renews_what_an_earlier_one_installed_and_still_gives_all_back(project: Project):
    own = project.root / ".agent-os" / "instructions" / "core" / "execute-tasks.md"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"Mine")
    before = all_files(project.root)
    installed = Installed(project.root, project.scratch / "state")
    installed.install(
        [
            replace(change, after=change.after.replace(b"orchestrator", b"predecessor"))
            if change.before is None
            else replace(change, after=change.after.replace(b"Before anything else", b"At once"))
            for change in wanted(project.root, agents=["claude"], hook=False)
        ]
    )
    command = project.root / ".claude" / "commands" / "execute-tasks.md"
    assert b"predecessor" in command.read_bytes() and b"At once" in own.read_bytes()

    def changes() -> list[Change]:
        return wanted(project.root, agents=["claude"], hook=False, ours=installed.unchanged())

    installed.install(changes())
    assert b"predecessor" not in command.read_bytes() and b"orchestrator:begin" not in command.read_bytes()
    assert b"At once" not in own.read_bytes() and own.read_bytes().count(b"orchestrator:begin") == 1
    assert changes() == []
    assert list(installed.uninstall())
    assert all_files(project.root) == before


def test_links_that_lead_out_of_the_project_are_not_written_through(project: Project, tmp_path: Path):
    mine = tmp_path / "home-claude"
    mine.mkdir()
    (mine / "settings.json").write_text("{}")
    (project.root / ".claude").symlink_to(mine)
    installed = Installed(project.root, project.scratch / "state")
    with pytest.raises(InstallRefused, match=r"leads out of .*nothing was changed"):
        installed.install(wanted(project.root, agents=[], hook=True))
    assert (mine / "settings.json").read_text() == "{}"
    assert not (project.root / ".agent-os" / "standards").exists()


def test_settings_that_are_not_json_are_left_alone_by_name(project: Project):
    (project.root / ".claude").mkdir()
    (project.root / ".claude" / "settings.json").write_text("{oops")
    assert "settings.json is not JSON" in project.run("agent-os", "install", "--hook", code=2)
    assert not (project.root / ".claude" / "commands").exists()


# --- the hook -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_prompt_shows_the_plan_spends_nothing_and_the_go_carries_it_out_once(project: Project):
    said = json.loads(project.run("hook", "execute-tasks", stdin=prompt(project)))
    context = said["hookSpecificOutput"]["additionalContext"]
    assert said["hookSpecificOutput"]["hookEventName"] == "UserPromptSubmit"
    assert "2-1 Write a goodbye" in context and "/execute-tasks go" in context and "$" in context
    assert len(context.encode()) <= 2048
    assert json.loads(project.run("runs", "--json")) in ([], {"runs": []})
    started = project.run("hook", "execute-tasks", stdin=prompt(project, "/execute-tasks go 2 $0.50"), code=2)
    assert "The orchestrator carries out 2 tasks" in started
    again = project.run("hook", "execute-tasks", stdin=prompt(project, "/execute-tasks go 2 $0.50"), code=2)
    run = run_in(started)
    assert run in again and "Nothing new was started" in again
    ended(project, run)
    assert project.tasks.read_text() == TASKS
    project.run("accept", run)
    assert project.tasks.read_text() == TASKS.replace("[ ] 2", "[x] 2")


def test_where_another_run_works_a_go_starts_nothing_and_says_so(project: Project):
    code = (
        "import sys; from orchestrator.wiring import open_home; from orchestrator.adapters.run_lock import RunLock; "
        "home = open_home(); run = '20260101-000000-abcd'; "
        "lock = RunLock.acquire(home.git, home.state, run=run, clock=home.clock); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        said = project.run("hook", "execute-tasks", stdin=prompt(project, "/execute-tasks go"), code=2)
        holder.communicate()
    assert "Nothing was started" in said and "run 20260101-000000-abcd" in said
    assert "no runs yet" in project.run("runs")


def test_a_run_that_does_not_start_is_not_said_to_carry_anything_out(project: Project):
    home = Home(environ=project.environ, repository=project.root)
    log = project.scratch / "output.log"
    run, process = launch(home, "no-such-plan.json", log=log, budget=None, environ=project.environ)
    with pytest.raises(DidNotStart, match="the run did not start: there is no file no-such-plan"):
        await_start(home, run, process, log=log, seconds=60)


@pytest.mark.slow
def test_a_prompt_starts_the_run_at_once_where_the_user_has_configured_it_and_the_repository_cannot(
    project: Project,
):
    chosen = "orchestrator:\n  hook_dispatch: true\n"
    own = project.root / "litellm_budget_config.yaml"
    own.write_text(chosen)
    assert "Nothing runs yet" in project.run("hook", "execute-tasks", stdin=prompt(project))
    own.unlink()
    packaged = (ROOT / "templates" / "litellm_budget_config.yaml").read_text(encoding="utf-8")
    assert "\norchestrator:\n" in packaged
    config = project.scratch / "mine.yaml"
    config.write_text(packaged.replace("\norchestrator:\n", "\n" + chosen, 1))
    project.environ["ORCHESTRATOR_CONFIG"] = str(config)
    said = project.run("hook", "execute-tasks", stdin=prompt(project, "/execute-tasks 2"), code=2)
    assert "this session must not do them too" in said
    ended(project, run_in(said))


def test_flags_do_the_same_as_a_prompt(project: Project):
    said = project.run("hook", "execute-tasks", "--plan", "--spec", "greetings", "--tasks", "2.1")
    assert "1 tasks" in said and "Shout" not in said
    assert json.loads(project.run("hook", "execute-tasks", "--json", "--tasks", "2"))["subtasks"] == 2
    assert "no spec 'nowhere'" in project.run("hook", "execute-tasks", "nowhere")
    said = project.run("hook", "execute-tasks", "--plan", "$(touch /tmp/never)", "2.1;id")
    assert "Nothing runs yet" in said


def test_other_prompts_and_our_own_runs_pass_in_silence(project: Project):
    assert project.run("hook", "execute-tasks", stdin=prompt(project, "fix /execute-tasks please")) == ""
    project.environ["ORCHESTRATOR_RUN"] = "20260101-000000-aaaa"
    assert project.run("hook", "execute-tasks", stdin=prompt(project)) == ""


def test_what_goes_wrong_with_us_lets_the_agent_go_on_and_says_that_no_cap_applies(project: Project):
    project.tasks.write_text("nothing\n")
    said = json.loads(project.run("hook", "execute-tasks", stdin=prompt(project)))
    assert "no budget cap applies" in said["systemMessage"]
    (project.root / "litellm_budget_config.yaml").write_text("general_settings: [\n")
    project.tasks.write_text(TASKS)
    assert "no budget cap" in project.run("hook", "execute-tasks", stdin=prompt(project))


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"{}", '"prompt"'),
        (b'{"prompt": 3}', '"prompt"'),
        (b'{"prompt": "' + b"x" * 1_100_000, "1,000,000 bytes"),
    ],
)
def test_input_that_is_none_is_refused_by_name(project: Project, sent: bytes, named: str):
    assert named in project.run("hook", "execute-tasks", stdin=sent, code=2)


def test_endless_input_of_any_size_is_cut_off_in_seconds_and_little_memory(project: Project):
    command = [sys.executable, "-m", "orchestrator", "hook", "execute-tasks"]
    program = (
        "import resource, subprocess, sys; "
        f"done = subprocess.run({command!r}, stdin=open(sys.argv[1], 'rb'), capture_output=True, text=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(done.returncode, done.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "/dev/zero"],
        cwd=project.root,
        env=project.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    kilobytes, said = done.stdout.split("\n", 1)
    assert said.startswith("2 orchestrator: the hook's input has more than")
    assert int(kilobytes) < 500_000
    waiting = subprocess.Popen(
        command, cwd=project.root, env=project.environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with waiting:
        assert waiting.wait(60) == 2
        assert waiting.stderr is not None and b"did not end within 3 seconds" in waiting.stderr.read()
        assert waiting.stdin is not None
        waiting.stdin.close()
