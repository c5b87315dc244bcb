from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.conflicts import Conflicts
from orchestrator.core.domain import ModelAlias
from orchestrator.core.globs import overlap
from orchestrator.core.ready import ALONE, PATIENCE, ReadyQueue, start_of

SMALL, LARGE = ModelAlias("small"), ModelAlias("large")
Touches = list[tuple[str, ...] | None]


def queue(touches: Touches, *, parallel: int = 2, **options: object) -> ReadyQueue:
    """A queue in which 0 is the most urgent."""
    return ReadyQueue(Conflicts(touches), list(range(len(touches))), parallel=parallel, **options)  # type: ignore[arg-type]


def all_of(ready: ReadyQueue) -> list[int]:
    return list(iter(ready.pop, None))


def end(ready: ReadyQueue, node: int, model: ModelAlias | None = None) -> None:
    ready.give_back_slot(model)
    ready.give_back_files(node)


# --- the rule, written down without any haste -----------------------------------------------------------


@dataclass
class Rule:
    """Whoever is queued, most urgent first, as long as it meets nothing busy and nothing kept for the favourite."""

    touches: Touches
    parallel: int
    room: dict[ModelAlias, int]
    waits: dict[int, tuple[int, ...]]
    queued: dict[int, ModelAlias | None] = field(default_factory=dict)
    running: dict[int, ModelAlias | None] = field(default_factory=dict)
    landing: set[int] = field(default_factory=set)
    landed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.awaited = {other for others in self.waits.values() for other in others}

    def meet(self, one: int, other: int) -> bool:
        mine, theirs = self.touches[one], self.touches[other]
        if mine is None or theirs is None:
            return True
        return any(overlap(left, right) for left in mine for right in theirs)

    def pop(self) -> int | None:
        favourite = None
        active = [*self.running, *self.landing]
        for node in sorted(self.queued):
            if len(self.running) >= self.parallel or any(self.touches[other] is None for other in active):
                return None
            has_its_turn = len(self.landed) + self.parallel > node
            if not has_its_turn and any(other in self.awaited for other in self.waits.get(node, ())):
                continue
            if any(self.meet(node, other) for other in active):
                overtaken = (
                    node not in self.waits
                    and sum(other > node for other in self.landed) >= PATIENCE * self.parallel
                )
                full = self.room.get(self.queued[node], 1) <= 0  # type: ignore[call-overload]
                if favourite is None and overtaken and not full and self.can_wait_for_one_of_several(node):
                    favourite = node
                continue
            if favourite is not None and self.meet(node, favourite):
                continue
            model = self.queued[node]
            if model is not None and self.room.get(model, 1) <= 0:
                continue
            self.take(node)
            return node
        return None

    def can_wait_for_one_of_several(self, node: int) -> bool:
        mine = self.touches[node]
        if mine is None:
            return True
        met = {
            pattern
            for other, theirs in enumerate(self.touches)
            for pattern in theirs or ()
            if other != node and any(overlap(pattern, own) for own in mine)
        }
        return len(met | {own for own in mine if any(overlap(own, other) for other in met)}) > 1

    def take(self, node: int) -> None:
        model = self.queued.pop(node)
        self.landed.discard(node)
        self.awaited.discard(node)
        self.running[node] = model
        if model in self.room:
            self.room[model] -= 1

    def end_attempt(self, node: int) -> None:
        model = self.running.pop(node)
        if model in self.room:
            self.room[model] += 1
        self.landing.add(node)

    def land(self, node: int) -> None:
        self.landing.remove(node)
        self.landed.add(node)

    def push(self, node: int, model: ModelAlias | None) -> None:
        self.landed.discard(node)
        self.queued[node] = model


PATTERNS = ("a.py", "b.py", "src/c.py", "src/d.py", "src/", "src/*.py", "*.md", "docs/d.md", "e.py")


@settings(max_examples=settings.default.max_examples * 4)
@given(st.integers(0, 2**32))
def test_whatever_is_asked_of_it_the_queue_starts_what_the_plain_rule_starts(seed):
    chance = Random(seed)
    count = chance.randint(1, 60)
    unknown = chance.choice([0, 0, 0.05, 0.3])
    touches: Touches = [
        None
        if chance.random() < unknown
        else tuple(chance.sample(PATTERNS, k=chance.choice([0, 1, 1, 2, 3])))
        for _ in range(count)
    ]
    parallel = chance.randint(1, 3)
    room = chance.choice([{}, {SMALL: 1}, {SMALL: 2, LARGE: 1}])
    waits = {
        node: tuple(chance.sample(range(node), k=1))
        for node in range(1, count)
        if chance.random() < chance.choice([0, 0.1])
    }
    rule = Rule(touches, parallel, dict(room), waits)
    ready = ReadyQueue(Conflicts(touches), list(range(count)), parallel=parallel, per_model=room, waits=waits)
    unseen = list(range(count))
    chance.shuffle(unseen)
    for _ in range(4 * count):
        move = chance.choice(["push", "push", "end", "land", "land", "discard", "again", "start", "no more"])
        if move == "push" and unseen:
            node, model = unseen.pop(), chance.choice([None, SMALL, LARGE])
            rule.push(node, model)
            ready.push(node, model)
        elif move == "end" and rule.running:
            node = chance.choice(list(rule.running))
            ready.give_back_slot(rule.running[node])
            rule.end_attempt(node)
        elif move == "land" and rule.landing:
            node = min(rule.landing)
            rule.land(node)
            ready.give_back_files(node)
        elif move == "discard" and rule.queued and chance.random() < 0.3:
            node = chance.choice(list(rule.queued))
            del rule.queued[node]
            ready.discard(node)
            unseen.append(node)
        elif move == "again" and rule.landed and chance.random() < 0.5:
            node, model = chance.choice(sorted(rule.landed)), chance.choice([None, SMALL])
            rule.push(node, model)
            ready.push(node, model)
        elif move == "start" and rule.queued and chance.random() < 0.1:
            # As a machine does that is given a journal: no matter what is free.
            node = min(rule.queued)
            if rule.touches[node] is not None and not any(
                rule.meet(node, other) for other in [*rule.running, *rule.landing]
            ):
                ready.take(node, rule.queued[node])
                rule.take(node)
        elif move == "no more" and chance.random() < 0.1:
            assert ready.wait_no_more() == bool(rule.awaited)
            rule.awaited.clear()
        if chance.random() < 0.8:
            while True:
                expected = rule.pop()
                assert ready.pop() == expected
                if expected is None:
                    break


# --- what it is for ----------------------------------------------------------------------------------


def looks(monkeypatch: pytest.MonkeyPatch, touches: Touches, parallel: int = 4) -> float:
    """How often, for each subtask, the queue looks whether one can run, when all are ready from the beginning."""
    ready = queue(touches, parallel=parallel)
    looked = 0
    obstacle = ready._obstacle

    def counted(node: int, model: ModelAlias | None) -> object:
        nonlocal looked
        looked += 1
        return obstacle(node, model)

    monkeypatch.setattr(ready, "_obstacle", counted)
    for node in range(len(touches)):
        ready.push(node, None)
    running, done = all_of(ready), 0
    while running:
        end(ready, running.pop(0))
        done += 1
        running += all_of(ready)
    assert done == len(touches)
    return looked / done


@pytest.mark.parametrize(
    "shape",
    [
        lambda n: ("x.py",),
        lambda n: (("x.py", "y.py"), ("x.py",), ("y.py",))[n % 3],
        lambda n: (("x.py", "y.py", f"own{n}.py"), ("x.py", f"own{n}.py"), ("y.py",))[n % 3],
        lambda n: ("src/**",) if n % 50 == 0 else (f"src/f{n}.py",),
        lambda n: ("src/**", f"docs/{n}.md") if n % 50 == 0 else (f"src/f{n}.py",),
        lambda n: None if n % 2 else (f"f{n}.py",),
        lambda n: (f"f{n}.py",),
    ],
)
def test_a_decision_takes_a_few_looks_however_many_wait(monkeypatch, shape):
    for count in (100, 1600):
        assert looks(monkeypatch, [shape(n) for n in range(count)]) < 6


def start_all_of(ready: ReadyQueue, *nodes: int) -> None:
    for node in nodes:
        ready.push(node, None)


def test_an_urgent_subtask_with_two_busy_files_is_not_passed_for_ever():
    """0 needs x and y; a stream of less urgent ones keeps now this one busy and now that one."""
    stream = [("x.py",) if number % 2 else ("y.py",) for number in range(100)]
    ready = queue([("x.py", "y.py"), *stream, ("z.py",)])
    start_all_of(ready, *range(1, 101))
    running = all_of(ready)
    assert running == [1, 2]
    ready.push(0, None)
    before = 0
    while 0 not in running:
        end(ready, running.pop(0))
        before += 1
        running += all_of(ready)
    # The two that were under way, those who may go first, and the one beside the last of these.
    assert before == PATIENCE * 2 + 1
    end(ready, 0)
    assert len(all_of(ready)) == 2


def favoured() -> ReadyQueue:
    """A queue in which 0 is the favourite: x is being changed by 1, y is free, and 9 to 12 wait for y."""
    touches: Touches = [
        ("x.py", "y.py"),
        ("x.py",),
        *[("z.py",)] * 8,
        *[("y.py",)] * 2,
        ("y.py", "w.py"),
        ("w.py",),
    ]
    ready = queue(touches, parallel=2)
    start_all_of(ready, 1)
    assert ready.pop() == 1
    ready.push(0, None)
    start_all_of(ready, *range(2, 10))
    for node in range(2, 10):
        assert ready.pop() == node
        end(ready, node)
    start_all_of(ready, 10, 11, 12)
    assert ready.pop() is None
    return ready


def test_files_are_kept_free_for_the_favourite_and_it_is_said_for_whom():
    ready = favoured()
    assert ready.busy(10) == start_of(0)
    assert ready.pattern(int(str(ready.busy(0)))) == "x.py"
    ready.push(13, None)
    assert ready.pop() == 13, "what it does not need is not kept for it"
    end(ready, 13)
    end(ready, 1)
    assert ready.pop() == 0
    assert ready.pop() is None
    assert ready.holder(int(str(ready.busy(10)))) == 0
    end(ready, 0)
    assert all_of(ready) == [10]


def test_when_the_favourite_leaves_the_queue_its_files_are_for_others():
    ready = favoured()
    ready.discard(0)
    assert ready.pop() == 10


def test_a_redone_landing_does_not_count_as_overtaking():
    ready = favoured()
    ready.push(9, SMALL)
    assert all_of(ready) == [9]


def test_an_urgent_subtask_that_runs_alone_gets_its_turn():
    ready = queue([None, *[(f"f{number}.py",) for number in range(40)]])
    start_all_of(ready, *range(1, 41))
    running = all_of(ready)
    ready.push(0, None)
    assert ready.busy(0) == ALONE
    before = 0
    while 0 not in running:
        end(ready, running.pop(0))
        before += 1
        running += all_of(ready)
    assert before <= PATIENCE * 2 + 2
    assert running == [0] and ready.alone == 0


def test_who_waits_for_one_that_runs_alone_and_comes_first_says_so():
    ready = queue([None, *[(f"f{number}.py",) for number in range(40)]])
    start_all_of(ready, *range(1, 41))
    running = all_of(ready)
    ready.push(0, None)
    for _ in range(PATIENCE * 2):
        end(ready, running.pop())
        running += all_of(ready)
    assert running == [1]
    assert ready.busy(40) == start_of(0)


def test_one_pushed_again_for_another_model_waits_for_that_model():
    ready = queue([("a.py",), ("a.py",)], per_model={SMALL: 0})
    ready.push(0, SMALL)
    assert ready.pop() is None and ready.busy(0) == SMALL
    ready.push(0, SMALL)
    ready.push(0, LARGE)
    assert ready.pop() == 0
    assert ready.pop() is None


def test_who_is_kept_back_goes_on_when_its_turn_has_come_and_the_awaited_one_is_late():
    """5 is kept back for 4, which nobody queues; it is the turn of 5 when four of those before it have landed."""
    ready = queue([()] * 8, parallel=2, waits={5: (4,)})
    start_all_of(ready, 0, 5)
    assert all_of(ready) == [0]
    assert ready.busy(5) == start_of(4)
    end(ready, 0)
    for node in (6, 1, 7):
        ready.push(node, None)
        assert all_of(ready) == [node]
        end(ready, node)
    assert all_of(ready) == [5]


# --- what meets what -----------------------------------------------------------------------------------


def test_globs_that_are_equal_share_what_they_meet():
    conflicts = Conflicts([("src/**",), ("src/**",), ("src/a.py",), ("b.py",)])
    assert conflicts.holds == [(0,), (0,), (1,), (2,)]
    assert conflicts.meets == [(0, 1), (0, 1), (1, 0), (2,)]
    assert conflicts.meets[0] is conflicts.meets[1]
    assert not any(conflicts.alone)


def test_globs_too_many_to_compare_run_alone_and_long_ones_are_too_many_sooner():
    short: Touches = [(f"**/*n{number}*.py",) for number in range(500)]
    assert not any(Conflicts(short).alone)
    long: Touches = [("**/" + "*a*/" * 40 + f"n{number}*.py",) for number in range(500)]
    alone = Conflicts(long).alone
    # What was compared is known to be free of the others, what was not runs beside nobody.
    assert not alone[0] and all(alone[100:])


def test_the_same_patterns_are_compared_once():
    touches: Touches = [("src/*.py",), ("src/a.py",)]
    assert Conflicts(touches).near is Conflicts(touches).near
