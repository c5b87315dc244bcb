"""How much of a deployment may be used at once and per minute, and when it is to be left alone."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractAsyncContextManager, nullcontext

from orchestrator.core.catalogue import Deployment

_MINUTE = 60.0


class DeploymentLimits:
    """Requests and tokens of the last minute, calls under way, and a rest the provider asked for.

    Tokens are counted as reserved, input bound and output limit, which is never too few. Times are seconds of the
    monotonic clock.
    """

    def __init__(self, deployment: Deployment) -> None:
        import asyncio

        self._requests_per_minute = deployment.requests_per_minute
        self._tokens_per_minute = deployment.tokens_per_minute
        parallel = deployment.max_parallel
        if parallel is None and deployment.model.startswith(("ollama/", "ollama_chat/")):
            # A second call would load the model a second time, or wait inside Ollama against its deadline.
            parallel = 1
        self.slot: AbstractAsyncContextManager[None] = (
            nullcontext() if parallel is None else asyncio.Semaphore(parallel)
        )
        self.resting_until = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def seconds_until_free(self, now: float, tokens: int) -> float | None:
        """How long until a call of so many tokens may start; None when its tokens are above a minute's allowance."""
        if self._tokens_per_minute is not None and tokens > self._tokens_per_minute:
            return None
        while self._recent and self._recent[0][0] <= now - _MINUTE:
            self._recent.popleft()
        wait = max(0.0, self.resting_until - now)
        if self._requests_per_minute is not None and len(self._recent) >= self._requests_per_minute:
            place = len(self._recent) - self._requests_per_minute
            wait = max(wait, self._recent[place][0] + _MINUTE - now)
        if self._tokens_per_minute is not None:
            used = sum(count for _, count in self._recent)
            for moment, count in self._recent:
                if used + tokens <= self._tokens_per_minute:
                    break
                used -= count
                wait = max(wait, moment + _MINUTE - now)
        return wait

    def start(self, now: float, tokens: int) -> None:
        self._recent.append((now, tokens))

    def rest(self, now: float, seconds: float) -> None:
        self.resting_until = max(self.resting_until, now + seconds)
