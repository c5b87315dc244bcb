"""How much of a deployment may be used at once and per minute, and when it is to be left alone."""

from __future__ import annotations

import math

from orchestrator.adapters.models import CallProgress
from orchestrator.core.catalogue import Deployment

_MINUTE = 60.0


class DeploymentLimits:
    """Requests and tokens of the last minute, calls under way, and a rest the provider asked for.

    All entries that reach one model with one key share it, and each asks with limits of its own. A request counts
    from when it is sent, and as of now until it is. Tokens are counted as reserved, input bound and output limit,
    which is never too few. Times are seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.resting_until = 0.0
        self._recent: list[tuple[CallProgress, int]] = []
        self._under_way = 0

    def seconds_until_free(self, entry: Deployment, now: float, tokens: int) -> float | None:
        """How long the limits of `entry` keep back a call of so many tokens, a rest not counted.

        Infinite until a call under way ends; None when its tokens are above a minute's allowance.
        """
        requests_per_minute, tokens_per_minute = entry.requests_per_minute, entry.tokens_per_minute
        if tokens_per_minute is not None and tokens > tokens_per_minute:
            return None
        parallel = entry.max_parallel
        if parallel is None and entry.model.startswith(("ollama/", "ollama_chat/")):
            # A second call would load the model a second time, or wait inside Ollama against its deadline.
            parallel = 1
        if parallel is not None and self._under_way >= parallel:
            return math.inf
        self._recent = [each for each in self._recent if _moment(each[0], now) > now - _MINUTE]
        recent = sorted((_moment(call, now), count) for call, count in self._recent)
        wait = 0.0
        if requests_per_minute is not None and len(recent) >= requests_per_minute:
            wait = recent[-requests_per_minute][0] + _MINUTE - now
        if tokens_per_minute is not None:
            used = sum(count for _, count in recent)
            for moment, count in recent:
                if used + tokens <= tokens_per_minute:
                    break
                used -= count
                wait = max(wait, moment + _MINUTE - now)
        return wait

    def start(self, call: CallProgress, tokens: int) -> None:
        self._recent.append((call, tokens))
        self._under_way += 1

    def end(self, call: CallProgress) -> None:
        """One that was not sent gives its place back."""
        self._under_way -= 1
        if not call.sent:
            self._recent = [each for each in self._recent if each[0] is not call]

    def rest(self, now: float, seconds: float) -> None:
        self.resting_until = max(self.resting_until, now + seconds)


def _moment(call: CallProgress, now: float) -> float:
    return now if call.sent_at is None else call.sent_at
