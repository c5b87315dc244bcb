"""What a mix of requests costs: all of them smart, or a smart decomposition that cheap models carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.core.domain import CHEAP, SMART, ModelAlias
from orchestrator.core.money import ZERO, Price, Rates, Usage, Usd, bill


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Tokens of one request."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`count` equal requests to one model."""

    what: str
    count: int
    model: ModelAlias
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedStep:
    step: Step
    each: Usd

    @property
    def total(self) -> Usd:
        return self.each * self.step.count

    @property
    def arithmetic(self) -> str:
        """The line a reader can check with a pocket calculator."""
        size = self.step.size
        out = f" in, {size.output_tokens:,} out" if size.output_tokens else ""
        return (
            f"{self.step.count} x {self.step.model} for {self.step.what} "
            f"({size.input_tokens:,} tokens{out}): "
            f"{self.step.count} x {self.each} = {self.total}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Priced steps under a name. Costs are exact to a nano-dollar, without any discount for cached tokens."""

    name: str
    steps: tuple[PricedStep, ...]

    @property
    def total(self) -> Usd:
        return sum((step.total for step in self.steps), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day of work as the project's brief reckoned it: one flat price a token, whatever its direction."""

    name: str
    about: str
    requests: int
    tokens: int
    simple_percent: int


DAYS = (
    Day(name="full-day", about="8 hours of coding", requests=50, tokens=1_000, simple_percent=70),
    Day(name="high-intensity", about="4 hours of refactoring", requests=100, tokens=1_500, simple_percent=40),
)
FLAT_PRICES = {
    CHEAP: Price(base=Rates(input=Usd.of(1), output=Usd.of(1))),
    SMART: Price(base=Rates(input=Usd.of(15), output=Usd.of(15))),
}


def day_steps(day: Day) -> tuple[Step, ...]:
    """The simple requests of the day on the cheap model, the complex ones on the smart model."""
    size = Size(input_tokens=day.tokens, output_tokens=0)
    simple = day.requests * day.simple_percent // 100
    return (
        Step(what="simple requests", count=simple, model=ModelAlias(CHEAP), size=size),
        Step(what="complex requests", count=day.requests - simple, model=ModelAlias(SMART), size=size),
    )


def price_steps(name: str, steps: tuple[Step, ...], prices: Mapping[ModelAlias, Price]) -> Scenario:
    """Price a scenario by its models. Raises KeyError for a model without a price."""
    return Scenario(
        name=name,
        steps=tuple(
            PricedStep(
                step=step,
                each=bill(
                    prices[step.model],
                    Usage(input_tokens=step.size.input_tokens, output_tokens=step.size.output_tokens),
                ),
            )
            for step in steps
            if step.count
        ),
    )


def all_smart(requests: int, size: Size, *, smart: ModelAlias) -> tuple[Step, ...]:
    """Every request goes to the smart model."""
    return (Step(what="the requests", count=requests, model=smart, size=size),)


def split(
    requests: int,
    size: Size,
    *,
    decomposition: Size,
    cheap_requests: int,
    smart: ModelAlias,
    cheap: ModelAlias,
) -> tuple[Step, ...]:
    """One smart request decomposes the goal; `cheap_requests` of the requests go to the cheap model."""
    return (
        Step(what="the decomposition", count=1, model=smart, size=decomposition),
        Step(what="the execution", count=cheap_requests, model=cheap, size=size),
        Step(what="the execution", count=requests - cheap_requests, model=smart, size=size),
    )
