"""The journal half of the store: events in order, whole or absent, and never changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from orchestrator.adapters.database import StoreDamaged
from orchestrator.adapters.records import Opening
from orchestrator.core.domain import Limits, RunId
from orchestrator.core.events import Noted, RunStarted
from orchestrator.core.ports import BudgetExceeded
from tests.adapters.faulty_disk import disk
from tests.adapters.store_building import RUN, hold, open_store, usd
from tests.core.runs import plan, subtask


def note(text: str) -> Noted:
    return Noted(code="test", text=text)


async def test_events_come_back_in_order_whatever_was_appended_between_them(tmp_path: Path):
    other = RunId("20261123-100001-efgh")
    with open_store(tmp_path) as store:
        await store.append(RUN, [note("one"), note("two")])
        await asyncio.gather(*(store.append(other, [note(str(number))]) for number in range(50)))
        await store.append(RUN, [note("three")])
    with open_store(tmp_path) as store:
        assert list(store.events(RUN)) == [note("one"), note("two"), note("three")]
        assert list(store.events(RUN, after=2)) == [note("three")]
        assert list(store.events(other)) == [note(str(number)) for number in range(50)]
        assert list(store.events(RunId("unknown"))) == []
        assert [(span.run, span.events) for span in store.runs()] == [(other, 50), (RUN, 3)]


async def test_text_that_no_terminal_or_encoding_likes_is_kept_as_it_is(tmp_path: Path):
    nasty = "a\0b \ud800 \u202e \x1b[31m 'quote\" ; DROP TABLE events; \U0001f600"
    with open_store(tmp_path) as store:
        await store.append(RUN, [note(nasty)])
        assert list(store.events(RUN)) == [note(nasty)]


async def test_lists_of_runs_say_how_each_began_without_reading_its_plan(tmp_path: Path):
    nasty = 'a\0b \ud800 "quoted" {"goal": 1}'
    started = RunStarted(
        run=RUN,
        plan=replace(plan(subtask("one"), subtask("two")), goal=nasty),
        repository="/somewhere",
        base_commit="c",
        branch="b",
        limits=Limits(),
    )
    other = RunId("20261123-100001-efgh")
    with open_store(tmp_path) as store:
        await store.append(RUN, [started, note("one")])
        await store.append(other, [note("no start")])
        assert store.opening(RUN) == Opening(
            repository="/somewhere", goal=nasty, branch="b", subtasks=2, scripted=""
        )
        assert store.opening(other) is None
        assert store.opening(RunId("unknown")) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"repository": "/r", "branch": "b", "plan": {"goal": "g"}}']
)
async def test_a_start_that_cannot_be_read_is_damage(tmp_path: Path, text: str):
    with open_store(tmp_path) as store:
        connection = apsw.Connection(str(store.path))
        connection.execute("INSERT INTO events VALUES (?, 1, 'RunStarted', '', ?)", (RUN, text))
        connection.close()
        with pytest.raises(StoreDamaged, match=f"event 1 of run {RUN} is unreadable"):
            store.opening(RUN)


async def test_an_event_that_is_no_json_is_named_and_those_before_it_are_read(tmp_path: Path):
    with open_store(tmp_path) as store:
        await store.append(RUN, [note("one"), note("two")])
        connection = apsw.Connection(str(store.path))
        connection.execute("INSERT INTO events VALUES (?, 3, 'Noted', '', '{')", (RUN,))
        connection.close()
        events = store.events(RUN)
        assert [next(events), next(events)] == [note("one"), note("two")]
        with pytest.raises(StoreDamaged, match=f"event 3 of run {RUN} is unreadable"):
            next(events)


async def test_what_was_appended_cannot_be_changed_or_deleted(tmp_path: Path):
    with open_store(tmp_path) as store:
        await store.append(RUN, [note("one")])
        await store.settle(await store.reserve(hold("1")), bill=usd("2"))
    connection = apsw.Connection(str(store.path))
    for statement in (
        "UPDATE events SET name = 'x'",
        "DELETE FROM events",
        "UPDATE holds SET amount = 0",
        "DELETE FROM resolutions",
        "UPDATE overruns SET excess = 0",
        "DELETE FROM audit",
    ):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            connection.execute(statement)
    for amount in ("-1", "1.5", "'NaN'", "9e999"):
        with pytest.raises(apsw.ConstraintError):
            connection.execute(f"INSERT INTO overruns VALUES (99, 0, {amount})")
    connection.close()


async def test_the_file_is_the_user_s_own(tmp_path: Path):
    with open_store(tmp_path) as store:
        await store.reserve(hold("1"))
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
            "orchestrator.sqlite3": 0o600,
            "orchestrator.sqlite3-wal": 0o600,
            "orchestrator.sqlite3-shm": 0o600,
        }


async def test_holds_and_events_are_flushed_and_of_settlements_only_those_above_their_hold(tmp_path: Path):
    with disk(lambda operation, number: None) as counted, open_store(tmp_path) as store:

        async def flushes(action) -> int:
            before = counted.counts["sync"]
            await action
            return counted.counts["sync"] - before

        # The first commit also flushes the head of the log.
        assert await flushes(store.append(RUN, [note("one")])) == 2
        assert await flushes(store.append(RUN, [note("two")])) == 1
        assert await flushes(store.reserve(hold("1"))) == 1
        assert await flushes(store.reserve(hold("1"))) == 1
        assert await flushes(store.settle(1, bill=usd("1"))) == 0
        assert await flushes(store.settle(2, bill=usd("1.1"))) == 1
        with pytest.raises(BudgetExceeded):
            await flushes(store.reserve(hold("9", deployment="other")))
