from __future__ import annotations

import errno
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.adapters.report_words import spent_words, total_of
from orchestrator.cli.live import LiveView, duration
from orchestrator.cli.progress import Funds, JsonView, PlainView, summary
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import Ended, Limits, OrchestratorError, Outcome, State, SubtaskId, WaitingFor
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    LandingRefused,
    RunEnded,
    RunPaused,
    RunStarted,
    SkipRequested,
)
from orchestrator.core.money import Usd
from orchestrator.core.progress import Progress
from orchestrator.core.report_rows import add_up
from tests.core.report_building import entries as charged
from tests.core.report_building import report_of
from tests.core.report_cut_off import holds, interrupted_run
from tests.core.report_replanned import a_replanned_run
from tests.core.runs import (
    CHEAP_MODEL,
    SMART_MODEL,
    attempt,
    finished,
    landed,
    passed,
    plan,
    rejected,
    started,
    subtask,
)

STARTED = RunStarted(
    run="20261123-100000-abcd",
    plan=plan(
        subtask("parse", touches=("a.py",), seconds=30),
        subtask("lint", touches=("a.py",)),
        subtask("render", after="parse lint"),
        subtask("docs"),
    ),
    repository="/r",
    base_commit="c0",
    branch="orchestrator/20261123-100000-abcd",
    budget=Usd.of("0.50"),
    limits=Limits(attempts_per_rung=1),
    ladder=(CHEAP_MODEL, SMART_MODEL),
    tier_models={"cheap": CHEAP_MODEL, "smart": SMART_MODEL},
    scripted="scripted models: demo.yaml",
)
MIDDLE: list[Event] = [
    STARTED,
    AttemptStarted(attempt=attempt("parse#1"), model=CHEAP_MODEL),
    started("docs#1"),
    finished("docs#1", passed(bill=Usd.of("0.0021"), seconds=14.2)),
    finished("parse#1", rejected("2 tests fail", bill=Usd.of("0.001"), seconds=60.0)),
    landed("docs#1"),
    AttemptStarted(
        attempt=attempt("parse#2"), model=SMART_MODEL, reasons=("escalated from cheap: 2 tests fail",)
    ),
]
END: list[Event] = [
    finished("parse#2", passed(bill=Usd.of("0.0312"))),
    LandingRefused(attempt=attempt("parse#2"), reason="a.py moved", conflict=True),
    started("parse#3", SMART_MODEL),
    finished("parse#3", Outcome(ended=Ended.NO_ROOM, reason="needs $0.40")),
    RunPaused(waiting_for=WaitingFor.BUDGET, reason="parse: needs $0.40"),
]


def test_plain_lines_say_what_happened_and_what_comes_next():
    stream = io.StringIO()
    view = PlainView(stream)
    for event in MIDDLE + END:
        view(event)
    assert stream.getvalue().splitlines() == [
        "run 20261123-100000-abcd: 4 subtasks on orchestrator/20261123-100000-abcd, budget $0.50, "
        "scripted models: demo.yaml",
        "parse#1: started on cheap",
        "docs#1: started on cheap",
        "docs#1: passed, $0.0021, 14 s",
        "parse#1: rejected, $0.0010, 60 s: 2 tests fail; next on smart",
        "docs#1: landed as c1",
        "parse#2: started on smart (escalated from cheap: 2 tests fail)",
        "parse#2: passed, $0.032",
        "parse#2: not landed: a.py moved; next on smart",
        "parse#3: started on smart",
        "parse#3: no room: needs $0.40; waits for room in the budget",
        "paused: parse: needs $0.40",
    ]
    assert summary(view.progress) == "3 waiting, 1 succeeded; $0.035 spent"


def test_looking_at_the_machine_that_runs_says_the_same_as_replaying():
    alone, beside = Progress(), Progress(replays=False)
    machine = Dispatch.of(STARTED)
    for event in MIDDLE:
        alone.take_in(event)
        beside.take_in(event)
        machine.handle(event)
    beside.look_at(machine)
    for event in END:
        alone.take_in(event)
        machine.handle(event)
        beside.take_in(event)
    assert beside.rows() == alone.rows()
    assert (beside.spent, beside.counts(), beside.ended) == (alone.spent, alone.counts(), alone.ended)
    assert beside.budget == Usd.of("0.50")


def test_what_a_run_has_spent_is_what_its_report_says_where_the_ledger_is_asked():
    events, entries = a_replanned_run(), [*holds(), *charged(a_replanned_run())]
    report, stream = report_of(events, entries), io.StringIO()
    view = PlainView(stream)
    view.progress.ask_for_total(lambda: add_up(entry.counted for entry in entries))
    for event in events:
        view(event)
    counts = ", ".join(f"{report.count(state)} {state.value}" for state in State if report.count(state))
    total = total_of(report)
    assert stream.getvalue().splitlines()[-1] == f"done: {counts}; {total.rounded()} spent"
    assert spent_words(report).startswith(f"spent {total.rounded()} of")

    def fails() -> Usd:
        raise OrchestratorError("the journal is locked")

    billed = add_up(event.outcome.bill for event in events if isinstance(event, AttemptFinished))
    view.progress.ask_for_total(fails)
    assert view.progress.spent == billed != total


def test_nothing_runs_any_more_where_a_run_was_paused_amid_its_work():
    progress = Progress()
    for event in interrupted_run():
        progress.take_in(event)
    report = report_of(interrupted_run(), holds())
    assert progress.counts()[State.RUNNING] == 0
    said = {row.id: (row.state, row.said) for row in progress.rows()[0]}
    assert said[SubtaskId("fix-rounding")] == (State.WAITING, "cut off, delivered again by `resume`")
    assert dict(progress.counts()) == {state: n for state in State if (n := report.count(state))}


def test_foreign_text_cannot_act_on_the_terminal():
    stream = io.StringIO()
    view = PlainView(stream)
    view(STARTED)
    view(started("parse#1"))
    view(finished("parse#1", rejected("\x1b]0;owned\x07 fails\nnext line")))
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 3


def test_the_json_stream_is_the_journal_line_by_line():
    stream = io.StringIO()
    view = JsonView(stream)
    for event in MIDDLE:
        view(event)
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record["event"] for record in records][:3] == ["RunStarted", "AttemptStarted", "AttemptStarted"]
    assert records[1]["attempt"] == "parse#1"


class Gone(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_a_terminal_that_hung_up_ends_the_view_and_not_the_run():
    view = PlainView(Gone(OSError(errno.EIO, "I/O error")))
    for event in MIDDLE:
        view(event)
    assert view.progress.dispatch is not None


def test_a_closed_pipe_is_told_once():
    view = PlainView(Gone(BrokenPipeError()))
    with pytest.raises(BrokenPipeError):
        view(STARTED)
    view(MIDDLE[1])


def picture(events: list[Event], funds: Funds | None = None, size: tuple[int, int] = (150, 50)) -> str:
    console = Console(file=io.StringIO(), width=size[0], height=size[1], force_terminal=False)
    view = LiveView(funds=(lambda: funds) if funds else None, console=console)
    for event in events:
        view(event)
    with console.capture() as captured:
        console.print(view.picture())
    return captured.get()


def test_the_live_view_shows_the_tree_with_states_reasons_money_and_time():
    funds = Funds(spent=Usd.of("0.0031"), held=Usd.of("0.04"), left=Usd.of("0.4569"))
    lines = [line.rstrip() for line in picture(MIDDLE, funds).splitlines()]
    assert lines == [
        "run 20261123-100000-abcd  a goal  scripted models: demo.yaml",
        "▶ parse [cheap] running on smart, attempt 2, $0.0010",
        "└── · render [cheap] waiting for dependencies: parse, lint (also after lint)",
        "· lint [cheap] waiting for a file: a.py is being changed by parse",
        "✓ docs [cheap] succeeded c1, $0.0021",
        "2 waiting  1 running  1 succeeded  $0.0031 spent, $0.04 held, $0.45 left  about 74 s left",
    ]
    assert "paused: parse: needs $0.40" in picture(MIDDLE + END)


@pytest.mark.parametrize("size", [(150, 50), (80, 24)])
def test_of_a_large_plan_what_moves_is_shown_and_the_rest_counted_on_one_screen(size: tuple[int, int]):
    large = plan(*[subtask(f"s{number}") for number in range(200)])
    funds = Funds(spent=Usd.of("0.0031"), held=Usd.of("0.04"), left=Usd.of("0.4569"))
    events = [replace(STARTED, plan=large), started("s150#1"), SkipRequested(subtask=SubtaskId("s9"))]
    lines = picture(events, funds, size).splitlines()
    assert any("s150 [cheap] running" in line for line in lines)
    shown = sum("[cheap]" in line for line in lines)
    assert f"... and {200 - shown} more" in lines
    assert shown >= 15
    assert len(lines) < size[1]
    assert "$0.45 left" in " ".join(lines)


def test_durations_read_like_speech():
    assert [duration(seconds) for seconds in (12.4, 119.6, 3000, 12000)] == [
        "12 s",
        "2 min",
        "50 min",
        "3 h 20 min",
    ]


def test_the_time_that_is_left_counts_landings_where_they_are_what_it_takes():
    progress = Progress()
    wide = plan(*[subtask(f"s{number}", seconds=1) for number in range(20)])
    progress.take_in(replace(STARTED, plan=wide))
    for number in range(12):
        for event in (started(f"s{number}#1"), finished(f"s{number}#1", passed(seconds=1.0))):
            progress.take_in(event)
        progress.take_in(
            replace(landed(f"s{number}#1"), at=f"2026-11-23T10:0{number // 6}:{number % 6}0.500000Z")
        )
    assert progress.seconds_left() == pytest.approx(8 * 10.0)


def test_progress_before_the_first_event_is_empty():
    progress = Progress()
    progress.take_in(RunEnded())
    assert (progress.rows(), progress.seconds_left(), dict(progress.counts())) == (([], 0), None, {})
