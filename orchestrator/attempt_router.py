"""Where an attempt of one run goes, what it may cost, how likely it passes: `core.routing` with the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestrator.core.calibration import Calibration
from orchestrator.core.catalogue import RoutingTable
from orchestrator.core.domain import (
    SMART,
    AttemptId,
    Deliverable,
    ModelAlias,
    Refusal,
    Route,
    RunId,
    Stage,
    Subtask,
)
from orchestrator.core.events import RunStarted
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.ports import Assignment
from orchestrator.core.routing import Request, least_useful_output, route
from orchestrator.plans import past_of
from orchestrator.wiring import Home, ModelAccess

PROMPT_OVERHEAD_TOKENS = 1500


@dataclass(frozen=True, kw_only=True)
class AttemptRouter:
    """`core.routing` for the attempts of one run, with what the ledger has left."""

    home: Home
    access: ModelAccess
    started: RunStarted

    async def route(self, subtask: Subtask, rung: ModelAlias, stage: Stage) -> Route | Refusal:
        # A call that fits once the open ones have settled waits for that, so what they hold is not gone.
        left = await self._left()
        request = Request(
            text=f"{subtask.title}\n{subtask.instructions}",
            input_tokens=subtask.estimate.input_tokens.high + PROMPT_OVERHEAD_TOKENS,
            needs_output_tokens=least_useful_output(subtask),
            tag=subtask.tag,
            checkable=subtask.deliverable is Deliverable.EDIT,
            override=rung if stage is Stage.CHOSEN else self.started.model_override,
            rung=rung,
            entry=stage is not Stage.ESCALATION,
        )
        return route(request, self.table, left=left, standard=self.home.standard)

    @cached_property
    def known(self) -> Calibration:
        """The user's own runs, read when an escalation has to wait for money: most runs never ask."""
        return past_of(self.home).calibration

    @property
    def table(self) -> RoutingTable:
        return self.access.table

    def odds(self, subtask: Subtask, model: ModelAlias) -> float:
        """The chance that an escalated attempt passes, from the user's own runs once there are enough of them."""
        return self.known.odds(
            model,
            subtask.tag.rule,
            tier=subtask.tag.tier,
            smart=model == self.table.tier_models.get(SMART),
            entry=False,
            again=False,
        )

    async def cap_of(self, assignment: Assignment) -> Usd | None:
        """What an attempt on the smart model may cost: the cap on smart per subtask, less what earlier tries took."""
        cap, smart = self.started.limits.smart_per_subtask, self.table.tier_models.get(SMART)
        if cap is None or assignment.route is None or assignment.route.model != smart:
            return None
        attempt = assignment.attempt
        earlier = (AttemptId(attempt.subtask, number) for number in range(1, attempt.number))
        spent = sum(
            entry.counted.nano
            for before in earlier
            for entry in self.home.store.entries(assignment.run, attempt=before)
            if entry.model == smart
        )
        return Usd(max(cap.nano - spent, 0))

    async def left(self) -> Usd | None:
        """What may yet be spent under the tightest cap, what is under way included."""
        return min((await self._left()).values(), default=None)

    async def _left(self) -> Mapping[str, Usd]:
        return await self.home.store.left(
            run=RunId(self.started.run), run_cap=self.started.budget, held=False
        )

    def expected(self, subtask: Subtask, model: ModelAlias) -> Usd:
        """What one attempt is likely to cost, for the order of escalations."""
        if not self.table.catalogue.pool(model):
            return ZERO
        return self.table.catalogue.worst_case(
            model,
            input_tokens=subtask.estimate.input_tokens.likely,
            max_output_tokens=subtask.estimate.output_tokens.likely,
        )
