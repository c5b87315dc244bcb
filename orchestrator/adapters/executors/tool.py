"""The deterministic executor: ruff's safe fixes, ruff's format, the project's own formatter. Costs nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.check_runner import CheckRunner, Environment, Ran
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.core.facts import RUFF_FIX_RULES
from orchestrator.core.globs import segments
from orchestrator.core.ports import ExecutorFailed, Produced, Work

if TYPE_CHECKING:
    from orchestrator.adapters.settings import Settings

_MOST_FILES = 2000
_OUTPUT = 4000


class ToolExecutor:
    """Runs `subtask.tool` in the sandbox, on the files under the subtask's touches.

    `prepared` tells with which tools a worktree was set up, for the project's own formatter.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        sandbox: Sandbox,
        environ: Mapping[str, str],
        prepared: Callable[[str], Environment] | None = None,
    ) -> None:
        self.settings, self.prepared = settings, prepared
        self.runner = CheckRunner(sandbox=sandbox, environ=environ, seconds=settings.check_seconds)

    async def execute(self, work: Work) -> Produced:
        """Change the files. Raises ExecutorFailed when there is no such tool, or when it cannot run."""
        tool = work.subtask.tool or ""
        argv = self._argv(tool, work)
        environment = Environment()
        if tool == "project-format" and self.prepared is not None:
            environment = self.prepared(work.worktree)
        ran = await self.runner.run(argv, worktree=work.worktree, environment=environment)
        # Findings that a fix does not mend leave exit code 1; the guard says when nothing was changed.
        if not ran.started or ran.exit_code not in (0, 1) or (tool != "ruff-fix" and ran.exit_code != 0):
            raise ExecutorFailed(f"{tool} could not run: {_last(ran)}", feedback=ran.output[-_OUTPUT:])
        return Produced(summary=f"{tool}: {_last(ran)}")

    def _argv(self, tool: str, work: Work) -> Sequence[str]:
        match tool:
            case "ruff-fix":
                # The fixes the survey promised and no others, whatever the project selects for its linter.
                rules = ",".join(RUFF_FIX_RULES)
                options = ("--fix", "--no-unsafe-fixes", "--no-cache", "--force-exclude", f"--select={rules}")
                return ("ruff", "check", *options, "--output-format=concise", "--", *_python_files(work))
            case "ruff-format":
                return ("ruff", "format", "--no-cache", "--force-exclude", "--", *_python_files(work))
            case "project-format":
                argv = self.settings.commands.get("format")
                if argv is None:
                    raise ExecutorFailed(
                        "no formatter is configured: name one under `orchestrator: checks: format:`"
                    )
                return argv
        raise ExecutorFailed(f"there is no tool {tool!r}: choose ruff-fix, ruff-format or project-format")


def _python_files(work: Work) -> list[str]:
    """The Python files under the subtask's touches; nothing behind a link."""
    import pathspec

    if work.subtask.touches is None:
        raise ExecutorFailed("a tool needs to know which files it may change: name them in `touches`")
    spec = pathspec.GitIgnoreSpec.from_lines("/" + "/".join(segments(glob)) for glob in work.subtask.touches)
    root = Path(work.worktree)
    found = [
        path.relative_to(root).as_posix()
        for path in _walk(root)
        if path.suffix in (".py", ".pyi") and spec.match_file(path.relative_to(root).as_posix())
    ]
    if not found:
        raise ExecutorFailed(f"no Python file matches {', '.join(work.subtask.touches)}")
    if len(found) > _MOST_FILES:
        raise ExecutorFailed(f"{len(found)} files match, at most {_MOST_FILES} are changed in one subtask")
    return sorted(found)


def _walk(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in (".git", "node_modules", ".venv")]
        for name in files:
            place = Path(directory) / name
            if not place.is_symlink():
                yield place


def _last(ran: Ran) -> str:
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit code {ran.exit_code}"
