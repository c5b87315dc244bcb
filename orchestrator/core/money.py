"""Money as integers: one type, one unit, one direction of rounding.

Floats drift and NaN compares false with everything, so a dollar amount is a whole number of
nano-dollars (1e-9 US dollar) from the moment it is read, rounded *up* at every conversion;
only what is left is shown rounded down.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANO_PER_DOLLAR = 1_000_000_000
TOKENS_PER_PRICE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Usd:
    """An amount of US dollars in whole nano-dollars. May be negative as a difference."""

    nano: int

    @classmethod
    def of(cls, dollars: str | int | float | Decimal) -> Usd:
        """Read an amount in dollars, rounded up to a nano-dollar.

        Floats are read by their shortest decimal form, so `0.1` is ten cents exactly.
        Raises ValueError for anything that is not a finite number.
        """
        if isinstance(dollars, bool):
            raise ValueError(f"{dollars!r} is not an amount of dollars")
        try:
            amount = Decimal(
                repr(dollars) if isinstance(dollars, float) else str(dollars).strip().lstrip("$")
            )
        except InvalidOperation:
            raise ValueError(f"{dollars!r} is not an amount of dollars") from None
        if not amount.is_finite():
            raise ValueError(f"{dollars!r} is not a finite amount of dollars")
        if amount.adjusted() > 15:
            raise ValueError(f"{dollars!r} is more dollars than there are")
        return cls(int((amount * NANO_PER_DOLLAR).to_integral_value(rounding=ROUND_CEILING)))

    @property
    def dollars(self) -> Decimal:
        return Decimal(self.nano) / NANO_PER_DOLLAR

    def __add__(self, other: Usd) -> Usd:
        return Usd(self.nano + other.nano)

    def __sub__(self, other: Usd) -> Usd:
        return Usd(self.nano - other.nano)

    def __mul__(self, count: int) -> Usd:
        return Usd(self.nano * count)

    __rmul__ = __mul__

    def __neg__(self) -> Usd:
        return Usd(-self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    def share(self, whole: Usd) -> float:
        """Return this amount as a fraction of `whole`, for display only; 0.0 when `whole` is zero."""
        return self.nano / whole.nano if whole.nano else 0.0

    def scaled(self, factor: float | Decimal) -> Usd:
        """Return the amount times `factor`, rounded up."""
        exact = Decimal(self.nano) * (Decimal(repr(factor)) if isinstance(factor, float) else factor)
        return Usd(int(exact.to_integral_value(rounding=ROUND_CEILING)))

    def __str__(self) -> str:
        """Exact, with at least two decimals: `$5.00`, `$0.000125`."""
        sign, nano = ("-", -self.nano) if self.nano < 0 else ("", self.nano)
        whole, part = divmod(nano, NANO_PER_DOLLAR)
        decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
        return f"{sign}${whole}.{decimals}"

    def rounded(self) -> str:
        """Two significant decimals for tables: `$1.23`, `$0.0041`; a positive amount is never shown as zero."""
        return self._shown(down=False)

    def rounded_down(self) -> str:
        """As `rounded`, but never more than there is: for what is left, of which somebody may want to spend all."""
        return self._shown(down=self.nano > 0)

    def _shown(self, *, down: bool) -> str:
        sign, nano = ("-", -self.nano) if self.nano < 0 else ("", self.nano)
        for digits in (2, 3, 4, 5, 6, 7, 8):
            unit = 10 ** (9 - digits)
            shown = nano // unit if down else -(-nano // unit)
            if nano == 0 or shown >= 10 or (digits == 2 and shown * unit == nano):
                return f"{sign}${shown // 10**digits}.{shown % 10**digits:0{digits}d}"
        return str(self)


ZERO = Usd(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Dollars per million tokens. `None` for a cache rate means the provider states none."""

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None

    @property
    def dearest_input(self) -> Usd:
        """The most any input token can cost: writing the cache may cost more than reading fresh."""
        return max(rate for rate in (self.input, self.cache_read, self.cache_write) if rate is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongContext:
    """Rates that replace the base rates for a whole request above `above_tokens` of input."""

    above_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model charges: base rates, long-context steps, and a fee per request."""

    base: Rates
    long_context: tuple[LongContext, ...] = ()
    per_request: Usd = ZERO

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates a request of exactly this many input tokens is billed at."""
        chosen = self.base
        for step in sorted(self.long_context, key=lambda step: step.above_tokens):
            if input_tokens > step.above_tokens:
                chosen = step.rates
        return chosen

    def ceiling(self, input_tokens: int) -> Rates:
        """The dearest of all rates that could apply to at most this many input tokens."""
        reachable = [
            self.base,
            *(step.rates for step in self.long_context if input_tokens > step.above_tokens),
        ]
        return Rates(
            input=max(rates.dearest_input for rates in reachable),
            output=max(rates.output for rates in reachable),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply as the provider counted them.

    `input_tokens` is the whole prompt, the cached parts included; `output_tokens` includes reasoning.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


def tokens_cost(tokens: int, rate: Usd) -> Usd:
    """Return what `tokens` cost at `rate` dollars per million tokens, rounded up to a nano-dollar."""
    return Usd(-(-tokens * rate.nano // TOKENS_PER_PRICE_UNIT))


def worst_case(price: Price, *, input_tokens: int, max_output_tokens: int) -> Usd:
    """Return the most one call can cost, in US dollars, rounded up to a nano-dollar.

    `input_tokens` covers the whole prompt and may be an over-count, never an under-count.
    """
    rates = price.ceiling(input_tokens)
    return (
        tokens_cost(input_tokens, rates.input)
        + tokens_cost(max_output_tokens, rates.output)
        + price.per_request
    )


def bill(price: Price, usage: Usage) -> Usd:
    """Return what a reply cost by its usage, rounded up; cached parts without a rate cost the full input rate."""
    rates = price.rates_for(usage.input_tokens)
    fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    if fresh < 0:
        raise ValueError(f"usage names more cached than prompt tokens: {usage}")
    return (
        tokens_cost(fresh, rates.input)
        + tokens_cost(usage.cache_read_tokens, rates.input if rates.cache_read is None else rates.cache_read)
        + tokens_cost(
            usage.cache_write_tokens, rates.input if rates.cache_write is None else rates.cache_write
        )
        + tokens_cost(usage.output_tokens, rates.output)
        + price.per_request
    )
