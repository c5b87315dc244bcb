"""Runs one check command of a project: in the sandbox, with the project's own tools, output capped and made plain."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.processes import CannotStart, Completed
from orchestrator.adapters.sandbox import Sandbox, run_sandboxed
from orchestrator.adapters.scrubbing import scrubbed, secrets_in
from orchestrator.core.domain import CheckResult
from orchestrator.core.text import safe_text

KEPT_OF_FAILED = 20_000
KEPT_OF_PASSED = 1_000
# A check that never ran leaves what shells leave for an unknown command.
NOT_STARTED = 127
# Colours, cursor moves, titles: a project may ask for them where nobody looks, and a model pays for each.
_TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """With which tools the checks of a worktree run. `path` comes before PATH; `readable` and `writable`
    are places beside it that are open to the sandbox. `secrets` are taken out of all output.

    `python` is the interpreter of the project's own environment, ours when it has none. `said` is one line of how
    it was made.
    """

    python: str = sys.executable
    path: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()
    said: str = ""

    def over(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What commands get beside the allow-list."""
        # Ours comes last: the linter we bring serves projects that bring none.
        search = [*self.path, environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
        return {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": os.pathsep.join(search),
            "CI": "true",
            "NO_COLOR": "1",
        } | dict(self.variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that was tried: `exit_code` is None when its time ran out. `started` is false when there is none."""

    argv: tuple[str, ...]
    exit_code: int | None
    seconds: float
    output: str
    started: bool = True
    limit: str = ""

    def result(self, name: str, *, passed: bool | None) -> CheckResult:
        kept = KEPT_OF_PASSED if passed else KEPT_OF_FAILED
        output = (
            self.output if len(self.output) <= kept else f"[the beginning is left out]\n{self.output[-kept:]}"
        )
        return CheckResult(
            name=name,
            command=self.argv,
            passed=passed,
            exit_code=self.exit_code,
            seconds=round(self.seconds, 3),
            output=output,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRunner:
    """`seconds` bounds each command; `environ` is ours, of which commands get the allow-list."""

    sandbox: Sandbox
    environ: Mapping[str, str]
    seconds: float

    async def run(
        self,
        argv: Sequence[str],
        *,
        worktree: str,
        environment: Environment,
        seconds: float | None = None,
        writable: Sequence[str] = (),
        readable: Sequence[str] = (),
        network: bool = False,
        cwd: str | None = None,
    ) -> Ran:
        """Run the command; a missing program and an exceeded limit are results, never exceptions."""
        command = [environment.python if argv[0] in ("python", "python3") else argv[0], *argv[1:]]
        try:
            done = await run_sandboxed(
                self.sandbox,
                command,
                worktree=worktree,
                environ=self.environ,
                env=environment.over(self.environ),
                timeout_seconds=min(seconds or self.seconds, self.seconds),
                cwd=cwd,
                writable=(*environment.writable, *writable),
                readable=(*environment.readable, *readable),
                network=network,
            )
        except CannotStart as error:
            return Ran(argv=tuple(argv), exit_code=NOT_STARTED, seconds=0.0, output=str(error), started=False)
        return Ran(
            argv=tuple(argv),
            exit_code=None if done.timed_out else done.exit_code,
            seconds=done.seconds,
            output=self.plain(_output(done), worktree, environment),
            limit=done.limit,
        )

    def plain(self, text: str, worktree: str, environment: Environment) -> str:
        """What a command said, safe to show: without colours, paths as in the repository, no secret of ours."""
        for place in (worktree, os.path.realpath(worktree)):
            text = text.replace(f"{place}/", "").replace(place, ".")
        # Our keys too: without a sandbox a command can read the environment of the process that started it.
        secrets = environment.secrets | secrets_in(self.environ)
        text = scrubbed(_TERMINAL_CODES.sub("", text), secrets)
        return safe_text(text.replace("\r\n", "\n"))


def _output(done: Completed) -> str:
    text = done.text + done.error_text
    return f"{text}\n[ended early: limit of {done.limit}]" if done.limit else text
