"""The ledger against an independent model of its rules: a plain list of what happened, summed anew each time."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.adapters.calendar import seconds_of
from orchestrator.adapters.holder import Holder
from orchestrator.adapters.journal import Store
from orchestrator.core.domain import RunId
from orchestrator.core.ledger import HoldResolved, Wait
from orchestrator.core.money import Usd
from orchestrator.core.ports import BudgetExceeded, HoldRequest, ModelUnavailable
from tests.adapters.store_building import CHEAP, HandClock, budget

CAP, RUN_CAP = 100, 60
DAY = 86_400


@dataclass
class Call:
    """One reservation as the model remembers it; amounts in nano-dollars."""

    hold: int
    at: int
    amount: int
    run: str | None
    vendor: str
    store: Store | None
    charged: int | None = None
    lost: bool = False

    @property
    def open(self) -> bool:
        return self.charged is None

    def counts(self, *, freeable: bool) -> int:
        if self.charged is not None:
            return self.charged
        return self.amount if self.lost or freeable else 0


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock(seconds_of("2026-11-23T10:00:00Z"))
        self.calls: list[Call] = []
        self.stores: list[Store] = []
        self.dead: set[Holder] = set()
        self.stopped: set[str] = set()
        self.processes = 0
        self.overspent = False

    @initialize(duration=st.sampled_from(["1d", "7d"]))
    def begin(self, duration: str) -> None:
        self.duration = duration
        self.start_process()

    # --- the model's own idea of the rules ---

    def committed(self, run: str | None = None, *, freeable: bool = True) -> int:
        if run is not None:
            return sum(call.counts(freeable=freeable) for call in self.calls if call.run == run)
        now = int(self.clock.seconds)
        since = now - now % DAY if self.duration == "1d" else (now - 7 * DAY) // 900 * 900
        return sum(call.counts(freeable=freeable) for call in self.calls if call.at // 900 * 900 >= since)

    def fits(self, amount: int, run: str | None, *, freeable: bool) -> bool:
        day = self.committed(freeable=freeable) + amount <= CAP
        return amount == 0 or (
            day and (run is None or self.committed(run, freeable=freeable) + amount <= RUN_CAP)
        )

    # --- what may happen ---

    @precondition(lambda self: len(self.stores) < 3)
    @rule()
    def start_process(self) -> None:
        self.processes += 1
        store = Store.open(
            self.directory / "orchestrator.sqlite3",
            clock=self.clock,
            rules=budget("0.0000001", self.duration),
            holder=Holder(pid=self.processes),
            alive=lambda holder: holder not in self.dead,
        )
        self.stores.append(store)
        for call in self.calls:
            # Opening is when the holds of the dead are found.
            call.lost = call.lost or (call.open and call.store is None)

    @rule(
        wanted=st.lists(
            st.tuples(st.integers(0, 40), st.sampled_from([None, "r1", "r2"]), st.sampled_from("aaab")),
            min_size=1,
            max_size=4,
        ),
        which=st.integers(0, 9),
    )
    def reserve(self, wanted: list[tuple[int, str | None, str]], which: int) -> None:
        """Several at once: they may share a transaction, and are still decided one after the other."""
        store = self.stores[which % len(self.stores)]

        async def all_at_once() -> list[int | Wait | BaseException]:
            return await asyncio.gather(
                *(store.try_reserve(self.request(*each)) for each in wanted), return_exceptions=True
            )

        answers = self.loop.run_until_complete(all_at_once())
        for (amount, run, vendor), answer in zip(wanted, answers, strict=True):
            if vendor in self.stopped:
                assert isinstance(answer, ModelUnavailable)
            elif self.fits(amount, run, freeable=True):
                assert isinstance(answer, int)
                self.calls.append(Call(answer, int(self.clock.seconds), amount, run, vendor, store))
            elif self.fits(amount, run, freeable=False):
                assert isinstance(answer, Wait)
            else:
                assert isinstance(answer, BudgetExceeded)

    @staticmethod
    def request(amount: int, run: str | None, vendor: str) -> HoldRequest:
        return HoldRequest(
            amount=Usd(amount),
            model=CHEAP,
            deployment=vendor,
            purpose="attempt",
            what="a call",
            run=RunId(run) if run else None,
            run_cap=Usd(RUN_CAP) if run else None,
        )

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 30), bill=st.sampled_from([None, -1, 0, 3, "above"]))
    def settle(self, which: int, bill: int | str | None) -> None:
        call = self.calls[which % len(self.calls)]
        store = call.store or self.stores[0]
        amount = call.amount + 7 if bill == "above" else bill
        action = store.settle(call.hold, bill=None if amount is None else Usd(int(amount)))
        if not call.open:
            with pytest.raises(HoldResolved):
                self.loop.run_until_complete(action)
            return
        expected = call.amount if amount is None or int(amount) < 0 else int(amount)
        assert self.loop.run_until_complete(action) == Usd(expected)
        call.charged = expected
        if expected > call.amount:
            self.stopped.add(call.vendor)
            self.overspent = True

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 30))
    def release(self, which: int) -> None:
        call = self.calls[which % len(self.calls)]
        action = (call.store or self.stores[0]).release(call.hold, reason="429")
        if not call.open:
            with pytest.raises(HoldResolved):
                self.loop.run_until_complete(action)
            return
        self.loop.run_until_complete(action)
        call.charged = 0

    @precondition(lambda self: len(self.stores) > 1)
    @rule(which=st.integers(0, 9), politely=st.booleans())
    def end_process(self, which: int, politely: bool) -> None:
        store = self.stores.pop(which % len(self.stores))
        if not politely:
            self.dead.add(store._me)
            store._reserved = False
        store.close()
        for call in self.calls:
            if call.store is store:
                call.store = None
                call.lost = call.lost or (politely and call.open)

    @rule(which=st.integers(0, 30), bill=st.one_of(st.none(), st.integers(0, 80)))
    def reconcile(self, which: int, bill: int | None) -> None:
        lost = [call for call in self.calls if call.open and call.lost]
        if not lost:
            return
        call = lost[which % len(lost)]
        self.stores[0].reconcile(call.hold, None if bill is None else Usd(bill), reason="the vendor's bill")
        call.charged = call.amount if bill is None else bill
        if call.charged > call.amount:
            self.stopped.add(call.vendor)
            self.overspent = True

    @rule(vendor=st.sampled_from(["a", "b", "c"]))
    def allow(self, vendor: str) -> None:
        assert self.stores[0].allow(vendor, reason="checked") is (vendor in self.stopped)
        self.stopped.discard(vendor)

    @rule(seconds=st.sampled_from([600, 3600, DAY, 7 * DAY, 40 * DAY, -1, -7200, -DAY, -30 * DAY]))
    def move_the_clock(self, seconds: int) -> None:
        before = self.committed()
        self.clock.seconds += seconds
        assert seconds > 0 or self.committed() >= before

    # --- what must hold ---

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        if not self.stores:
            return
        store = self.stores[-1]
        left = self.loop.run_until_complete(store.left(run=RunId("r1"), run_cap=Usd(RUN_CAP)))
        assert left == {
            "day": Usd(max(0, CAP - self.committed())),
            "run": Usd(max(0, RUN_CAP - self.committed("r1"))),
        }
        entries = {entry.hold: entry for entry in store.entries()}
        assert set(entries) == {call.hold for call in self.calls}
        for call in self.calls:
            charged = entries[call.hold].charged
            assert (charged.nano if charged is not None else None) == call.charged

    @invariant()
    def nothing_is_promised_above_the_cap_unless_a_bill_was_above_its_hold(self) -> None:
        if not self.overspent:
            days = {call.at // DAY for call in self.calls}
            for day in days if self.duration == "1d" else ():
                same = [call for call in self.calls if call.at // DAY == day]
                assert sum(call.counts(freeable=True) for call in same) <= CAP

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.loop.close()
        shutil.rmtree(self.directory)


TestLedgerAgainstItsModel = LedgerMachine.TestCase
TestLedgerAgainstItsModel.settings = hypothesis.settings(max_examples=60, stateful_step_count=30)


@pytest.mark.slow
class TestLedgerAgainstItsModelAtLength(LedgerMachine.TestCase):
    settings = hypothesis.settings(max_examples=300, stateful_step_count=60)
