"""Journals of released versions: this version reads them and would go on where they stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.adapters.journal import Store
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import RunId, State
from orchestrator.core.events import (
    Block,
    CancelAttempt,
    Event,
    Finish,
    Land,
    Pause,
    RunResumed,
    RunStarted,
    Start,
    from_record,
)
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


def every_kind_of_event() -> list[Event]:
    """A run with all that can happen to one. Played at random by the machine of 0.1.0, and never to be made again."""
    lines = (FIXTURE.parent / "journal-0.1.0-every-kind.jsonl").read_text(encoding="utf-8").splitlines()
    return [from_record(name, plain) for name, plain in map(json.loads, lines)]


def next_actions(events: Sequence[Event]) -> str:
    """What a resume does first when the journal ends here."""
    started = events[0]
    assert isinstance(started, RunStarted)
    dispatch = Dispatch.of(started)
    dispatch.replay(events[1:])
    commands = [*dispatch.outstanding(), *dispatch.handle(RunResumed()), *dispatch.begin()]
    said = []
    for command in commands:
        match command:
            case Start():
                said.append(f"start {command.attempt} on {command.model}")
            case Land() | CancelAttempt():
                said.append(f"{type(command).__name__} {command.attempt}")
            case Block():
                said.append(f"block {command.subtask} because of {command.because}")
            case Pause():
                said.append(f"pause for {command.waiting_for.value}")
            case Finish():
                said.append("finish, cancelled" if command.cancelled else "finish")
    return f"{type(events[-1]).__name__}: {'; '.join(said)}"


def test_at_each_state_of_a_run_of_0_1_0_the_next_action_is_the_same():
    events = every_kind_of_event()
    assert {type(event) for event in events} == set(Event.__args__)
    actions = [next_actions(events[: number + 1]) for number in range(len(events))]
    expected = Path(__file__).parent / "expected" / "next-actions-0.1.0.txt"
    assert actions == expected.read_text(encoding="utf-8").splitlines()
