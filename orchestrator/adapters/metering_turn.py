"""One request on its way through the deployments of its alias: what it has cost so far, and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.adapters.models import Answer, CallProgress, input_token_bound
from orchestrator.adapters.models_failures import FailureKind
from orchestrator.core.catalogue import Deployment
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.ports import Flag, ModelReply, ModelRequest


@dataclass(slots=True)
class Turn:
    """One request on its way through the pool. `number` tells who came first; `progress` is its latest call's."""

    request: ModelRequest
    seconds_left: float
    number: int
    progress: CallProgress = field(default_factory=CallProgress)
    bill: Usd = ZERO
    calls: int = 0
    flags: tuple[Flag, ...] = ()
    failures: list[str] = field(default_factory=list)
    kinds: list[FailureKind] = field(default_factory=list)
    given_up: set[int] = field(default_factory=set)
    charged_failures: int = 0
    with_schema: bool = True

    def input_bound(self, deployment: Deployment) -> int:
        """The most tokens its prompt can be, with the schema where the deployment is sent one."""
        uses_schema = deployment.supports_schema and self.with_schema
        return input_token_bound(self.request.messages, self.request.schema if uses_schema else None)

    def output_limit(self, deployment: Deployment) -> int:
        return min(self.request.max_output_tokens, deployment.max_output_tokens)

    def tokens(self, deployment: Deployment) -> int:
        """What a call may take of a minute's tokens."""
        return self.input_bound(deployment) + self.output_limit(deployment)

    def reply(self, deployment: Deployment, answer: Answer) -> ModelReply:
        """The answer with the bill of all calls it took."""
        return ModelReply(
            text=answer.text,
            model=self.request.model,
            answered_by=answer.answered_by,
            vendor=deployment.vendor,
            usage=answer.usage,
            bill=self.bill,
            flags=tuple(dict.fromkeys(self.flags)),
            finish_reason=answer.finish_reason,
            calls=self.calls,
        )
