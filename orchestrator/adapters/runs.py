"""The runs of the journal, each with where it stands: what `runs`, `resume` and the steering commands choose from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.domain import OrchestratorError, RunId
from orchestrator.core.events import (
    CancelRequested,
    Event,
    FundsAssessed,
    Noted,
    RunEnded,
    RunPaused,
    SkipRequested,
    SubtaskUndone,
)
from orchestrator.core.text import did_you_mean, one_line

if TYPE_CHECKING:
    from orchestrator.adapters.journal import Store
    from orchestrator.adapters.records import RunSpan

# How far back the last word on a run is looked for at first.
_TAIL = 50


class Standing(StrEnum):
    """`stopped` is a run whose process has gone without a word: a crash, a kill, a power loss."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def unfinished(self) -> bool:
        return self not in (Standing.DONE, Standing.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run of the journal; `reason` is why it is paused. Times are ISO 8601 UTC."""

    run: RunId
    repository: str
    goal: str
    branch: str
    subtasks: int
    standing: Standing
    reason: str
    started_at: str
    last_at: str
    scripted: str


class NoSuchRun(OrchestratorError):
    """There is no run of that name, none at all, or more than one to choose from."""


def known_runs(
    store: Store, *, repository: str | None = None, working: Collection[RunId] = ()
) -> tuple[KnownRun, ...]:
    """Every run, or those of one checkout, the youngest first. `working` are the runs that are at work now."""
    found = []
    for span in store.runs():
        started = store.opening(span.run)
        if started is None or repository not in (None, started.repository):
            continue
        standing, reason = _standing(store, span)
        if standing.unfinished and span.run in working:
            standing, reason = Standing.RUNNING, ""
        found.append(
            KnownRun(
                run=span.run,
                repository=started.repository,
                goal=started.goal,
                branch=started.branch,
                subtasks=started.subtasks,
                standing=standing,
                reason=reason,
                started_at=span.first_at,
                last_at=span.last_at,
                scripted=started.scripted,
            )
        )
    return tuple(found)


def _standing(store: Store, span: RunSpan) -> tuple[Standing, str]:
    """Where a run stands when nobody works on it. Its last word may have many remarks and requests behind it."""
    back = _TAIL
    while True:
        found = _last_word(store.events(span.run, after=max(0, span.events - back)))
        if found is not None:
            return found
        if back >= span.events:
            return Standing.STOPPED, ""
        back *= 10


def _last_word(events: Iterable[Event]) -> tuple[Standing, str] | None:
    said: tuple[Standing, str] | None = None
    for event in events:
        match event:
            case RunEnded():
                said = Standing.CANCELLED if event.cancelled else Standing.DONE, event.reason
            case RunPaused():
                said = Standing.PAUSED, event.reason
            case (
                Noted()
                | FundsAssessed()
                | SkipRequested()
                | CancelRequested()
                | SubtaskUndone(retry=False, reopened=())
            ):
                continue
            case _:
                said = Standing.STOPPED, ""
    return said


def choose_run(runs: Iterable[KnownRun], wanted: str | None, *, unfinished: bool = False) -> KnownRun:
    """The run called `wanted` (its beginning or end will do), else the newest, or the only unfinished one.

    Raises NoSuchRun with what there is to choose from.
    """
    runs = tuple(runs)
    if wanted is not None:
        named = [run for run in runs if run.run == wanted] or [
            run for run in runs if run.run.startswith(wanted) or run.run.endswith(wanted)
        ]
        if len(named) == 1:
            return named[0]
        if named:
            raise NoSuchRun(f"{one_line(wanted, 40)!r} could be any of {_names(named)}: name one in full")
        meant = did_you_mean(wanted, [run.run for run in runs])
        raise NoSuchRun(f"no run {one_line(wanted, 40)!r} here{meant}: `orchestrator runs` lists them")
    candidates = [run for run in runs if run.standing.unfinished] if unfinished else list(runs)
    if not candidates:
        what = "unfinished run" if unfinished else "run"
        raise NoSuchRun(f"no {what} in this repository: `orchestrator run GOAL` makes one")
    if unfinished and len(candidates) > 1:
        raise NoSuchRun(f"{len(candidates)} runs are unfinished here: name one of {_names(candidates)}")
    return candidates[0]


def _names(runs: Iterable[KnownRun]) -> str:
    names = [run.run for run in runs]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
