"""Reading journal and ledger: one connection of its own, so that reading never waits for the writer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from orchestrator.adapters import calendar
from orchestrator.adapters.database import (
    FileWatch,
    StoreDamaged,
    connect,
    damaged,
    let_go,
    quick_check,
    translated,
)
from orchestrator.adapters.holder import Holder
from orchestrator.adapters.tally import (
    MICROSECONDS,
    allowance,
    budget_window,
    first_bucket,
    read_totals,
    said_alerts,
    scripted_key,
    stopped_deployments,
)
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.domain import RunId
from orchestrator.core.ledger import SCRIPTED, Entry, HoldState, Scope, Standing, Status, Totals, Window
from orchestrator.core.money import ZERO, Usd

if TYPE_CHECKING:
    from orchestrator.core.events import Event

PAGE = 2000
AUDITED_ENTRIES = 20_000

_ENTRIES = """
SELECT h.id, h.at, h.amount, h.model, h.deployment, h.purpose, h.what, h.run, h.attempt, h.repository, h.category,
  r.kind, r.at, r.charged, r.billed, coalesce(o.excess, 0), r.input_tokens, r.output_tokens, r.cache_read_tokens,
  r.cache_write_tokens, r.reasoning_tokens, r.answered_by, r.flags, r.reason, r.reconciled, p.ambiguous
FROM holds h LEFT JOIN resolutions r ON r.hold = h.id LEFT JOIN overruns o ON o.hold = h.id
  LEFT JOIN pending p ON p.hold = h.id
"""

# From run to run through the index: the events in between are not read.
_RUNS = """
WITH RECURSIVE found(run) AS (
  SELECT min(run) FROM events
  UNION ALL SELECT (SELECT min(run) FROM events WHERE run > found.run) FROM found WHERE found.run IS NOT NULL
)
SELECT run, (SELECT max(seq) FROM events e WHERE e.run = found.run),
  (SELECT at FROM events e WHERE e.run = found.run ORDER BY seq LIMIT 1) AS first_at,
  (SELECT at FROM events e WHERE e.run = found.run ORDER BY seq DESC LIMIT 1)
FROM found WHERE run IS NOT NULL ORDER BY first_at DESC, run DESC
"""

# SQLite picks the few fields out of a large plan in a third of the time that reading it takes.
_OPENING = """
SELECT json_array_length(json, '$.plan.subtasks'),
  json_extract(json, '$.repository', '$.plan.goal', '$.branch', '$.scripted')
FROM events WHERE run = ? AND seq = 1 AND name = 'RunStarted'
"""

_ADDED_UP = """
SELECT coalesce(sum(r.charged), 0), coalesce(sum(iif(p.ambiguous = 0, h.amount, 0)), 0),
  coalesce(sum(iif(p.ambiguous = 1, h.amount, 0)), 0)
FROM holds h LEFT JOIN resolutions r ON r.hold = h.id LEFT JOIN pending p ON p.hold = h.id
WHERE h.bucket >= ? AND substr(h.deployment, 1, length(?)) <> ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpan:
    """A run in the journal: how many events, when the first and the last was written (ISO 8601 UTC)."""

    run: RunId
    events: int
    first_at: str
    last_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a list of runs says of one: the absolute path of the checkout, the goal, the run branch, the plan's size."""

    repository: str
    goal: str
    branch: str
    subtasks: int
    scripted: str


class Records:
    """What the file says, in committed states only. Usable from any thread."""

    def __init__(self, path: Path, watch: FileWatch | None = None) -> None:
        self._path = path
        self._connection = connect(path)
        self._watch = watch or FileWatch(self._connection, path)
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            let_go(self._connection)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            self._watch.check()
            with translated(self._path):
                yield

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._reading():
            return self._connection.execute(statement, values).fetchall()

    def version(self) -> int:
        """Changes with every commit that any connection makes to the file; -1 when closed."""
        with self._lock:
            if self._closed:
                return -1
            self._watch.check()
            with translated(self._path):
                found: int = self._connection.execute("PRAGMA data_version").get
                return found

    def _consistent(self, read: Callable[[], Any]) -> Any:
        """Run several reads on one state of the file."""
        with self._reading():
            self._connection.execute("BEGIN").fetchall()
            try:
                return read()
            finally:
                self._connection.execute("ROLLBACK").fetchall()

    # --- the journal ----------------------------------------------------------------------------

    def events(self, run: RunId, *, after: int = 0) -> Iterator[Event]:
        """The events of the run from number `after` + 1 on, oldest first."""
        # The first one holds the plan, which may be larger than all the others: it is read and let go alone.
        limit = PAGE if after else 1
        while page := self._page(run, after, limit):
            count = len(page)
            yield from self._decoded(run, page)
            if count < limit:
                return
            after += count
            limit = PAGE

    def _page(self, run: str, after: int, limit: int) -> list[tuple[int, str, str]]:
        page = self.rows(
            "SELECT seq, name, json FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?",
            (run, after, limit),
        )
        for number, (seq, _, _) in enumerate(page, after + 1):
            if seq != number:
                raise damaged(self._path, f"run {run} lacks event {number}")
        return page

    def _decoded(self, run: str, page: list[tuple[int, str, str]]) -> Iterator[Event]:
        """The events of a page, which is used up. Read as one document: three times as fast as one by one."""
        from orchestrator.core.events import from_record, from_text

        plain: list[Any] = []
        if len(page) > 1:
            with suppress(ValueError, RecursionError):
                plain = json.loads(f"[{','.join([text for _, _, text in page])}]")
        if len(plain) == len(page):
            for (_, name, _), fields in zip(page, plain, strict=True):
                yield from_record(name, fields)
            return
        page.reverse()
        while page:
            seq, name, text = page.pop()
            try:
                event = from_text(name, text)
            except (ValueError, RecursionError):
                raise self._unreadable(run, seq) from None
            del text
            yield event
            del event

    def _unreadable(self, run: str, seq: int) -> StoreDamaged:
        return damaged(self._path, f"event {seq} of run {run} is unreadable")

    def opening(self, run: RunId) -> Opening | None:
        """How the run began; None when its first event is not a start. Raises StoreDamaged."""
        try:
            rows = self.rows(_OPENING, (run,))
        except apsw.SQLError as error:
            # Nothing else can be wrong with the statement: the JSON is malformed.
            raise self._unreadable(run, 1) from error
        for subtasks, fields in rows:
            repository, goal, branch, scripted = json.loads(fields)
            if None in (subtasks, repository, goal, branch):
                raise self._unreadable(run, 1)
            return Opening(
                repository=repository, goal=goal, branch=branch, subtasks=subtasks, scripted=scripted or ""
            )
        return None

    def runs(self) -> tuple[RunSpan, ...]:
        """Every run, the one that was started last first."""
        rows = self.rows(_RUNS)
        return tuple(
            RunSpan(run=RunId(run), events=count, first_at=first, last_at=last)
            for run, count, first, last in rows
        )

    # --- the ledger -----------------------------------------------------------------------------

    def entries(
        self, *, run: str | None = None, since: float | None = None, attempt: str | None = None
    ) -> tuple[Entry, ...]:
        """All holds with what became of them, oldest first; `since` is in seconds since 1970."""
        conditions: list[str] = []
        values: list[object] = []
        if run is not None:
            conditions.append("h.run = ?")
            values.append(run)
        if attempt is not None:
            conditions.append("h.attempt = ?")
            values.append(attempt)
        if since is not None:
            conditions.append("h.at >= ?")
            values.append(int(since * MICROSECONDS))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return tuple(_entry(row) for row in self.rows(f"{_ENTRIES}{where} ORDER BY h.id", tuple(values)))

    def check(self) -> None:
        """Raise StoreDamaged when the structure of the file is broken."""
        with self._lock:
            quick_check(self._connection, self._path)

    def audit(self, rules: BudgetRules, now: float) -> None:
        """Compare the running totals of the budget window with its entries. Raises StoreDamaged.

        Left out for a window of more entries than can be added up while a command starts.
        """

        def read() -> tuple[Totals, Totals] | None:
            span, _ = allowance(self._connection, rules, now)
            window = budget_window(rules, span.start)
            first = first_bucket(window)
            if self._connection.execute(
                "SELECT 1 FROM holds WHERE bucket >= ? LIMIT 1 OFFSET ?", (first, AUDITED_ENTRIES)
            ).fetchone():
                return None
            added: list[Any] = self._connection.execute(_ADDED_UP, (first, SCRIPTED, SCRIPTED)).fetchall()
            spent, held, ambiguous = added[0]
            return read_totals(self._connection, window), Totals(
                spent=Usd(spent), held=Usd(held), ambiguous=Usd(ambiguous)
            )

        found = self._consistent(read)
        if found is not None and found[0] != found[1]:
            raise damaged(
                self._path,
                f"its totals say {found[0].committed} for this window, its entries {found[1].committed}",
            )

    def open_holds(self) -> tuple[Entry, ...]:
        """The holds that have not resolved: open calls, and the ambiguous ones of crashed processes."""
        return tuple(_entry(row) for row in self.rows(f"{_ENTRIES} WHERE p.hold IS NOT NULL ORDER BY h.id"))

    def holders(self) -> tuple[Holder, ...]:
        """The processes that open holds belong to."""
        rows = self.rows(
            "SELECT pid, started, boot FROM holders WHERE id IN (SELECT holder FROM pending WHERE ambiguous = 0)"
        )
        return tuple(Holder(pid=pid, started=started, boot=boot) for pid, started, boot in rows)

    def left(
        self,
        rules: BudgetRules,
        now: float,
        *,
        run: RunId | None,
        run_cap: Usd | None,
        scripted: bool = False,
        held: bool = True,
    ) -> Mapping[str, Usd]:
        def read() -> dict[str, Usd]:
            span, _ = allowance(self._connection, rules, now)
            key = scripted_key(run) if scripted else ""
            found = {"day": self._left(budget_window(rules, span.start, key=key), held=held)}
            if run is not None and run_cap is not None:
                found["run"] = self._left(
                    Window(scope=Scope.RUN, key=run, start=0, cap=run_cap, name="run"), held=held
                )
            return found

        answer: dict[str, Usd] = self._consistent(read)
        return answer

    def _left(self, window: Window, *, held: bool) -> Usd:
        totals = read_totals(self._connection, window)
        standing = Standing(window=window, totals=totals if held else replace(totals, held=ZERO))
        return standing.left or ZERO

    def totals(self, window: Window) -> Totals:
        with self._reading():
            return read_totals(self._connection, window)

    def status(self, rules: BudgetRules, now: float) -> Status:
        holds = tuple(entry for entry in self.open_holds() if not entry.scripted)

        def read() -> Status:
            span, _ = allowance(self._connection, rules, now)
            window = budget_window(rules, span.start)
            totals = read_totals(self._connection, window)
            future = read_totals(
                self._connection,
                Window(scope=Scope.BUDGET, key="", start=int(now) + 900, cap=None, name="future"),
            )
            return Status(
                window=window.name,
                since=calendar.iso(span.start),
                until=calendar.iso(span.end) if span.end is not None else None,
                timezone=rules.timezone,
                cap=rules.max_budget,
                totals=totals,
                left=Standing(window=window, totals=totals).left or ZERO,
                alerts=rules.alerts,
                said=tuple(sorted(said_alerts(self._connection, window))),
                holds=holds,
                stopped=tuple(
                    f"{deployment}: {why}"
                    for deployment, why in stopped_deployments(self._connection).items()
                    if not deployment.startswith(SCRIPTED)
                ),
                future=future.committed,
            )

        answer: Status = self._consistent(read)
        return answer


def _entry(row: tuple[Any, ...]) -> Entry:
    (
        hold,
        at,
        amount,
        model,
        deployment,
        purpose,
        what,
        run,
        attempt,
        repository,
        category,
        kind,
        resolved_at,
        charged,
        billed,
        excess,
        input_tokens,
        output_tokens,
        cache_read,
        cache_write,
        reasoning,
        answered_by,
        flags,
        reason,
        reconciled,
        ambiguous,
    ) = row
    return Entry(
        hold=hold,
        at=calendar.iso(at / MICROSECONDS),
        amount=Usd(amount),
        state=HoldState(kind) if kind else HoldState.AMBIGUOUS if ambiguous else HoldState.OPEN,
        model=model,
        deployment=deployment,
        purpose=purpose,
        what=what,
        run=run,
        attempt=attempt,
        repository=repository,
        category=category,
        resolved_at=calendar.iso(resolved_at / MICROSECONDS) if resolved_at is not None else None,
        charged=Usd(charged) if charged is not None else None,
        bill=Usd(billed) if billed is not None else None,
        excess=Usd(excess),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        answered_by=answered_by or "",
        flags=tuple(flags.split("\n")) if flags else (),
        reason=reason or "",
        reconciled=bool(reconciled),
    )
