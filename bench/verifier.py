"""How often are wrong patches believed, and right ones refused? Forty of each, on the example application.

    python bench/verifier.py [--json FILE] [--quick] [--only TEXT] [-v]

Every patch goes through what an attempt goes through: the guard over what was changed, then the checks and the
verdict, in the sandbox. `proved` and `unbroken` land; a wrong patch that lands is a false accept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from verifier_patches import DELETE, RIGHT, WRONG, Patch

from orchestrator.adapters.checks import ProjectChecker
from orchestrator.adapters.git import Repository
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import (
    SMART,
    AttemptId,
    Estimate,
    Range,
    RunId,
    Subtask,
    SubtaskId,
    Tag,
    VerdictKind,
)
from orchestrator.wiring import SystemClock

ROOT = Path(__file__).resolve().parents[1]
SOME = Range(1, 2, 3)
MOST = {"proved": 0.05, "landed": 0.10, "refused": 0.05}


@dataclass(kw_only=True)
class Judged:
    name: str
    kind: str
    verdict: str
    seconds: float
    why: str


def _subtask(patch: Patch, number: int) -> Subtask:
    return Subtask(
        id=SubtaskId(f"patch-{number}"),
        title=patch.name,
        instructions=patch.name,
        category=patch.category,
        tag=Tag(tier=SMART, rule=patch.category),
        estimate=Estimate(input_tokens=SOME, output_tokens=SOME, seconds=SOME),
        touches=patch.may_touch,
    )


def _apply(patch: Patch, root: Path) -> None:
    for path, old, new in patch.edits:
        place = root / path
        if new == DELETE:
            place.unlink()
        elif not old:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(new)
        else:
            text = place.read_text()
            if old not in text:
                raise SystemExit(f"{patch.name}: the text to replace is not in {path}: {old!r}")
            place.write_text(text.replace(old, new))


def _commit(application: Path) -> None:
    git = ["git", "-C", str(application), "-c", "user.name=Bench", "-c", "user.email=bench@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "the application"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)


async def trial(place: Path, patches: list[Patch]) -> list[Judged]:
    application = place / "stockroom"
    shutil.copytree(ROOT / "examples" / "stockroom", application)
    await asyncio.to_thread(_commit, application)
    (place / "state").mkdir()
    environ = dict(os.environ) | {"ORCHESTRATOR_CACHE": str(place / "cache")}
    repository = Repository.open(application, environ)
    workspaces = GitWorkspaces(
        repository, run=RunId("20260101-000000-be9c"), base=repository.head(), state=place / "state"
    )
    await workspaces.start()
    settings = SimpleNamespace(
        commands={}, check_seconds=120.0, setup=(), network_in_setup=False, deny_files=()
    )
    checker = ProjectChecker(
        workspaces=workspaces, settings=settings, sandbox=Sandbox.probe(), clock=SystemClock(), environ=environ
    )  # fmt: skip
    baseline = await checker.baseline()
    assert baseline.can_check, baseline.reason
    judged = []
    for number, patch in enumerate(patches, 1):
        subtask = _subtask(patch, number)
        worktree = await workspaces.create(AttemptId(subtask.id, 1))
        await checker.prepare(worktree)
        _apply(patch, Path(worktree.path))
        started = time.perf_counter()
        if problems := await workspaces.guard(worktree, subtask):
            kind, why = VerdictKind.REJECTED, "; ".join(map(str, problems))
        else:
            verdict = await checker.verify(worktree, subtask, full=False)
            kind, why = verdict.kind, "; ".join(verdict.evidence)
        judged.append(
            Judged(
                name=patch.name,
                kind=patch.kind,
                verdict=kind.value,
                seconds=round(time.perf_counter() - started, 2),
                why=why,
            )
        )
        await workspaces.remove(worktree)
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", dest="out")
    parser.add_argument("--quick", action="store_true", help="every fourth patch")
    parser.add_argument("--only", help="patches whose name or kind holds this text")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    patches = [*WRONG, *RIGHT]
    if options.only:
        patches = [patch for patch in patches if options.only in patch.name or options.only in patch.kind]
    if options.quick:
        patches = patches[::4]
    with tempfile.TemporaryDirectory(prefix="verifier-") as place:
        judged = asyncio.run(trial(Path(place).resolve(), patches))
    kinds = list(dict.fromkeys(one.kind for one in judged))
    columns = [kind.value for kind in VerdictKind]
    print(f"{'':34}" + "".join(f"{column:>12}" for column in columns))
    for kind in kinds:
        counts = Counter(one.verdict for one in judged if one.kind == kind)
        print(f"{kind:34}" + "".join(f"{counts[column] or '.':>12}" for column in columns))
    wrong = [one for one in judged if one.kind != "right"]
    good = [one for one in judged if one.kind == "right"]
    shares = {
        "proved": sum(one.verdict == "proved" for one in wrong) / max(1, len(wrong)),
        "landed": sum(one.verdict in ("proved", "unbroken") for one in wrong) / max(1, len(wrong)),
        "refused": sum(one.verdict == "rejected" for one in good) / max(1, len(good)),
    }
    print(f"\nwrong and proved {shares['proved']:.1%} (at most 5 %), wrong and landed {shares['landed']:.1%} (at most "
          f"10 %), right and rejected {shares['refused']:.1%} (at most 5 %)")  # fmt: skip
    print(f"{len(judged)} patches, {sum(one.seconds for one in judged) / max(1, len(judged)):.2f} s each")
    for one in judged:
        missed = (one.kind == "right") == (one.verdict == "rejected")
        if options.verbose or missed:
            print(f"{'!' if missed else ' '} {one.kind}: {one.name}: {one.verdict}: {one.why[:300]}")
    if options.out:
        document = {"shares": shares, "limits": MOST, "patches": [vars(one) for one in judged]}
        Path(options.out).write_text(json.dumps(document, indent=2))
    sys.exit(any(shares[name] > MOST[name] for name in MOST))


if __name__ == "__main__":
    main()
