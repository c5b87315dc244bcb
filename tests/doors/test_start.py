"""What the commands touch that call no model: no address of any network, no file that holds credentials."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import find_tool, requires
from tests.doors.main_job import GOAL, Scene

CREDENTIALS = (
    ".netrc", ".aws/credentials", ".config/gh/hosts.yml", ".git-credentials", ".ssh/id_ed25519", ".pypirc",
    ".docker/config.json", ".cache/huggingface/token", ".config/gcloud/application_default_credentials.json", ".env",
)  # fmt: skip


@pytest.mark.slow
@requires("strace")
@pytest.mark.parametrize(
    "command",
    [["--help"], ["route", "refactor this code"], ["tag", "fix typo"], ["plan", GOAL, "--offline"]],
    ids=lambda command: command[0],
)
def test_a_start_opens_no_connection_and_no_file_of_credentials(
    tmp_path: Path, home: Path, command: list[str]
):
    scene = Scene(tmp_path)
    for place in (home, scene.repository):
        for name in CREDENTIALS:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("OPENROUTER_API_KEY=never-read\n")
    log = tmp_path / "calls"
    strace = [str(find_tool("strace")), "-qq", "-f", "-o", str(log), "-e", "trace=connect,sendto,open,openat"]
    done = subprocess.run(
        [*strace, *scene.argv(*command)],
        cwd=scene.repository,
        env=scene.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert len(calls) > 50
    # The C library asks a local socket who the user is; that is no network.
    assert [call for call in calls if re.search(r"AF_INET|AF_NETLINK", call)] == []
    opened = [match[1] for call in calls if (match := re.search(r'open(?:at)?\([^"]*"([^"]*)"', call))]
    assert [path for path in opened if path.endswith(CREDENTIALS)] == []
