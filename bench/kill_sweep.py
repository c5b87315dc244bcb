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
from pathlib import Path

from killed.judging import PATIENCE, PATIENCE_SECONDS, Sweep, git, judge, make
from killed.run import RUN

SYSCALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "link", "unlink", "mkdir")


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
    options = parser.parse_args()
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
