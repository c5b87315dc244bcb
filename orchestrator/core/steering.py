"""What is asked of a run while it is under way: skip, cancel, retry, undo, select, and another plan for the rest."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import events as ev
from orchestrator.core.attempts import Attempts
from orchestrator.core.board import Board
from orchestrator.core.domain import ExecutorName, Limits, ModelAlias, Policy, RunState, Subtask, SubtaskId
from orchestrator.core.escalation import Escalation
from orchestrator.core.node import Node, Phase
from orchestrator.core.schedule import Lineup


class Steering(Attempts):
    """The rules for requests, on top of those for attempts; `core.dispatch` adds the run."""

    def __init__(
        self,
        subtasks: Sequence[Subtask],
        *,
        limits: Limits,
        escalation: Escalation,
        lineup: Lineup | None,
    ) -> None:
        super().__init__(subtasks, limits=limits, escalation=escalation, lineup=lineup)
        self.run_state = RunState.RUNNING
        self._cancelled = False
        self._selected: tuple[SubtaskId, ...] | None = None
        self._superseded: frozenset[SubtaskId] = frozenset()
        # What was said when nothing was under way and nothing could start.
        self._said: ev.Pause | ev.Finish | None = None

    def _skip_requested(self, event: ev.SkipRequested, commands: list[ev.Command]) -> None:
        self._said = None
        if event.subtask in self.board.index:
            self._ask(self.board[event.subtask], Phase.SKIPPED, "on request", commands)

    def _cancel_requested(self, event: ev.CancelRequested, commands: list[ev.Command]) -> None:
        self._said = None
        if event.subtask is None:
            self._cancelled = True
            for node in self.board.nodes:
                if not node.phase.active and not node.phase.final:
                    self.board.withdraw(node)
                    self.board.move(node, Phase.CANCELLED, "the run was cancelled")
            for node in self.board.in_phase(Phase.RUNNING, Phase.LANDING):
                self._ask(node, Phase.CANCELLED, "", commands)
        elif event.subtask in self.board.index:
            self._ask(self.board[event.subtask], Phase.CANCELLED, "on request", commands)

    def _ask(self, node: Node, phase: Phase, why: str, commands: list[ev.Command]) -> None:
        """Bring a subtask to the end a user wants: at once, or when what is under way has ended."""
        if node.phase.active:
            if node.wish is None and node.phase in (Phase.RUNNING, Phase.LANDING):
                commands.append(ev.CancelAttempt(attempt=node.attempt))
            node.wish = phase
        elif not node.phase.final:
            self.board.close(node, phase, why, commands)

    def _retry_requested(self, event: ev.RetryRequested, commands: list[ev.Command]) -> None:
        if event.subtask not in self.board.index:
            return
        node = self.board[event.subtask]
        if node.phase in (Phase.SUCCEEDED, Phase.LANDING):
            return
        self._said = None
        self._revive()
        if event.note:
            node.notes += (event.note,)
        node.reasons = ("the user asked for another try",)
        if self._selected is not None and not self.board.is_selected(node):
            self._selected = (*self._selected, node.id)
            self.board.select(self._selected)
        if node.phase.active:
            self._ask(node, Phase.READY, "", commands)
            self._climb_from(node, event.model)
            return
        self._climb_from(node, event.model)
        for blocker in self.board.blockers(node):
            self.board.reopen(blocker, commands)
        self.board.reopen(node, commands)

    def _revive(self) -> None:
        """A run that had ended has something to do again."""
        self._cancelled = False
        if self.run_state is not RunState.PAUSED:
            self.run_state = RunState.RUNNING

    def _climb_from(self, node: Node, model: ModelAlias | None) -> None:
        if model is not None and node.subtask.executor is not ExecutorName.TOOL:
            tags = self._escalation.policy is Policy.TAGS
            node.rungs = (model,) if tags else self._escalation.rungs_from(model, node.subtask)
            node.rung = 0
            node.chosen = True

    def _undone(self, event: ev.SubtaskUndone, commands: list[ev.Command]) -> None:
        if event.subtask not in self.board.index:
            return
        node = self.board[event.subtask]
        if node.phase is not Phase.SUCCEEDED:
            return
        self._said = None
        self._revive()
        if event.note:
            node.notes += (event.note,)
        if event.retry:
            node.reasons = ("its commit was taken back",)
            self.board.reopen(node, commands)
        else:
            self.board.undo(node, "its commit was taken back", commands)
        for place in node.wanted_by:
            other = self.board.nodes[place]
            if other.wish is Phase.READY and other.phase is Phase.RUNNING:
                commands.append(ev.CancelAttempt(attempt=other.attempt))
        for subtask_id in event.reopened:
            other = self.board[subtask_id]
            if other.phase is Phase.SUCCEEDED:
                other.reasons = (f"{node.id} was taken back",)
                self.board.reopen(other, commands)

    def _selection_changed(self, event: ev.SelectionChanged, commands: list[ev.Command]) -> None:
        self._said = None
        self._selected = event.only
        self.board.select(event.only)

    # --- another plan --------------------------------------------------------------------------------

    def _plan_replaced(self, event: ev.PlanReplaced, commands: list[ev.Command]) -> None:
        self._said = None
        if self._cancelled:
            # While the new plan was being made.
            return
        old = {node.id: node for node in self.board.nodes}
        kept = {subtask.id for subtask in event.plan.subtasks}
        dropped = [node for node in self.board.nodes if node.id not in kept]
        self._superseded = frozenset(node.id for node in dropped)
        if self._selected is not None:
            # What is planned anew stands in for what was selected.
            self._selected += tuple(subtask for subtask in kept if subtask not in old)
        # What is done or under way stays what it was when it was started.
        settled = {
            node.id: node.subtask
            for node in old.values()
            if node.phase is Phase.SUCCEEDED or node.phase.active
        }
        self.board = Board(
            (
                *(settled.get(subtask.id, subtask) for subtask in event.plan.subtasks),
                *(node.subtask for node in dropped),
            ),
            limits=self._limits,
            escalation=self._escalation,
            before=old,
        )
        self._revive()
        for before in dropped:
            node = self.board[before.id]
            if before.phase.final and not node.phase.final:
                self.board.move(node, before.phase, before.detail)
            elif not node.phase.final and not node.phase.active:
                self.board.move(node, Phase.CANCELLED, "not in the new plan")
        for before in dropped:
            self._ask(self.board[before.id], Phase.CANCELLED, "not in the new plan", commands)
        self.board.select(self._selected)
        for node in self.board.in_phase(Phase.PENDING):
            if node.phase is Phase.PENDING:
                self.board.settle(node, commands)
