"""How attempts and landings move a subtask: forward, to another try, up a rung, or to its end."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.board import Board
from orchestrator.core.domain import (
    AttemptId,
    Ended,
    ExecutorName,
    Limits,
    ModelAlias,
    Outcome,
    Policy,
    Subtask,
    VerdictKind,
)
from orchestrator.core.escalation import Escalation, blocked_behind
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    CancelAttempt,
    Command,
    Land,
    LandingRefused,
    SubtaskLanded,
)
from orchestrator.core.graph import no_collections
from orchestrator.core.money import Usd
from orchestrator.core.node import Node, Phase
from orchestrator.core.schedule import Lineup


class Attempts:
    """The board of a run with the rules for attempts; `core.dispatch` adds the run and what users ask for."""

    def __init__(
        self,
        subtasks: Sequence[Subtask],
        *,
        limits: Limits,
        escalation: Escalation,
        lineup: Lineup | None,
    ) -> None:
        self._limits = limits
        self._escalation = escalation
        with no_collections():
            self.board = Board(subtasks, limits=limits, escalation=escalation, lineup=lineup)
        self.short_of_money = False
        # The event was a start that had been commanded: it sets nothing free.
        self._as_expected = False
        # Attempts that ended with a bill: a refusal for want of room from before then is worth another try; so is one
        # for want of a model from before that model last answered.
        self._settled = 0
        self._answered: dict[ModelAlias | None, int] = {}

    @property
    def expected_left(self) -> Usd:
        """The expected dollars of all that is to be done yet, from the rungs where it stands, with what may follow."""
        expected, board = self._escalation.expected, self.board
        nodes = (node for node in board.nodes if not node.phase.final and board.is_selected(node))
        return Usd(round(sum(expected(node.subtask, node.rungs[node.rung :]) for node in nodes)))

    # --- attempts ----------------------------------------------------------------------------------

    def _attempt_started(self, event: AttemptStarted, commands: list[Command]) -> None:
        place = self.board.index.get(event.attempt.subtask)
        commanded = place is not None and self.board.nodes[place].number == event.attempt.number
        node = self._under_way(event.attempt, commands)
        if node is None:
            return
        if node.phase is Phase.STARTING:
            self.board.move(node, Phase.RUNNING)
            # One that was not commanded took the others' starts back, and they may be made again.
            self._as_expected = commanded and node.wish is None and event.model == node.model
        if event.model != node.model:
            # A band may have put it on another model than its rung.
            self.board.ready.take_model(event.model)
            self.board.ready.give_back_model(node.model)
            node.model = event.model
            if node.rung == 0 and event.model is not None:
                node.rungs = self._escalation.entered_on(event.model, node.rungs)
        if node.refused_at >= 0:
            # There was room for it: perhaps there is for the next one.
            node.refused_at = -1
            self._admit_refused(event.model)

    def _attempt_finished(self, event: AttemptFinished, commands: list[Command]) -> None:
        node = self._under_way(event.attempt, commands)
        if node is None:
            return
        outcome = event.outcome
        self.board.ready.give_back_slot(node.model)
        if outcome.ended not in (Ended.NO_ROOM, Ended.NO_MODEL):
            self._settled += 1
            if outcome.ended in (Ended.PASSED, Ended.REJECTED):
                self._answered[node.model] = self._settled
            node.tokens_used += outcome.usage.output_tokens
            if self._escalation.is_smart(node.target):
                node.smart_nano += outcome.bill.nano
            self._admit_refused(node.model)
        if node.wish is not None:
            self._grant_wish(node, commands)
            return
        if outcome.ended is Ended.PASSED:
            self.board.move(node, Phase.LANDING)
            commands.append(Land(attempt=event.attempt))
            return
        self.board.ready.give_back_files(node.place)
        match outcome.ended:
            case Ended.NO_ROOM | Ended.NO_MODEL:
                node.refused_at = self._settled
                phase = Phase.NO_ROOM if outcome.ended is Ended.NO_ROOM else Phase.NO_MODEL
                self.board.move(node, phase, outcome.reason)
            case Ended.CANCELLED:
                self.board.admit(node)
            case _:
                self._not_passed(node, outcome, commands)
        self._mind_undone(node, commands)

    def _not_passed(self, node: Node, outcome: Outcome, commands: list[Command]) -> None:
        verdict = outcome.verdict
        if verdict is not None and verdict.kind is VerdictKind.UNVERIFIED:
            node.after += (node.attempt,)
            self.board.close(node, Phase.FAILED, outcome.reason or "nothing could verify it", commands)
        elif outcome.needs is not None:
            # Its own cap does not admit another call, on this rung or a dearer one.
            node.after += (node.attempt,)
            self.board.close(node, Phase.FAILED, outcome.reason, commands)
        else:
            self._try_again(node, outcome.reason, commands)

    def _try_again(self, node: Node, reason: str, commands: list[Command]) -> None:
        """After a failed attempt: the same rung with what was learned, the next rung, or the end."""
        node.after += (node.attempt,)
        node.tries += 1
        node.failures += 1
        limits = self._limits
        if node.subtask.executor is ExecutorName.TOOL or node.failures >= limits.max_attempts:
            self.board.close(node, Phase.FAILED, reason, commands)
        elif node.tries < limits.attempts_per_rung and not self._over_smart_cap(node, node.rung):
            node.reasons = (f"again on {node.target}: {reason}",)
            self.board.admit(node)
        elif node.rung + 1 < len(node.rungs) and not self._over_smart_cap(node, node.rung + 1):
            node.reasons = (f"escalated from {node.target}: {reason}",)
            node.rung += 1
            node.tries = 0
            self._escalate(node, reason)
        else:
            self.board.close(node, Phase.FAILED, reason, commands)

    def _over_smart_cap(self, node: Node, rung: int) -> bool:
        cap = self._limits.smart_per_subtask
        return cap is not None and self._escalation.is_smart(node.rungs[rung]) and node.smart_nano >= cap.nano

    def _escalate(self, node: Node, reason: str) -> None:
        if node.target is None or not self._first_pass_first:
            self.board.admit(node)
            return
        self.board.move(node, Phase.HELD, reason)
        self.board.held.hold(node.place, self._gain(node))

    def _gain(self, node: Node) -> float:
        assert node.target is not None
        return self._escalation.gain(
            node.subtask,
            node.target,
            blocked=blocked_behind(node.place, self.board.wanted_by),
            tokens_used=node.tokens_used,
        )

    # --- what was refused ----------------------------------------------------------------------------

    def _admit_again(self, node: Node) -> None:
        """Queue what was refused for want of room or of a model where it stood: an escalation among escalations."""
        if node.rung:
            self._escalate(node, node.detail)
        else:
            self.board.admit(node)

    def _worth_a_try(self, node: Node) -> bool:
        """Whether what kept a refused subtask from running may have changed: others settled, its model answered."""
        if node.phase is Phase.NO_ROOM:
            return node.refused_at < self._settled
        return node.refused_at < self._answered.get(node.target, 0)

    def _admit_refused(self, model: ModelAlias | None) -> None:
        """An attempt on `model` has settled, or started after all: the most urgent that was refused is tried again.

        One at a time: most of many would only be refused again.
        """
        refused = [
            node
            for node in self.board.in_phase(Phase.NO_ROOM, Phase.NO_MODEL)
            if self._worth_a_try(node) and (node.phase is Phase.NO_ROOM or node.target == model)
        ]
        if refused:
            self._admit_again(min(refused, key=self._urgency))
            self._as_expected = False

    def _urgency(self, node: Node) -> tuple[bool, float]:
        """By rank; where money is short the first pass before escalations, and these by what they are worth."""
        if node.rung and node.target is not None and self._first_pass_first:
            return True, -self._gain(node)
        return False, self.board.ranks[node.place]

    @property
    def _first_pass_first(self) -> bool:
        return self.short_of_money and self._escalation.policy is Policy.THRIFTY

    def _release_held(self) -> bool:
        """Let the escalation that is worth most go on; return whether there was one."""
        place = self.board.held.pop()
        if place is None:
            return False
        self.board.admit(self.board.nodes[place])
        return True

    # --- landings ----------------------------------------------------------------------------------

    def _landed(self, event: SubtaskLanded, commands: list[Command]) -> None:
        node = self._landing(event.attempt)
        if node is not None:
            node.wish = None
            self.board.ready.give_back_files(node.place)
            self.board.succeed(node)

    def _landing_refused(self, event: LandingRefused, commands: list[Command]) -> None:
        node = self._landing(event.attempt)
        if node is None:
            return
        if node.wish is not None:
            self._grant_wish(node, commands)
            return
        self.board.ready.give_back_files(node.place)
        if not event.conflict:
            self._try_again(node, event.reason, commands)
            self._mind_undone(node, commands)
            return
        node.after += (node.attempt,)
        node.conflicts += 1
        if node.conflicts > self._limits.conflicts_per_subtask:
            self.board.close(node, Phase.FAILED, f"{node.conflicts} conflicts: {event.reason}", commands)
        else:
            node.reasons = (f"reopened on the new base: {event.reason}",)
            self.board.admit(node)
        self._mind_undone(node, commands)

    def _mind_undone(self, node: Node, commands: list[Command]) -> None:
        """What a subtask depends on may have been taken back while it was under way: it waits for it, or is blocked."""
        if node.missing and not node.phase.final:
            self.board.withdraw(node)
            self.board.settle(node, commands)

    def _landing(self, attempt: AttemptId) -> Node | None:
        place = self.board.index.get(attempt.subtask)
        node = None if place is None else self.board.nodes[place]
        if node is None or node.phase is not Phase.LANDING or node.number != attempt.number:
            return None
        return node

    # --- what both need ------------------------------------------------------------------------------

    def _under_way(self, attempt: AttemptId, commands: list[Command]) -> Node | None:
        """The subtask of an attempt that someone works on; None for an attempt that is of no account any more."""
        place = self.board.index.get(attempt.subtask)
        if place is None:
            return None
        node = self.board.nodes[place]
        if node.number == attempt.number and Phase.STARTING <= node.phase <= Phase.RUNNING:
            return node
        if attempt.number <= node.number or node.phase.active or node.phase is Phase.SUCCEEDED:
            return None
        # Journalled by a run with other limits, or just after a request: it is under way all the same.
        self._take_starts_back()
        if node.phase is Phase.FAILED:
            self.board.reopen(node, commands)
        elif node.missing or node.phase.final:
            node.wish = node.phase if node.phase in (Phase.SKIPPED, Phase.CANCELLED) else Phase.READY
            commands.append(CancelAttempt(attempt=attempt))
        self.board.withdraw(node)
        self.board.ready.take(node.place, node.target)
        node.number, node.model = attempt.number, node.target
        self.board.move(node, Phase.STARTING)
        return node

    def _take_starts_back(self) -> None:
        """Make every attempt that was only commanded a ready subtask again, as the journal knows it."""
        if not self.board.count[Phase.STARTING]:
            return
        for node in self.board.in_phase(Phase.STARTING):
            self.board.ready.give_back_slot(node.model)
            self.board.ready.give_back_files(node.place)
            node.number -= 1
            self.board.admit(node)

    def _grant_wish(self, node: Node, commands: list[Command]) -> None:
        """The attempt under way has ended: now the subtask goes where the user wanted it."""
        wish, node.wish = node.wish, None
        self.board.ready.give_back_files(node.place)
        if wish is Phase.READY:
            self.board.reopen(node, commands)
        elif wish is not None:
            self.board.close(node, wish, "on request", commands)
