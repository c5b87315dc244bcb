"""The ready queue: most urgent first, and never stuck behind a busy file or a busy model.

A subtask that meets something busy is parked there, and the queue goes past it. When that becomes free, the
most urgent one parked is offered again; if it turns out not to take the place, the next one is. So an event
costs O(log n), however many wait for one hot file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

from orchestrator.core.conflicts import Conflicts
from orchestrator.core.domain import ModelAlias

# What a subtask is parked on: a file key (0 and above), the alias of a model, this (everything else at rest), or
# `-2 - n`: the start of the more urgent subtask n, for which it is kept back.
ALONE = -1
Place = int | ModelAlias


def start_of(node: int) -> Place:
    return -2 - node


class ReadyQueue:
    """Subtasks 0, 1, 2 ... that could run now. `ranks[n]` orders them: 0 is the most urgent, all different.

    `waits[n]` are more urgent subtasks that n is kept back for, until they have started or cannot start now.
    """

    def __init__(
        self,
        conflicts: Conflicts,
        ranks: Sequence[int],
        *,
        parallel: int,
        per_model: Mapping[ModelAlias, int] | None = None,
        waits: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self._conflicts = conflicts
        self._rank = ranks
        self._at = [0] * len(ranks)
        for node, rank in enumerate(ranks):
            self._at[rank] = node
        self.free_slots = parallel
        self._room: dict[ModelAlias, int] = dict(per_model or {})
        self._heap: list[int] = []
        self._queued: dict[int, ModelAlias | None] = {}
        self._parked: dict[Place, list[int]] = {}
        self._parked_on: dict[int, Place] = {}
        self._offered_by: dict[int, Place] = {}
        self._holder = [-1] * len(conflicts.patterns)
        self._holders = 0
        self._alone = -1
        self._waits = dict(waits or {})
        self._awaited = {other for others in self._waits.values() for other in others}

    def push(self, node: int, model: ModelAlias | None) -> None:
        """Queue a subtask that is to run on `model` (None: on none)."""
        if node not in self._queued:
            heappush(self._heap, self._rank[node])
        self._queued[node] = model

    def discard(self, node: int) -> None:
        """Take a subtask out of the queue, wherever it waits; one that is not in it is no error."""
        if node not in self._queued:
            return
        del self._queued[node]
        self._parked_on.pop(node, None)
        self._pass_on(self._offered_by.pop(node, None))

    def pop(self) -> int | None:
        """Take the most urgent subtask that can run now, with its slot, model and files; None when none can."""
        while self._heap and self.free_slots > 0 and self._alone < 0:
            node = self._at[heappop(self._heap)]
            if node not in self._queued or node in self._parked_on:
                continue
            offered_by = self._offered_by.pop(node, None)
            busy = self.busy(node)
            if busy is None:
                self.take(node, self._queued[node])
                self._pass_on(offered_by)
                return node
            heappush(self._parked.setdefault(busy, []), self._rank[node])
            self._parked_on[node] = busy
            if offered_by != busy:
                self._pass_on(offered_by)
        return None

    def take(self, node: int, model: ModelAlias | None) -> None:
        """Give a subtask its slot, model and files without asking whether they are free."""
        self.discard(node)
        self.wait_no_more_for(node)
        self.free_slots -= 1
        if model in self._room:
            self._room[model] -= 1
        for key in self._conflicts.holds[node]:
            self._holder[key] = node
        self._holders += 1
        if self._conflicts.alone[node]:
            self._alone = node

    def wait_no_more_for(self, node: int) -> None:
        """A subtask started, or cannot start for now: who was kept back for it may go on."""
        if node in self._awaited:
            self._awaited.remove(node)
            self._pass_on(start_of(node))

    def wait_no_more(self) -> bool:
        """Drop all waits for more urgent subtasks; return whether there were any."""
        awaited = sorted(self._awaited)
        for node in awaited:
            self.wait_no_more_for(node)
        return bool(awaited)

    def give_back_slot(self, model: ModelAlias | None) -> None:
        """An attempt ended: its slot and its place at the model are free again."""
        self.free_slots += 1
        self.give_back_model(model)

    def give_back_model(self, model: ModelAlias | None) -> None:
        if model is not None and model in self._room:
            self._room[model] += 1
            self._pass_on(model)

    def take_model(self, model: ModelAlias | None) -> None:
        if model is not None and model in self._room:
            self._room[model] -= 1

    def give_back_files(self, node: int) -> None:
        """A subtask landed or was given up: others may change its files."""
        for key in self._conflicts.holds[node]:
            if self._holder[key] == node:
                self._holder[key] = -1
                self._pass_on(key)
        self._holders -= 1
        if self._alone == node:
            self._alone = -1
        if not self._holders:
            self._pass_on(ALONE)

    def busy(self, node: int) -> Place | None:
        """What keeps a queued subtask from running now, apart from the slots."""
        if self._conflicts.alone[node] and self._holders:
            return ALONE
        for other in self._waits.get(node, ()):
            if other in self._awaited:
                return start_of(other)
        for key in self._conflicts.meets[node]:
            if self._holder[key] >= 0:
                return key
        model = self._queued.get(node)
        if model is not None and self._room.get(model, 1) <= 0:
            return model
        return None

    def holder(self, place: int) -> int:
        """The subtask that holds a file, or the one that runs alone; -1 when nobody does."""
        return self._alone if place == ALONE else self._holder[place]

    def pattern(self, key: int) -> str:
        return self._conflicts.patterns[key]

    @property
    def alone(self) -> int:
        """The subtask beside which nothing may run now, or -1."""
        return self._alone

    def _is_free(self, place: Place) -> bool:
        if isinstance(place, str):
            return self._room[place] > 0
        if place < ALONE:
            return -2 - place not in self._awaited
        return not self._holders if place == ALONE else self._holder[place] < 0

    def _pass_on(self, place: Place | None) -> None:
        """Offer a free place to the most urgent subtask that is parked there."""
        if place is None or not (parked := self._parked.get(place)) or not self._is_free(place):
            return
        while parked:
            rank = heappop(parked)
            node = self._at[rank]
            # Entries of subtasks that left the queue meanwhile, or wait elsewhere, are dropped here.
            if self._parked_on.get(node) == place:
                del self._parked_on[node]
                self._offered_by[node] = place
                heappush(self._heap, rank)
                return
        del self._parked[place]
