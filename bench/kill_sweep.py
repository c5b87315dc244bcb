"""Claim: kill -9 anywhere loses nothing and pays for nothing twice. A run of 3 subtasks is killed at every system call
that writes (strace, `--points` of them with `--quick`), a run of 50 subtasks at random moments, again and again until
it is through (`--kills` of them). Each killed run is resumed. Then the final tree equals the undisturbed one, every
subtask is one commit, no call whose reply was kept was made again, every call has its charge and no charge is lost or
doubled, and the user's checkout is as it was.

Git, worktrees, store, engine, runner and landing are real; the model is faked at its port (it reserves, answers, keeps
the reply and settles as the metered one does, and notes what the provider saw), and checks are faked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    Subtask,
    SubtaskId,
    Tag,
    Verdict,
    VerdictKind,
)
from orchestrator.core.events import BaselineMeasured, Event, RunEnded, RunResumed, RunStarted
from orchestrator.core.ledger import HoldState
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
SYSCALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "link", "unlink", "mkdir")
PATIENCE_SECONDS = 120
PATIENCE = 3


# --- the run, in a process of its own -----------------------------------------------------------------


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

        async def route(subtask: Subtask, model: ModelAlias, entry: bool) -> Route:
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


# --- killing --------------------------------------------------------------------------------------------


@dataclass
class Sweep:
    """One killed run: where it lies, how it was killed, and what is wrong with what came of it."""

    place: Path
    size: int
    before: dict[str, str]
    kills: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        return [sys.executable, __file__, "--child", str(self.place), str(self.size)]

    def resume_until_done(self) -> None:
        """Resume, and again where an orphan of the killed run was still at it."""
        for _ in range(PATIENCE):
            done = subprocess.run(
                self.command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
            )
            if done.returncode == 0:
                return
            self.again += 1
        self.wrong.append(f"it cannot be resumed: {done.stderr.strip().splitlines()[-1:]}")


def git(root: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "User",
        "GIT_AUTHOR_EMAIL": "user@example.org",
        "GIT_COMMITTER_NAME": "User",
        "GIT_COMMITTER_EMAIL": "user@example.org",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **identity},
    )
    return done.stdout.strip()


def make(place: Path, size: int) -> Sweep:
    """A repository with uncommitted work in it, and an empty state."""
    user = place / "user"
    user.mkdir(parents=True)
    (place / "state").mkdir()
    git(user, "-c", "init.defaultBranch=main", "init", "-q")
    (user / "README.md").write_text("a project\n", encoding="utf-8")
    git(user, "add", "-A")
    git(user, "commit", "-q", "-m", "first")
    (user / "README.md").write_text("a project, edited\n", encoding="utf-8")
    (user / "untracked.txt").write_text("mine\n", encoding="utf-8")
    return Sweep(place=place, size=size, before=belongings(user))


def belongings(user: Path) -> dict[str, str]:
    """What must not change: the checkout, the index, and every ref that is not ours."""
    refs = git(user, "for-each-ref", "--format=%(refname) %(objectname)")
    return {
        "status": git(user, "status", "--porcelain=v2", "--branch", "--untracked-files=all"),
        "refs": "\n".join(line for line in refs.splitlines() if "orchestrator/" not in line),
        "edited": (user / "README.md").read_text(encoding="utf-8"),
        "untracked": (user / "untracked.txt").read_text(encoding="utf-8"),
        "stash": git(user, "stash", "list"),
    }


def judge(sweep: Sweep, tree: str) -> None:
    """Compare what a killed and resumed run left with what it should have left."""
    user, wrong = sweep.place / "user", sweep.wrong
    branch = f"refs/heads/orchestrator/{RUN}"
    found = git(user, "rev-parse", f"{branch}^{{tree}}")
    if found != tree:
        wrong.append(f"the tree is {found[:10]}, not {tree[:10]}")
    trailers = git(
        user, "log", "--format=%(trailers:key=Orchestrator-Subtask,valueonly,separator=%x2C)", branch
    )
    landed = Counter(trailers.split())
    if landed != Counter(f"s{number}" for number in range(sweep.size)):
        wrong.append(f"landed: {landed}")
    if belongings(user) != sweep.before:
        wrong.append("the user's checkout changed")
    _judge_calls(sweep)
    worktrees = sweep.place / "state" / "worktrees" / RUN
    if worktrees.exists() and any(worktrees.iterdir()):
        wrong.append(f"worktrees are left: {sorted(path.name for path in worktrees.iterdir())}")


def _judge_calls(sweep: Sweep) -> None:
    wrong = sweep.wrong
    sent: Counter[str] = Counter()
    kept: set[str] = set()
    for line in (sweep.place / "provider.log").read_text(encoding="utf-8").splitlines():
        what, attempt = line.split()
        if what == "kept":
            kept.add(attempt)
        elif attempt in kept:
            wrong.append(f"{attempt} was asked again after its reply was kept")
        sent[attempt] += what == "sent"
    rules = BudgetRules(max_budget=Usd.of(1000))
    with Store.open(sweep.place / "state" / "store.sqlite3", clock=SystemClock(), rules=rules) as store:
        entries = store.entries(RUN)
        events = list(store.events(RUN))
    if not isinstance(events[-1], RunEnded):
        wrong.append(f"the journal ends with {type(events[-1]).__name__}")
    charged: Counter[str] = Counter()
    settled: Counter[str] = Counter()
    for entry in entries:
        attempt = entry.attempt or ""
        charged[attempt] += entry.counted.nano > 0
        settled[attempt] += entry.state is HoldState.SETTLED
        if entry.state is HoldState.OPEN:
            wrong.append(f"{attempt}: a hold is still open")
    for attempt, calls in sent.items():
        if charged[attempt] < calls:
            wrong.append(f"{attempt}: {calls} calls, {charged[attempt]} charges")
        if settled[attempt] > 1:
            wrong.append(f"{attempt}: settled {settled[attempt]} times")
    # A hold that was taken just before the kill is charged though nothing was sent: at most one per attempt at work.
    if sum(charged.values()) - sum(sent.values()) > 4 * sweep.kills:
        wrong.append("more charges than calls and kills explain")


def at_syscalls(scratch: Path, points: int | None, *, whose: str) -> Iterator[Sweep]:
    """Kill a run of 3 where one of its threads makes the n-th call of a kind, for every kind and n.

    With `whose` "all" the processes it starts are counted too: sometimes it is git that dies, and the run has to
    cope. With "own" only its own threads count, also for calls of which git makes more.
    """
    size = 3
    scratch = scratch / whose
    # Not with --seccomp-bpf, quicker as it is: with it strace 6.1 counts the calls, and injects nothing.
    traced = ["strace", "-f", "-qq"]
    if whose == "own":
        traced.append("--detach-on=execve")
    tree = undisturbed(scratch / "clean-3", size)
    counts = {name: count_calls(scratch, traced, name, size) for name in SYSCALLS}
    targets = [(name, number) for name, count in counts.items() for number in range(1, count + 1)]
    # Shuffled, so that a sweep cut short by the time has seen all kinds.
    random.Random(1).shuffle(targets)
    print(f"{len(targets)} calls that write, {whose}: {counts}", file=sys.stderr, flush=True)
    targets = targets[:points]
    for name, number in targets:
        sweep = make(scratch / f"{name}-{number}", size)
        trace = [*traced, "-o", os.devnull, "-e", f"trace={name}"]
        kill = ["-e", f"inject={name}:signal=KILL:when={number}"]
        done = subprocess.run(
            [*trace, *kill, *sweep.command], capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
        sweep.kills = int(done.returncode != 0)
        sweep.resume_until_done()
        judge(sweep, tree)
        yield sweep


def count_calls(scratch: Path, traced: list[str], name: str, size: int) -> int:
    """The most calls of this kind that any one thread of an undisturbed run makes."""
    sweep = make(scratch / f"count-{name}", size)
    log = scratch / f"count-{name}.log"
    trace = [*traced, "-o", str(log), "-e", f"trace={name}"]
    subprocess.run([*trace, *sweep.command], capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    threads = Counter(
        line.split()[0] for line in log.read_text(errors="replace").splitlines() if name in line
    )
    shutil.rmtree(sweep.place)
    return max(threads.values(), default=0)


def at_random(scratch: Path, kills: int, size: int) -> Iterator[Sweep]:
    """Kill a run at random moments until it gets through, and again with another, until so many kills."""
    done, chance = 0, random.Random(7)
    began = time.monotonic()
    tree = undisturbed(scratch / "clean", size)
    whole = time.monotonic() - began
    round_number = 0
    while done < kills:
        sweep = make(scratch / f"random-{round_number}", size)
        round_number += 1
        while sweep.kills < 25:
            process = subprocess.Popen(
                sweep.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            try:
                _, said = process.communicate(timeout=chance.uniform(0.1, 0.4) * whole)
            except subprocess.TimeoutExpired:
                # Half of the time git and the like go with it, half of the time they are orphaned.
                if chance.random() < 0.5:
                    os.killpg(process.pid, 9)
                else:
                    process.kill()
                process.communicate()
                sweep.kills += 1
                continue
            if process.returncode == 0:
                break
            sweep.again += 1
            if sweep.again > PATIENCE:
                sweep.wrong.append(
                    f"exit code {process.returncode}: {said.decode().strip().splitlines()[-1:]}"
                )
                break
        sweep.resume_until_done()
        judge(sweep, tree)
        done += sweep.kills
        yield sweep


def undisturbed(place: Path, size: int) -> str:
    """The tree of a run that nobody kills."""
    sweep = make(place, size)
    subprocess.run(sweep.command, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    tree = git(place / "user", "rev-parse", f"refs/heads/orchestrator/{RUN}^{{tree}}")
    judge(sweep, tree)
    if sweep.wrong:
        raise AssertionError(f"the undisturbed run is wrong: {sweep.wrong}")
    return tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--points", type=int, help="so many of the system calls, at random; all when left out"
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--size", type=int, default=50, help="subtasks of the run that is killed at random")
    parser.add_argument("--quick", action="store_true", help="60 points (30 of each sort) and 20 kills")
    parser.add_argument(
        "--minutes", type=float, help="stop each of the two after so long, and say how far it came"
    )
    parser.add_argument("--keep", action="store_true", help="keep what went wrong, and say where")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        place, size = options.child
        sys.exit(asyncio.run(carry_out(Path(place), int(size))))
    points, kills = (30, 20) if options.quick else (options.points, options.kills)
    scratch = Path(tempfile.mkdtemp(prefix="kill-sweep-"))
    report: dict[str, dict[str, int]] = {}
    failed = False
    sources = {f"at a random moment, {options.size} subtasks": at_random(scratch, kills, options.size)}
    if points == 0:
        print("no kills at system calls")
    elif shutil.which("strace"):
        for whose, words in (("all", "of any process"), ("own", "of our own process")):
            sources[f"at a write call {words}, 3 subtasks"] = at_syscalls(scratch, points, whose=whose)
    else:
        print("no strace: only random moments")
    print(f"{'killed':>54} {'runs':>6} {'kills':>6} {'refused once':>13} {'wrong':>6}")
    for name, sweeps in sources.items():
        runs = killed = again = 0
        bad: list[str] = []
        began = time.monotonic()
        for sweep in sweeps:
            runs, killed, again = runs + 1, killed + sweep.kills, again + sweep.again
            bad += [f"{sweep.place.name}: {what}" for what in sweep.wrong]
            if not (sweep.wrong and options.keep):
                shutil.rmtree(sweep.place)
            if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
                name += ", cut short"
                break
        report[name] = {"runs": runs, "kills": killed, "again": again, "wrong": len(bad)}
        failed |= bool(bad)
        print(f"{name:>54} {runs:6} {killed:6} {again:13} {len(bad):6}", flush=True)
        for what in bad[:20]:
            print(f"    {what}")
    if options.keep and failed:
        print(f"kept in {scratch}")
    else:
        shutil.rmtree(scratch)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
