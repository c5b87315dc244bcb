"""The one thread of this process that writes the store: everything that waits goes into one transaction.

Group commit: while one batch is being flushed, the next one gathers, so many calls share one flush.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import apsw

from orchestrator.adapters.books import Books
from orchestrator.adapters.database import FileWatch, StoreBusy, StoreFull, StoreUnusable, let_go, translated
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.ports import Clock

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

LARGEST_BATCH = 1000


@dataclass(slots=True)
class Operation(Generic[T]):
    """Something to do in a transaction. `durable`: flushed to the disk before it is acknowledged.

    What is not durable survives a crash of the process at once and a power loss from the next flush on.
    `perform` must raise before it writes; then the rest of the batch is not touched.
    """

    perform: Callable[[Books], T]
    durable: bool
    done: Callable[[T | None, BaseException | None], None]
    loop: asyncio.AbstractEventLoop | None = None
    cancelled: bool = False


@dataclass(slots=True)
class _Result:
    operation: Operation[Any]
    value: Any = None
    error: BaseException | None = None

    def deliver(self) -> None:
        self.operation.done(self.value, self.error)


@dataclass(slots=True)
class _Batch:
    results: list[_Result] = field(default_factory=list)

    def deliver(self) -> None:
        """Hand the results over, in one wake-up per event loop."""
        loops: dict[asyncio.AbstractEventLoop, list[_Result]] = {}
        for result in self.results:
            if result.operation.loop is None:
                result.deliver()
            else:
                loops.setdefault(result.operation.loop, []).append(result)
        for loop, results in loops.items():
            try:
                loop.call_soon_threadsafe(_deliver_all, results)
            except RuntimeError:
                # The loop was closed: nobody is left to be told. What was written stays written.
                continue


def _deliver_all(results: list[_Result]) -> None:
    for result in results:
        result.deliver()


class Writer:
    """Performs operations in order, in transactions of its own connection. Starts its thread with the first."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        *,
        watch: FileWatch,
        clock: Clock,
        rules: BudgetRules,
        freed: Callable[[], None],
        scripted: bool = False,
    ) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._rules = rules
        self._freed = freed
        self._scripted = scripted
        self._queue: queue.SimpleQueue[Operation[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._broken: OrchestratorError | None = None
        self._flushing = True
        self._process = os.getpid()
        self._watch = watch

    def submit(self, operation: Operation[Any]) -> None:
        if os.getpid() != self._process:
            raise StoreUnusable(f"{self._path} was opened by another process: open it again after a fork")
        with self._lock:
            if self._closed:
                raise StoreUnusable(f"{self._path} is closed: nothing more can be written")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
                self._thread.start()
            self._queue.put(operation)

    def call(self, perform: Callable[[Books], T], *, durable: bool = True) -> T:
        """Perform and wait for it, for callers without an event loop."""
        answer: list[T] = []
        errors: list[BaseException] = []
        finished = threading.Event()

        def done(value: T | None, error: BaseException | None) -> None:
            if error is not None:
                errors.append(error)
            else:
                answer.append(value)  # type: ignore[arg-type]  # None only where T is None
            finished.set()

        self.submit(Operation(perform=perform, durable=durable, done=done))
        finished.wait()
        if errors:
            raise errors[0]
        return answer[0]

    def close(self) -> None:
        """Finish what was submitted, then let go of the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
            self._queue.put(None)
        if thread is not None:
            thread.join()
        let_go(self._connection)

    # --- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        ending = False
        while not ending:
            batch: list[Operation[Any]] = []
            operation = self._queue.get()
            while True:
                if operation is None:
                    ending = True
                    break
                batch.append(operation)
                if len(batch) >= LARGEST_BATCH:
                    break
                try:
                    operation = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._perform(batch)

    def _perform(self, operations: list[Operation[Any]]) -> None:
        if self._broken is not None:
            _Batch([_Result(operation, error=self._broken) for operation in operations]).deliver()
            return
        try:
            results, freed = self._transaction(operations)
        except OrchestratorError as error:
            self._undo()
            if isinstance(error, StoreUnusable) and not isinstance(error, StoreBusy | StoreFull):
                self._broken = error
            results, freed = [_Result(operation, error=error) for operation in operations], False
        except Exception as error:
            # One operation failed after it had written: each for itself, so that it takes no other with it.
            self._undo()
            if len(operations) > 1:
                for operation in operations:
                    self._perform([operation])
                return
            results, freed = [_Result(operations[0], error=error)], False
        _Batch(results).deliver()
        if freed:
            self._freed()

    def _transaction(self, operations: list[Operation[Any]]) -> tuple[list[_Result], bool]:
        self._watch.check()
        results: list[_Result] = []
        with translated(self._path):
            self._flush_on_commit(any(operation.durable for operation in operations))
            before = self._connection.total_changes()
            self._connection.execute("BEGIN IMMEDIATE").fetchall()
            books = Books(
                self._connection, self._rules, now=self._clock.epoch_seconds(), scripted=self._scripted
            )
            for operation in operations:
                if operation.cancelled:
                    continue
                try:
                    results.append(_Result(operation, operation.perform(books)))
                except OrchestratorError as error:
                    results.append(_Result(operation, error=error))
            books.close()
            if self._connection.total_changes() == before:
                self._connection.execute("ROLLBACK").fetchall()
                return results, False
            self._connection.execute("COMMIT").fetchall()
            if books.urgent and not self._flushing:
                self._flush_now()
        # Only what lies in the file that everybody else opens has been promised.
        self._watch.check()
        return results, books.freed

    def _flush_on_commit(self, wanted: bool) -> None:
        if wanted is not self._flushing:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if wanted else 'NORMAL'}").fetchall()
            self._flushing = wanted

    def _flush_now(self) -> None:
        """Flush what has been committed: the flush of any later commit covers the whole log.

        It has to change something: SQLite writes no page that stays the same.
        """
        self._flush_on_commit(True)
        self._connection.execute("BEGIN IMMEDIATE").fetchall()
        self._connection.execute(
            "INSERT INTO meta VALUES ('flushes', 1) ON CONFLICT DO UPDATE SET value = value + 1"
        ).fetchall()
        self._connection.execute("COMMIT").fetchall()

    def _undo(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK").fetchall()
            except apsw.Error:
                # SQLite has rolled back by itself where it must; what is still open dies with the connection.
                return
