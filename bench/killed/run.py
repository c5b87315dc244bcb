"""The run that is killed, in a process of its own: `run.py PLACE SIZE` starts it there, or goes on with it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.engine import LocalEngine
from orchestrator.adapters.git import Repository
from orchestrator.adapters.journal import Store
from orchestrator.adapters.kept_replies import KeptReplies
from orchestrator.adapters.outcomes import OutcomeFiles
from orchestrator.adapters.run_lock import RunLock
from orchestrator.adapters.state import attempt_directory
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    CHEAP,
    AttemptId,
    Estimate,
    ExecutorName,
    Limits,
    ModelAlias,
    Plan,
    Provenance,
    Range,
    Route,
    RunId,
    Stage,
    Subtask,
    SubtaskId,
    Tag,
    Verdict,
    VerdictKind,
)
from orchestrator.core.events import BaselineMeasured, Event, RunResumed, RunStarted
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import (
    Assignment,
    HoldRequest,
    Message,
    ModelReply,
    ModelRequest,
    Produced,
    Work,
    Worktree,
)
from orchestrator.execution import Execution, RunScope
from orchestrator.runner import Runner
from orchestrator.wiring import SystemClock

RUN = RunId("20261123-100000-abcd")
HOLD, BILL = Usd.of("0.02"), Usd.of("0.01")
LADDER = (ModelAlias("cheap"), ModelAlias("smart"))


def plan(size: int) -> Plan:
    """Layers of eight; every fifth subtask is rejected at first."""
    chance = random.Random(size)
    tokens = Range(1, 1, 1)
    subtasks = []
    for place in range(size):
        layer = place // 8 * 8
        before = sorted({layer - 8 + chance.randrange(8) for _ in range(2)}) if layer else []
        subtasks.append(
            Subtask(
                id=SubtaskId(f"s{place}"),
                title=f"subtask {place}",
                instructions="write its file",
                category="cheap/bug-fixes",
                tag=Tag(tier=CHEAP, rule="cheap/bug-fixes"),
                estimate=Estimate(input_tokens=tokens, output_tokens=tokens, seconds=tokens),
                depends_on=tuple(SubtaskId(f"s{other}") for other in before),
                touches=(f"s{place}.txt",),
            )
        )
    return Plan(goal="sweep", subtasks=tuple(subtasks), made_from=Provenance(planner="bench", commit="c"))


@dataclass
class FakeModel:
    """Pays as the metered model does; `log` is the provider's own, in which every line is one write."""

    store: Store
    replies: KeptReplies
    log: Path

    def note(self, what: str, attempt: AttemptId | None) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{what} {attempt}\n".encode())
        os.close(descriptor)

    async def complete(self, request: ModelRequest) -> ModelReply:
        kept = self.replies.read(request)
        if kept is not None:
            return kept
        hold = await self.store.reserve(
            HoldRequest(
                amount=HOLD,
                model=request.model,
                deployment="fake",
                purpose=request.purpose,
                what="a call",
                run=request.run,
                attempt=request.attempt,
            )
        )
        self.note("sent", request.attempt)
        await asyncio.sleep(0.002)
        wrong = request.attempt is not None and request.attempt.number == 1 and _is_fifth(request.attempt)
        reply = ModelReply(
            text="wrong" if wrong else "right",
            model=request.model,
            answered_by="fake",
            vendor="fake",
            usage=Usage(input_tokens=1, output_tokens=1),
            bill=BILL,
        )
        self.replies.write(request, reply)
        self.note("kept", request.attempt)
        await self.store.settle(hold, bill=BILL, usage=reply.usage, answered_by="fake")
        return reply


def _is_fifth(attempt: AttemptId) -> bool:
    return int(attempt.subtask[1:]) % 5 == 1


@dataclass
class Writes:
    model: FakeModel

    async def execute(self, work: Work) -> Produced:
        assert work.route is not None
        request = ModelRequest(
            model=work.route.model,
            messages=(Message(role="user", content=str(work.attempt)),),
            max_output_tokens=10,
            purpose="attempt",
            run=work.run,
            attempt=work.attempt,
        )
        reply = await self.model.complete(request)
        Path(work.worktree, f"{work.subtask.id}.txt").write_text(f"{reply.text}\n", encoding="utf-8")
        return Produced(summary="written", answered_by="fake", bill=reply.bill, usage=reply.usage, calls=1)


class Reads:
    """The checker: a file that says `right` is right."""

    async def baseline(self) -> BaselineMeasured:
        return BaselineMeasured(passed=True)

    async def prepare(self, worktree: Worktree) -> None:
        return

    async def verify(self, worktree: Worktree, subtask: Subtask, *, full: bool) -> Verdict:
        said = Path(worktree.path, f"{subtask.id}.txt").read_text(encoding="utf-8")
        kind = VerdictKind.UNBROKEN if said == "right\n" else VerdictKind.REJECTED
        return Verdict(kind=kind, full=True, evidence=(said.strip(),))


async def carry_out(place: Path, size: int) -> int:
    """Start the run, or go on with it."""
    repository = Repository.open(place / "user")
    state, clock = place / "state", SystemClock()
    with (
        Store.open(state / "store.sqlite3", clock=clock, rules=BudgetRules(max_budget=Usd.of(1000))) as store,
        RunLock.acquire(repository, state, run=RUN, clock=clock),
    ):
        before = list(store.events(RUN))
        base = before[0].base_commit if before and isinstance(before[0], RunStarted) else repository.head()
        started = RunStarted(
            run=RUN,
            plan=plan(size),
            repository=str(repository.root),
            base_commit=base,
            branch=f"orchestrator/{RUN}",
            limits=Limits(parallel=4, attempts_per_rung=1),
            ladder=LADDER,
            tier_models={"cheap": LADDER[0], "smart": LADDER[1]},
        )
        workspaces = GitWorkspaces(repository, run=RUN, base=base, state=state)
        dispatch = Dispatch.of(started)
        outcomes = OutcomeFiles(state, RUN)
        model = FakeModel(
            store=store,
            replies=KeptReplies(lambda attempt: attempt_directory(state, RUN, attempt)),
            log=place / "provider.log",
        )

        async def charged(attempt: AttemptId) -> Usd:
            return Usd(sum(entry.counted.nano for entry in store.entries(RUN, attempt=attempt)))

        async def no_cap(assignment: Assignment) -> Usd | None:
            return None

        async def route(subtask: Subtask, model: ModelAlias, stage: Stage) -> Route:
            return Route(model=model, max_output_tokens=10, worst_case=HOLD, reasons=())

        execution = Execution(
            scope=RunScope(run=RUN, goal="sweep", repository=str(repository.root)),
            subtask=dispatch.subtask,
            workspaces=workspaces,
            checker=Reads(),
            executors={ExecutorName.EDIT: Writes(model)},
            outcomes=outcomes,
            clock=clock,
            charged=charged,
            attempt_cap=no_cap,
        )
        runner = Runner(
            run=RUN,
            dispatch=dispatch,
            journal=store,
            engine=LocalEngine(execution.execute, outcomes),
            land=execution.land,
            route=route,
            clock=clock,
        )
        await workspaces.reclaim()
        await workspaces.start()
        runner.replay(before)
        opening: list[Event] = [RunResumed(at=clock.now())] if before else [started]
        return (await runner.run(opening)).exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(carry_out(Path(sys.argv[1]), int(sys.argv[2]))))
