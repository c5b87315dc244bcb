"""The ready queue: most urgent first, and never stuck behind a busy file or a busy model.

Subtasks that need the same files and the same model stand in one line: when its first cannot run, none of it can. A
line that meets something busy is parked there, and the queue goes past it. When that becomes free, the most urgent
line parked is offered again; if it turns out not to take the place, the next one is. So an event costs O(log n),
however many wait for one hot file, or for two.

Going past has an end. Of the subtasks that can wait for one file while another is free, the most urgent becomes the
favourite once enough less urgent ones have landed: from then on its files are kept free for it. There is one
favourite at a time, and it waits only for what is under way, so nobody waits in a circle.

What is started next follows from who is queued, under way and landed, whatever order led there: a machine that is
given a journal, which starts nothing by itself, comes to the same.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush

from orchestrator.core.conflicts import Conflicts
from orchestrator.core.domain import ModelAlias

# What a line is parked on: a file key (0 and above), the alias of a model, this (everything else at rest), or
# `-2 - n`: the start of the more urgent subtask n, for which it is kept back.
ALONE = -1
Place = int | ModelAlias

# A subtask is the favourite after so many less urgent landings for each slot. Files that are kept free stand idle:
# independent subtasks, a fifth of them with a glob over all files, take 3 % longer; with 1, 6 % (bench/ready_queue.py).
PATIENCE = 4


def start_of(node: int) -> Place:
    return -2 - node


class ReadyQueue:
    """Subtasks 0, 1, 2 ... that could run now. `ranks[n]` orders them: 0 is the most urgent, all different.

    `waits[n]` are more urgent subtasks that n is kept back for, until they have started or cannot start now, or n's
    turn has come all the same: all before it have landed but for fewer than there are slots. One that is awaited may
    be late by hours.
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
        self._files = _files_of(conflicts)
        self._rank = ranks
        self._at = [0] * len(ranks)
        for node, rank in enumerate(ranks):
            self._at[rank] = node
        self.free_slots = parallel
        self._room: dict[ModelAlias, int] = dict(per_model or {})
        self._lines: dict[tuple[_Files, ModelAlias | None, int], _Line] = {}
        self._queued: dict[int, _Line] = {}
        # Ranks of the heads of lines: those to be looked at, those parked, those that may become the favourite.
        self._heap: list[int] = []
        self._parked: dict[Place, list[int]] = {}
        self._overtaken: dict[ModelAlias | None, list[int]] = {}
        self._parallel = parallel
        self._patience = PATIENCE * parallel
        self._landed: list[int] = []
        self._has_landed = bytearray(len(ranks))
        self._favourite = -1
        self._reserved: frozenset[int] = frozenset()
        self._kept_free: set[int] = set()
        self._holder: dict[int, int] = {}
        self._holders = 0
        self._alone = -1
        self._waits = dict(waits or {})
        self._awaited = {other for others in self._waits.values() for other in others}
        self._kept_back: list[int] = []

    # --- the queue -------------------------------------------------------------------------------

    def push(self, node: int, model: ModelAlias | None) -> None:
        """Queue a subtask that is to run on `model` (None: on none)."""
        line = self._queued.get(node)
        if line is not None:
            if line.model == model:
                return
            self.discard(node)
        self._to_do_again(node)
        # Who is kept back for others stands alone, so as not to keep back those behind.
        name = (self._files[node], model, node if node in self._waits else -1)
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(name)
        self._queued[node] = line
        rank = self._rank[node]
        heappush(line.ranks, rank)
        if line.overtaken == rank:
            line.overtaken = -1
        if line.ranks[0] == rank:
            line.parked_on = None
            heappush(self._heap, rank)

    def discard(self, node: int) -> None:
        """Take a subtask out of the queue, wherever it waits; one that is not in it is no error."""
        line = self._queued.pop(node, None)
        if line is None or line.ranks[0] != self._rank[node]:
            return
        ranks, queued, at = line.ranks, self._queued, self._at
        while ranks and queued.get(at[ranks[0]]) is not line:
            heappop(ranks)
        offered_by, line.offered_by, line.parked_on = line.offered_by, None, None
        if ranks:
            heappush(self._heap, ranks[0])
        else:
            del self._lines[line.name]
        self._pass_on(offered_by)

    def pop(self) -> int | None:
        """Take the most urgent subtask that can run now, with its slot, model and files; None when none can."""
        while self.free_slots > 0 and self._alone < 0:
            self._choose_favourite()
            if not self._heap:
                break
            rank = heappop(self._heap)
            node = self._at[rank]
            line = self._queued.get(node)
            if line is None or line.parked_on is not None or line.ranks[0] != rank:
                continue
            if self._goes_first(self._favourite, node) and self._files[self._favourite].alone:
                heappush(self._heap, rank)
                break
            offered_by, line.offered_by = line.offered_by, None
            # The model first: the favourite is one that waits for nothing but files.
            place = line.model if self._is_full(line.model) else self._obstacle(node, line.model)
            if place is None:
                self.take(node, line.model)
                self._pass_on(offered_by)
                return node
            self._park(line, place)
            if offered_by != place:
                self._pass_on(offered_by)
        return None

    # --- what is taken and given back --------------------------------------------------------------

    def take(self, node: int, model: ModelAlias | None) -> None:
        """Give a subtask its slot, model and files without asking whether they are free."""
        self.discard(node)
        self._to_do_again(node)
        self.wait_no_more_for(node)
        self.free_slots -= 1
        self.take_model(model)
        files = self._files[node]
        for key in files.keys:
            self._holder[key] = node
        self._holders += 1
        if files.alone:
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
        for key in self._files[node].keys:
            if self._holder.get(key) == node:
                del self._holder[key]
                self._pass_on(key)
        self._holders -= 1
        if self._alone == node:
            self._alone = -1
        if not self._has_landed[node]:
            self._has_landed[node] = True
            insort(self._landed, self._rank[node])
        if not self._holders:
            self._pass_on(ALONE)
        while self._kept_back and self._has_its_turn(self._kept_back[0]):
            rank = heappop(self._kept_back)
            line = self._queued.get(self._at[rank])
            if line is not None and isinstance(line.parked_on, int) and line.parked_on < ALONE:
                line.parked_on = None
                heappush(self._heap, rank)

    # --- looking -----------------------------------------------------------------------------------

    def busy(self, node: int) -> Place | None:
        """What keeps a queued subtask from running now, apart from the slots."""
        line = self._queued.get(node)
        place = self._obstacle(node, line.model if line else None)
        kept_free = isinstance(place, int) and place >= 0 and place not in self._holder
        if kept_free or (
            place is None and self._goes_first(self._favourite, node) and self._files[self._favourite].alone
        ):
            return start_of(self._favourite)
        return place

    def holder(self, place: int) -> int:
        """The subtask that holds a file, or the one that runs alone; -1 when nobody does."""
        return self._alone if place == ALONE else self._holder.get(place, -1)

    def pattern(self, key: int) -> str:
        return self._conflicts.patterns[key]

    @property
    def alone(self) -> int:
        """The subtask beside which nothing may run now, or -1."""
        return self._alone

    def _obstacle(self, node: int, model: ModelAlias | None) -> Place | None:
        """The place where a subtask has to be parked; a file may also be one that is kept free for the favourite."""
        files = self._files[node]
        if node in self._waits and not self._has_its_turn(self._rank[node]):
            for other in self._waits[node]:
                if other in self._awaited:
                    return start_of(other)
        if files.alone and self._holders:
            return ALONE
        key = files.met(self._holder)
        if key < 0 and self._reserved and self._goes_first(self._favourite, node):
            key = files.met(self._reserved)
        if key >= 0:
            return key
        return model if self._is_full(model) else None

    def _has_its_turn(self, rank: int) -> bool:
        return len(self._landed) + self._parallel > rank

    def _is_full(self, model: ModelAlias | None) -> bool:
        return model is not None and self._room.get(model, 1) <= 0

    # --- places ------------------------------------------------------------------------------------

    def _park(self, line: _Line, place: Place) -> None:
        rank = line.ranks[0]
        line.parked_on = place
        heappush(self._parked.setdefault(place, []), rank)
        if isinstance(place, str):
            return
        if place < ALONE:
            heappush(self._kept_back, rank)
            return
        # An order that was looked for puts up with what is kept back being passed.
        if line.files.several and line.overtaken != rank and self._at[rank] not in self._waits:
            line.overtaken = rank
            heappush(self._overtaken.setdefault(line.model, []), rank)
        if place in self._reserved and place not in self._holder:
            self._kept_free.add(place)

    def _is_free(self, place: Place) -> bool:
        if isinstance(place, str):
            return self._room[place] > 0
        if place < ALONE:
            return -2 - place not in self._awaited
        return not self._holders if place == ALONE else place not in self._holder

    def _pass_on(self, place: Place | None) -> None:
        """Offer a free place to the most urgent line that is parked there."""
        if place is None or not (parked := self._parked.get(place)) or not self._is_free(place):
            return
        while parked:
            rank = heappop(parked)
            line = self._queued.get(self._at[rank])
            # Entries of subtasks that left the queue meanwhile, or wait elsewhere, are dropped here.
            if line is not None and line.parked_on == place and line.ranks[0] == rank:
                line.parked_on = None
                line.offered_by = place
                heappush(self._heap, rank)
                return
        del self._parked[place]

    # --- the favourite -----------------------------------------------------------------------------

    def _choose_favourite(self) -> None:
        """Find the most urgent subtask that waits for nothing but files and has been overtaken often enough."""
        overtaken = len(self._landed) >= self._patience
        first = limit = self._landed[-self._patience] if overtaken else -1
        for model, heap in self._overtaken.items() if overtaken else ():
            while heap and not self._waits_for_files(heap[0], model):
                heappop(heap)
            if heap and heap[0] < first and not self._is_full(model):
                first = heap[0]
        node = self._at[first] if first < limit else -1
        if node == self._favourite:
            return
        self._favourite = node
        self._reserved = frozenset(self._files[node].keys) if node >= 0 else frozenset()
        kept_free, self._kept_free = self._kept_free, set()
        for key in sorted(kept_free):
            self._pass_on(key)

    def _waits_for_files(self, rank: int, model: ModelAlias | None) -> bool:
        """Whether it is the head of a line that is parked at a file, or was and is to be looked at again."""
        line = self._queued.get(self._at[rank])
        if line is None or line.model != model:
            return False
        place = line.parked_on
        if line.ranks[0] == rank and (place is None or (not isinstance(place, str) and place >= ALONE)):
            return True
        if line.overtaken == rank:
            line.overtaken = -1
        return False

    def _goes_first(self, favourite: int, node: int) -> bool:
        return favourite >= 0 and self._rank[favourite] < self._rank[node]

    def _to_do_again(self, node: int) -> None:
        if self._has_landed[node]:
            self._has_landed[node] = False
            del self._landed[bisect_left(self._landed, self._rank[node])]


class _Files:
    """What a subtask needs of the files: the contested keys it holds, and what each of these meets besides."""

    __slots__ = ("alone", "keys", "near", "several")

    def __init__(self, keys: tuple[int, ...], near: tuple[frozenset[int], ...], alone: bool) -> None:
        self.keys = keys
        self.near = near
        self.alone = alone
        # Whether they can be busy in turn, so that they are never all free.
        self.several = alone or len(keys) > 1 or bool(near)

    def met(self, held: Collection[int]) -> int:
        """One of these keys that cannot be had beside those held, or -1."""
        for key in self.keys:
            if key in held:
                return key
        for near in self.near:
            few, many = (held, near) if len(held) < len(near) else (near, held)
            found = min((key for key in few if key in many), default=-1)
            if found >= 0:
                return found
        return -1


def _files_of(conflicts: Conflicts) -> list[_Files]:
    """The needs of every subtask, equal ones as one value. A key that nobody else can meet is none."""
    near = conflicts.near
    holders = [0] * len(conflicts.patterns)
    for own in conflicts.holds:
        for key in own:
            holders[key] += 1
    known: dict[tuple[tuple[int, ...], bool], _Files] = {}
    needs = []
    for own, alone in zip(conflicts.holds, conflicts.alone, strict=True):
        keys = tuple([key for key in own if holders[key] > 1 or key in near])
        files = known.get((keys, alone))
        if files is None:
            met = tuple(near[key] for key in keys if key in near)
            files = known[keys, alone] = _Files(keys, met, alone)
        needs.append(files)
    return needs


class _Line:
    """Queued subtasks with the same needs, by rank. Some may have left the queue, but not the head."""

    __slots__ = ("files", "model", "name", "offered_by", "overtaken", "parked_on", "ranks")

    def __init__(self, name: tuple[_Files, ModelAlias | None, int]) -> None:
        self.name = name
        self.files, self.model, _ = name
        self.ranks: list[int] = []
        self.parked_on: Place | None = None
        self.offered_by: Place | None = None
        # The head's rank when it is among those that may become the favourite.
        self.overtaken = -1
