"""Which subtasks may not run at the same time, because both may change the same file.

Every distinct pattern is a key. A subtask *holds* the keys of its own patterns and *meets* those of every
pattern that can name the same file; it may run when none of the keys it meets is held. Exact paths meet only
themselves and the globs over them, so the common case costs one dictionary look-up per path.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from orchestrator.core.globs import fixed_directory, is_glob, normal, overlap

# More comparisons than this cost too much at plan time; globs beyond it conflict with everything.
MAX_COMPARISONS = 400_000


class Conflicts:
    """The keys of subtasks 0, 1, 2 ..., from what each `touches`; None (unknown) runs alone.

    `holds[n]` and `meets[n]` are key numbers, `alone[n]` says that nothing may run beside n,
    `patterns[key]` names a key for people.
    """

    __slots__ = ("alone", "holds", "meets", "patterns")

    def __init__(self, touches: Sequence[Iterable[str] | None]) -> None:
        keys: dict[str, int] = {}
        held: list[tuple[int, ...]] = []
        self.alone = [patterns is None for patterns in touches]
        for patterns in touches:
            if not patterns:
                held.append(())
                continue
            normals = dict.fromkeys(normal(pattern) for pattern in patterns)
            held.append(tuple(keys.setdefault(pattern, len(keys)) for pattern in normals))
        self.patterns = list(keys)
        self.holds = held
        near, unbounded = _neighbours(self.patterns)
        if not near and not unbounded:
            self.meets = held
            return
        self.meets = [
            tuple(dict.fromkeys(other for key in own for other in (key, *near.get(key, ()))))
            if any(key in near for key in own)
            else own
            for own in held
        ]
        if unbounded:
            self.alone = [
                lonely or not unbounded.isdisjoint(own) for lonely, own in zip(self.alone, held, strict=True)
            ]


def _neighbours(patterns: Sequence[str]) -> tuple[dict[int, list[int]], set[int]]:
    """Return for each key the other keys it can meet, and the keys for which that was too much to find out."""
    globs = [key for key, pattern in enumerate(patterns) if is_glob(pattern)]
    if not globs:
        return {}, set()
    near: dict[int, list[int]] = {}
    paths = sorted((pattern, key) for key, pattern in enumerate(patterns) if not is_glob(pattern))
    by_directory: dict[str, list[int]] = {}
    for key in globs:
        by_directory.setdefault(fixed_directory(patterns[key]), []).append(key)
    left = MAX_COMPARISONS
    unbounded: set[int] = set()
    for key in globs:
        candidates = _candidates(patterns[key], paths, by_directory)
        left -= len(candidates)
        if left < 0:
            unbounded.add(key)
            continue
        for other in candidates:
            if other != key and overlap(patterns[key], patterns[other]):
                near.setdefault(key, []).append(other)
                near.setdefault(other, []).append(key)
    return near, unbounded


def _candidates(
    pattern: str, paths: Sequence[tuple[str, int]], by_directory: dict[str, list[int]]
) -> list[int]:
    """The keys that lie in the glob's own directories: paths below them, globs of these and of those above."""
    directory = fixed_directory(pattern)
    first = bisect_left(paths, (directory, -1))
    last = bisect_left(paths, (directory[:-1] + chr(ord("/") + 1), -1)) if directory else len(paths)
    found = [key for _, key in paths[first:last]]
    parts = directory.split("/")[:-1]
    for depth in range(len(parts) + 1):
        found += by_directory.get("".join(f"{part}/" for part in parts[:depth]), ())
    return found
