"""The sandboxes: each attack is tried for real in each that works here; what must work inside works."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters import sandbox_landlock
from orchestrator.adapters.git import Repository
from orchestrator.adapters.processes import CannotStart, Completed, ResourceLimits
from orchestrator.adapters.sandbox import Kind, NoSandbox, Sandbox, run_sandboxed
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, RunId, SubtaskId
from tests.adapters.repositories import git, make_repository
from tests.conftest import find_tool, requires, skip_unless

WALLS = [pytest.param("bubblewrap", marks=requires("bwrap")), "landlock"]


def make(kind: str) -> Sandbox:
    if kind == "landlock":
        skip_unless(sandbox_landlock.supported(), "this kernel has no Landlock")
        return Sandbox(kind=Kind.LANDLOCK)
    return Sandbox(kind=Kind(kind), program=find_tool("bwrap") or "")


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    place = tmp_path / "worktree"
    place.mkdir()
    return place


async def inside(kind: str, worktree: Path, code: str, **options: object) -> Completed:
    settings: dict[str, object] = {"timeout_seconds": 30, "environ": os.environ}
    argv = [sys.executable, "-S", "-c", code]
    return await run_sandboxed(make(kind), argv, worktree=worktree, **(settings | options))  # type: ignore[arg-type]


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", WALLS)
async def test_nothing_outside_can_be_read_written_reached_or_looked_at(
    kind: str, worktree: Path, home: Path, listener: int, tmp_path: Path
):
    secret = home / "canary"
    secret.write_text("CANARY")
    (worktree.parent / "worktree-evil").mkdir()
    (worktree / "link").symlink_to(secret)
    attempts = f"""
import ctypes, os, socket
def attempt(name, action):
    try:
        print(name, "WORKED", action())
    except OSError as error:
        print(name, "refused", error.errno)
attempt("read", lambda: open({str(secret)!r}).read())
attempt("read over a link", lambda: open("link").read())
attempt("list home", lambda: os.listdir({str(home)!r}))
attempt("shadow", lambda: open("/etc/shadow").read())
attempt("write", lambda: open({str(tmp_path / "planted")!r}, "w"))
attempt("write beside", lambda: open({str(worktree.parent / "worktree-evil" / "x")!r}, "w"))
attempt("write over a link", lambda: open("link", "w"))
attempt("remove", lambda: os.remove({str(secret)!r}))
attempt("hard link", lambda: os.link({str(secret)!r}, "stolen"))
attempt("write /usr", lambda: open("/usr/planted", "w"))
attempt("write /", lambda: open("/planted", "w"))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", {listener}), 2))
attempt("connect out", lambda: socket.create_connection(("192.0.2.1", 80), 2))
attempt("datagram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect({str(tmp_path / "socket")!r}))
attempt("environ", lambda: open("/proc/{os.getpid()}/environ").read())
attempt("memory", lambda: open("/proc/{os.getpid()}/mem", "rb"))
attempt("signal", lambda: os.kill({os.getpid()}, 0))
def trace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, {os.getpid()}, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
attempt("ptrace", trace)
open("made", "w").write("made")
open(os.environ["TMPDIR"] + "/x", "w").write("x")
open(os.environ["HOME"] + "/x", "w").write("x")
"""
    unix = socket.socket(socket.AF_UNIX)
    with unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        done = await inside(kind, worktree, attempts)
    lines = done.text.splitlines()
    assert done.exit_code == 0 and len(lines) == 19, done.text
    # In bubblewrap /tmp, where tests live, is the command's own: what is made there is made nowhere.
    assert [line for line in lines if "WORKED" in line and not line.startswith("write WORKED")] == []
    assert (worktree / "made").read_text() == "made"
    assert secret.read_text() == "CANARY" and not (tmp_path / "planted").exists()
    assert sorted(path.name for path in worktree.iterdir()) == ["link", "made"]


@pytest.mark.parametrize("kind", [*WALLS, "none"])
async def test_keys_of_the_environment_are_not_there_and_home_is_its_own(
    kind: str, worktree: Path, monkeypatch: pytest.MonkeyPatch, home: Path
):
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-canary")
    monkeypatch.setenv("MY_SECRET", "canary")
    code = "import os; print(dict(os.environ)); print(os.listdir(os.environ['HOME']))"
    done = await inside(kind, worktree, code, env={"CHECK": "1"})
    assert done.exit_code == 0 and "canary" not in done.text and "'CHECK': '1'" in done.text
    assert str(home) not in done.text.replace(str(home / "."), "")
    assert done.text.splitlines()[-1] == "[]"


@requires("bwrap")
async def test_a_local_server_of_the_tests_own_works_in_bubblewrap(worktree: Path):
    code = """
import socket, os
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print("met", sum(name.isdigit() for name in os.listdir("/proc")), os.getuid())
open("/tmp/x", "w").write("x"); open("/dev/shm/x", "w").write("x"); open("/dev/null", "w").write("x")
"""
    done = await inside("bubblewrap", worktree, code)
    assert done.text == f"met 2 {os.getuid()}\n"


@requires("bwrap")
async def test_network_is_there_only_when_it_is_asked_for(worktree: Path, listener: int):
    code = f"import socket; socket.create_connection(('127.0.0.1', {listener}), 5); print(2 * 'met')"
    for kind in ("bubblewrap", "landlock"):
        assert (await inside(kind, worktree, code, network=True)).text == "metmet\n"
        assert "metmet" not in (await inside(kind, worktree, code)).text


@pytest.mark.parametrize("kind", WALLS)
async def test_extra_places_are_readable_or_writable_as_asked(kind: str, worktree: Path, tmp_path: Path):
    cache, source = tmp_path / "cache", tmp_path / "source"
    cache.mkdir()
    source.mkdir()
    (source / "x").write_text("x")
    code = f"""
print(open({str(source / "x")!r}).read())
open({str(cache / "y")!r}, "w").write("y")
try: open({str(source / "z")!r}, "w")
except OSError: print("refused")
"""
    done = await inside(
        kind, worktree, code, writable=[cache, tmp_path / "missing"], readable=[source, tmp_path / "gone"]
    )
    assert done.text == "x\nrefused\n" and (cache / "y").read_text() == "y"


@pytest.mark.parametrize("kind", WALLS)
async def test_programs_on_the_path_find_their_own_code(kind: str, worktree: Path, tmp_path: Path):
    tools, packages = tmp_path / "tools", tmp_path / "packages" / "node_modules"
    for place in (tools / "bin", tools / "lib", packages / ".bin", packages / "yarn"):
        place.mkdir(parents=True)
    (tools / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (tools / "lib" / "code").write_text("of an environment")
    (tools / "bin" / "tool").write_text(f"#!/bin/sh\ncat {tools}/lib/code\n")
    (packages / "yarn" / "yarn.sh").write_text("#!/bin/sh\necho of a package\n")
    (packages / ".bin" / "yarn").symlink_to("../yarn/yarn.sh")
    for program in (tools / "bin" / "tool", packages / "yarn" / "yarn.sh"):
        program.chmod(0o755)
    environ = dict(os.environ) | {"PATH": f"{tools}/bin:{packages}/.bin:{os.environ['PATH']}"}
    done = await run_sandboxed(
        make(kind), ["sh", "-c", "tool; yarn"], worktree=worktree, environ=environ, timeout_seconds=30
    )
    assert done.text == "of an environmentof a package\n"


@pytest.mark.parametrize("kind", WALLS)
async def test_git_data_is_readable_but_not_writable_and_its_credentials_do_not_show(
    kind: str, tmp_path: Path
):
    root = tmp_path / "user"
    make_repository(root)
    repository = Repository.open(root)
    spaces = GitWorkspaces(repository, run=RunId("r-1"), base=repository.head(), state=tmp_path / "state")
    await spaces.start()
    worktree = await spaces.create(AttemptId(SubtaskId("parse"), 1))
    argv = ["git", "log", "-1", "--format=%s"]
    done = await run_sandboxed(
        make(kind), argv, worktree=worktree.path, environ=os.environ, timeout_seconds=30
    )
    assert done.text == "first\n"
    git(root, "config", "remote.origin.url", "https://user:hunter2@example.org/x.git")
    script = (
        f"cat {root}/.git/config; git config -l; for place in {root}/.git/hooks/pre-commit {root}/.git/config "
        f"{root}/.git/refs/heads/x {root}/.git/worktrees/parse.1/HEAD; do "
        "(echo x > $place) 2>/dev/null && echo WROTE; done"
    )
    done = await run_sandboxed(
        make(kind), ["sh", "-c", script], worktree=worktree.path, environ=os.environ, timeout_seconds=30
    )
    assert "hunter2" not in done.text and "WROTE" not in done.text
    if kind == "bubblewrap":
        done = await run_sandboxed(
            make(kind),
            ["sh", "-c", "git status --short && echo gitdir: /tmp > .git"],
            worktree=worktree.path,
            environ=os.environ,
            timeout_seconds=30,
        )
        assert "ead-only" in done.text
    # A link that was turned to another repository opens nothing there.
    other = tmp_path / "other"
    make_repository(other)
    (Path(worktree.path) / ".git").write_text(f"gitdir: {other}/.git\n")
    argv = ["cat", f"{other}/.git/config"]
    done = await run_sandboxed(
        make(kind), argv, worktree=worktree.path, environ=os.environ, timeout_seconds=30
    )
    assert done.exit_code != 0 and "[core]" not in done.text


@pytest.mark.parametrize("kind", [*WALLS, "none"])
async def test_time_memory_processes_and_output_are_bounded_inside_too(kind: str, worktree: Path):
    stubborn = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
    assert (await inside(kind, worktree, stubborn, timeout_seconds=0.5)).limit == "time"
    # Four times the limit and no more: a test of ours must not be able to take the machine with it.
    bomb = "import os, time\nfor _ in range(8): os.fork()\ntime.sleep(60)"
    bounds = ResourceLimits(processes=64, memory_bytes=300 << 20)
    done = await inside(kind, worktree, bomb, limits=bounds)
    assert done.limit == "processes" and done.left == 0
    done = await inside(kind, worktree, "bytearray(10 << 30)", limits=bounds)
    assert done.exit_code == 1 and "MemoryError" in done.text
    endless = "import os\nwhile True: os.write(1, b'y' * 65536)"
    done = await inside(kind, worktree, endless, max_output_bytes=10_000)
    assert done.limit == "output" and done.truncated and len(done.stdout) < 11_000
    # Nothing of it is in the way of the next one.
    assert (await inside(kind, worktree, "print('next')", limits=bounds)).text == "next\n"


async def test_a_missing_command_is_said_to_be_missing(worktree: Path):
    with pytest.raises(CannotStart, match=r"cannot start no-such-tool"):
        await run_sandboxed(
            make("landlock"), ["no-such-tool"], worktree=worktree, environ=os.environ, timeout_seconds=5
        )


def test_a_program_called_bwrap_in_the_repository_is_never_run(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    fake = working_directory / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ntouch {working_directory}/PWN\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:.:bin:{os.environ['PATH']}")
    with contextlib.suppress(NoSandbox):
        Sandbox.probe()
    assert not (working_directory / "PWN").exists()


def test_unwanted_is_called_none_and_holds_nothing():
    sandbox = Sandbox.probe(wanted=False)
    assert sandbox.name == "none"
    assert sandbox.wrap(["a", "b"], worktree="/w", scratch="/s") == ["a", "b"]


def test_no_sandbox_says_what_was_tried_and_what_to_do():
    message = str(NoSandbox(["bubblewrap is not installed", "landlock: this kernel has no Landlock"]))
    assert message == (
        "no sandbox works here (bubblewrap is not installed; landlock: this kernel has no Landlock): "
        "install bubblewrap, or let checks run unprotected with --no-sandbox"
    )
