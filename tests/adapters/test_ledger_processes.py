"""Many processes on one ledger: the cap holds to the last call, also when some of them are killed (T04)."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from orchestrator.core.ledger import HoldState
from orchestrator.core.money import ZERO
from tests.adapters.spending import RealClock
from tests.adapters.store_building import budget, open_store, usd

ROOT = Path(__file__).resolve().parents[2]

# Refuses to commit a state that breaks the promise, whichever process makes it.
NEVER_ABOVE = """
CREATE TRIGGER never_above_{verb} AFTER {verb} ON totals WHEN new.scope = 'budget' AND
  (SELECT sum(spent + held + ambiguous) FROM totals WHERE scope = 'budget') > {cap}
BEGIN SELECT RAISE(ABORT, 'the cap is broken'); END;
"""


def prepare(directory: Path, cap: str) -> None:
    open_store(directory, budget(cap, "365d"), RealClock()).close()
    (directory / "provider").write_bytes(b"")
    connection = apsw.Connection(str(directory / "orchestrator.sqlite3"))
    for verb in ("UPDATE", "INSERT"):
        connection.execute(NEVER_ABOVE.format(verb=verb, cap=usd(cap).nano))
    connection.close()


@contextmanager
def spenders(
    directory: Path, count: int, *, cap: str, price: str, tasks: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the processes and let them go at the same time."""
    command = [sys.executable, "-m", "tests.adapters.spending", str(directory), cap, price, str(tasks)]
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def finish(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=120)[1]


@pytest.mark.parametrize(
    "repetition", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))]
)
def test_eight_processes_of_fifty_calls_at_a_time_make_exactly_the_calls_the_cap_allows(
    tmp_path: Path, repetition: int
):
    prepare(tmp_path, "0.3")
    with spenders(tmp_path, 8, cap="0.3", price="0.001", tasks=50) as processes:
        for process in processes:
            assert finish(process) == ""
            assert process.returncode == 0
    assert (tmp_path / "provider").stat().st_size == 300
    with open_store(tmp_path, budget("0.3", "365d"), RealClock()) as store:
        assert store.status().totals.spent == usd("0.3")
        assert store.open_holds() == ()
        assert len(store.entries()) == 300


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_killing_processes_at_any_moment_leaves_no_call_uncounted_and_none_above_the_cap(
    tmp_path: Path, seed: int
):
    chance = random.Random(seed)
    prepare(tmp_path, "0.3")
    with spenders(tmp_path, 8, cap="0.3", price="0.001", tasks=50) as processes:
        victims = chance.sample(processes, 5)
        timers = [threading.Timer(chance.random() * 0.3, victim.kill) for victim in victims]
        for timer in timers:
            timer.start()
        for process in processes:
            errors = finish(process)
            assert errors == "" or process in victims
        for timer in timers:
            timer.join()
    called = (tmp_path / "provider").stat().st_size
    with open_store(tmp_path, budget("0.3", "365d"), RealClock()) as store:
        entries = store.entries()
        charged = sum(
            (entry.charged if entry.charged is not None else entry.amount for entry in entries), ZERO
        )
        assert store.status().totals.committed == charged <= usd("0.3")
        assert {entry.state for entry in entries} <= {HoldState.SETTLED, HoldState.AMBIGUOUS}
        # What was called is charged; a hold whose process died before it could call stays charged too.
        ambiguous = [entry for entry in entries if entry.state is HoldState.AMBIGUOUS]
        assert len(entries) - len(ambiguous) <= called <= len(entries) <= 300


@pytest.mark.slow
@pytest.mark.requires("strace")
@pytest.mark.parametrize("syscall", ["pwrite64", "fdatasync"])
def test_killing_a_process_at_each_of_its_writes_leaves_no_call_uncounted(tmp_path: Path, syscall: str):
    for number in range(1, 200):
        directory = tmp_path / str(number)
        directory.mkdir()
        prepare(directory, "0.004")
        database = directory / "orchestrator.sqlite3"
        command = ["strace", "-qq", "-f", "-o", "/dev/null", "-P", str(database), "-P", f"{database}-wal"]
        command += ["-e", f"trace={syscall}", "-e", f"inject={syscall}:signal=KILL:when={number}"]
        command += [sys.executable, "-m", "tests.adapters.spending", str(directory), "0.004", "0.001", "2"]
        process = subprocess.run(
            command, cwd=ROOT, input="\n", capture_output=True, text=True, check=False, timeout=60
        )
        called = (directory / "provider").stat().st_size
        with open_store(directory, budget("0.004", "365d"), RealClock()) as store:
            entries = store.entries()
            assert called <= len(entries) <= 4
            assert store.status().totals.committed == usd("0.001") * len(entries)
            assert {entry.state for entry in entries} <= {HoldState.SETTLED, HoldState.AMBIGUOUS}
        if process.returncode == 0:
            assert (called, number > 3) == (4, True)
            return
        assert process.returncode in (-9, 137), process.stderr
    pytest.fail("there was always one more write")
