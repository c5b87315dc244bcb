"""Processes: every tree is gone afterwards, limits hold and are named, output is capped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters.processes import (
    CannotStart,
    Completed,
    ResourceLimits,
    allowed_environment,
    run,
    run_blocking,
    spawn_detached,
)

ENV = {"PATH": os.environ["PATH"]}


def python(code: str, tmp_path: Path, **options: object) -> Completed:
    settings: dict[str, object] = {"cwd": tmp_path, "env": ENV, "timeout_seconds": 30}
    return run_blocking([sys.executable, "-S", "-c", code], **(settings | options))  # type: ignore[arg-type]


def alive(marker: str) -> list[int]:
    """Processes whose command line holds the marker, zombies left out."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            command, stat = (place / "cmdline").read_bytes(), (place / "stat").read_text()
        except OSError:
            continue
        if marker.encode() in command and stat.rpartition(")")[2].split()[0] != "Z":
            found.append(int(place.name))
    return found


ESCAPE = """
import os, signal, sys, time
marker = "MARK"
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sh", ["sh", "-c", "trap '' TERM; while :; do sleep 1; done; : " + marker], {})
    os._exit(0)
print("started", flush=True)
time.sleep(SECONDS)
"""


@pytest.mark.parametrize("contained", [True, False])
def test_output_exit_code_and_standard_input_travel(tmp_path: Path, contained: bool):
    code = "import sys; data = sys.stdin.read(); print(len(data)); print('x', file=sys.stderr); sys.exit(7)"
    done = python(code, tmp_path, stdin=b"a" * 300_000, contained=contained)
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"300000\n", b"x\n")
    assert (done.timed_out, done.truncated, done.limit, done.left) == (False, False, "", 0)


@pytest.mark.parametrize("contained", [True, False])
def test_a_signal_is_a_negative_exit_code(tmp_path: Path, contained: bool):
    assert python("import os; os.kill(os.getpid(), 15)", tmp_path, contained=contained).exit_code == -15


def test_a_double_fork_with_setsid_is_gone_when_its_command_ends(tmp_path: Path):
    marker = f"stray-{os.getpid()}-normal"
    done = python(ESCAPE.replace("MARK", marker).replace("SECONDS", "0.2"), tmp_path)
    assert (done.exit_code, done.stdout) == (0, b"started\n")
    assert alive(marker) == []


def test_a_double_fork_that_ignores_sigterm_and_holds_the_output_is_gone_when_time_is_up(tmp_path: Path):
    marker = f"stray-{os.getpid()}-timeout"
    done = python(ESCAPE.replace("MARK", marker).replace("SECONDS", "600"), tmp_path, timeout_seconds=0.5)
    assert done.timed_out and done.limit == "time" and done.exit_code < 0
    assert done.stdout == b"started\n"
    assert alive(marker) == []


async def test_cancelling_ends_the_tree_before_the_cancellation_goes_on(tmp_path: Path):
    marker = f"stray-{os.getpid()}-cancel"
    code = ESCAPE.replace("MARK", marker).replace("SECONDS", "600")
    task = asyncio.create_task(
        run([sys.executable, "-S", "-c", code], cwd=tmp_path, env=ENV, timeout_seconds=60)
    )
    while not alive(marker):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(marker) == []


def test_the_tree_goes_when_the_orchestrator_is_killed(tmp_path: Path):
    marker = f"stray-{os.getpid()}-orphan"
    code = (
        "import sys; from orchestrator.adapters.processes import run_blocking\n"
        f"run_blocking(['sh', '-c', 'setsid sh -c \"sleep 600; : {marker}\" & echo; sleep 600; : {marker}'],"
        " cwd='.', env={'PATH': '/usr/bin:/bin'}, timeout_seconds=900)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    while len([pid for pid in alive(marker) if pid != parent.pid]) < 3:
        assert parent.poll() is None
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while alive(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive(marker) == []


def test_output_beyond_the_cap_keeps_beginning_and_end_and_says_so(tmp_path: Path):
    code = "print('first'); print('x' * 100_000); print('last')"
    done = python(code, tmp_path, max_output_bytes=1000)
    assert done.truncated and len(done.stdout) < 1100
    assert done.stdout.startswith(b"first\n") and done.stdout.endswith(b"x\nlast\n")
    assert b"\n[truncated: 99012 bytes of output are missing here]\n" in done.stdout


def test_endless_output_ends_the_command_by_name(tmp_path: Path):
    done = run_blocking(["yes"], cwd=tmp_path, env=ENV, timeout_seconds=60, max_output_bytes=10_000)
    assert done.limit == "output" and done.truncated and not done.timed_out


def test_memory_is_bounded_for_one_process_and_for_the_tree(tmp_path: Path):
    limits = ResourceLimits(memory_bytes=200 << 20)
    one = python("x = bytearray(10 << 30)", tmp_path, limits=limits)
    assert one.exit_code == 1 and b"MemoryError" in one.stderr
    many = "import os, time\nfor _ in range(4): os.fork()\nx = b'y' * (40 << 20); time.sleep(60)"
    assert python(many, tmp_path, limits=limits).limit == "memory"


def test_a_fork_bomb_ends_by_name_and_leaves_nothing(tmp_path: Path):
    marker = f"bomb-{os.getpid()}"
    # Four times the limit and no more: a test of ours must not be able to take the machine with it.
    code = f"import os, time\nfor _ in range(8): os.fork()\ntime.sleep(60)  # {marker}"
    done = python(code, tmp_path, limits=ResourceLimits(processes=64), timeout_seconds=30)
    assert done.limit == "processes" and done.left == 0
    assert alive(marker) == []


def test_file_size_and_processor_time_are_bounded(tmp_path: Path):
    big = python(
        "open('big', 'wb').write(b'x' * (2 << 20))", tmp_path, limits=ResourceLimits(file_bytes=1 << 20)
    )
    assert big.exit_code != 0 and (tmp_path / "big").stat().st_size <= 1 << 20
    busy = python("while True: pass", tmp_path, limits=ResourceLimits(cpu_seconds=1))
    assert busy.exit_code in (-signal.SIGXCPU, -signal.SIGKILL)


@pytest.mark.parametrize("contained", [True, False])
def test_a_missing_command_and_a_missing_directory_are_told_apart(tmp_path: Path, contained: bool):
    with pytest.raises(CannotStart, match=r"cannot start no-such-command: No such file or directory"):
        run_blocking(["no-such-command"], cwd=tmp_path, env=ENV, timeout_seconds=5, contained=contained)
    with pytest.raises(CannotStart, match=r"cannot start true: no directory .*gone"):
        run_blocking(["true"], cwd=tmp_path / "gone", env=ENV, timeout_seconds=5, contained=contained)


def test_the_command_cannot_reach_its_supervisors_pipes(tmp_path: Path):
    done = python("import os; print(sorted(os.listdir('/proc/self/fd')))", tmp_path)
    assert done.text == "['0', '1', '2', '3']\n"


def test_the_environment_is_an_allow_list(tmp_path: Path):
    environ = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "OPENAI_API_KEY": "k",
        "GIT_DIR": "/x",
        "AWS_X": "y",
    }
    allowed = allowed_environment(environ, {"PYTHONDONTWRITEBYTECODE": "1"})
    assert allowed == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_detached_process_outlives_its_starter_in_a_session_of_its_own(tmp_path: Path):
    log = tmp_path / "log"
    pid = spawn_detached(["sh", "-c", "echo here; exec sleep 60"], cwd=tmp_path, env=ENV, log=log)
    try:
        while not log.read_text():
            time.sleep(0.01)
        assert os.getsid(pid) == pid != os.getsid(0)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _groups() -> tuple[str, list[str]]:
    """Where this user could bound processes by a control group, and the groups of ours that are there."""
    from orchestrator.adapters.process_supervisor import _own_groups

    for place in _own_groups() if os.getuid() == 0 else []:
        if (
            os.access(f"{place}/cgroup.procs", os.W_OK)
            and Path(place, "cgroup.subtree_control").exists() is False
        ):
            return place, sorted(path.name for path in Path(place).glob("orchestrator-*"))
    pytest.skip("no control group for processes is to be had")


def test_the_kernel_bounds_roots_processes_too_where_it_has_control_groups(tmp_path: Path):
    place, before = _groups()
    stale = Path(place, "orchestrator-4194304")
    stale.mkdir()
    # Threads: the kernel counts them with the processes, the watch does not, so it cannot come first.
    code = (
        "import threading\n"
        "hold, started = threading.Event(), []\n"
        "try:\n"
        "    for _ in range(300):\n"
        "        threading.Thread(target=hold.wait).start(); started.append(1)\n"
        "except RuntimeError: pass\n"
        "print(len(started)); hold.set()\n"
    )
    done = python(code, tmp_path, limits=ResourceLimits(processes=20))
    assert done.exit_code == 0 and int(done.stdout) == 4 * 20 - 1
    left = {path.name for path in Path(place).glob("orchestrator-*")} - set(before)
    # Other tests may be at it: a group goes before its process does.
    assert [name for name in left if not Path("/proc", name.removeprefix("orchestrator-")).exists()] == []
    assert not stale.exists()
