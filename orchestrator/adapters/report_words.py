"""The sentences every form of a report says: the same facts in the same words on a terminal, a page and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.core.domain import Ended, Provenance, SubtaskId, WaitingFor
from orchestrator.core.money import Usd
from orchestrator.core.report import Report
from orchestrator.core.report_rows import AttemptRow, SubtaskRow
from orchestrator.core.text import short_lists

if TYPE_CHECKING:
    from orchestrator.core.dispatch import Dispatch
    from orchestrator.core.forecast import Dollars


def scripted_words(scripted: str) -> str:
    """What must be said of models played from a script; empty for real ones."""
    return f"{scripted}, at real prices; nothing was paid" if scripted else ""


def total_of(report: Report) -> Usd:
    """What the run has taken from the budget: charged for good, and held."""
    return report.spent + report.held


def spent_words(report: Report) -> str:
    """`spent $0.071 of $0.50; $0.018 of it for planning`."""
    budget = f" of {report.budget}" if report.budget is not None else ""
    amount = f"{total_of(report).rounded()}{budget}"
    parts = [f"{amount}, at real prices" if report.started.scripted else f"spent {amount}"]
    if report.planning:
        parts.append(f"{report.planning.rounded()} of it for planning")
    if report.held:
        parts.append(f"{report.held.rounded()} of it still held")
    return "; ".join(parts)


def compared_words(report: Report) -> str:
    """What the subtasks cost and would have cost on one model; empty where there is nothing to compare."""
    others = [other for other in report.counterfactuals if other.bill]
    if not others:
        return ""
    own = total_of(report) - report.planning
    costs = [f"{other.name} would have cost {other.bill.rounded()}" for other in others[:1]]
    costs += [f"{other.name} {other.bill.rounded()}" for other in others[1:]]
    return f"the subtasks cost {own.rounded()}; with the same tokens {', '.join(costs)}"


COMPARED_CAVEAT = "each subtask's last attempt at those prices; it might not have passed there"


_MOST_FILES = 12


def shown_words(report: Report) -> list[str]:
    """Which files went to which model, a line for each: `shown to cheap: app.py, tests/test_app.py`.

    Where that is not known, who was called for which subtask.
    """
    files: dict[str, dict[str, None]] = {}
    unknown: dict[tuple[str, str], dict[SubtaskId, None]] = {}
    for row in report.subtasks:
        for attempt in row.attempts:
            if attempt.model and attempt.outcome is not None and attempt.outcome.files_sent:
                files.setdefault(attempt.model, {}).update(dict.fromkeys(attempt.outcome.files_sent))
            if attempt.sent_unknown:
                who = f"{attempt.model} ({', '.join(attempt.called)})" if attempt.called else attempt.model
                why = "cut off" if was_cut_off(attempt) else ended_words(attempt)
                unknown.setdefault((who or "a model", why), {})[row.subtask.id] = None
    known = [
        f"shown to {model}: {', '.join(sorted(paths)[:_MOST_FILES])}"
        + (f" and {len(paths) - _MOST_FILES} more, see `show --json`" if len(paths) > _MOST_FILES else "")
        for model, paths in sorted(files.items())
    ]
    return known + [
        f"shown to {who} for {_first(tuple(subtasks))}: files not recorded: {why}"
        for (who, why), subtasks in sorted(unknown.items())
    ]


def _first(names: Sequence[str]) -> str:
    more = len(names) - _MOST_FILES
    return ", ".join(names[:_MOST_FILES]) + (f" and {more} more" if more > 0 else "")


def tried_words(row: SubtaskRow) -> str:
    """The models in the order they were tried: `cheap x2 > smart`. An attempt that called none tried none."""
    runs: list[tuple[str, int]] = []
    for attempt in (attempt for attempt in row.attempts if attempt.ran):
        name = attempt.model or row.subtask.tool or row.subtask.executor.value
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return " > ".join(name if count == 1 else f"{name} x{count}" for name, count in runs)


NOT_IN_THE_NEW_PLAN = "not in the new plan"


def row_words(row: SubtaskRow) -> str:
    """Why a subtask waits or ended without success, and whether the plan in force has it; empty for nothing to say."""
    if not row.superseded or row.standing == NOT_IN_THE_NEW_PLAN:
        return row.standing
    return "; ".join(part for part in (row.standing, NOT_IN_THE_NEW_PLAN) if part)


def was_rejected(attempt: AttemptRow) -> bool:
    """Whether the attempt's work did not land: rejected, failed, or refused by the run branch."""
    return bool(attempt.refused) or (
        attempt.outcome is not None and attempt.outcome.ended in (Ended.REJECTED, Ended.ERROR)
    )


def was_cut_off(attempt: AttemptRow) -> bool:
    """Whether a delivery of the attempt was stopped amid its work: killed, interrupted or cancelled."""
    outcome = attempt.outcome
    return (
        attempt.cut_off
        or attempt.delivered_again
        or (outcome is not None and outcome.ended is Ended.CANCELLED)
    )


def ended_words(attempt: AttemptRow) -> str:
    """How an attempt ended, in a word or two."""
    outcome = attempt.outcome
    if outcome is None:
        return "cut off" if attempt.cut_off else "under way"
    if attempt.refused:
        return "not landed"
    ended = outcome.ended.value.replace("_", " ")
    if outcome.ended is Ended.PASSED and outcome.verdict is not None and outcome.document is None:
        return f"{ended} ({outcome.verdict.kind.value})"
    return ended


def why_words(attempt: AttemptRow) -> str:
    """Why an attempt ended as it did, with long lists of tests cut to the first."""
    outcome = attempt.outcome
    if attempt.refused or outcome is None:
        return short_lists(attempt.refused)
    evidence = outcome.verdict.evidence if outcome.verdict else ()
    if outcome.ended is Ended.REJECTED and evidence:
        # The reason is made from the same sentences, and may have been cut.
        return short_lists("; ".join(evidence))
    return short_lists(outcome.reason or "; ".join(evidence))


def kept_words(attempt: AttemptRow) -> str:
    """What git knows the work by that did not land: its ref, or its commit alone; empty when nothing was kept."""
    if attempt.kept_ref:
        return attempt.kept_ref
    outcome = attempt.outcome
    return f"commit {outcome.commit[:12]}" if attempt.refused and outcome and outcome.commit else ""


def standing_words(dispatch: Dispatch, subtask: SubtaskId, *, going: bool = True) -> str:
    """Why a subtask waits or ended without success, in a clause; empty when there is nothing to say.

    `going`: somebody works on the run.
    """
    detail = dispatch.detail(subtask)
    waiting = None if detail else dispatch.waiting(subtask)
    if waiting is None:
        return detail
    match waiting.what:
        case WaitingFor.DEPENDENCIES:
            return f"waits for {waiting.detail}"
        case WaitingFor.LANDING:
            going = going and not dispatch.paused
            return f"passed its checks, and is {'being landed' if going else 'landed by `resume`'}"
        case WaitingFor.USER if waiting.detail == dispatch.paused:
            # The run says it once, for all of them.
            return "waits until the run goes on"
        case WaitingFor.SLOT if not waiting.detail and dispatch.board.ready.free_slots > 0:
            # Nothing is in its way: the run was cut off, or has this moment to say that it started.
            return "ready to start"
        case WaitingFor.USER | WaitingFor.BUDGET:
            return waiting.detail
    return f"waits for {waiting.what.value}" + (f": {waiting.detail}" if waiting.detail else "")


def next_steps(report: Report) -> list[tuple[str, str]]:
    """What the user can do now, each with the command that does it."""
    run = report.started.run
    steps = []
    if report.standing in ("paused", "stopped"):
        more = " --budget USD" if report.waiting_for is WaitingFor.BUDGET else ""
        steps.append(("go on", f"orchestrator resume {run}{more}"))
    if report.standing == "running":
        steps.append(("watch it", f"orchestrator show {run} --follow"))
    failed = [row.subtask.id for row in report.subtasks if row.state.value == "failed" and not row.superseded]
    if failed and report.standing != "running":
        steps.append(("try a failed one again", f"orchestrator retry {failed[0]} --run {run}"))
    if any(row.commit for row in report.subtasks):
        steps.append(("take the commits", f"orchestrator accept {run}"))
    return steps


def used_words(dollars: Dollars | None, budget: Usd) -> str:
    """`: 4 % of it likely used, 11 % at the high end`, to go on from the budget; empty where a price is unknown."""
    if dollars is None or not budget:
        return ""
    likely, high = (
        "less than 1 %" if amount * 100 < budget else f"{100 * amount.nano / budget.nano:.0f} %"
        for amount in (dollars.likely, dollars.high)
    )
    return f": {likely} of it likely used, {high} at the high end"


def made_words(made_from: Provenance) -> str:
    """`made by the model planner (vendor/model)`, `imported from a task list (agent-os)`."""
    if made_from.imported_from is not None:
        return f"imported from a task list ({made_from.imported_from})"
    model = f" ({made_from.model})" if made_from.model else ""
    return f"made by the {made_from.planner} planner{model}"


def range_words(dollars: Dollars | None) -> str:
    if dollars is None:
        return "unknown, because a price is unknown"
    return f"{dollars.likely.rounded()} ({dollars.low.rounded()} to {dollars.high.rounded()})"


def duration_words(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.1f} minutes"
