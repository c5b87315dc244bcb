from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.git import Repository
from orchestrator.adapters.holder import Holder, this_process
from orchestrator.adapters.run_lock import Occupant, RunLock, RunLocked, _acquire_by_name, _text, occupant
from orchestrator.core.domain import RunId

RUN = RunId("20261123-100000-abcd")
OTHER = RunId("20261123-110000-ef01")

TAKES_IT = """
import sys, time
from pathlib import Path
from orchestrator.adapters.git import Repository
from orchestrator.adapters.run_lock import RunLock
class Clock:
    def now(self): return "2026-11-23T10:00:00.000000Z"
lock = RunLock.acquire(Repository.open(sys.argv[1]), Path(sys.argv[2]), run="20261123-100000-abcd", clock=Clock())
print("taken", flush=True)
sys.stdin.read()
"""


class Clock:
    def now(self) -> str:
        return "2026-11-23T10:00:00.000000Z"

    def epoch_seconds(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    path = tmp_path / "project"
    for command in (
        ["init", "-q", str(path)],
        [
            "-C",
            str(path),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "x",
        ],
    ):
        subprocess.run(["git", *command], check=True)
    return Repository.open(path)


def acquire(repository: Repository, state: Path, run: RunId = OTHER) -> RunLock:
    return RunLock.acquire(repository, state, run=run, clock=Clock())


def test_a_second_run_is_refused_with_the_first_ones_name_and_process(repository: Repository, tmp_path: Path):
    with acquire(repository, tmp_path, RUN):
        with pytest.raises(RunLocked, match=f"run {RUN} .process {os.getpid()}, since 2026-11-23T10:00"):
            acquire(repository, tmp_path)
        assert occupant(repository, tmp_path) == Occupant(run=RUN, holder=this_process(), since=Clock().now())
    assert occupant(repository, tmp_path) is None
    acquire(repository, tmp_path).release()


def test_a_killed_run_leaves_no_lock(repository: Repository, tmp_path: Path):
    command = [sys.executable, "-c", TAKES_IT, str(repository.root), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"taken\n"
        with pytest.raises(RunLocked, match=f"process {other.pid}"):
            acquire(repository, tmp_path)
        other.kill()
        other.wait()
    acquire(repository, tmp_path).release()


def test_a_process_with_the_same_number_is_not_taken_for_the_holder(tmp_path: Path):
    me = this_process()
    path = tmp_path / "lock.owner"
    for gone in (replace(me, started="1"), replace(me, boot="another boot"), Holder(pid=2**22 + 1)):
        path.write_bytes(_text(Occupant(run=RUN, holder=gone, since="")))
        lock = _acquire_by_name(path, _text(Occupant(run=OTHER, holder=me, since="")))
        with lock, pytest.raises(RunLocked, match=f"run {OTHER}"):
            _acquire_by_name(path, b"")
        assert list(tmp_path.iterdir()) == []


def test_without_flock_the_file_itself_is_the_lock(repository: Repository, tmp_path: Path, monkeypatch):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with acquire(repository, tmp_path, RUN):
        assert occupant(repository, tmp_path) is not None
        with pytest.raises(RunLocked, match=str(RUN)):
            acquire(repository, tmp_path)
    assert occupant(repository, tmp_path) is None


def test_worktrees_of_one_repository_share_the_lock(repository: Repository, tmp_path: Path):
    linked = tmp_path / "linked"
    subprocess.run(["git", "-C", str(repository.root), "worktree", "add", "-q", str(linked)], check=True)
    with acquire(repository, tmp_path), pytest.raises(RunLocked):
        acquire(Repository.open(linked), tmp_path)
