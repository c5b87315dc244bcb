"""The ledger half of the store: holds, settlements, overruns, and what a crash leaves of them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.database import StoreReplaced
from orchestrator.adapters.holder import Holder, is_alive, this_process
from orchestrator.adapters.journal import NotAmbiguous, Store
from orchestrator.core.ledger import HoldResolved, HoldState, RaisedAlert, Wait
from orchestrator.core.money import Usage
from orchestrator.core.ports import BudgetExceeded, Flag, ModelUnavailable
from tests.adapters.store_building import RUN, attempt, budget, clock_at, hold, open_store, usd

USAGE = Usage(input_tokens=900, output_tokens=80, cache_read_tokens=100, reasoning_tokens=30)
GONE = Holder(pid=4_000_000, started="1", boot="")


# --- reserve, settle, release -------------------------------------------------------------------


async def test_a_hold_counts_at_once_and_its_bill_instead_of_it_after_the_settlement(tmp_path: Path):
    with open_store(tmp_path) as store:
        first = await store.reserve(hold("1", run=RUN, run_cap=usd("2")))
        assert await store.left(run=RUN, run_cap=usd("2")) == {"day": usd("4"), "run": usd("1")}
        assert await store.settle(first, bill=usd("0.25"), usage=USAGE) == usd("0.25")
        assert await store.left(run=RUN, run_cap=usd("2")) == {"day": usd("4.75"), "run": usd("1.75")}
        second = await store.reserve(hold("1", run=RUN))
        await store.release(second, reason="429")
        assert await store.left() == {"day": usd("4.75")}


async def test_everything_about_a_call_is_kept_for_calibration(tmp_path: Path):
    with open_store(tmp_path) as store:
        request = hold(
            "0.5", run=RUN, attempt=attempt("parse"), category="cheap/bug-fixes", repository="/src"
        )
        call = await store.reserve(request)
        await store.settle(
            call,
            bill=usd("0.1"),
            usage=USAGE,
            answered_by="vendor/model-2",
            flags=[Flag.OTHER_MODEL, Flag.CUT],
        )
        (entry,) = store.entries(run=RUN)
        assert (entry.model, entry.deployment, entry.purpose) == ("cheap", "vendor/model", "attempt")
        assert (entry.run, entry.attempt, entry.category) == (RUN, "parse#1", "cheap/bug-fixes")
        assert (entry.amount, entry.bill, entry.charged) == (usd("0.5"), usd("0.1"), usd("0.1"))
        assert (entry.input_tokens, entry.output_tokens, entry.reasoning_tokens) == (900, 80, 30)
        assert entry.flags == (Flag.OTHER_MODEL, Flag.CUT)
        assert (entry.state, entry.answered_by) == (HoldState.SETTLED, "vendor/model-2")
        assert store.entries(since=store.status() and 4e9) == ()


async def test_an_unknown_bill_is_the_whole_hold_and_never_zero(tmp_path: Path):
    with open_store(tmp_path) as store:
        call = await store.reserve(hold("1"))
        assert await store.settle(call, bill=None, flags=[Flag.NO_USAGE]) == usd("1")
        (entry,) = store.entries()
        assert (entry.bill, entry.charged, entry.flags) == (None, usd("1"), (Flag.NO_USAGE,))


async def test_a_hold_resolves_exactly_once(tmp_path: Path):
    with open_store(tmp_path) as store:
        call = await store.reserve(hold("1"))
        await store.settle(call, bill=usd("0.5"))
        for again in (store.settle(call, bill=usd("0")), store.release(call, reason="no")):
            with pytest.raises(HoldResolved, match=f"hold {call} is already settled"):
                await again
        with pytest.raises(HoldResolved, match="there is no hold 77"):
            await store.release(77, reason="no")
        assert await store.left() == {"day": usd("4.5")}


async def test_what_can_never_fit_is_refused_with_the_window_and_the_amount_left(tmp_path: Path):
    with open_store(tmp_path) as store:
        await store.settle(await store.reserve(hold("1.5", run=RUN)), bill=usd("1.5"))
        with pytest.raises(BudgetExceeded, match=r"\$0\.50 of the \$2\.00 run budget is left") as refusal:
            await store.reserve(hold("0.51", run=RUN, run_cap=usd("2")))
        assert (refusal.value.exit_code, refusal.value.left) == (3, usd("0.5"))
        with pytest.raises(BudgetExceeded, match=r"of the \$5\.00 day budget is left"):
            await store.reserve(hold("3.6"))
        with pytest.raises(BudgetExceeded, match="repository budget"):
            await store.reserve(hold("0.2", repository="/src", repository_cap=usd("0.1")))
        with pytest.raises(BudgetExceeded, match="attempt budget"):
            await store.reserve(hold("0.2", run=RUN, attempt=attempt("parse"), attempt_cap=usd("0.1")))


async def test_a_repository_and_an_attempt_have_caps_of_their_own(tmp_path: Path):
    with open_store(tmp_path) as store:
        await store.reserve(hold("0.2", repository="/a", repository_cap=usd("0.3")))
        assert isinstance(
            await store.try_reserve(hold("0.2", repository="/a", repository_cap=usd("0.3"))), Wait
        )
        await store.reserve(hold("0.2", repository="/b", repository_cap=usd("0.3")))
        await store.reserve(hold("0.2", run=RUN, attempt=attempt("parse"), attempt_cap=usd("0.3")))
        await store.reserve(hold("0.2", run=RUN, attempt=attempt("parse", 2), attempt_cap=usd("0.3")))
        assert isinstance(
            await store.try_reserve(hold("0.2", run=RUN, attempt=attempt("parse"), attempt_cap=usd("0.3"))),
            Wait,
        )


@pytest.mark.parametrize(
    "caps",
    [
        {"repository_cap": usd("1")},
        {"run_cap": usd("1")},
        {"attempt_cap": usd("1"), "run": RUN},
        {"attempt_cap": usd("1"), "attempt": attempt("parse")},
    ],
)
async def test_a_cap_of_nobody_is_a_fault_and_not_a_call_without_a_cap(tmp_path: Path, caps):
    with open_store(tmp_path) as store:
        fits = asyncio.create_task(store.reserve(hold("0.1")))
        with pytest.raises(ValueError, match="does not say whose"):
            await store.reserve(hold("0.1", **caps))
        await fits
        assert len(store.entries()) == 1


async def test_a_call_waits_for_room_that_open_holds_free_and_is_refused_when_they_do_not(tmp_path: Path):
    with open_store(tmp_path, budget("1")) as store:
        first, second = await store.reserve(hold("0.5")), await store.reserve(hold("0.5"))
        fits = asyncio.create_task(store.reserve(hold("0.4")))
        too_much = asyncio.create_task(store.reserve(hold("0.9")))
        await asyncio.sleep(0)
        assert not fits.done()
        await store.settle(first, bill=usd("0.1"))
        await fits
        await store.settle(second, bill=usd("0.5"))
        with pytest.raises(BudgetExceeded, match=r"but \$0\.40 of"):
            await too_much


async def test_who_waits_for_room_when_the_file_is_taken_away_is_told_so(tmp_path: Path):
    with open_store(tmp_path, budget("1")) as store:
        await store.reserve(hold("1"))
        waiting = asyncio.create_task(store.reserve(hold("0.4")))
        await asyncio.sleep(0)
        store.path.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreReplaced):
            await asyncio.wait_for(waiting, 20)


async def test_a_cancelled_wait_and_a_cancelled_reservation_leave_no_hold(tmp_path: Path):
    with open_store(tmp_path, budget("1")) as store:
        first = await store.reserve(hold("1"))
        waiting = asyncio.create_task(store.reserve(hold("0.5")))
        await asyncio.sleep(0)
        waiting.cancel()
        await store.settle(first, bill=usd("0"))
        for steps in range(6):
            task = asyncio.create_task(store.reserve(hold("0.5")))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        # It takes the whole budget, so it waits for the last of them.
        await store.reserve(hold("1"))
        assert len(store.open_holds()) == 1


async def test_a_free_call_is_held_and_counted_when_the_budget_is_gone(tmp_path: Path):
    with open_store(tmp_path, budget("1")) as store:
        await store.settle(await store.reserve(hold("1")), bill=usd("1"))
        await store.settle(await store.reserve(hold("0", deployment="ollama/local")), bill=usd("0"))
        assert len(store.entries()) == 2


# --- overruns and alerts ------------------------------------------------------------------------


async def test_a_bill_above_its_hold_stops_the_deployment_until_the_user_allows_it_again(tmp_path: Path):
    with open_store(tmp_path) as store:
        assert await store.settle(await store.reserve(hold("1")), bill=usd("1.5")) == usd("1.5")
        (entry,) = store.entries()
        assert (entry.excess, entry.flags) == (usd("0.5"), (Flag.OVERRUN,))
        await store.reserve(hold("0.1", deployment="vendor/other"))
    with open_store(tmp_path) as store:
        with pytest.raises(
            ModelUnavailable, match=r"vendor/model was stopped, its bill of \$1\.50 was above"
        ):
            await store.reserve(hold("0.1"))
        assert store.allow("vendor/model", reason="the price is right now")
        assert not store.allow("vendor/model", reason="again")
        await store.reserve(hold("0.1"))


async def test_a_bill_above_the_cap_closes_the_window(tmp_path: Path):
    with open_store(tmp_path, budget("1")) as store:
        await store.settle(await store.reserve(hold("0.9")), bill=usd("3"))
        assert await store.left() == {"day": usd("0")}
        with pytest.raises(BudgetExceeded):
            await store.reserve(hold("0.000000001", deployment="vendor/other"))


async def test_each_alert_is_told_once_per_window_and_a_block_ends_paid_calls(tmp_path: Path):
    told: list[RaisedAlert] = []
    clock = clock_at("2026-11-23T10:00:00Z")
    rules = budget("5", alerts=(("2.5", "log"), ("4", "warn"), ("4.8", "block")))
    with open_store(tmp_path, rules, clock, on_alert=told.append) as store:
        for _ in range(4):
            await store.settle(await store.reserve(hold("1")), bill=usd("1"))
        assert [raised.alert.threshold for raised in told] == [usd("2.5"), usd("4")]
        await store.settle(await store.reserve(hold("0.9")), bill=usd("0.9"))
        with pytest.raises(BudgetExceeded, match=r"the alert at \$4\.80 of the \$5\.00 day budget blocks"):
            await store.reserve(hold("0.01"))
        assert len(told) == 3
        clock.set("2026-11-24T00:00:00Z")
        await store.reserve(hold("2.5"))
        assert [raised.alert.threshold for raised in told[3:]] == [usd("2.5")]
        assert store.status().said == (usd("2.5"),)


# --- crashes ------------------------------------------------------------------------------------


async def test_the_hold_of_a_dead_process_stays_charged_until_it_is_reconciled(tmp_path: Path):
    store = open_store(tmp_path, holder=GONE)
    call, other = await store.reserve(hold("1")), await store.reserve(hold("2"))
    with open_store(tmp_path) as after:
        assert [entry.state for entry in after.open_holds()] == [HoldState.AMBIGUOUS] * 2
        assert await after.left() == {"day": usd("2")}
        assert after.reconcile(call, usd("0.25"), reason="the vendor's bill") == usd("0.25")
        assert after.reconcile(other, None, reason="cannot tell") == usd("2")
        assert await after.left() == {"day": usd("2.75")}
        with pytest.raises(HoldResolved):
            after.reconcile(call, usd("0"), reason="again")
        reconciled = after.entries()[0]
        assert (reconciled.reconciled, reconciled.reason) == (True, "the vendor's bill")
    store.close()


async def test_the_hold_of_a_running_call_cannot_be_reconciled(tmp_path: Path):
    with open_store(tmp_path) as store:
        call = await store.reserve(hold("1"))
        with pytest.raises(NotAmbiguous, match="still running"):
            store.reconcile(call, usd("0"), reason="impatient")


async def test_a_bill_that_arrives_after_its_hold_became_ambiguous_still_settles_it(tmp_path: Path):
    store = open_store(tmp_path, holder=GONE)
    call = await store.reserve(hold("1"))
    with open_store(tmp_path) as other:
        assert other.open_holds()[0].state is HoldState.AMBIGUOUS
        await store.settle(call, bill=usd("0.1"))
        assert await other.left() == {"day": usd("4.9")}
    store.close()


async def test_who_waits_for_the_hold_of_a_process_that_dies_is_refused(tmp_path: Path):
    living = True
    dying = open_store(tmp_path, budget("1"), holder=GONE)
    await dying.reserve(hold("1"))
    with open_store(tmp_path, budget("1"), alive=lambda holder: holder != GONE or living) as store:
        assert isinstance(await store.try_reserve(hold("0.5")), Wait)
        waiting = asyncio.create_task(store.reserve(hold("0.5")))
        await asyncio.sleep(0)
        living = False
        with pytest.raises(BudgetExceeded):
            await waiting
    dying.close()


@pytest.mark.skipif(not this_process().boot, reason="the system has no namespaces of process ids")
async def test_the_hold_of_another_container_becomes_ambiguous_after_an_hour_and_its_bill_still_counts(
    tmp_path: Path,
):
    boot = this_process().boot.partition(" ")[0]
    unseen = Holder(pid=1, started="1", boot=f"{boot} another-namespace")
    there = open_store(tmp_path, holder=unseen)
    call = await there.reserve(hold("1"))
    with open_store(tmp_path, clock=clock_at("2026-11-23T10:59:59Z")) as soon:
        assert soon.open_holds()[0].state is HoldState.OPEN
    with open_store(tmp_path, clock=clock_at("2026-11-23T11:00:01Z")) as later:
        assert later.open_holds()[0].state is HoldState.AMBIGUOUS
        assert await later.left() == {"day": usd("4")}
        await there.settle(call, bill=usd("0.1"))
        assert await later.left() == {"day": usd("4.9")}
    there.close()


async def test_closing_the_store_during_a_call_keeps_its_hold_charged(tmp_path: Path):
    with open_store(tmp_path) as store:
        await store.reserve(hold("1"))
    with open_store(tmp_path) as store:
        assert store.open_holds()[0].state is HoldState.AMBIGUOUS


def test_a_process_is_known_by_its_start_and_boot_so_that_a_reused_number_does_not_pass_for_it():
    me = this_process()
    assert me.pid == os.getpid()
    assert is_alive(me)
    assert is_alive(Holder(pid=os.getppid()))
    assert not is_alive(Holder(pid=4_194_305))
    if sys.platform == "linux":
        assert not is_alive(Holder(pid=me.pid, started=str(int(me.started) + 1), boot=me.boot))
        assert not is_alive(Holder(pid=me.pid, started=me.started, boot="another-boot 1"))
        assert is_alive(Holder(pid=4_000_000, started="1", boot=me.boot.split()[0] + " 1"))


async def test_a_store_that_was_closed_says_so(tmp_path: Path):
    store: Store = open_store(tmp_path)
    store.close()
    store.close()
    with pytest.raises(Exception, match="is closed"):
        await store.reserve(hold("1"))


@pytest.mark.slow
async def test_twenty_thousand_calls_of_almost_nothing_reach_the_cap_when_the_true_sum_does(tmp_path: Path):
    calls = 0
    with open_store(tmp_path, budget("0.0059999")) as store:

        async def call_until_refused() -> None:
            nonlocal calls
            while True:
                try:
                    call = await store.reserve(hold("0.0000003"))
                except BudgetExceeded:
                    return
                calls += 1
                await store.settle(call, bill=usd("0.0000003"))

        await asyncio.gather(*(call_until_refused() for _ in range(100)))
        assert calls == 19_999
        assert store.status().totals.spent == usd("0.0059997")
