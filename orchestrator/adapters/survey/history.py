"""How often each file changed, from git's history up to one commit: bounded by commits, never by the clock."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.adapters.survey.listing import Repository
from orchestrator.core.facts import HotSpot

MAX_COMMITS = 2000
# A commit that changes more files than this is a move, a reformat or an import: it says nothing about a file.
_SWEEPING = 50


async def churn(repository: Repository, commit: str) -> dict[str, int]:
    """The number of commits, among the last MAX_COMMITS before `commit`, in which each file changed."""
    told = await repository.git(
        "log", "--no-merges", "--no-renames", "--name-only", "--format=%x01", "-z", f"-n{MAX_COMMITS}", commit, "--",
    )  # fmt: skip
    changes: dict[str, int] = {}
    for entry in told.stdout.split(b"\x01"):
        paths = [path for path in entry.replace(b"\n", b"\0").split(b"\0") if path]
        if len(paths) > _SWEEPING:
            continue
        for path in paths:
            name = path.decode("utf-8", "replace")
            changes[name] = changes.get(name, 0) + 1
    return changes


def hot_spots(
    changes: dict[str, int], complexity: dict[str, int], *, at_most: int = 20
) -> tuple[HotSpot, ...]:
    """The files with the highest commits x complexity; a file that changed once is none."""
    spots: Iterable[HotSpot] = (
        HotSpot(path=path, commits=changes[path], complexity=total)
        for path, total in complexity.items()
        if changes.get(path, 0) > 1 and total > 1
    )
    return tuple(sorted(spots, key=lambda spot: (-spot.score, spot.path))[:at_most])
