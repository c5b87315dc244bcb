"""The run as a machine: an event goes in, commands come out. No clock, no I/O, no randomness.

Transitions of one subtask (rows: where it stands; the event; where it goes and what is commanded):

| phase               | event                                  | next phase, commands                                 |
| ------------------- | -------------------------------------- | ---------------------------------------------------- |
| pending             | last dependency landed                 | ready (aside when it is not selected)                |
| pending             | a dependency ended without success     | blocked; Block, for its whole cone                   |
| ready               | slot, model and files are free         | starting; Start                                      |
| starting            | AttemptStarted                         | running                                              |
| starting, running   | AttemptFinished: passed                | landing; Land (its files stay taken, its slot not)   |
| starting, running   | ... rejected, error; tries left        | ready on the same rung, with what was learned        |
| starting, running   | ... rejected, error; rungs left        | ready one rung up; held when money is short          |
| starting, running   | ... rejected, error; nothing left      | failed                                               |
| starting, running   | ... unverified                         | failed: no stronger model could be verified either   |
| starting, running   | ... no_room, no_model                  | waiting for room, for a model; never a failure       |
| starting, running   | ... cancelled without a wish           | ready again                                          |
| landing             | SubtaskLanded                          | succeeded                                            |
| landing             | LandingRefused: conflict               | ready again on the new base, so many times           |
| landing             | LandingRefused: fails there            | as rejected                                          |
| held                | nothing else can start, or money again | ready                                                |
| no room, no model   | RoomFreed, RunResumed                  | ready; an escalation held when money is short        |
| no room, no model   | others settled; its model answered     | the same, one after the other                        |
| any waiting         | SkipRequested, CancelRequested         | skipped, cancelled; Block for its cone               |
| starting, running   | SkipRequested, CancelRequested         | CancelAttempt; skipped, cancelled when it has ended  |
| landing             | SkipRequested, CancelRequested         | CancelAttempt; as the landing ends, not tried again  |
| failed and the like | RetryRequested                         | ready, its cone pending again                        |
| succeeded           | SubtaskUndone                          | ready (retry) or skipped; the reopened run again     |

The run: nothing active and all final -> Finish; nothing active and nothing can start -> Pause, with what it
waits for. PauseRequested lets what is under way end. Every event is journalled before it is handled, and
only events move a subtask on, so a machine that is given the journal's events and then begins is the same one.
For that, a `Start` no event has answered does not count against what users ask for: it is taken back, and said
again if it still holds. Who performs commands drops a `Start` whose attempt is not `starting` any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.board import remaining_path
from orchestrator.core.domain import (
    AttemptId,
    Limits,
    ModelAlias,
    Plan,
    RunState,
    Stage,
    State,
    Subtask,
    SubtaskId,
)
from orchestrator.core.escalation import Cost, Escalation, Odds, even_odds, token_cost
from orchestrator.core.node import Node, Phase
from orchestrator.core.schedule import Lineup
from orchestrator.core.steering import Steering
from orchestrator.core.waiting import Waiting, pause_of, waiting_of

_OF_ATTEMPTS = frozenset({ev.AttemptStarted, ev.AttemptFinished, ev.SubtaskLanded, ev.LandingRefused})


class Dispatch(Steering):
    """One run of one plan. Without a `lineup` found by looking ahead, the longest remaining path leads."""

    def __init__(
        self,
        plan: Plan,
        *,
        limits: Limits | None = None,
        escalation: Escalation | None = None,
        lineup: Lineup | None = None,
    ) -> None:
        super().__init__(
            plan.subtasks, limits=limits or Limits(), escalation=escalation or Escalation(), lineup=lineup
        )
        self._begun = False
        self._paused = ""
        self._handlers: dict[type[Any], Callable[[Any, list[ev.Command]], None]] = {
            ev.AttemptStarted: self._attempt_started,
            ev.AttemptFinished: self._attempt_finished,
            ev.SubtaskLanded: self._landed,
            ev.LandingRefused: self._landing_refused,
            ev.SubtaskUndone: self._undone,
            ev.SkipRequested: self._skip_requested,
            ev.CancelRequested: self._cancel_requested,
            ev.RetryRequested: self._retry_requested,
            ev.SelectionChanged: self._selection_changed,
            ev.PauseRequested: self._pause_requested,
            ev.RunPaused: self._run_paused,
            ev.RunResumed: self._run_resumed,
            ev.RoomFreed: self._room_freed,
            ev.FundsAssessed: self._funds_assessed,
            ev.PlanReplaced: self._plan_replaced,
            ev.RunEnded: self._run_ended,
        }

    @classmethod
    def of(
        cls,
        run: ev.RunStarted,
        *,
        tier_models: Mapping[str, ModelAlias] | None = None,
        cost: Cost = token_cost,
        odds: Odds = even_odds,
    ) -> Dispatch:
        """The machine of a journalled run. `tier_models` serves a run that was journalled without its own."""
        escalation = Escalation(
            policy=run.policy,
            ladder=run.ladder,
            tier_models=run.tier_models or tier_models or {},
            entry=run.entry or {},
            override=run.model_override,
            cost=cost,
            odds=odds,
        )
        lineup = Lineup(first=run.first, waits=run.waits) if run.first else None
        return cls(run.plan, limits=run.limits, escalation=escalation, lineup=lineup)

    # --- the machine -------------------------------------------------------------------------------

    def handle(self, event: ev.Event) -> list[ev.Command]:
        """Take in one event; return what is to be done now, in order. Nothing is started before `begin`."""
        commands: list[ev.Command] = []
        kind = type(event)
        handler = self._handlers.get(kind)
        if handler is None:
            return commands
        if kind not in _OF_ATTEMPTS:
            self._take_starts_back()
        self._as_expected = False
        handler(event, commands)
        return self._go(commands) if self._begun and not self._as_expected else commands

    def begin(self) -> list[ev.Command]:
        """Start what can start. To be called once, after the events that are there already."""
        self._begun = True
        commands: list[ev.Command] = []
        for node in self.board.in_phase(Phase.PENDING):
            if node.phase is Phase.PENDING:
                self.board.settle(node, commands)
        return self._go(commands)

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Take in a journal from its beginning; `outstanding` and then `begin` say what is to be done."""
        for event in events:
            self.handle(event)

    def outstanding(self) -> list[ev.Command]:
        """The commands no event has answered yet: to be performed by whoever takes the run over."""
        commands: list[ev.Command] = []
        for node in self.board.in_phase(Phase.STARTING, Phase.RUNNING, Phase.LANDING):
            if node.phase is Phase.LANDING:
                commands.append(ev.Land(attempt=node.attempt))
            else:
                commands.append(_start(node))
            if node.wish is not None:
                commands.append(ev.CancelAttempt(attempt=node.attempt))
        return commands

    def _go(self, commands: list[ev.Command]) -> list[ev.Command]:
        board = self.board
        if not self._paused and not self._cancelled:
            while True:
                place = board.ready.pop()
                if place is None:
                    if self._may_escalate() and self._release_held():
                        continue
                    # Nobody is kept back for a subtask that nothing under way will let start.
                    if board.active or not board.ready.wait_no_more():
                        break
                    continue
                node = board.nodes[place]
                node.number += 1
                node.model = node.target
                board.move(node, Phase.STARTING)
                commands.append(_start(node))
        if board.active:
            self._said = None
        else:
            self._rest(commands)
        return commands

    def _may_escalate(self) -> bool:
        """Escalate at once when nothing else can start, and no landing is about to set something free."""
        ready = self.board.ready
        return ready.free_slots > 0 and ready.alone < 0 and not self.board.count[Phase.LANDING]

    def _rest(self, commands: list[ev.Command]) -> None:
        """Nothing is under way and nothing can start: end, try again what was refused too early, or pause."""
        if self._said is not None or self.run_state is not RunState.RUNNING:
            return
        if not self.board.unfinished:
            self._said = ev.Finish(cancelled=self._cancelled)
        else:
            refused = self.board.in_phase(Phase.NO_ROOM, Phase.NO_MODEL)
            early = [node for node in refused if self._worth_a_try(node)]
            if early and not self._paused:
                for node in early:
                    self._admit_again(node)
                self._go(commands)
                return
            self._said = pause_of(self.board, self._paused)
        commands.append(self._said)

    # --- the run -----------------------------------------------------------------------------------

    def _pause_requested(self, event: ev.PauseRequested, commands: list[ev.Command]) -> None:
        self._paused = event.reason or "paused"
        self._said = None

    def _run_paused(self, event: ev.RunPaused, commands: list[ev.Command]) -> None:
        self._paused = event.reason or "paused"
        self.run_state = RunState.PAUSED

    def _run_resumed(self, event: ev.RunResumed, commands: list[ev.Command]) -> None:
        self._paused = ""
        self.run_state = RunState.RUNNING
        self._try_refused_again()

    def _room_freed(self, event: ev.RoomFreed, commands: list[ev.Command]) -> None:
        self._try_refused_again()

    def _try_refused_again(self) -> None:
        self._said = None
        for node in self.board.in_phase(Phase.NO_ROOM, Phase.NO_MODEL):
            self._admit_again(node)

    def _funds_assessed(self, event: ev.FundsAssessed, commands: list[ev.Command]) -> None:
        self.short_of_money = event.short
        while not event.short and self._release_held():
            pass

    def _run_ended(self, event: ev.RunEnded, commands: list[ev.Command]) -> None:
        if event.cancelled and self._cancelled:
            # Of a run whose process is gone: nobody works on these any more.
            for node in self.board.in_phase(Phase.RUNNING, Phase.LANDING):
                if node.phase is Phase.RUNNING:
                    self.board.ready.give_back_slot(node.model)
                self.board.ready.give_back_files(node.place)
                node.wish = None
                self.board.move(node, Phase.CANCELLED, "the run was cancelled")
        if self.board.unfinished:
            # A request came in between, and gave it something to do again.
            self._said = None
            return
        self.run_state = RunState.CANCELLED if event.cancelled else RunState.DONE

    # --- looking -------------------------------------------------------------------------------------

    def states(self) -> Mapping[SubtaskId, State]:
        """Where every subtask stands, in the order of the plan."""
        return {node.id: self.board.state(node) for node in self.board.nodes}

    def failures(self) -> list[SubtaskId]:
        """What failed of the plan in force, and what is blocked for that; not what is blocked by a user's wish."""
        return [
            node.id
            for node in self.board.in_phase(Phase.FAILED, Phase.BLOCKED)
            if node.id not in self._superseded and self._cause(node).phase is Phase.FAILED
        ]

    def _cause(self, node: Node) -> Node:
        while node.phase is Phase.BLOCKED and node.because is not None:
            node = self.board[node.because]
        return node

    @property
    def failed(self) -> bool:
        """Whether anything of the plan in force failed; what a user skipped, and what that blocks, did not."""
        return bool(self.failures())

    def state(self, subtask: SubtaskId) -> State:
        return self.board.state(self.board[subtask])

    def waiting(self, subtask: SubtaskId) -> Waiting | None:
        """What the subtask waits for, or None when it runs or has ended."""
        return waiting_of(self.board, self.board[subtask], self._paused)

    def detail(self, subtask: SubtaskId) -> str:
        """Why it ended without success, or why it was refused, in a sentence; empty when there is nothing to say."""
        return self.board[subtask].detail

    def subtask(self, subtask: SubtaskId) -> Subtask:
        return self.board[subtask].subtask

    def node(self, subtask: SubtaskId) -> Node:
        """All that is remembered of a subtask, to be looked at only."""
        return self.board[subtask]

    def is_starting(self, attempt: AttemptId) -> bool:
        """Whether the attempt's `Start` still holds and no event has answered it."""
        node = self.board[attempt.subtask]
        return node.phase is Phase.STARTING and node.number == attempt.number

    def stage(self, subtask: SubtaskId) -> Stage:
        """How the subtask came to the rung it stands on: what a budget band may do about it depends on that."""
        node = self.board[subtask]
        if node.rung:
            return Stage.ESCALATION
        return Stage.CHOSEN if node.chosen else Stage.ENTRY

    @property
    def resting(self) -> ev.Pause | ev.Finish | None:
        """What was said when nothing was under way and nothing could start; None while there is something to do."""
        return self._said

    @property
    def seconds_left(self) -> float:
        """The estimated seconds to the end: the longest remaining chain, or all work spread over the slots."""
        board = self.board
        seconds = [
            0 if node.phase.final or not board.is_selected(node) else board.seconds[place]
            for place, node in enumerate(board.nodes)
        ]
        longest = max(remaining_path([node.needs for node in board.nodes], seconds), default=0)
        return max(float(longest), sum(seconds) / max(self._limits.parallel, 1))

    @property
    def selection_done(self) -> bool:
        """Whether a selection was made and all that belongs to it has ended."""
        only = self.board.only
        return only is not None and all(self.board.nodes[place].phase.final for place in only)

    @property
    def paused(self) -> str:
        """Why nothing new is started; empty while the run goes on."""
        return self._paused


def _start(node: Node) -> ev.Start:
    return ev.Start(attempt=node.attempt, model=node.model, reasons=node.reasons, after=node.after)
