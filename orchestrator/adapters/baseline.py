"""What the checks say of a commit before anybody changes it: measured once, kept by commit and commands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.project_commands import ProjectCommands
from orchestrator.adapters.suites import run_suite
from orchestrator.core.verdicts import Status

VERSION = 2
# The second run, for flakes, is made only of suites that leave the first attempt waiting no longer than this.
SECOND_RUN_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """`exits` are the exit codes of all commands by name (None: out of time); `said` the output of those that failed.

    `flaky` tests passed in one run and failed in the other. `seconds` is one run of all suites;
    `canary` what was proved of the code that runs; `cannot` why nothing was run at all.
    """

    statuses: Mapping[str, Status] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    flaky: tuple[str, ...] = ()
    exits: Mapping[str, int | None] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    seconds: float = 0.0
    canary: str = ""
    cannot: str = ""

    @property
    def passing(self) -> tuple[str, ...]:
        return tuple(name for name, status in self.statuses.items() if status is Status.PASSED)

    @property
    def failing(self) -> tuple[str, ...]:
        return tuple(name for name, status in self.statuses.items() if status is Status.FAILED)


async def measure(
    runner: CheckRunner, commands: ProjectCommands, *, worktree: str, environment: Environment
) -> Baseline:
    """Run every command once, and the suites again when there is time for it."""
    statuses: dict[str, Status] = {}
    files: dict[str, str] = {}
    exits: dict[str, int | None] = {}
    said: dict[str, str] = {}
    absent: list[str] = []
    flaky: set[str] = set()
    seconds = 0.0
    for suite in commands.suites:
        first = await run_suite(runner, suite, worktree=worktree, environment=environment)
        took = first.ran.seconds
        exits[suite.name] = first.ran.exit_code
        if not first.ran.started:
            absent.append(suite.name)
        if first.ran.exit_code != 0:
            said[suite.name] = first.ran.output[-4000:]
        statuses |= first.statuses
        files |= first.files
        if first.ran.started and first.ran.seconds <= SECOND_RUN_SECONDS:
            second = await run_suite(runner, suite, worktree=worktree, environment=environment)
            flaky |= {
                name
                for name in first.statuses.keys() | second.statuses.keys()
                if first.statuses.get(name) is not second.statuses.get(name)
            }
            statuses |= {name: second.statuses[name] for name in second.statuses if name not in statuses}
            # The first run compiles what every later one finds.
            took = second.ran.seconds
        seconds += took
    for other in commands.others:
        ran = await runner.run(other.argv, worktree=worktree, environment=environment)
        exits[other.name] = ran.exit_code
        if not ran.started:
            absent.append(other.name)
        if ran.exit_code != 0:
            said[other.name] = ran.output[-100_000:]
    return Baseline(
        statuses=statuses,
        files=files,
        flaky=tuple(sorted(flaky)),
        exits=exits,
        said=said,
        absent=tuple(absent),
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class BaselineStore:
    """Baselines as JSON files in the cache; one that cannot be read is measured again."""

    directory: Path

    def load(self, key: str) -> Baseline | None:
        try:
            document = json.loads((self.directory / f"{key}.json").read_text("utf-8"))
            if document["version"] != VERSION:
                return None
            return Baseline(
                statuses={name: Status(status) for name, status in document["statuses"].items()},
                files=document["files"],
                flaky=tuple(document["flaky"]),
                exits=document["exits"],
                said=document["said"],
                absent=tuple(document["absent"]),
                seconds=float(document["seconds"]),
                canary=str(document["canary"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, key: str, baseline: Baseline) -> None:
        document = {
            "schema": "baseline",
            "version": VERSION,
            "statuses": dict(baseline.statuses),
            "files": dict(baseline.files),
            "flaky": baseline.flaky,
            "exits": dict(baseline.exits),
            "said": dict(baseline.said),
            "absent": baseline.absent,
            "seconds": baseline.seconds,
            "canary": baseline.canary,
        }
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self.directory / f".{key}.{os.getpid()}"
        aside.write_text(json.dumps(document), "utf-8")
        aside.replace(self.directory / f"{key}.json")
