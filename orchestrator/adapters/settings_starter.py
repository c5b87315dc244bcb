"""What `init` writes: the packaged configuration, standard and instructions, beside what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.settings import FILE_NAME
from orchestrator.adapters.settings_standard import FILE_NAME as STANDARD_NAME
from orchestrator.adapters.state import packaged
from orchestrator.adapters.trust import trust
from orchestrator.core.domain import OrchestratorError


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was made, and what was left alone because it was there."""

    made: tuple[Path, ...]
    kept: tuple[Path, ...]
    next_steps: tuple[str, ...]


def write_starter(directory: Path, *, state: Path) -> Written:
    """Write each file that is not there yet, and trust the configuration when it was written here.

    Raises OrchestratorError when the directory cannot be written to; nothing that exists is ever changed.
    """
    if not directory.is_dir():
        raise OrchestratorError(f"{directory} is no directory: name one to write to")
    # A project that has .agent-os already keeps one place for it.
    agent_os = directory / (".agent-os" if (directory / ".agent-os").is_dir() else "agent-os")
    wanted = [
        (packaged("templates", FILE_NAME), directory / FILE_NAME),
        (packaged("agent-os", "standards", STANDARD_NAME), agent_os / "standards" / STANDARD_NAME),
        *(
            (source, agent_os / "instructions" / source.name)
            for source in sorted(packaged("agent-os", "instructions").glob("*.md"))
        ),
    ]
    made: list[Path] = []
    kept: list[Path] = []
    for source, target in wanted:
        content = source.read_bytes()
        (made if _made(target, content) else kept).append(target)
        if target.name == FILE_NAME and target in made:
            trust(state, target, content)
    return Written(
        made=tuple(made), kept=tuple(kept), next_steps=_next_steps(directory, directory / FILE_NAME in made)
    )


def _made(target: Path, content: bytes) -> bool:
    """Write a file that must not exist yet; False when it does."""
    if target.exists() or target.is_symlink():
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_bytes(content)
        try:
            # A link fails where a rename would replace what somebody made in between.
            os.link(draft, target)
        finally:
            draft.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise OrchestratorError(f"{target} cannot be written: {error.strerror}") from None
    return True


def _next_steps(directory: Path, configured: bool) -> tuple[str, ...]:
    first = "it is trusted as written; after a change run `orchestrator trust`" if configured else ""
    top = (directory / ".git").exists()
    return tuple(
        line
        for line in (
            first and f"{FILE_NAME}: {first}",
            ""
            if top
            else f"{directory} is not the top of a git repository, where these are looked for: `git init` makes it one",
            "next: `orchestrator doctor` checks everything, `orchestrator plan GOAL` shows a priced plan",
        )
        if line
    )
