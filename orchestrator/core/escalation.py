"""Which models a subtask is tried on, weakest first, and which escalation is worth its dollars first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from orchestrator.core.domain import (
    CHEAP,
    SMART,
    ExecutorName,
    ModelAlias,
    Policy,
    Subtask,
    SubtaskId,
    Tier,
)
from orchestrator.core.money import Usd

Cost = Callable[[Subtask, ModelAlias], Usd]
"""The expected dollars of one attempt at a subtask on a model."""
Odds = Callable[[Subtask, ModelAlias], float]
"""The chance, between 0 and 1, that one attempt on a model passes its checks."""

Rungs = tuple[ModelAlias | None, ...]


def token_cost(subtask: Subtask, model: ModelAlias) -> Usd:
    """A stand-in where no prices are known: output tokens weigh five times as much as input, on every model."""
    estimate = subtask.estimate
    return Usd(estimate.input_tokens.likely + 5 * estimate.output_tokens.likely + 1)


def even_odds(subtask: Subtask, model: ModelAlias) -> float:
    """No history: every escalation is as likely to pass as not."""
    return 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """The user's ladder and how it is climbed.

    `ladder` is weakest first; `tier_models` names the alias a tier starts on; `entry` the aliases single
    subtasks start on instead; `override` is the user's `--model`, which is then the only rung.
    """

    policy: Policy = Policy.THRIFTY
    ladder: tuple[ModelAlias, ...] = ()
    tier_models: Mapping[str, ModelAlias] = field(default_factory=dict)
    entry: Mapping[SubtaskId, ModelAlias] = field(default_factory=dict)
    override: ModelAlias | None = None
    cost: Cost = token_cost
    odds: Odds = even_odds

    def rungs(self, subtask: Subtask) -> Rungs:
        """The models to try the subtask on, in order; a deterministic tool has the one rung None."""
        if subtask.executor is ExecutorName.TOOL:
            return (None,)
        if self.override is not None:
            return (self.override,)
        tier = subtask.tag.tier
        first = self.entry.get(subtask.id) or self.tier_models.get(tier) or self._ladder_end(tier)
        if first is None:
            return (ModelAlias(tier),)
        return (first,) if self.policy is Policy.TAGS else self.rungs_from(first, subtask)

    def all_rungs(self, subtasks: Iterable[Subtask]) -> Iterator[Rungs]:
        """`rungs` of each: the same for all of a tier that no entry names."""
        known: dict[tuple[Tier, ExecutorName], Rungs] = {}
        for subtask in subtasks:
            kind = (subtask.tag.tier, subtask.executor)
            rungs = None if subtask.id in self.entry else known.get(kind)
            if rungs is None:
                rungs = self.rungs(subtask)
                if subtask.id not in self.entry:
                    known[kind] = rungs
            yield rungs

    def rungs_from(self, first: ModelAlias, subtask: Subtask) -> Rungs:
        """`first` and the rungs above it; above an alias that is not on the ladder are those above the tier's."""
        if first in self.ladder:
            return self.ladder[self.ladder.index(first) :]
        tier = self.tier_models.get(subtask.tag.tier)
        if tier in self.ladder:
            return (first, *self.ladder[self.ladder.index(tier) + 1 :])
        return (first, *self.ladder[1:]) if subtask.tag.tier == CHEAP else (first,)

    def entered_on(self, model: ModelAlias, rungs: Rungs) -> Rungs:
        """The rungs of a subtask that starts on `model` instead of on its first one, as a budget band may have it.

        That moves the start alone: from there it goes up to where it would have started, and on.
        """
        if self.policy is Policy.TAGS:
            return (model,)
        if model in self.ladder and rungs[0] in self.ladder:
            return self.ladder[self.ladder.index(model) :]
        return (model, *rungs)

    def expected(self, subtask: Subtask, rungs: Rungs) -> float:
        """The expected nano-dollars of getting a subtask done on these rungs: each as likely as those before fail."""
        nano, reached = 0.0, 1.0
        for model in rungs:
            if model is not None:
                nano += reached * self.cost(subtask, model).nano
                reached *= 1.0 - self.odds(subtask, model)
        return nano

    def is_smart(self, model: ModelAlias | None) -> bool:
        """Whether dollars on this rung count against the cap on smart per subtask."""
        if model is None:
            return False
        smart = self.tier_models.get(SMART) or (self.ladder[-1] if len(self.ladder) > 1 else None)
        return model == smart

    def _ladder_end(self, tier: Tier) -> ModelAlias | None:
        if not self.ladder:
            return None
        return self.ladder[-1] if tier == SMART else self.ladder[0]

    def gain(self, subtask: Subtask, model: ModelAlias, *, blocked: int, tokens_used: int) -> float:
        """What an escalation is worth per dollar: the chance to pass, times all that it would set free.

        Among equals the easiest reject goes first: the one whose failed attempts used the fewest tokens for
        its size. A model that fails for hard work costs two to three times as much, and mostly fails again.
        """
        likely = subtask.estimate.output_tokens.likely or 1
        ease = 1.0 / (1.0 + tokens_used / likely)
        dollars = max(self.cost(subtask, model).nano, 1)
        return self.odds(subtask, model) * (1 + blocked) * ease / dollars


class HeldEscalations:
    """Escalations that wait until the first pass is through, best gain per dollar first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._held: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, node: int, gain: float) -> None:
        self._held.add(node)
        heappush(self._heap, (-gain, node))

    def discard(self, node: int) -> None:
        self._held.discard(node)

    def pop(self) -> int | None:
        """Take out the escalation that is worth most; None when none is held."""
        while self._heap:
            node = heappop(self._heap)[1]
            if node in self._held:
                self._held.remove(node)
                return node
        return None


def blocked_behind(node: int, wanted_by: Sequence[Sequence[int]], limit: int = 256) -> int:
    """How many subtasks wait for this one, directly or through others; counted to `limit`, more does not matter."""
    seen = {node}
    stack = [node]
    while stack and len(seen) <= limit:
        for other in wanted_by[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return min(len(seen) - 1, limit)
