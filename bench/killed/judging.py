"""One killed run: the place it is made in, and what it must have left there once it was resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from killed.run import RUN

from orchestrator.adapters.journal import Store
from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.events import RunEnded
from orchestrator.core.ledger import HoldState
from orchestrator.core.money import Usd
from orchestrator.wiring import SystemClock

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 120
PATIENCE = 3


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
        return [sys.executable, str(HERE / "run.py"), str(self.place), str(self.size)]

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
