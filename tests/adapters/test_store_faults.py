"""The store when the disk is full, breaks, is locked, or is not what it was (T02, T03, T06)."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from orchestrator.adapters import database
from orchestrator.adapters.database import StoreDamaged, StoreReplaced, StoreUnusable
from orchestrator.adapters.journal import Store
from orchestrator.core.domain import OrchestratorError, RunId
from orchestrator.core.events import Noted
from orchestrator.core.ledger import HoldState
from orchestrator.core.money import ZERO
from tests.adapters.faulty_disk import disk, fail
from tests.adapters.store_building import RUN, hold, open_store, usd
from tests.conftest import skip_unless


@dataclass
class Acknowledged:
    holds: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    events: int = 0
    error: OrchestratorError | None = None


async def spend(store: Store, acknowledged: Acknowledged) -> None:
    for number in range(2):
        call = await store.reserve(hold("0.1"))
        acknowledged.holds.append(call)
        await store.append(RUN, [Noted(code="call", text=str(number))])
        acknowledged.events += 1
        await store.settle(call, bill=usd("0.05"))
        acknowledged.settled.append(call)


@pytest.mark.parametrize(
    "forever", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "for ever"]
)
@pytest.mark.parametrize(
    ("operation", "error", "text"),
    [
        ("write", apsw.FullError, "disk full"),
        ("write", apsw.IOError, "I/O error"),
        ("sync", apsw.IOError, "I/O error"),
    ],
    ids=["ENOSPC", "EIO on write", "EIO on flush"],
)
async def test_whichever_disk_operation_fails_nothing_acknowledged_is_lost_and_nothing_is_called_without_a_hold(
    tmp_path: Path, operation: str, error: type[Exception], text: str, forever: bool
):
    for number in range(1, 200):
        directory = tmp_path / str(number)
        directory.mkdir()
        acknowledged = Acknowledged()
        with disk(fail(operation, number, error, forever=forever)) as faulty:
            store = None
            try:
                store = open_store(directory)
                await spend(store, acknowledged)
            except OrchestratorError as found:
                acknowledged.error = found
            finally:
                if store is not None:
                    store.close()
            reached = faulty.counts.get(operation, 0) >= number
        if acknowledged.error is not None:
            message = str(acknowledged.error)
            assert message.startswith((text, "cannot")) and "orchestrator.sqlite3" in message
            assert "\n" not in message
        with open_store(directory) as after:
            entries = {entry.hold: entry for entry in after.entries()}
            assert set(acknowledged.holds) <= set(entries)
            for call in acknowledged.settled:
                assert entries[call].state is HoldState.SETTLED
            assert len(list(after.events(RUN))) >= acknowledged.events
            charged = sum((entry.charged or entry.amount for entry in entries.values()), ZERO)
            assert await after.left() == {"day": usd("5") - charged}
            await spend(after, Acknowledged())
        if not reached:
            assert number > 2
            return
    pytest.fail("there was always one more operation")


def test_a_directory_that_cannot_be_written_is_one_line_before_any_call(tmp_path: Path):
    with pytest.raises(StoreUnusable, match=r"cannot use .*missing/orchestrator\.sqlite3"):
        open_store(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match="cannot use"):
        open_store(tmp_path / "file")


READ_ONLY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from orchestrator.core.domain import OrchestratorError
from tests.adapters.store_building import open_store
try:
    open_store(Path(sys.argv[1]))
except OrchestratorError as error:
    print(error)
"""


@pytest.mark.requires("unshare")
@pytest.mark.parametrize("exists", [False, True], ids=["no store yet", "a store"])
def test_a_read_only_file_system_is_named_in_one_line(tmp_path: Path, exists: bool):
    if exists:
        open_store(tmp_path).close()
    process = _in_own_mounts('mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"', tmp_path, READ_ONLY)
    assert process.stderr == ""
    assert process.stdout.count("\n") == 1
    assert process.stdout.startswith(("cannot use", "cannot write"))
    assert "orchestrator.sqlite3" in process.stdout


def _in_own_mounts(mount: str, directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run the program with the directory as its argument, after `mount` in a mount namespace of its own."""
    script = f'{mount} && exec "$2" -B -c "$3" "$1" "$4"'
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(directory), sys.executable, program, root],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    skip_unless(not process.stderr.startswith(("mount:", "unshare:")), process.stderr)
    return process


async def test_a_store_locked_by_another_process_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with open_store(tmp_path) as store:
        other = apsw.Connection(str(store.path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnusable, match="has been locked by another process for"):
            await store.reserve(hold("0.1"))
        other.execute("ROLLBACK")
        await store.reserve(hold("0.1"))
        other.close()


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.rename(path.with_name("elsewhere")),
        lambda path: path.unlink(),
        lambda path: path.with_name(path.name + "-wal").unlink(),
        lambda path: path.with_name(path.name + "-shm").unlink(),
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: Path(shutil.copy(path, f"{path}.copy")).replace(path),
    ],
    ids=["moved", "deleted", "log deleted", "index deleted", "emptied", "cut in half", "replaced"],
)
async def test_a_file_that_is_changed_under_a_run_is_noticed_before_the_next_call(tmp_path: Path, harm):
    store = open_store(tmp_path)
    await store.settle(await store.reserve(hold("0.1")), bill=usd("0.1"))
    harm(store.path)
    for _ in range(2):
        with pytest.raises(StoreReplaced, match="while in use: nothing more is called"):
            await store.reserve(hold("0.1"))
    store.close()


async def _filled(tmp_path: Path) -> Path:
    with open_store(tmp_path) as store:
        for number in range(40):
            await store.settle(await store.reserve(hold("0.01", run=RUN)), bill=usd("0.01"))
            await store.append(RUN, [Noted(code="call", text="x" * 200 + str(number))])
        return store.path


@pytest.mark.parametrize("size", ["nothing", "half", "noise"])
async def test_a_damaged_file_is_an_error_with_a_copy_kept_and_never_a_new_ledger(tmp_path: Path, size: str):
    path = await _filled(tmp_path)
    match size:
        case "nothing":
            os.truncate(path, 0)
        case "half":
            os.truncate(path, path.stat().st_size // 2)
        case "noise":
            path.write_bytes(random.Random(1).randbytes(20_000))
    harmed = path.read_bytes()
    for _ in range(2):
        with pytest.raises(
            StoreDamaged, match=r"is damaged .* a copy as it was found is kept in .*\.damaged"
        ):
            open_store(tmp_path)
    assert path.read_bytes() == harmed
    assert path.with_name("orchestrator.sqlite3.damaged").read_bytes() == harmed


async def test_flipped_bytes_never_lose_or_invent_money_silently(tmp_path: Path):
    path = await _filled(tmp_path)
    whole = path.read_bytes()
    with open_store(tmp_path) as store:
        before = await store.left()
        events = list(store.events(RUN))
    refused = 0
    for seed in range(60):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(100):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        directory = tmp_path / str(seed)
        directory.mkdir()
        (directory / path.name).write_bytes(data)
        try:
            with open_store(directory) as store:
                assert await store.left() == before
                store.entries()
                list(store.events(RunId(RUN)))
        except OrchestratorError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
    assert len(events) == 40


async def test_a_log_without_its_store_is_not_taken_for_a_first_start(tmp_path: Path):
    store = open_store(tmp_path)
    await store.reserve(hold("1"))
    wal = store.path.with_name(store.path.name + "-wal")
    kept = wal.read_bytes()
    store.close()
    store.path.unlink()
    wal.write_bytes(kept)
    with pytest.raises(StoreReplaced, match="is gone but its log"):
        open_store(tmp_path)
    assert not store.path.exists()


def test_a_newer_format_is_left_alone(tmp_path: Path):
    store = open_store(tmp_path)
    store.close()
    connection = apsw.Connection(str(store.path))
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    connection.close()
    with pytest.raises(StoreUnusable, match=r"has format 99, this version of orchestrator reads 1"):
        open_store(tmp_path)


FILL = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.events import Noted
from tests.adapters.store_building import RUN, open_store
async def main():
    store = open_store(Path(sys.argv[1]))
    count = 0
    try:
        while True:
            await store.append(RUN, [Noted(code="x", text="y" * 4000)])
            count += 1
    except OrchestratorError as error:
        store.close()
        (Path(sys.argv[1]) / "filler").unlink()
        again = open_store(Path(sys.argv[1]))
        await again.append(RUN, [Noted(code="x", text="after")])
        print(json.dumps({"count": count, "error": str(error), "kept": len(list(again.events(RUN)))}))
        again.close()
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.requires("unshare")
def test_a_disk_that_is_really_full_loses_nothing_and_the_store_goes_on_when_there_is_space(tmp_path: Path):
    mount = 'mount -t tmpfs -o size=1m none "$1" && head -c 300000 /dev/zero > "$1/filler"'
    process = _in_own_mounts(mount, tmp_path, FILL)
    found = json.loads(process.stdout)
    assert found["error"].startswith("disk full: ")
    assert found["count"] > 10
    assert found["kept"] == found["count"] + 1


async def test_a_total_that_its_entries_do_not_add_up_to_is_damage(tmp_path: Path):
    path = await _filled(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE totals SET spent = spent - 1 WHERE scope = 'budget'")
    connection.close()
    with pytest.raises(StoreDamaged, match=r"its totals say \$0\.399999999 .* its entries \$0\.40"):
        open_store(tmp_path)
