"""The subtasks of a run on one board: who waits for whom, who is ready, what a move sets free or blocks.

The board knows no events and no policy; `core.dispatch` moves the pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.core.conflicts import Conflicts
from orchestrator.core.domain import Deliverable, Limits, State, Subtask, SubtaskId
from orchestrator.core.escalation import Escalation, HeldEscalations
from orchestrator.core.events import Block, Command
from orchestrator.core.graph import closure, dependents, order
from orchestrator.core.node import STATE_OF, Node, Phase
from orchestrator.core.ready import ReadyQueue
from orchestrator.core.schedule import Lineup


def remaining_path(needs: Sequence[Sequence[int]], seconds: Sequence[int]) -> list[int]:
    """Return for each node the seconds of the longest chain that begins with it."""
    longest = list(seconds)
    for node in reversed(order(needs)):
        length = longest[node]
        for other in needs[node]:
            if seconds[other] + length > longest[other]:
                longest[other] = seconds[other] + length
    return longest


def ranks_by_remaining_path(needs: Sequence[Sequence[int]], seconds: Sequence[int]) -> list[int]:
    """Return each node's place in the order of longest remaining path; ties keep the order of the plan."""
    longest = remaining_path(needs, seconds)
    ranks = [0] * len(longest)
    for rank, node in enumerate(sorted(range(len(longest)), key=lambda node: -longest[node])):
        ranks[node] = rank
    return ranks


class Board:
    """All subtasks of a run, and the resources they take. Subtasks are addressed by their place, an integer."""

    def __init__(
        self,
        subtasks: Sequence[Subtask],
        *,
        limits: Limits,
        escalation: Escalation,
        lineup: Lineup | None = None,
        before: Mapping[SubtaskId, Node] | None = None,
    ) -> None:
        self.index = {subtask.id: place for place, subtask in enumerate(subtasks)}
        index = self.index
        needs = [
            tuple({index[other]: None for other in subtask.depends_on}) if subtask.depends_on else ()
            for subtask in subtasks
        ]
        self.wanted_by = dependents(needs)
        self.seconds = [max(subtask.estimate.seconds.likely, 1) for subtask in subtasks]
        # Each subtask's place in the order of urgency; 0 is the most urgent.
        self.ranks = self._ranks(needs, lineup.first if lineup else ())
        self.ready = ReadyQueue(
            Conflicts(
                [
                    () if subtask.deliverable is Deliverable.DOCUMENT else subtask.touches
                    for subtask in subtasks
                ]
            ),
            self.ranks,
            parallel=limits.parallel,
            per_model=limits.per_model,
            waits=self._waits(lineup),
        )
        self.held = HeldEscalations()
        self.only: frozenset[int] | None = None
        self.count = [0] * len(Phase)
        self.nodes: list[Node] = []
        for place, (subtask, rungs) in enumerate(zip(subtasks, escalation.all_rungs(subtasks), strict=True)):
            node = Node(
                subtask=subtask,
                place=place,
                needs=needs[place],
                wanted_by=self.wanted_by[place],
                rungs=rungs,
                missing=len(needs[place]),
            )
            self.nodes.append(node)
            old = before.get(subtask.id) if before else None
            if old is not None:
                _carry_over(old, node)
            self.count[node.phase] += 1
        if before:
            self._take_again()

    def _ranks(self, needs: Sequence[Sequence[int]], first: Sequence[SubtaskId]) -> list[int]:
        ranks = ranks_by_remaining_path(needs, self.seconds)
        given = [self.index[subtask_id] for subtask_id in first if subtask_id in self.index]
        if not given:
            return ranks
        behind = len(given)
        chosen = {node: place for place, node in enumerate(dict.fromkeys(given))}
        keys = [chosen.get(node, behind + ranks[node]) for node in range(len(ranks))]
        for rank, node in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
            ranks[node] = rank
        return ranks

    def _waits(self, lineup: Lineup | None) -> dict[int, tuple[int, ...]]:
        if lineup is None:
            return {}
        index = self.index
        return {
            index[subtask]: tuple(index[other] for other in others if other in index)
            for subtask, others in lineup.waits
            if subtask in index
        }

    def _take_again(self) -> None:
        for node in self.nodes:
            node.missing = sum(self.nodes[other].phase is not Phase.SUCCEEDED for other in node.needs)
            if node.phase.active:
                self.ready.take(node.place, node.model)
                if node.phase is Phase.LANDING:
                    self.ready.give_back_slot(node.model)

    # --- looking ---------------------------------------------------------------------------------

    def __getitem__(self, subtask_id: SubtaskId) -> Node:
        return self.nodes[self.index[subtask_id]]

    @property
    def unfinished(self) -> int:
        return sum(self.count[: Phase.SUCCEEDED])

    @property
    def active(self) -> int:
        count = self.count
        return count[Phase.STARTING] + count[Phase.RUNNING] + count[Phase.LANDING]

    def is_selected(self, node: Node) -> bool:
        """Whether it is among those that are to run now."""
        return self.only is None or node.place in self.only

    def state(self, node: Node) -> State:
        return STATE_OF[node.phase]

    def in_phase(self, *phases: Phase) -> list[Node]:
        """The subtasks in these phases, in the order of the plan."""
        if not any(self.count[phase] for phase in phases):
            return []
        return [node for node in self.nodes if node.phase in phases]

    # --- moving ----------------------------------------------------------------------------------

    def move(self, node: Node, phase: Phase, detail: str = "") -> None:
        """Put a subtask into another phase; what it held or where it queued is the caller's business."""
        before = node.phase
        self.count[before] -= 1
        self.count[phase] += 1
        node.phase = phase
        node.detail = detail
        if phase.kept_from_starting:
            self.ready.wait_no_more_for(node.place)

    def admit(self, node: Node) -> None:
        """Queue a subtask whose dependencies have all succeeded, or set it aside when it is not selected."""
        if node.missing:
            self.move(node, Phase.PENDING)
        elif not self.is_selected(node):
            self.move(node, Phase.ASIDE)
        else:
            self.move(node, Phase.READY)
            self.ready.push(node.place, node.target)

    def withdraw(self, node: Node) -> None:
        """Take a waiting subtask out of the queues."""
        self.ready.discard(node.place)
        self.held.discard(node.place)

    def succeed(self, node: Node) -> None:
        self.move(node, Phase.SUCCEEDED)
        for place in node.wanted_by:
            other = self.nodes[place]
            other.missing -= 1
            if not other.missing and other.phase is Phase.PENDING:
                self.admit(other)

    def close(self, node: Node, phase: Phase, detail: str, commands: list[Command]) -> None:
        """End a subtask without success, and block all that cannot run without it."""
        self.withdraw(node)
        self.move(node, phase, detail)
        self._block_behind(node, node, commands)

    def _block(self, node: Node, because: Node, commands: list[Command]) -> None:
        node.because = because.id
        self.move(node, Phase.BLOCKED, f"{because.id} {STATE_OF[because.phase].value}")
        commands.append(Block(subtask=node.id, because=because.id))

    def _block_behind(self, node: Node, because: Node, commands: list[Command]) -> None:
        stack = [node]
        while stack:
            for place in stack.pop().wanted_by:
                other = self.nodes[place]
                if other.phase is Phase.PENDING:
                    self._block(other, because, commands)
                    stack.append(other)

    def reopen(self, node: Node, commands: list[Command]) -> None:
        """Let a finished or waiting subtask run again, and with it what was blocked by nothing else."""
        self.withdraw(node)
        was_done = node.phase is Phase.SUCCEEDED
        node.start_over()
        if was_done:
            self._count_again(node)
        self.settle(node, commands)
        stack = [node]
        while stack:
            for place in stack.pop().wanted_by:
                other = self.nodes[place]
                if other.phase is Phase.BLOCKED and not self._hopeless(other):
                    other.because = None
                    self.settle(other, commands)
                    stack.append(other)

    def undo(self, node: Node, detail: str, commands: list[Command]) -> None:
        """Make a succeeded subtask one that did not succeed; dependents that succeeded stay as they are."""
        self._count_again(node)
        self.close(node, Phase.SKIPPED, detail, commands)

    def _count_again(self, node: Node) -> None:
        for place in node.wanted_by:
            other = self.nodes[place]
            other.missing += 1
            if other.phase is Phase.RUNNING:
                # It builds on what is gone. Who moves the pieces cancels the attempt.
                other.wish = other.wish or Phase.READY
            elif other.phase in (Phase.READY, Phase.ASIDE, Phase.HELD, Phase.NO_ROOM, Phase.NO_MODEL):
                self.withdraw(other)
                self.move(other, Phase.PENDING)

    def settle(self, node: Node, commands: list[Command]) -> None:
        """Queue an unfinished subtask, or let it wait for its dependencies, or block it."""
        blocker = next(
            (self.nodes[place] for place in node.needs if _ended_badly(self.nodes[place].phase)), None
        )
        if blocker is None:
            self.admit(node)
        else:
            self._block(node, blocker, commands)
            self._block_behind(node, blocker, commands)

    def _hopeless(self, node: Node) -> bool:
        return any(_ended_badly(self.nodes[place].phase) for place in node.needs)

    def blockers(self, node: Node) -> list[Node]:
        """The subtasks that ended without success and keep this one from running, farthest first."""
        behind = closure([other.needs for other in self.nodes], [node.place]) - {node.place}
        bad = (Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED)
        return [self.nodes[place] for place in sorted(behind) if self.nodes[place].phase in bad]

    def select(self, only: Iterable[SubtaskId] | None) -> None:
        """Let only these subtasks and all they depend on run now; None lets all run."""
        if only is None:
            self.only = None
        else:
            wanted = [self.index[subtask_id] for subtask_id in only if subtask_id in self.index]
            self.only = frozenset(closure([node.needs for node in self.nodes], wanted))
        for node in self.nodes:
            if node.phase in (Phase.READY, Phase.ASIDE):
                self.withdraw(node)
                self.admit(node)


def _ended_badly(phase: Phase) -> bool:
    return phase > Phase.SUCCEEDED


def _carry_over(old: Node, node: Node) -> None:
    """Take over from the plan before what must not be lost: results, numbers, lessons, what is under way."""
    node.number, node.after, node.notes = old.number, old.after, old.notes
    node.smart_nano, node.tokens_used = old.smart_nano, old.tokens_used
    if old.phase > Phase.SUCCEEDED:
        return
    if old.chosen:
        node.rungs, node.chosen = old.rungs, True
    node.rung = min(old.rung, len(node.rungs) - 1)
    node.tries, node.failures, node.conflicts = old.tries, old.failures, old.conflicts
    if old.phase.active or old.phase is Phase.SUCCEEDED:
        node.phase, node.model, node.detail = old.phase, old.model, old.detail
        node.wish, node.refused_at = old.wish, old.refused_at
