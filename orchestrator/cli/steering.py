"""`resume`, `cancel`, `skip`, `retry`, `runs`: go on with a run, change its course, list and tidy what there is.

A request is written to the run's journal. A live run takes it in within a moment, a stopped one when it is
resumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.core.domain import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.adapters.runs import KnownRun
    from orchestrator.adapters.workspaces import GitWorkspaces
    from orchestrator.core.dispatch import Dispatch
    from orchestrator.core.domain import RunId, SubtaskId
    from orchestrator.core.events import Event
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home

# A cancelled run ends what it has under way within five seconds.
_CANCEL_SECONDS = 8.0

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", metavar="RUN", help="The run; this repository's only unfinished one when left out."
    ),
]
ConfigOption = Annotated[Path | None, typer.Option(help="Another configuration file.")]


class Pointless(OrchestratorError):
    """The request would change nothing: the subtask does not exist, or has ended otherwise."""


def resume(
    run: Annotated[
        str | None, typer.Argument(help="The run; this repository's only unfinished one when left out.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="The most the whole run may cost from now on.")
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Start nothing after this time, instead of that the run began with."
        ),
    ] = None,
    scripted: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Play the models from a script; costs nothing.")
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> None:
    """Go on with a run that stopped. What is finished is neither done nor paid again."""
    import gc

    from orchestrator import session
    from orchestrator.adapters.rendering_terminal import run_text
    from orchestrator.cli.amounts import dollars, seconds
    from orchestrator.cli.columns import columns
    from orchestrator.cli.progress import open_view, outliving_its_terminal
    from orchestrator.core.events import SelectionChanged
    from orchestrator.core.graph import no_collections
    from orchestrator.core.progress import Progress
    from orchestrator.wiring import open_home, report_of

    cap, most_seconds = dollars(budget, "--budget"), seconds(max_time, "--max-time")
    home = open_home(config, scripted=scripted)
    chosen = _choose(home, run, unfinished=True)
    progress = Progress(replays=False)
    with no_collections():
        # Read once: a large run has hundreds of thousands of events.
        events = list(home.store.events(chosen.run))
        for event in events:
            progress.take_in(event)
        # All of it stays until the run ends, and is not looked through for garbage meanwhile.
        gc.freeze()
    for line in _before_resuming(home, events, cap):
        typer.echo(line, err=True)
    also: list[Event] = []
    selected = any(isinstance(event, SelectionChanged) for event in events)
    if selected and _dispatch(home, events).selection_done:
        # Going on can only mean the rest.
        typer.echo("all that was selected is done: going on with the rest", err=True)
        also.append(SelectionChanged(only=None, at=home.clock.now()))
    with open_view(home, as_json=as_json, progress=progress) as view, outliving_its_terminal(view):
        ending = session.resume(
            home,
            chosen.run,
            budget=cap,
            also=also,
            max_seconds=most_seconds,
            watch=view,
            journalled=events,
            meet=progress.look_at,
        )
        if not as_json:
            view.detach()
            typer.echo(run_text(report_of(home, chosen.run), width=columns()))
    raise typer.Exit(ending.exit_code)


def cancel(
    run: Annotated[
        str | None, typer.Argument(help="The run; this repository's only unfinished one when left out.")
    ] = None,
    subtask: Annotated[
        str | None, typer.Option("--subtask", metavar="ID", help="Cancel only this subtask.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Cancel a run, or one of its subtasks. What has landed stays; what was made is kept on a ref."""
    from orchestrator.adapters.run_lock import RunLock, RunLocked
    from orchestrator.adapters.runs import Standing
    from orchestrator.core.events import CancelRequested, RunEnded
    from orchestrator.wiring import open_home

    home = open_home(config)
    if subtask is None and _end_what_has_just_begun(home, run):
        return
    chosen = _choose(home, run, unfinished=True)
    if not chosen.standing.unfinished:
        raise Pointless(
            f"run {chosen.run} is {chosen.standing.value} and cannot be cancelled: "
            f"`orchestrator undo` takes a landed subtask back"
        )
    at = home.clock.now()
    if subtask is not None:
        found = _steerable(home, chosen.run, subtask, "cancelled")
        _write(home, chosen.run, CancelRequested(subtask=found, at=at))
        typer.echo(_asked(home, chosen.run, f"{found} is cancelled"))
        return
    try:
        with RunLock.acquire(home.git, home.state, run=chosen.run, clock=home.clock):
            _write(home, chosen.run, CancelRequested(at=at), RunEnded(cancelled=True, at=at))
            for line in _workspaces(home, chosen.run).clear_away():
                typer.echo(line)
        typer.echo(f"run {chosen.run} is cancelled; what landed is on {chosen.branch}")
    except RunLocked as locked:
        if locked.occupant is None or locked.occupant.run != chosen.run:
            raise
        _write(home, chosen.run, CancelRequested(at=at))
        if not _wait_until_gone(home, chosen.run):
            raise OrchestratorError(
                f"run {chosen.run} (process {locked.occupant.holder.pid}) was told to end and is still at it: "
                f"`orchestrator show {chosen.run}` tells what it does"
            ) from None
        standing = _choose(home, chosen.run, unfinished=False).standing
        ended = "is cancelled" if standing is Standing.CANCELLED else f"ended by itself: {standing.value}"
        typer.echo(f"run {chosen.run} {ended}; what landed is on {chosen.branch}")


def skip(
    subtask: Annotated[str, typer.Argument(help="The subtask to leave out.")],
    run: RunOption = None,
    config: ConfigOption = None,
) -> None:
    """Leave one subtask out of a run; what depends on it is blocked."""
    from orchestrator.core.events import SkipRequested
    from orchestrator.wiring import open_home

    home = open_home(config)
    chosen = _choose(home, run, unfinished=True)
    found = _steerable(home, chosen.run, subtask, "skipped")
    _write(home, chosen.run, SkipRequested(subtask=found, at=home.clock.now()))
    typer.echo(_asked(home, chosen.run, f"{found} is skipped"))


def retry(
    subtask: Annotated[str, typer.Argument(help="The subtask to try again.")],
    model: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="Start it on this model instead.")
    ] = None,
    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Something the next attempt should know.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="The run; this repository's newest by default.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Try a subtask again, perhaps on another model. For a blocked one, what blocks it is tried again."""
    from orchestrator.core.domain import ModelAlias, State
    from orchestrator.core.events import RetryRequested
    from orchestrator.core.text import did_you_mean
    from orchestrator.wiring import open_home

    home = open_home(config)
    chosen = _choose(home, run, unfinished=False)
    dispatch, _ = _replayed(home, chosen.run)
    found = _named(dispatch, subtask)
    if dispatch.state(found) is State.SUCCEEDED:
        raise Pointless(
            f"{found} has landed: take it back first with `orchestrator undo {chosen.run} {found} --retry`"
        )
    catalogue = home.settings.table.catalogue
    # A script plays every alias there is, also those whose keys are missing.
    pools = [*catalogue.pools, *(catalogue.unusable if chosen.scripted else ())]
    if model is not None and ModelAlias(model) not in pools:
        raise Pointless(
            f"no usable model is called {model!r}{did_you_mean(model, pools)}: `orchestrator doctor` lists them"
        )
    request = RetryRequested(
        subtask=found, model=ModelAlias(model) if model else None, note=note or "", at=home.clock.now()
    )
    _write(home, chosen.run, request)
    typer.echo(_asked(home, chosen.run, f"{found} is tried again"))


def runs(
    action: Annotated[
        str | None, typer.Argument(metavar="[prune]", help="`prune` tidies the finished runs.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="The runs of every repository, not only of this one.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """List runs, the newest first. `runs prune` removes the working files of finished ones, never a commit."""
    from orchestrator.wiring import open_home

    home = open_home(config)
    if action == "prune":
        _prune(home)
        return
    if action is not None:
        raise typer.BadParameter(f"{action!r} is not `prune`", param_hint="[prune]")
    known = _known(home, everywhere=everywhere or home.repository is None)
    if as_json:
        from orchestrator.core.serial import encode

        typer.echo(json.dumps([encode(entry) for entry in known], indent=2))
        return
    begun = _just_begun(home)
    if begun is not None:
        typer.echo(f"{begun}  has just begun, and measures the tests before any change", err=True)
    elif not known:
        typer.echo("no runs yet: `orchestrator run GOAL` makes one", err=True)
    for entry in known:
        typer.echo(_row(entry, with_repository=everywhere))


# --- choosing ------------------------------------------------------------------------------------------


def _known(home: Home, *, everywhere: bool = False) -> tuple[KnownRun, ...]:
    from orchestrator.adapters.run_lock import at_work
    from orchestrator.adapters.runs import known_runs

    here = None if everywhere else str(home.place.root)
    return known_runs(home.store, repository=here, working=at_work(home.state))


def _choose(home: Home, wanted: str | None, *, unfinished: bool) -> KnownRun:
    from orchestrator.adapters.runs import choose_run

    return choose_run(_known(home), wanted, unfinished=unfinished)


def _just_begun(home: Home) -> RunId | None:
    """The run that works on this repository and is not in the journal yet."""
    from orchestrator.adapters.run_lock import occupant

    if home.repository is None:
        return None
    found = occupant(home.place, home.state)
    return found.run if found is not None and found.run not in home.store.run_ids() else None


def _replayed(home: Home, run: RunId) -> tuple[Dispatch, list[Event]]:
    from orchestrator.core.graph import no_collections

    with no_collections():
        events = list(home.store.events(run))
        return _dispatch(home, events), events


def _dispatch(home: Home, events: Sequence[Event]) -> Dispatch:
    from orchestrator.core.dispatch import Dispatch
    from orchestrator.core.events import RunStarted

    started = events[0]
    assert isinstance(started, RunStarted)
    dispatch = Dispatch.of(started, tier_models=home.settings.table.tier_models)
    dispatch.replay(events[1:])
    return dispatch


def _named(dispatch: Dispatch, wanted: str) -> SubtaskId:
    from orchestrator.core.text import did_you_mean, one_line

    names = dispatch.states()
    for name in names:
        if name == wanted:
            return name
    raise Pointless(f"no subtask {one_line(wanted, 60)!r} in this run{did_you_mean(wanted, names)}")


def _steerable(home: Home, run: RunId, wanted: str, what: str) -> SubtaskId:
    from orchestrator.core.domain import State

    dispatch, _ = _replayed(home, run)
    found = _named(dispatch, wanted)
    state = dispatch.state(found)
    if state.final:
        how = "has" if state in (State.SUCCEEDED, State.FAILED) else "is"
        raise Pointless(f"{found} {how} {state.value} already and cannot be {what}")
    return found


# --- writing -------------------------------------------------------------------------------------------


def _write(home: Home, run: RunId, *events: Event) -> None:
    import asyncio

    asyncio.run(home.store.append(run, events))


def _asked(home: Home, run: RunId, what: str) -> str:
    from orchestrator.adapters.run_lock import occupant

    here = occupant(home.place, home.state)
    if here is not None and here.run == run:
        return f"{what}: run {run} is told"
    return f"{what} when the run goes on: `orchestrator resume {run}`"


def _end_what_has_just_begun(home: Home, wanted: str | None) -> bool:
    """End a run that measures the suite yet, and is in no journal that a request could be written to."""
    import os
    import signal

    from orchestrator.adapters.run_lock import occupant

    begun, found = _just_begun(home), occupant(home.place, home.state)
    if begun is None or found is None or wanted not in (None, begun):
        return False
    os.kill(found.holder.pid, signal.SIGTERM)
    if not _wait_until_gone(home, found.run):
        raise OrchestratorError(
            f"run {found.run} (process {found.holder.pid}) was told to end and is still at it"
        )
    typer.echo(f"run {found.run} had only just begun and is ended")
    return True


def _wait_until_gone(home: Home, run: RunId) -> bool:
    import time

    from orchestrator.adapters.run_lock import occupant

    until = home.clock.monotonic() + _CANCEL_SECONDS
    while True:
        here = occupant(home.place, home.state)
        if here is None or here.run != run:
            return True
        if home.clock.monotonic() >= until:
            return False
        time.sleep(0.1)


# --- saying --------------------------------------------------------------------------------------------


def _before_resuming(home: Home, events: Sequence[Event], given: Usd | None) -> list[str]:
    """What is left of the money, and what moved in the repository meanwhile. Raises Pointless for too low a cap."""
    import asyncio

    from orchestrator.core.domain import RunId
    from orchestrator.core.events import RunResumed, RunStarted

    started = events[0]
    assert isinstance(started, RunStarted)
    raised = [event.budget for event in events if isinstance(event, RunResumed) and event.budget]
    cap = given or (raised[-1] if raised else started.budget)
    totals, _ = home.store.standing(RunId(started.run), cap)
    if given is not None and given <= totals.certain:
        raise Pointless(f"the run has cost {totals.certain} already: a --budget has to be more than that")
    left = asyncio.run(home.store.left(run=RunId(started.run), run_cap=cap))
    lines = ["left: " + ", ".join(f"{amount.rounded_down()} of the {name}" for name, amount in left.items())]
    head = home.git.head()
    if head != started.base_commit:
        if home.git.is_ancestor(started.base_commit, head):
            count = home.git.git.text("rev-list", "--count", f"{started.base_commit}..{head}")
            lines.append(f"the checkout has moved on by {count} commits since the run began")
        else:
            lines.append(
                f"the checkout is at {head[:10]} now, the run began at {started.base_commit[:10]} and stays there"
            )
    return lines


def _row(entry: KnownRun, *, with_repository: bool) -> str:
    from orchestrator.core.text import one_line

    where = f"  {one_line(entry.repository, 60)}" if with_repository else ""
    why = f" ({one_line(entry.reason, 60)})" if entry.reason else ""
    played = "  scripted" if entry.scripted else ""
    return (
        f"{entry.run}  {entry.standing.value:9}  {entry.subtasks:3} subtasks{where}  "
        f"{one_line(entry.goal, 60)}{why}{played}"
    )


def _workspaces(home: Home, run: RunId) -> GitWorkspaces:
    from orchestrator.adapters.workspaces import GitWorkspaces

    return GitWorkspaces(home.git, run=run, base=home.git.head(), state=home.state)


def _prune(home: Home) -> None:
    """Remove what finished runs left in the state directory; journal, commits and kept refs stay."""
    import shutil

    from orchestrator.adapters.state import run_directory

    pruned = 0
    for entry in _known(home):
        if entry.standing.unfinished:
            continue
        for line in _workspaces(home, entry.run).clear_away():
            typer.echo(line)
        directory = run_directory(home.state, entry.run)
        if directory.exists():
            shutil.rmtree(directory)
            pruned += 1
            typer.echo(f"{entry.run}: working files removed")
    typer.echo(f"{pruned} runs tidied; their commits, refs and journal stay", err=True)
