"""One run with everything a report must tell: an escalation, a rejection, a blocked subtask, a document, a pause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.catalogue import Catalogue, Deployment, RoutingTable
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    CHEAP,
    SMART,
    AttemptId,
    Check,
    CheckKind,
    CheckResult,
    DecidedBy,
    Deliverable,
    Ended,
    Estimate,
    Evidence,
    ExecutorName,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    Provenance,
    Question,
    Range,
    Subtask,
    SubtaskId,
    SuiteTime,
    Tag,
    Verdict,
    VerdictKind,
    WaitingFor,
)
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    BaselineMeasured,
    Event,
    Noted,
    RunPaused,
    RunStarted,
    SubtaskLanded,
)
from orchestrator.core.forecast import Forecast, forecast
from orchestrator.core.ledger import Entry, HoldState
from orchestrator.core.money import Price, Rates, Usage, Usd, bill
from orchestrator.core.report import Report, build_report

RUN = "20261123-100000-abcd"
PRICES = {
    "cheap": Price(base=Rates(input=Usd.of("0.30"), output=Usd.of("2.50"))),
    "smart": Price(base=Rates(input=Usd.of("3"), output=Usd.of("15"))),
}
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


def table() -> RoutingTable:
    pools = {
        ModelAlias(alias): (
            Deployment(alias=ModelAlias(alias), model=f"vendor/{alias}", price=price, price_source="test"),
        )
        for alias, price in PRICES.items()
    }
    return RoutingTable(
        catalogue=Catalogue(pools=pools),
        tier_models={"cheap": ModelAlias("cheap"), "smart": ModelAlias("smart")},
        ladder=(ModelAlias("cheap"), ModelAlias("smart")),
    )


def subtask(
    name: str,
    title: str,
    rule: str,
    *,
    after: str = "",
    tokens: tuple[int, int] = (1_800, 700),
    touches: tuple[str, ...] | None = None,
    evidence: tuple[Evidence, ...] = (),
    **more: object,
) -> Subtask:
    tier = SMART if rule.startswith("smart") else CHEAP
    sent, written = tokens
    return Subtask(
        id=SubtaskId(name),
        title=title,
        instructions=f"{title}. Keep the public interface as it is, and change nothing beside it.",
        category=rule,
        tag=Tag(
            tier=tier,
            rule=rule,
            evidence=(title.split()[0].lower(),),
            decided_by=DecidedBy.PLANNER,
            reason=f"{rule.partition('/')[2].replace('-', ' ')} is a {tier} rule",
        ),
        estimate=Estimate(
            input_tokens=Range(sent // 2, sent, 2 * sent),
            output_tokens=Range(written // 2, written, 2 * written),
            seconds=Range(8, 20, 60),
        ),
        depends_on=tuple(SubtaskId(other) for other in after.split()),
        touches=touches,
        evidence=evidence,
        **more,  # type: ignore[arg-type]  # the names of Subtask's own fields
    )


def fact(path: str, line: int, said: str) -> Evidence:
    return Evidence(path=path, line=line, fact=said)


def a_plan() -> Plan:
    tests = (Check(kind=CheckKind.TESTS, targets=("tests/test_rounding.py",)),)
    return Plan(
        goal="Improve the billing service: correct amounts, tests for refunds, a faster statement",
        subtasks=(
            subtask(
                "fix-rounding",
                "Fix the rounding of discounted amounts",
                "cheap/bug-fixes",
                touches=("billing/amounts.py", "tests/test_rounding.py"),
                checks=tests,
                evidence=(
                    fact("billing/amounts.py", 31, "`round(total * rate, 2)` rounds half to even"),
                    fact("billing/amounts.py", 58, "Comparison to `None` should be `cond is None` (E711)"),
                ),
            ),
            subtask(
                "remove-unused-imports",
                "Remove the unused imports of the statement",
                "cheap/code-formatting",
                touches=("billing/statement.py",),
                executor=ExecutorName.TOOL,
                tool="ruff-fix",
                checks=(Check(kind=CheckKind.LINT, targets=("billing/statement.py",)),),
                evidence=(fact("billing/statement.py", 4, "`os` imported but unused (F401)"),),
            ),
            subtask(
                "add-refund-tests",
                "Add unit tests for refunds",
                "cheap/unit-tests",
                touches=("tests/test_refunds.py",),
                tokens=(2_100, 1_100),
                evidence=(fact("billing/refunds.py", 0, "no test imports this module"),),
            ),
            subtask(
                "review-payments",
                "Review the payment module for security",
                "smart/security-reviews",
                deliverable=Deliverable.DOCUMENT,
                tokens=(5_200, 1_400),
                touches=(),
            ),
            subtask(
                "improve-error-handling-of-the-statement",
                "Report a damaged statement file instead of treating it as an empty one",
                "cheap/error-handling",
                after="remove-unused-imports",
                touches=("billing/statement.py", "tests/test_statement.py"),
            ),
            subtask(
                "speed-up-statement",
                "Optimize the monthly statement of large customers",
                "smart/performance-analysis",
                after="improve-error-handling-of-the-statement",
                tokens=(3_900, 1_300),
                touches=("billing/statement.py",),
                notes=("measured by the command `bench-statement`",),
            ),
            subtask(
                "split-command-line",
                "Refactor the command line into one function per command",
                "smart/architecture-design",
                after="fix-rounding add-refund-tests improve-error-handling-of-the-statement",
                tokens=(6_400, 2_600),
                touches=("billing/cli.py",),
            ),
            subtask(
                "document-commands",
                "Add docstrings to the commands",
                "cheap/adding-comments-docstrings",
                after="split-command-line",
            ),
        ),
        made_from=Provenance(planner="model", commit="0f3c9a17be24", model="vendor/smart"),
        questions=(
            Question(
                id="rounding",
                text="Which rounding do the invoices promise?",
                options=("half up", "half to even"),
                default="half up",
            ),
        ),
        notes=("2 findings are too light for a subtask: `orchestrator survey` lists them",),
    )


def a_forecast(plan: Plan | None = None) -> Forecast:
    return forecast(
        plan or a_plan(), table(), suite=SuiteTime(seconds=12.0, basis="measured before an earlier run here")
    )


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
    flagged = replace(found[2], flags=("the provider counted no cached tokens",))
    return [*found[:2], flagged, *found[3:]]


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


def report_of(events: list[Event], charges: list[Entry] | None = None) -> Report:
    """The report as the program makes it: states by replaying the events, money from the ledger."""
    started = events[0]
    assert isinstance(started, RunStarted)
    dispatch = Dispatch.of(started, tier_models=started.tier_models or {})
    dispatch.replay(events[1:])
    standings = {name: (state, dispatch.detail(name)) for name, state in dispatch.states().items()}
    return build_report(events, entries(events) if charges is None else charges, standings, table())


def a_report(**more: object) -> Report:
    return report_of(a_run(**more))  # type: ignore[arg-type]


def titles(plan: Plan) -> Mapping[str, str]:
    return {subtask.id: subtask.title for subtask in plan.subtasks}
