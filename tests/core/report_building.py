"""One run with everything a report must tell: an escalation, a rejection, a blocked subtask, a document, a pause."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.adapters.report_words import standing_words
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    AttemptId,
    CheckResult,
    Ended,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    Verdict,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    BaselineMeasured,
    Event,
    LandingRefused,
    Noted,
    RunPaused,
    RunStarted,
    SubtaskLanded,
)
from orchestrator.core.ledger import Entry, HoldState
from orchestrator.core.money import Usage, Usd, bill
from orchestrator.core.report import Report, build_report
from tests.core.report_plan import PRICES, a_plan, table

RUN = "20261123-100000-abcd"
SUITE = (
    "tests/test_cli.py::test_quote[rush, 10 %]",
    "tests/test_cli.py::test_quote[plain]",
    "tests/test_cli.py::test_help",
)

DOCUMENT = """# Review of the payment module

Three findings, the worst first.

1. `charge()` retries on every error, also on a declined card. See `billing/charge.py:88`.
2. Amounts are floats. A hundred payments of $0.10 add up to $9.99999999999998.
3. The refund path has no test at all.
"""


def outcome(
    ended: Ended,
    *,
    model: str | None,
    tokens: tuple[int, int] = (0, 0),
    seconds: float = 5.0,
    verdict: Verdict | None = None,
    **more: object,
) -> Outcome:
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    return Outcome(
        ended=ended,
        model=ModelAlias(model) if model else None,
        usage=usage,
        calls=1 if model else 0,
        bill=bill(PRICES[model], usage) if model else Usd(0),
        seconds=seconds,
        verdict=verdict,
        **more,  # type: ignore[arg-type]  # the names of Outcome's own fields
    )


def proved(said: str) -> Verdict:
    return Verdict(kind=VerdictKind.PROVED, evidence=(said,))


def refused(*said: str, output: str = "") -> Verdict:
    result = CheckResult(
        name="tests",
        command=("python", "-m", "pytest", "-q"),
        passed=False,
        exit_code=1,
        seconds=3.0,
        output=output,
    )
    return Verdict(kind=VerdictKind.REJECTED, checks=(result,), evidence=said)


BROKEN = f"7 tests ({', '.join(SUITE)} and 4 more) passed before and do not any more"
TRACE = (
    "FAILED tests/test_cli.py::test_help - TypeError: load() missing 1 required positional argument: 'path'\n"
)


NO_ROOM = "it may cost up to $0.071, but $0.058 of the $0.30 budget is left"


def attempts() -> list[tuple[str, str | None, Outcome, str | None]]:
    """Attempt, model, outcome, and the commit it landed as (empty for a document, None when it did not land)."""
    return [
        (
            "remove-unused-imports#1",
            None,
            outcome(Ended.PASSED, model=None, seconds=1.4, verdict=proved("ruff finds 2 things less")),
            "5bb02e11c9aa",
        ),
        (
            "fix-rounding#1",
            "cheap",
            outcome(
                Ended.PASSED,
                model="cheap",
                tokens=(1_912, 744),
                seconds=9.8,
                verdict=proved(
                    "test tests/test_rounding.py::test_half_cents failed without the change and passes with it"
                ),
            ),
            "a91e04d7c35f",
        ),
        (
            "add-refund-tests#1",
            "cheap",
            outcome(
                Ended.PASSED,
                model="cheap",
                tokens=(2_204, 1_310),
                seconds=12.1,
                verdict=Verdict(
                    kind=VerdictKind.UNBROKEN,
                    evidence=("tests passed; nothing shows that it does what was asked",),
                ),
            ),
            "cc10aa82f104",
        ),
        (
            "review-payments#1",
            "smart",
            outcome(
                Ended.PASSED,
                model="smart",
                tokens=(5_420, 1_377),
                seconds=21.0,
                verdict=Verdict(kind=VerdictKind.UNVERIFIED, evidence=("a text: nothing to check",)),
                document=DOCUMENT,
            ),
            "",
        ),
        (
            "improve-error-handling-of-the-statement#1",
            "cheap",
            outcome(
                Ended.REJECTED,
                model="cheap",
                tokens=(1_730, 812),
                seconds=8.0,
                verdict=refused(BROKEN, output=TRACE),
                reason=f"failed: tests; {BROKEN[:120]}…",
                kept_ref=f"refs/orchestrator/{RUN}/improve-error-handling-of-the-statement/1",
            ),
            None,
        ),
        (
            "improve-error-handling-of-the-statement#2",
            "smart",
            outcome(
                Ended.PASSED,
                model="smart",
                tokens=(2_450, 905),
                seconds=14.2,
                verdict=proved("3 tests failed without the change and pass with it"),
            ),
            "1d77f0c2ab90",
        ),
        *[
            (
                f"split-command-line#{number}",
                "smart",
                outcome(
                    Ended.REJECTED,
                    model="smart",
                    tokens=(6_800 + 700 * number, 2_950),
                    seconds=26.0,
                    verdict=refused(
                        "billing/cli.py does not parse: unexpected indent in line 214", output=TRACE
                    ),
                    reason="billing/cli.py does not parse: unexpected indent in line 214",
                    kept_ref=f"refs/orchestrator/{RUN}/split-command-line/{number}",
                ),
                None,
            )
            for number in (1, 2)
        ],
        (
            "speed-up-statement#1",
            "smart",
            Outcome(ended=Ended.NO_ROOM, reason=NO_ROOM, needs=Usd.of("0.071")),
            None,
        ),
    ]


PAUSED = RunPaused(
    waiting_for=WaitingFor.BUDGET,
    reason=f"speed-up-statement: {NO_ROOM}",
    at="2026-11-23T10:01:52.000000Z",
)


def a_run(plan: Plan | None = None, *, budget: str = "0.30", scripted: str = "") -> list[Event]:
    events: list[Event] = [
        RunStarted(
            run=RUN,
            plan=plan or a_plan(),
            repository="/home/somebody/billing",
            base_commit="0f3c9a17be24",
            branch=f"orchestrator/{RUN}",
            budget=Usd.of(budget),
            limits=Limits(parallel=2),
            ladder=(ModelAlias("cheap"), ModelAlias("smart")),
            tier_models={"cheap": ModelAlias("cheap"), "smart": ModelAlias("smart")},
            sandbox="bubblewrap",
            scripted=scripted,
            started_at="2026-11-23T10:00:00.000000Z",
            version="0.1.0",
        ),
        BaselineMeasured(passed=True, tests_passed=48, seconds=11.6),
    ]
    clock = 0.0
    for number, (name, model, ended, commit) in enumerate(attempts()):
        attempt = AttemptId.parse(name)
        begin = clock if number % 2 else max(0.0, clock - 6.0)
        clock = begin + ended.seconds
        alias = ModelAlias(model) if model else None
        events.append(AttemptStarted(attempt=attempt, model=alias, at=at(begin)))
        events.append(AttemptFinished(attempt=attempt, outcome=ended, at=at(clock)))
        if commit is not None:
            events.append(SubtaskLanded(attempt=attempt, commit=commit or None, at=at(clock)))
    events.append(Noted(code="dirty", text="2 uncommitted changes are not part of the run"))
    events.append(PAUSED)
    return events


def at(seconds: float) -> str:
    return f"2026-11-23T10:{int(seconds) // 60:02d}:{seconds % 60:09.6f}Z"


def not_landed(*, delivered_again: bool = False) -> list[Event]:
    """The beginning of a run in which the one attempt that was made passed, and then failed on the newer base."""
    events = a_run()
    attempt = AttemptId.parse("fix-rounding#1")
    mine = [event for event in events if getattr(event, "attempt", None) == attempt]
    made, ended = mine[0], mine[1]
    assert isinstance(made, AttemptStarted) and isinstance(ended, AttemptFinished)
    passed = replace(ended, outcome=replace(ended.outcome, commit="a91e04d7c35f11"))
    refused = LandingRefused(attempt=attempt, reason="it fails on the newer base", conflict=False)
    again = Noted(code="redelivered", text=f"{attempt} was cut off", subtask=attempt.subtask)
    return [*events[:2], made, *([again] if delivered_again else []), passed, refused]


def entries(events: list[Event]) -> list[Entry]:
    """What the ledger has of these attempts, and of the planning before them."""
    planning = Usage(input_tokens=4_120, output_tokens=1_480)
    found = [_entry(1, None, "smart", planning, "planning", "plan")]
    for event in events:
        if isinstance(event, AttemptFinished) and event.outcome.calls and event.outcome.model:
            found.append(
                _entry(
                    len(found) + 1,
                    str(event.attempt),
                    event.outcome.model,
                    event.outcome.usage,
                    "edit",
                    str(event.attempt),
                )
            )
    flagged = [replace(entry, flags=("the provider counted no cached tokens",)) for entry in found[2:3]]
    return [*found[:2], *flagged, *found[3:]]


def _entry(hold: int, attempt: str | None, model: str, usage: Usage, purpose: str, what: str) -> Entry:
    cost = bill(PRICES[model], usage)
    return Entry(
        hold=hold,
        at=at(hold),
        amount=cost.scaled(2),
        state=HoldState.SETTLED,
        model=model,
        deployment=f"vendor/{model}",
        purpose=purpose,
        what=what,
        run=RUN,
        attempt=attempt,
        charged=cost,
        bill=cost,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )


def report_of(events: list[Event], charges: list[Entry] | None = None, *, stopped: bool = False) -> Report:
    """The report as the program makes it: states by replaying the events, money from the ledger."""
    started = events[0]
    assert isinstance(started, RunStarted)
    dispatch = Dispatch.of(started, tier_models=started.tier_models or {})
    dispatch.replay(events[1:])
    standings = {
        name: (state, standing_words(dispatch, name, going=not stopped))
        for name, state in dispatch.states().items()
    }
    money = entries(events) if charges is None else charges
    return build_report(events, money, standings, table(), stopped=stopped)


def a_report(**more: object) -> Report:
    return report_of(a_run(**more))  # type: ignore[arg-type]
