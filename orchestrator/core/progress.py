"""How far a run is, from its events alone: the same for the process that runs it and for one that follows it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import AttemptId, Ended, OrchestratorError, RunState, State, SubtaskId
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    PlanReplaced,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    SubtaskLanded,
    SubtaskUndone,
)
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.node import STATE_OF, Node, Phase
from orchestrator.core.report_rows import CUT_OFF

_BY_URGENCY = tuple(
    tuple(phase for phase in Phase if STATE_OF[phase] in states)
    for states in (
        (State.RUNNING,),
        (State.FAILED,),
        (State.WAITING,),
        (State.BLOCKED,),
        (State.SUCCEEDED, State.CANCELLED, State.SKIPPED),
    )
)


# So many of the last landings tell how long one takes.
LANDINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subtask as a view shows it; `below` is the dependency it hangs under in the tree, None for a root."""

    id: SubtaskId
    title: str
    tier: str
    state: State
    said: str
    below: SubtaskId | None
    also_after: tuple[SubtaskId, ...]


class Progress:
    """Feed it every event of a run, oldest first; then ask.

    It replays the run in a machine of its own, or looks at the one of whoever carries the run out: see `look_at`.
    """

    def __init__(self, *, replays: bool = True) -> None:
        self._replays = replays
        self.started: RunStarted | None = None
        self.dispatch: Dispatch | None = None
        self._billed = ZERO
        self._total: Callable[[], Usd] | None = None
        self.budget: Usd | None = None
        self.ended: RunPaused | RunEnded | None = None
        self._bills: dict[SubtaskId, Usd] = {}
        self._commits: dict[SubtaskId, str | None] = {}
        self._running: dict[SubtaskId, tuple[AttemptId, str]] = {}
        self._judged: list[tuple[SubtaskId, float]] = []
        self._expected_seconds = 0.0
        self._actual_seconds = 0.0
        self._below: dict[SubtaskId, SubtaskId | None] | None = None
        self._landings: deque[float] = deque(maxlen=LANDINGS)
        # Unfinished subtasks, and the estimated seconds that were left with so many.
        self._chain: tuple[int, float] | None = None

    def look_at(self, dispatch: Dispatch) -> None:
        """Take the states from this machine, which has handled every event before it comes here."""
        self.dispatch, self._replays = dispatch, False
        self._below = self._chain = None

    def ask_for_total(self, total: Callable[[], Usd]) -> None:
        """Take what the run has spent and holds from the ledger, which knows planning and what was cut off as well."""
        self._total = total

    def take_in(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.started = event
            self.budget = event.budget
            if self._replays:
                self.dispatch = Dispatch.of(event)
            return
        if self.started is None:
            return
        if self._replays and self.dispatch is not None:
            self.dispatch.handle(event)
        match event:
            case AttemptStarted():
                self._running[event.attempt.subtask] = (event.attempt, event.model or "a tool")
            case AttemptFinished():
                self._finished(event)
            case SubtaskLanded():
                self._commits[event.attempt.subtask] = event.commit
                moment = _moment(event.at)
                if moment is not None:
                    self._landings.append(moment)
            case SubtaskUndone():
                self._commits.pop(event.subtask, None)
            case RunPaused() | RunEnded():
                self.ended = event
            case RunResumed():
                self.ended = None
                self._landings.clear()
                self.budget = event.budget or self.budget
            case PlanReplaced():
                self._below = self._chain = None

    def _finished(self, event: AttemptFinished) -> None:
        subtask, outcome = event.attempt.subtask, event.outcome
        self._running.pop(subtask, None)
        self._billed += outcome.bill
        self._bills[subtask] = self._bills.get(subtask, ZERO) + outcome.bill
        if outcome.ended in (Ended.PASSED, Ended.REJECTED):
            self._judged.append((subtask, outcome.seconds))

    def _hang(self, nodes: Sequence[Node]) -> dict[SubtaskId, SubtaskId | None]:
        """Hang every subtask below the dependency that stands lowest in the tree, so that the tree shows the flow."""
        depth: dict[SubtaskId, int] = {}
        below: dict[SubtaskId, SubtaskId | None] = {}
        stack = list(reversed(nodes))
        while stack:
            node = stack[-1]
            open_needs = [nodes[place] for place in node.needs if nodes[place].id not in depth]
            if open_needs:
                stack += open_needs
                continue
            stack.pop()
            parent = max((nodes[place].id for place in node.needs), key=depth.__getitem__, default=None)
            below[node.id] = parent
            depth[node.id] = 0 if parent is None else depth[parent] + 1
        return below

    # --- looking -------------------------------------------------------------------------------------

    @property
    def spent(self) -> Usd:
        """What the ledger says the run has taken, as a report says it; without one, what its attempts were billed."""
        try:
            return self._billed if self._total is None else self._total()
        except OrchestratorError:
            # Whoever carries the run out meets the same fault, and says so.
            return self._billed

    def counts(self) -> Counter[State]:
        counts: Counter[State] = Counter()
        if self.dispatch is not None:
            for phase, state in enumerate(STATE_OF):
                counts[state] += self.dispatch.board.count[phase]
        if isinstance(self.ended, RunPaused):
            counts[State.WAITING] += counts.pop(State.RUNNING, 0)
        return +counts

    def rows(self, most: int | None = None) -> tuple[list[Row], int]:
        """The subtasks in the order of the plan, and how many are left out of the list for its length.

        Of more than `most` those are shown that run, then those that failed, that wait, that are blocked.
        """
        if self.dispatch is None:
            return [], 0
        board = self.dispatch.board
        nodes: Sequence[Node] = board.nodes
        if most is None or len(nodes) <= most:
            return [self.row(node) for node in nodes], 0
        chosen: list[Node] = []
        for phases in _BY_URGENCY:
            if len(chosen) < most - 1:
                chosen += board.in_phase(*phases)[: most - 1 - len(chosen)]
        chosen.sort(key=lambda node: node.place)
        return [self.row(node) for node in chosen], len(nodes) - len(chosen)

    def row(self, node: Node) -> Row:
        assert self.dispatch is not None
        if self._below is None:
            self._below = self._hang(self.dispatch.board.nodes)
        below = self._below.get(node.id)
        return Row(
            id=node.id,
            title=node.subtask.title,
            tier=node.subtask.tag.tier,
            state=State.WAITING if self._cut_off(node) else self.dispatch.board.state(node),
            said=self.said(node),
            below=below,
            also_after=tuple(other for other in node.subtask.depends_on if other != below),
        )

    def _cut_off(self, node: Node) -> bool:
        """Whether it was under way when the process that paused the run ended."""
        return isinstance(self.ended, RunPaused) and STATE_OF[node.phase] is State.RUNNING

    def said(self, node: Node) -> str:
        """What there is to say of a subtask's state: the model it runs on, what it waits for, its commit and bill."""
        assert self.dispatch is not None
        bill = self._bills.get(node.id, ZERO)
        dollars = f", {bill.rounded()}" if bill else ""
        if self._cut_off(node):
            return CUT_OFF + dollars
        running = self._running.get(node.id)
        if running is not None:
            attempt, model = running
            again = f", attempt {attempt.number}" if attempt.number > 1 else ""
            return f"on {model}{again}{dollars}"
        waiting = self.dispatch.waiting(node.id)
        if waiting is not None:
            return f"for {waiting.what.value}" + (f": {waiting.detail}" if waiting.detail else "")
        if node.id in self._commits:
            commit = self._commits[node.id]
            return ("a document" if commit is None else commit[:10]) + dollars
        return (node.detail + dollars).strip(", ")

    def seconds_left(self) -> float | None:
        """The likely seconds until the end, from the estimates and how the attempts so far compared to them."""
        if self.dispatch is None or self.dispatch.run_state is not RunState.RUNNING:
            return None
        unfinished = self.dispatch.board.unfinished
        # To add up a large plan takes a while, and from one look to the next little changes.
        if self._chain is None or abs(self._chain[0] - unfinished) > unfinished // 100:
            self._chain = (unfinished, self.dispatch.seconds_left)
        return max(self._chain[1] * self._pace(), unfinished * self._seconds_per_landing())

    def _seconds_per_landing(self) -> float:
        """How far apart the last landings were: one at a time, each may verify anew, and then they set the pace."""
        if len(self._landings) < LANDINGS // 2:
            return 0.0
        return max(0.0, self._landings[-1] - self._landings[0]) / (len(self._landings) - 1)

    def _pace(self) -> float:
        """Actual by expected seconds of the attempts that were judged."""
        judged, self._judged = self._judged, []
        for subtask, seconds in judged:
            if self.dispatch is not None and subtask in self.dispatch.board.index:
                self._expected_seconds += self.dispatch.subtask(subtask).estimate.seconds.likely
                self._actual_seconds += seconds
        if self._expected_seconds <= 0 or self._actual_seconds <= 0:
            return 1.0
        return self._actual_seconds / self._expected_seconds


def _moment(at: str) -> float | None:
    """Seconds since the beginning of the month for an ISO 8601 time in UTC; None for what is none."""
    try:
        return (
            86400 * int(at[8:10]) + 3600 * int(at[11:13]) + 60 * int(at[14:16]) + float(at[17:].rstrip("Z"))
        )
    except ValueError:
        return None
