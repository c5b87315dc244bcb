from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.engine import LocalEngine, StuckAttempts
from orchestrator.adapters.outcomes import OutcomeFiles, OutcomeUnreadable, read_outcome, write_outcome
from orchestrator.core.domain import AttemptId, Ended, Outcome, RunId
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import Assignment, AttemptEnded, AttemptState
from tests.core.runs import attempt, passed, rejected

RUN = RunId("20261123-100000-abcd")


def assignment(name: str) -> Assignment:
    return Assignment(run=RUN, attempt=attempt(name), route=None)


async def first_batch(engine: LocalEngine) -> tuple[AttemptEnded, ...]:
    async for batch in engine.events():
        return batch
    return ()


async def test_an_attempt_that_is_submitted_twice_runs_once(tmp_path: Path):
    ran: list[AttemptId] = []

    async def execute(assignment: Assignment) -> Outcome:
        ran.append(assignment.attempt)
        return passed()

    engine = LocalEngine(execute, OutcomeFiles(tmp_path, RUN))
    await engine.submit([assignment("parse#1")])
    await engine.submit([assignment("parse#1"), assignment("docs#1")])
    assert [ended.attempt for ended in await first_batch(engine)] == [attempt("parse#1"), attempt("docs#1")]
    assert ran == [attempt("parse#1"), attempt("docs#1")]
    await engine.close()


async def test_a_cancelled_attempt_is_reported_even_before_its_first_step(tmp_path: Path):
    async def execute(assignment: Assignment) -> Outcome:
        raise AssertionError("it never runs")

    engine = LocalEngine(execute, OutcomeFiles(tmp_path, RUN))
    await engine.submit([assignment("parse#1")])
    await engine.cancel(attempt("parse#1"))
    (ended,) = await first_batch(engine)
    assert ended.outcome.ended is Ended.CANCELLED
    await engine.cancel(attempt("parse#1"))
    await engine.close()


async def test_what_is_cut_off_by_closing_is_not_reported_and_unknown_afterwards(tmp_path: Path):
    outcomes = OutcomeFiles(tmp_path, RUN)
    entered = asyncio.Event()

    async def execute(assignment: Assignment) -> Outcome:
        entered.set()
        await asyncio.Event().wait()
        return passed()

    engine = LocalEngine(execute, outcomes)
    await engine.submit([assignment("parse#1")])
    await entered.wait()
    assert await engine.known(attempt("parse#1")) == (AttemptState.RUNNING, None)
    await engine.close()
    assert await first_batch(engine) == ()
    again = LocalEngine(execute, outcomes)
    assert await again.known(attempt("parse#1")) == (AttemptState.UNKNOWN, None)
    outcomes.write(attempt("parse#1"), passed())
    assert await again.known(attempt("parse#1")) == (AttemptState.FINISHED, passed())


async def test_an_attempt_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.adapters.engine.CLOSE_SECONDS", 0.01)
    stuck, release = asyncio.Event(), asyncio.Event()

    async def execute(assignment: Assignment) -> Outcome:
        stuck.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return passed()

    engine = LocalEngine(execute, OutcomeFiles(tmp_path, RUN))
    await engine.submit([assignment("parse#1")])
    await stuck.wait()
    await engine.close()
    with pytest.raises(StuckAttempts, match="parse#1"):
        await first_batch(engine)
    release.set()
    await asyncio.sleep(0)


# --- outcomes ------------------------------------------------------------------------------------


def test_an_outcome_reads_back_as_it_was_written(tmp_path: Path):
    outcome = rejected(
        "two\nlines \x1b[31m", bill=Usd(12345), usage=Usage(input_tokens=3, output_tokens=4), seconds=1.5
    )
    assert read_outcome(tmp_path / "parse.1") is None
    write_outcome(tmp_path / "parse.1", outcome)
    write_outcome(tmp_path / "parse.1", outcome)
    assert read_outcome(tmp_path / "parse.1") == outcome
    assert [path.name for path in (tmp_path / "parse.1").iterdir()] == ["outcome.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": "other"}', '{"schema": "orchestrator-outcome", "version": 9}', "[" * 100_000],
)
def test_a_file_that_is_no_outcome_is_an_error_and_not_another_payment(tmp_path: Path, text: str):
    (tmp_path / "outcome.json").write_text(text)
    with pytest.raises(OutcomeUnreadable, match=r"outcome.json is not a readable outcome .*: move it away"):
        read_outcome(tmp_path)


WRITES = """
import sys
from pathlib import Path
from orchestrator.adapters.outcomes import write_outcome
from orchestrator.core.domain import Ended, Outcome
print("ready", flush=True)
while True:
    write_outcome(Path(sys.argv[1]), Outcome(ended=Ended.PASSED, reason="x" * 100_000))
"""


def test_a_writer_that_is_killed_leaves_a_whole_outcome_or_none(tmp_path: Path):
    for pause in (0, 1, 2):
        place = tmp_path / str(pause)
        command = [sys.executable, "-c", WRITES, str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while pause and not (place / "outcome.json").exists():
                pass
            os.kill(writer.pid, signal.SIGKILL)
        found = read_outcome(place)
        assert found is None or len(found.reason) == 100_000
