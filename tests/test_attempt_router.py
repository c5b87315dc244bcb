"""What an attempt may cost, from the ledger."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.attempt_router import AttemptRouter
from orchestrator.core.domain import AttemptId, Limits, ModelAlias, Route, SubtaskId
from orchestrator.core.events import RunStarted
from orchestrator.core.money import Usd
from orchestrator.core.ports import Assignment
from tests.adapters.store_building import RUN, hold, open_store, usd
from tests.core.runs import plan, subtask

SMART = ModelAlias("smart")


def assignment(number: int, model: str = "smart") -> Assignment:
    route = Route(model=ModelAlias(model), max_output_tokens=1, worst_case=Usd(1), reasons=())
    return Assignment(run=RUN, attempt=AttemptId(SubtaskId("parse"), number), route=route)


@pytest.mark.parametrize(("cap", "left"), [("0.10", "0.04"), ("0.05", "0"), (None, None)])
async def test_the_cap_on_smart_per_subtask_holds_over_all_of_its_attempts(
    tmp_path: Path, cap: str | None, left: str | None
):
    started = RunStarted(
        run=RUN,
        plan=plan(subtask("parse")),
        repository="/r",
        base_commit="c0",
        branch="b",
        limits=Limits(smart_per_subtask=None if cap is None else usd(cap)),
    )
    with open_store(tmp_path) as store:
        for number, model, bill in ((1, "cheap", "0.03"), (2, "smart", "0.06")):
            attempt = AttemptId(SubtaskId("parse"), number)
            call = await store.reserve(hold("0.08", model=ModelAlias(model), run=RUN, attempt=attempt))
            await store.settle(call, bill=usd(bill))
        access = SimpleNamespace(table=SimpleNamespace(tier_models={"smart": SMART}))
        router = AttemptRouter(home=SimpleNamespace(store=store), access=access, started=started)
        assert await router.cap_of(assignment(3)) == (None if left is None else usd(left))
        assert await router.cap_of(assignment(3, "cheap")) is None
