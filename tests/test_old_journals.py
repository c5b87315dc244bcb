"""Journals of released versions: this version reads them and would go on where they stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.adapters.journal import Store
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import RunId, State
from orchestrator.core.events import RunResumed, RunStarted, Start
from orchestrator.core.money import Usd
from orchestrator.core.report import build_report
from orchestrator.wiring import SystemClock

FIXTURE = Path(__file__).parent / "fixtures" / "journal-0.1.0.sqlite3"
RUN = RunId("20261123-132910-e5dc")


def test_a_paused_run_of_0_1_0_is_read_and_goes_on_with_the_same_next_action(tmp_path: Path):
    copy = tmp_path / "orchestrator.sqlite3"
    shutil.copyfile(FIXTURE, copy)
    with Store.open(copy, clock=SystemClock(), rules=BudgetRules(max_budget=Usd.of(5))) as store:
        events = list(store.events(RUN))
        entries = store.entries(run=RUN)
    started = events[0]
    assert isinstance(started, RunStarted)
    dispatch = Dispatch.of(started)
    dispatch.replay(events[1:])
    states = {subtask: state.value for subtask, state in dispatch.states().items()}
    assert states["ruff-fix"] == "succeeded"
    assert set(states.values()) == {"succeeded", "waiting"}
    commands = dispatch.handle(RunResumed(budget=None)) + dispatch.begin()
    begun = {str(command.attempt) for command in commands if isinstance(command, Start)}
    assert begun
    assert all(name.partition("#")[0] != "ruff-fix" for name in begun)
    standings = {subtask: (state, "") for subtask, state in dispatch.states().items()}
    report = build_report(events, entries, standings)
    assert report.count(State.SUCCEEDED) == 1
