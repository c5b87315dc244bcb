"""The plan of the run that reports tell of, its forecast, and the prices of its two models."""

from __future__ import annotations

from orchestrator.core.catalogue import Catalogue, Deployment, RoutingTable
from orchestrator.core.domain import (
    CHEAP,
    SMART,
    Check,
    CheckKind,
    DecidedBy,
    Deliverable,
    Estimate,
    Evidence,
    ExecutorName,
    ModelAlias,
    Plan,
    Provenance,
    Question,
    Range,
    Subtask,
    SubtaskId,
    SuiteTime,
    Tag,
)
from orchestrator.core.forecast import Forecast, forecast
from orchestrator.core.money import Price, Rates, Usd

PRICES = {
    "cheap": Price(base=Rates(input=Usd.of("0.30"), output=Usd.of("2.50"))),
    "smart": Price(base=Rates(input=Usd.of("3"), output=Usd.of("15"))),
}


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
