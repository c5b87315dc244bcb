"""What `doctor` finds out about journal and ledger: whether the file is whole, writable now, and waits for anybody."""

from __future__ import annotations

from pathlib import Path

from orchestrator.adapters.diagnosis import Finding, Level
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.ledger import HoldState

AREA = "ledger"
# A run's transactions take milliseconds; whoever keeps the file locked for this long stops every call.
LOCK_SECONDS = 2.0


def diagnose_store(path: Path, rules: BudgetRules, *, now: float) -> list[Finding]:
    """Every remark on the store, which is only read. `now` is in seconds since 1970.

    A damaged file is copied aside, as everywhere, and never begun anew.
    """
    if not path.exists():
        try:
            return _absent(path)
        except OSError as error:
            return [_error(f"{path} cannot be looked at: {error.strerror}")]
    try:
        return _present(path, rules, now)
    except OrchestratorError as error:
        return [_error(str(error))]


def _error(what: str) -> Finding:
    return Finding(area=AREA, level=Level.ERROR, what=what)


def _absent(path: Path) -> list[Finding]:
    from orchestrator.adapters.database import refuse_leftover_log

    try:
        refuse_leftover_log(path)
    except OrchestratorError as error:
        return [_error(str(error))]
    return [Finding(area=AREA, level=Level.OK, what="no call was made yet")]


def _present(path: Path, rules: BudgetRules, now: float) -> list[Finding]:
    from orchestrator.adapters.database import StoreBusy, try_to_write
    from orchestrator.adapters.holder import is_alive
    from orchestrator.adapters.records import Records

    records = Records(path)
    try:
        records.check()
        records.audit(rules, now)
        status = records.status(rules, now)
        crashed = [holder for holder in records.holders() if not is_alive(holder)]
    finally:
        records.close()
    findings = []
    try:
        try_to_write(path, seconds=LOCK_SECONDS)
    except StoreBusy:
        findings.append(
            Finding(
                area=AREA,
                level=Level.WARNING,
                what=f"{path} is locked by another process: no call can be made meanwhile",
                remedy="end the process that keeps it",
            )
        )
    cut_off = [hold for hold in status.holds if hold.state is HoldState.AMBIGUOUS]
    if cut_off or (crashed and status.holds):
        findings.append(
            Finding(
                area=AREA,
                level=Level.WARNING,
                what="calls that a crash cut off stay charged at their holds",
                remedy="`orchestrator budget reconcile` settles them by the provider's bill",
            )
        )
    findings += [
        Finding(
            area=AREA,
            level=Level.WARNING,
            what=f"stopped: {each}",
            remedy="check its price, then `orchestrator budget reconcile --allow MODEL`",
        )
        for each in status.stopped
    ]
    spent = f"{status.totals.committed} of {status.cap} this {status.window}"
    return findings or [Finding(area=AREA, level=Level.OK, what=f"{path} is whole: {spent}")]
