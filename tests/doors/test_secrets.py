"""No secret anywhere: planted in every place a run meets, and looked for in everything it leaves or starts."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator.adapters.scripted import ScriptedProvider
from tests.doors.task_project import Project

KEY = "sk-canary/51f0e2a7c9+of=the+provider"
OTHER_KEY = "canary-token-of-another-service"
FILED = "canary/of+the+committed.env"
INCLUDED = "canary-of-the-included-file"
PASSWORD = "canary-of-the-remote"
SECRETS = (KEY, OTHER_KEY, FILED, INCLUDED, PASSWORD)

CONFIGURATION = """\
model_list:
  - model_name: cheap
    litellm_params: {{model: openai/small, api_key: os.environ/CANARY_API_KEY, api_base: "{url}/v1"}}
    model_info: {{input_cost_per_token: 0.0000003, output_cost_per_token: 0.0000025}}
  - model_name: smart
    litellm_params: {{model: openai/large, api_key: os.environ/CANARY_API_KEY, api_base: "{url}/v1"}}
    model_info: {{input_cost_per_token: 0.000002, output_cost_per_token: 0.00001}}
"""
# A test that tells all it can see, and does so in the output of a failure, which the next prompt holds.
TEST = """
import os, pathlib, subprocess, unittest
from greet import greet


class Greet(unittest.TestCase):
    def test_greet(self):
        seen = [repr(dict(os.environ)), pathlib.Path(".env").read_text(), pathlib.Path("local.env").read_text()]
        above = os.getpid()
        while above > 1:
            try:
                seen.append(pathlib.Path(f"/proc/{above}/environ").read_bytes().decode(errors="replace"))
                above = int(pathlib.Path(f"/proc/{above}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                break
        told = subprocess.run(["git", "config", "-l"], capture_output=True, text=True)
        seen.append(told.stdout + told.stderr)
        print("told", *seen)
        self.assertEqual(greet("Ada"), "hello Ada", " ".join(seen))
"""
EDIT = """Done.

greet.py
<<<<<<< SEARCH
    return f"hello {{name}}"
=======
    return {code}
>>>>>>> REPLACE
"""


def forms(secret: str) -> list[str]:
    data = secret.encode()
    encoded = [base64.b64encode(b"\0" * before + data).decode().rstrip("=")[4:-4] for before in range(3)]
    return [secret, quote(secret, safe=""), *encoded]


class Watch(threading.Thread):
    """Looks at the command lines of all processes, and at the environments of those the command starts."""

    def __init__(self, top: int) -> None:
        super().__init__(daemon=True)
        self.top, self.ended, self.found, self.looked = top, threading.Event(), set[str](), 0

    def run(self) -> None:
        while not self.ended.wait(0.03):
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    data = (place / "cmdline").read_bytes()
                    # A fork that has not executed its command yet still shows ours.
                    ours = data == Path(f"/proc/{self.top}/cmdline").read_bytes()
                    if data and not ours and self._below(place):
                        data += (place / "environ").read_bytes()
                        self.looked += 1
                except (OSError, ValueError):
                    continue
                self.found |= {secret for secret in SECRETS if secret.encode() in data}

    def _below(self, place: Path) -> bool:
        for _ in range(20):
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) <= 1:
                return False
            if int(parent) == self.top:
                return True
            place = Path("/proc") / parent
        return False


@pytest.mark.slow
@pytest.mark.parametrize("walls", [[], ["--no-sandbox"]])
def test_planted_secrets_are_in_nothing_that_a_run_writes_sends_or_starts(tmp_path: Path, walls: list[str]):
    project = Project(tmp_path)
    (project.root / "test_greet.py").write_text(TEST)
    (project.root / ".env").write_text(f"SERVICE_TOKEN={FILED}\n")
    (project.root / ".gitignore").write_text("__pycache__/\nlocal.env\n")
    (project.root / ".worktreeinclude").write_text("local.env\n")
    (project.root / "local.env").write_text(f"LOCAL={INCLUDED}\n")
    project.git("add", ".")
    project.git("commit", "-qm", "Tell all")
    project.git("remote", "add", "origin", f"https://me:{PASSWORD}@git.example/x.git")
    wrong, right = EDIT.format(code='f"bye {name}"'), EDIT.format(code='"hello " + name')
    echo = f"bad key {{authorization}} {quote(KEY, safe='')} {base64.b64encode(b'user:' + KEY.encode()).decode()}"
    script = {"rules": [
        {"play": "once", "text": wrong},
        {"play": "once", "fault": {"status": 500, "message": echo, "headers": {"x-echo": KEY}}},
        {"text": right},
    ]}  # fmt: skip
    log = tmp_path / "calls.jsonl"
    with ScriptedProvider(json.dumps(script), log=log) as provider:
        config = tmp_path / "models.yaml"
        config.write_text(CONFIGURATION.format(url=provider.url))
        environ = project.environ | {"CANARY_API_KEY": KEY, "OTHER_TOKEN": OTHER_KEY}
        del environ["ORCHESTRATOR_SCRIPTED"]
        argv = ["do", "Greet politely in greet.py", "--budget", "0.5", "--config", str(config), *walls]
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *argv],
            cwd=project.root,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        watch = Watch(process.pid)
        watch.start()
        try:
            said = process.communicate(timeout=110)[0].decode()
        finally:
            watch.ended.set()
            watch.join()
    project.environ = environ
    assert process.returncode == 0 and "1 succeeded" in said, said
    assert len(provider.calls) == 3 and "told" in str(provider.calls[1].asked.body)
    page = tmp_path / "report.html"
    written = {
        "the screen": said,
        "the record of calls": log.read_text() + "".join(str(call.asked.body) for call in provider.calls),
        "show": project.run("show")
        + project.run("show", "--json")
        + project.run("show", "--html", str(page)),
        "the page": page.read_text(),
        "the commit": project.git("log", "-1", "-p", "--format=%B", "--branches=orchestrator/*"),
    }
    for place in (tmp_path / "state").rglob("*"):
        if place.is_file():
            written[str(place)] = place.read_bytes().decode("latin-1")
    assert len(written) > 8
    for secret in SECRETS:
        for form in forms(secret):
            assert [name for name, text in written.items() if form in text] == [], secret
    assert watch.looked > 20 and watch.found == set()
