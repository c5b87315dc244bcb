"""Random quantities by their low, mean, high and variance, and how they add up over attempts and subtasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from orchestrator.core.domain import ModelAlias, Range

# The 90th percentile of a normal distribution, in standard deviations.
_NINE_IN_TEN = 1.2816


@dataclass(frozen=True, slots=True)
class Amount:
    """A random quantity by its low, mean, high and variance."""

    low: float
    mean: float
    high: float
    variance: float


@dataclass(frozen=True, slots=True)
class Chain:
    """The attempts a subtask may take, in order: the model of each, and the chance that it is reached and passes."""

    models: tuple[ModelAlias | None, ...]
    reached: tuple[float, ...]
    passes: tuple[float, ...]

    @property
    def succeeds(self) -> float:
        return 1.0 - self.reached[-1] * (1.0 - self.passes[-1])

    @property
    def escalates(self) -> float:
        return next(
            (
                chance
                for model, chance in zip(self.models, self.reached, strict=True)
                if model != self.models[0]
            ),
            0.0,
        )

    def nine_in_ten(self) -> int:
        """The number of attempts that nine in ten subtasks do not pass."""
        for place in range(1, len(self.reached)):
            if self.reached[place] <= 0.1:
                return place
        return len(self.reached)


def pert(low: float, likely: float, high: float) -> Amount:
    """The usual reading of three estimates: the likely one weighs four times as much as the others."""
    return Amount(low, (low + 4 * likely + high) / 6, high, ((high - low) / 6) ** 2)


def along(parts: Sequence[Amount], chain: Chain) -> Amount:
    """The sum over the attempts that are made: each next one only when all before it failed."""
    mean = square = 0.0
    sum_of_means = sum_of_variances = 0.0
    last = len(parts) - 1
    for place, part in enumerate(parts):
        sum_of_means += part.mean
        sum_of_variances += part.variance
        ends_here = chain.reached[place] * (1.0 if place == last else chain.passes[place])
        mean += ends_here * sum_of_means
        square += ends_here * (sum_of_means**2 + sum_of_variances)
    high = sum(part.high for part in parts[: chain.nine_in_ten()])
    return Amount(parts[0].low, mean, max(high, mean), max(0.0, square - mean**2))


def total(amounts: Sequence[Amount]) -> Amount:
    """The sum of independent amounts: within the sums of lows and highs, and as narrow as chance makes it."""
    mean = sum(amount.mean for amount in amounts)
    variance = sum(amount.variance for amount in amounts)
    spread = _NINE_IN_TEN * sqrt(variance)
    low = max(sum(amount.low for amount in amounts), mean - spread)
    high = min(sum(amount.high for amount in amounts), mean + spread)
    return Amount(min(low, mean), mean, max(high, mean), variance)


def range_of(amount: Amount) -> Range:
    low = round(amount.low)
    likely = max(low, round(amount.mean))
    return Range(low, likely, max(likely, round(amount.high)))
