from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.calendar import UnknownTimeZone, iso, seconds_of, span
from orchestrator.core.domain import RunId
from orchestrator.core.ledger import UnknownDuration
from orchestrator.core.ports import BudgetExceeded
from tests.adapters.store_building import budget, clock_at, hold, open_store, usd


def days(duration: str, timezone: str, moment: str) -> tuple[str, str | None]:
    found = span(duration, timezone, seconds_of(moment))
    return iso(found.start)[:16], iso(found.end)[:16] if found.end is not None else None


@pytest.mark.parametrize(
    ("timezone", "moment", "start", "end"),
    [
        ("UTC", "2026-11-23T10:00:00Z", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("Asia/Kathmandu", "2026-11-23T18:14:59Z", "2026-11-22T18:15", "2026-11-23T18:15"),
        ("Asia/Kathmandu", "2026-11-23T18:15:00Z", "2026-11-23T18:15", "2026-11-24T18:15"),
        ("UTC", "2028-02-29T23:59:59Z", "2028-02-29T00:00", "2028-03-01T00:00"),
        # Midnight does not exist on this day: it begins at one.
        ("Africa/Cairo", "2026-04-24T12:00:00Z", "2026-04-23T22:00", "2026-04-24T21:00"),
        # One o'clock became midnight again: the day began with the first midnight.
        ("America/Havana", "2026-11-01T05:30:00Z", "2026-11-01T04:00", "2026-11-02T05:00"),
    ],
)
def test_a_budget_day_is_a_calendar_day_of_the_time_zone(timezone: str, moment: str, start: str, end: str):
    assert days("1d", timezone, moment) == (start, end)


def test_a_budget_month_is_a_calendar_month_and_other_windows_roll_by_the_quarter_hour():
    assert days("1mo", "UTC", "2028-02-29T10:00:00Z") == ("2028-02-01T00:00", "2028-03-01T00:00")
    assert days("1mo", "Europe/Berlin", "2026-12-31T23:30:00Z") == ("2026-12-31T23:00", "2027-01-31T23:00")
    assert days("7d", "UTC", "2026-11-23T10:07:00Z") == ("2026-11-16T10:00", None)
    assert days("30d", "UTC", "2026-11-23T10:00:00Z") == ("2026-10-24T10:00", None)


@given(
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Asia/Kathmandu", "Pacific/Apia"]),
    moments=st.tuples(st.integers(0, 2_500_000_000), st.integers(0, 3_000_000)),
    duration=st.sampled_from(["1d", "1mo", "7d"]),
)
def test_windows_follow_one_another_without_a_gap_and_never_begin_later_for_an_earlier_moment(
    timezone: str, moments: tuple[int, int], duration: str
):
    early, late = span(duration, timezone, moments[0]), span(duration, timezone, sum(moments))
    assert early.start <= moments[0]
    assert early.start <= late.start
    if early.end is not None:
        assert moments[0] < early.end
        assert span(duration, timezone, early.end).start == early.end
        assert span(duration, timezone, early.end - 1).start == early.start


def test_unknown_zones_and_durations_are_named(tmp_path: Path):
    with pytest.raises(UnknownTimeZone, match="'Mars/Olympus' is unknown here"):
        open_store(tmp_path, budget(timezone="Mars/Olympus"))
    with pytest.raises(UnknownTimeZone):
        open_store(tmp_path, budget(timezone="../../etc/passwd"))
    for duration in ("2mo", "d", "-1d", "0d", "1h", ""):
        with pytest.raises(UnknownDuration, match="budget_duration"):
            open_store(tmp_path, budget(duration=duration))


async def test_a_new_day_is_a_new_allowance_and_a_late_bill_belongs_to_the_day_of_its_hold(tmp_path: Path):
    clock = clock_at("2026-11-23T23:59:59Z")
    with open_store(tmp_path, budget("1"), clock) as store:
        late = await store.reserve(hold("1"))
        clock.set("2026-11-24T00:00:01Z")
        assert await store.left() == {"day": usd("1")}
        await store.settle(late, bill=usd("0.75"))
        assert await store.left() == {"day": usd("1")}
        clock.set("2026-11-23T23:59:59Z")
        assert await store.left() == {"day": usd("0.25")}


async def test_a_rolling_window_frees_what_has_become_older_than_it(tmp_path: Path):
    clock = clock_at("2026-11-01T10:00:00Z")
    with open_store(tmp_path, budget("1", "7d"), clock) as store:
        for day in (1, 4):
            clock.set(f"2026-11-{day:02d}T10:05:00Z")
            await store.settle(await store.reserve(hold("0.5")), bill=usd("0.5"))
        clock.set("2026-11-08T10:14:00Z")
        assert await store.left() == {"day": usd("0")}
        clock.set("2026-11-08T10:15:00Z")
        assert await store.left() == {"day": usd("0.5")}
        clock.set("2026-11-11T10:15:00Z")
        assert await store.left() == {"day": usd("1")}


@pytest.mark.parametrize("duration", ["1d", "1mo", "7d", "30d"])
async def test_no_step_of_the_clock_grants_a_second_allowance(tmp_path: Path, duration: str):
    clock = clock_at("2026-11-23T10:00:00Z")
    with open_store(tmp_path, budget("1", duration), clock) as store:
        await store.settle(await store.reserve(hold("1")), bill=usd("1"))
        for moment in ("2026-11-22T10:00:00Z", "2026-10-31T23:59:00Z", "2020-02-29T00:00:00Z"):
            clock.set(moment)
            assert await store.left() == {"day": usd("0")}
            with pytest.raises(BudgetExceeded):
                await store.reserve(hold("0.000000001"))
        clock.set("2026-11-23T12:00:00Z")
        assert await store.left() == {"day": usd("0")}


async def test_what_was_spent_under_a_clock_that_ran_ahead_counts_when_it_is_set_right(tmp_path: Path):
    clock = clock_at("2026-11-23T10:00:00Z")
    with open_store(tmp_path, budget("1"), clock) as store:
        clock.set("2027-05-01T10:00:00Z")
        await store.settle(await store.reserve(hold("0.75")), bill=usd("0.75"))
        clock.set("2026-11-23T10:00:00Z")
        assert await store.left() == {"day": usd("0.25")}
        assert store.status().future == usd("0.75")


async def test_another_time_zone_waits_for_the_end_of_the_window_in_force(tmp_path: Path):
    clock = clock_at("2026-11-23T09:00:00Z")
    with open_store(tmp_path, budget("1"), clock) as store:
        await store.settle(await store.reserve(hold("1")), bill=usd("1"))
    # It is past midnight there, which would be a new day.
    clock.set("2026-11-23T11:00:00Z")
    with open_store(tmp_path, budget("1", timezone="Pacific/Kiritimati"), clock) as store:
        assert await store.left() == {"day": usd("0")}
        with pytest.raises(BudgetExceeded):
            await store.reserve(hold("0.1"))
        clock.set("2026-11-24T00:00:00Z")
        assert await store.left() == {"day": usd("1")}
        assert store.status().since == "2026-11-23T10:00:00.000000Z"


async def test_a_time_zone_whose_day_ends_earlier_waits_for_the_end_of_the_window_in_force_too(
    tmp_path: Path,
):
    clock = clock_at("2026-11-23T12:00:00Z")
    with open_store(tmp_path, budget("1"), clock) as store:
        await store.settle(await store.reserve(hold("1")), bill=usd("1"))
    with open_store(tmp_path, budget("1", timezone="Asia/Tokyo"), clock) as store:
        with pytest.raises(BudgetExceeded):
            await store.reserve(hold("0.1"))
        # Midnight in Tokyo; the day that the money was spent in has nine hours to go.
        clock.set("2026-11-23T15:00:00Z")
        assert await store.left() == {"day": usd("0")}
        with pytest.raises(BudgetExceeded):
            await store.reserve(hold("0.1"))
        assert store.status().until == "2026-11-24T00:00:00.000000Z"
        clock.set("2026-11-24T00:00:00Z")
        await store.settle(await store.reserve(hold("0.6")), bill=usd("0.6"))
        assert store.status().since == "2026-11-23T15:00:00.000000Z"
        clock.set("2026-11-24T15:00:00Z")
        assert await store.left() == {"day": usd("1")}


@pytest.mark.parametrize("zones", [("UTC", "Asia/Tokyo"), ("Pacific/Kiritimati", "Pacific/Pago_Pago")])
async def test_repositories_in_different_time_zones_never_spend_more_than_the_cap_in_anybodys_day(
    tmp_path: Path, zones: tuple[str, str]
):
    clock = clock_at("2026-11-23T00:00:00Z")
    spent: list[float] = []
    with ExitStack() as opened:
        stores = [
            (zone, opened.enter_context(open_store(tmp_path, budget("1", timezone=zone), clock)))
            for zone in zones
        ]
        for hour in range(24 * 4):
            # They take turns in going first.
            for zone, store in stores if hour % 2 else reversed(stores):
                with suppress(BudgetExceeded):
                    await store.settle(await store.reserve(hold("0.25")), bill=usd("0.25"))
                    spent.append(clock.seconds)
                    today = span("1d", zone, clock.seconds).start
                    assert sum(moment >= today for moment in spent) <= 4
            clock.seconds += 3600
    assert len(spent) >= 4 * 3


async def test_what_a_script_plays_takes_nothing_of_the_users_allowance_and_has_one_of_its_own(
    tmp_path: Path,
):
    one, other = RunId("scripted-1"), RunId("scripted-2")
    with open_store(tmp_path, scripted=True) as played:
        spent = await played.reserve(hold("4", run=one))
        await played.settle(spent, bill=usd("4.5"))
        await played.reserve(hold("0.25", run=one, deployment="vendor/other"))
        assert (await played.left(run=one))["day"] == usd("0.25")
        with pytest.raises(BudgetExceeded, match=r"\$0\.50 of the \$5\.00 day budget"):
            await played.reserve(hold("3", run=one, deployment="vendor/other"))
        await played.reserve(hold("3", run=other, deployment="vendor/other"))
        assert (await played.left(run=other))["day"] == usd("2")
    with open_store(tmp_path) as real:
        status = real.status()
        assert (status.left, status.totals.committed, status.holds, status.stopped) == (
            usd("5"),
            usd("0"),
            (),
            (),
        )
        # The bill above its hold stopped the script's model, not the real one of that name.
        await real.reserve(hold("5", run=one))
        assert [entry.scripted for entry in real.entries()] == [True, True, True, False]
        assert real.status().totals.committed == usd("5")
    with open_store(tmp_path) as again:
        # What a crash of the script left is settled as its own, too.
        crashed = next(entry for entry in again.open_holds() if entry.scripted)
        again.reconcile(crashed.hold, None, reason="test")
        assert again.status().totals.spent == usd("0")
