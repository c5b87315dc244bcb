"""Every provider call under a hold of its own: reserve, call, settle or release, then perhaps the next deployment."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator.adapters.books import WindowBlocked
from orchestrator.adapters.kept_replies import KeptReplies
from orchestrator.adapters.metering_limits import DeploymentLimits
from orchestrator.adapters.metering_models import is_same_model, prices_of
from orchestrator.adapters.metering_turn import Turn
from orchestrator.adapters.models import (
    Answer,
    CallProgress,
    CallRequest,
    ModelCalls,
    close_connections,
    loaded_litellm,
)
from orchestrator.adapters.models_failures import CallFailure, FailureKind
from orchestrator.core.catalogue import Catalogue, Deployment
from orchestrator.core.money import ZERO, Usd, bill, worst_case
from orchestrator.core.ports import (
    BudgetExceeded,
    Clock,
    Flag,
    HoldRequest,
    Ledger,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
    RequestRefused,
)
from orchestrator.core.routing import affordable_output

T = TypeVar("T")

# Each of these was charged in full; a third would be money after bad money.
MOST_CHARGED_FAILURES = 2
# These cost nothing, but each is a request to somebody who said no.
MOST_FREE_FAILURES = 8
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 1.0, 30.0
_UNREACHABLE_REST_SECONDS = 5.0


class CallsFailed(ModelUnavailable):
    """No deployment gave a usable reply. `bill` is what the failed calls were charged, `calls` how many were made."""

    def __init__(self, message: str, *, bill: Usd, calls: int) -> None:
        self.bill, self.calls = bill, calls
        super().__init__(message)


class CallRefused(RequestRefused):
    """The provider refused the request itself. `bill` and `calls` as in CallsFailed."""

    def __init__(self, message: str, *, bill: Usd, calls: int) -> None:
        self.bill, self.calls = bill, calls
        super().__init__(message)


class MeteredModel:
    """The port `Model`: no call without a durable hold, every failover with a new one, bounded in number and time.

    The caps given here apply to every request that brings none of its own. Keys are read from `environ` at call
    time. `replies` keeps what attempts have paid for. One instance per event loop; it may be shared by all
    attempts of a run.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        ledger: Ledger,
        clock: Clock,
        environ: Mapping[str, str],
        repository: str | None = None,
        run_cap: Usd | None = None,
        repository_cap: Usd | None = None,
        attempt_cap: Usd | None = None,
        replies: KeptReplies | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalogue, self._ledger, self._clock = catalogue, ledger, clock
        self._repository, self._repository_cap = repository, repository_cap
        self._run_cap, self._attempt_cap = run_cap, attempt_cap
        self._replies = replies
        self._calls = ModelCalls(clock=clock, environ=environ)
        self._sleep = sleep
        self._limits: dict[tuple[str, ...], DeploymentLimits] = {}
        self._numbers = itertools.count()
        # Who waits, by alias and number, and for which place of its pool: nobody who came later goes there first.
        self._waiting: dict[tuple[str, int], int] = {}
        self._sleeping: dict[int, asyncio.Future[object]] = {}

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Ask the alias's deployments in order until one answers.

        `bill` of the reply is everything this request was charged, failed calls included; `calls` counts them.
        `request.deadline_seconds` bounds the calls and the waits a provider asks for, but not the waits for room in
        the budget and for what we may use at once and per minute. Raises BudgetExceeded, CallsFailed (a
        ModelUnavailable) or CallRefused (a RequestRefused).
        """
        if self._replies is not None and (kept := self._replies.read(request)) is not None:
            return kept
        pool = self._catalogue.pool(request.model)
        if not pool:
            raise ModelUnavailable(_nothing_usable(request, self._catalogue))
        turn = Turn(request=request, seconds_left=request.deadline_seconds, number=next(self._numbers))
        while True:
            place = await self._next(pool, turn)
            deployment = pool[place]
            limits = self._limits_of(deployment)
            try:
                result = await self._metered(deployment, turn)
            finally:
                limits.end(turn.progress)
                self._wake()
            if isinstance(result, ModelReply):
                return result
            self._after(result, place, pool, limits, turn)

    async def close(self) -> None:
        """Close this event loop's connections to providers, so that its end leaves nothing open."""
        await close_connections()

    # --- which deployment, and when ---------------------------------------------------------------

    def _limits_of(self, deployment: Deployment) -> DeploymentLimits:
        name = (deployment.model, deployment.api_base or "", deployment.key_variable or "")
        return self._limits.setdefault(name, DeploymentLimits())

    async def _next(self, pool: tuple[Deployment, ...], turn: Turn) -> int:
        """The first deployment that is free now, else the one that is soonest, waited for in turn. Counts the request.

        Of the wait, only a rest that a provider asked for is taken from the deadline.
        """
        mine = (turn.request.model, turn.number)
        try:
            while True:
                now = self._clock.monotonic()
                wait, place, rest = self._soonest(pool, turn, now)
                if wait <= 0:
                    # Nothing is awaited between the look and the count: of many at once, only as many as fit go on.
                    turn.progress = CallProgress()
                    self._limits_of(pool[place]).start(turn.progress, turn.tokens(pool[place]))
                    return place
                if self._waiting.setdefault(mine, place) != place:
                    self._waiting[mine] = place
                    self._wake()
                await self._pause(wait, turn)
                turn.seconds_left -= min(rest, self._clock.monotonic() - now)
        finally:
            if self._waiting.pop(mine, None) is not None:
                self._wake()

    def _soonest(self, pool: tuple[Deployment, ...], turn: Turn, now: float) -> tuple[float, int, float]:
        """How long until the request may go on, to which deployment, and for how long that one is to rest."""
        ahead = {
            place
            for (alias, number), place in self._waiting.items()
            if alias == turn.request.model and number < turn.number
        }
        waits: list[tuple[float, int, float]] = []
        too_late: list[str] = []
        for place, deployment in enumerate(pool):
            if place in turn.given_up:
                continue
            limits, tokens = self._limits_of(deployment), turn.tokens(deployment)
            wait = limits.seconds_until_free(deployment, now, tokens)
            rest = max(0.0, limits.resting_until - now)
            if wait is None:
                output = turn.output_limit(deployment)
                turn.failures.append(
                    f"{deployment.model}: the request may take {tokens} tokens ({tokens - output} of input, "
                    f"{output} of output), above {deployment.tokens_per_minute} tokens a minute"
                )
            elif rest >= turn.seconds_left:
                too_late.append(
                    f"{deployment.model} is free again in {rest:.0f} s, "
                    f"but {max(turn.seconds_left, 0.0):.0f} s are left"
                )
            else:
                waits.append((math.inf if place in ahead else max(wait, rest), place, rest))
        if not waits:
            turn.failures += too_late
            raise self._failed(turn)
        return min(waits)

    async def _pause(self, seconds: float, turn: Turn) -> None:
        """Sleep, but no longer than until a place may have become free."""
        waiting = self._sleep(seconds) if seconds < math.inf else asyncio.Event().wait()
        self._sleeping[turn.number] = asyncio.ensure_future(waiting)
        try:
            await asyncio.gather(self._sleeping[turn.number], return_exceptions=True)
        finally:
            del self._sleeping[turn.number]

    def _wake(self) -> None:
        """Have all who wait look again, in the order they came."""
        for number in sorted(self._sleeping):
            self._sleeping[number].cancel()

    def _after(
        self,
        failure: CallFailure,
        place: int,
        pool: tuple[Deployment, ...],
        limits: DeploymentLimits,
        turn: Turn,
    ) -> None:
        """Decide from a failure whether anything else may be tried; raises when not."""
        turn.failures.append(f"{pool[place].model}: {failure.message} ({failure.kind.value})")
        turn.kinds.append(failure.kind)
        turn.charged_failures += not failure.unprocessed
        now = self._clock.monotonic()
        backoff = min(_FIRST_BACKOFF_SECONDS * 2 ** (len(turn.kinds) - 1), _LONGEST_BACKOFF_SECONDS)
        match failure.kind:
            case FailureKind.FILTERED:
                raise self._failed(turn)
            case FailureKind.REFUSED if (
                pool[place].supports_schema and turn.request.schema and turn.with_schema
            ):
                # Models are listed as able to take a schema that their endpoints refuse: asked again without.
                turn.with_schema = False
            case FailureKind.REFUSED if failure.status is not None:
                raise self._failed(turn)
            case FailureKind.REFUSED | FailureKind.MISCONFIGURED:
                turn.given_up.add(place)
            case FailureKind.UNREACHABLE:
                limits.rest(now, _UNREACHABLE_REST_SECONDS)
            case FailureKind.RATE_LIMITED | FailureKind.BROKEN | FailureKind.TIMED_OUT:
                wish = failure.retry_after_seconds
                limits.rest(now, backoff if wish is None else wish)
        if turn.charged_failures >= MOST_CHARGED_FAILURES or len(turn.kinds) >= MOST_FREE_FAILURES:
            raise self._failed(turn)

    def _failed(self, turn: Turn) -> CallsFailed | CallRefused:
        told = "; ".join(dict.fromkeys(turn.failures))
        charged = f"; {turn.bill} was charged" if turn.bill else ""
        refusals = (FailureKind.REFUSED, FailureKind.FILTERED)
        if turn.kinds and turn.kinds[-1] in refusals:
            return CallRefused(
                f"model {turn.request.model} refused the request: {told}{charged}",
                bill=turn.bill,
                calls=turn.calls,
            )
        return CallsFailed(
            f"model {turn.request.model} gave no reply: {told}{charged}", bill=turn.bill, calls=turn.calls
        )

    # --- one call under one hold ------------------------------------------------------------------

    async def _metered(self, deployment: Deployment, turn: Turn) -> ModelReply | CallFailure:
        request = turn.request
        input_bound, max_output = turn.input_bound(deployment), turn.output_limit(deployment)
        amount = worst_case(deployment.price, input_tokens=input_bound, max_output_tokens=max_output)
        if request.bill_cap is not None and not turn.bill + amount <= request.bill_cap:
            turn.failures.append(
                f"a call may cost up to {amount}, and {turn.bill} of at most {request.bill_cap} is charged"
            )
            raise self._failed(turn)
        try:
            hold, amount, max_output = await self._reserve_for(deployment, input_bound, max_output, request)
        except ModelUnavailable as stopped:
            return CallFailure(kind=FailureKind.MISCONFIGURED, unprocessed=True, message=str(stopped))
        progress, started = turn.progress, self._clock.monotonic()
        call = CallRequest(
            messages=request.messages,
            max_output_tokens=max_output,
            input_bound=input_bound,
            deadline_seconds=min(deployment.timeout_seconds, turn.seconds_left),
            schema=request.schema if turn.with_schema else None,
            schema_name=request.schema_name,
        )
        try:
            result = await self._calls.call(deployment, call, progress)
        except BaseException:
            # Cancelled, or a fault of ours: what may have left is charged before anything else happens.
            await _despite_cancellation(self._abandon(hold, sent=progress.sent))
            raise
        turn.calls += progress.sent
        turn.seconds_left -= self._clock.monotonic() - started
        if isinstance(result, CallFailure) and result.unprocessed:
            await _despite_cancellation(self._ledger.release(hold, reason=result.message))
            return result
        charge: Usd | None = None
        flags = result.flags
        try:
            charge, flags = self._charge(deployment, amount, result)
            if self._replies is not None and not isinstance(result, CallFailure):
                # Before it is settled: a settled call whose reply is lost would be asked and paid again.
                kept = turn.reply(deployment, result)
                self._replies.write(request, replace(kept, bill=kept.bill + (charge or amount)))
        finally:
            # Whatever goes wrong in between: an open hold would be waited for as long as this process lives.
            turn.bill += await _despite_cancellation(
                self._ledger.settle(
                    hold, bill=charge, usage=result.usage, answered_by=result.answered_by, flags=flags
                )
            )
        turn.flags = (*turn.flags, *flags)
        return result if isinstance(result, CallFailure) else turn.reply(deployment, result)

    async def _reserve_for(
        self, deployment: Deployment, input_bound: int, max_output: int, request: ModelRequest
    ) -> tuple[int, Usd, int]:
        """Hold the worst case of the call; where a cap has no room for all the output, of as much as it has room for.

        Whoever chose the limit knew the prompt by an estimate; here it is bounded, and several times as large. Returns
        the hold, its amount and the output it covers. Raises BudgetExceeded for the least output that is of use.
        """
        least = min(request.least_output_tokens or max_output, max_output)
        while True:
            amount = worst_case(deployment.price, input_tokens=input_bound, max_output_tokens=max_output)
            try:
                return await self._reserve(deployment, amount, request), amount, max_output
            except WindowBlocked:
                raise
            except BudgetExceeded as full:
                fits = affordable_output([deployment], input_tokens=input_bound, dollars=full.left)
                if not least <= fits < max_output:
                    needs = worst_case(deployment.price, input_tokens=input_bound, max_output_tokens=least)
                    raise BudgetExceeded(
                        what=full.what, needs=needs, left=full.left, cap=full.cap, window=full.window
                    ) from None
                max_output = fits

    async def _reserve(self, deployment: Deployment, amount: Usd, request: ModelRequest) -> int:
        hold = HoldRequest(
            amount=amount,
            model=request.model,
            deployment=deployment.model,
            purpose=request.purpose,
            category=request.category,
            what=f"attempt {request.attempt}" if request.attempt else f"the {request.purpose} call",
            repository=self._repository,
            run=request.run,
            attempt=request.attempt,
            run_cap=self._run_cap if request.run_cap is None else request.run_cap,
            repository_cap=self._repository_cap,
            attempt_cap=self._attempt_cap if request.attempt_cap is None else request.attempt_cap,
        )
        reserving = asyncio.ensure_future(self._ledger.reserve(hold))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.cancel()
            # The promise may have been written before the cancellation reached it: then it is given back.
            written = (await asyncio.gather(reserving, return_exceptions=True))[0]
            if isinstance(written, int):
                await _despite_cancellation(self._ledger.release(written, reason="cancelled before the call"))
            raise

    async def _abandon(self, hold: int, *, sent: bool) -> None:
        if sent:
            await self._ledger.settle(hold, bill=None, flags=(Flag.CUT,))
        else:
            await self._ledger.release(hold, reason="cancelled before the request left")

    def _charge(
        self, deployment: Deployment, amount: Usd, result: Answer | CallFailure
    ) -> tuple[Usd | None, tuple[Flag, ...]]:
        """What a processed call costs (None: unknown, the hold), never less than any of the prices that may apply."""
        usage, flags, stated = result.usage, result.flags, result.stated_cost
        other = bool(result.answered_by) and not is_same_model(deployment, result.answered_by)
        if other:
            flags = (*flags, Flag.OTHER_MODEL)
        if usage is None:
            # What is stated above the hold is believed; below it, the hold stands for what is not known.
            return (stated, (*flags, Flag.OVERRUN)) if stated and stated > amount else (None, flags)
        charge = max(bill(deployment.price, usage), stated or ZERO)
        if other:
            prices = prices_of(result.answered_by, self._catalogue, _price_map())
            # A model that nobody knows the price of costs what was held, at the least.
            charge = max([charge, *([bill(price, usage) for price in prices] or [amount])])
        return charge, ((*flags, Flag.OVERRUN) if charge > amount else flags)


def _nothing_usable(request: ModelRequest, catalogue: Catalogue) -> str:
    about = [line for line in catalogue.skipped if request.model in line] or list(catalogue.skipped)
    told = f" ({'; '.join(about)})" if about else ""
    return f"no usable model for {request.model!r}{told}: set a key, or run `orchestrator doctor`"


def _price_map() -> Mapping[str, Mapping[str, Any]]:
    prices: Mapping[str, Mapping[str, Any]] = loaded_litellm().model_cost
    return prices


async def _despite_cancellation(work: Awaitable[T]) -> T:
    """Finish `work` even while being cancelled; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:
            break
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()
