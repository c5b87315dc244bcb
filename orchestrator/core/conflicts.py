"""Which subtasks may not run at the same time, because both may change the same file.

Every distinct pattern is a key. A subtask *holds* the keys of its own patterns and *meets* those of every
pattern that can name the same file; it may run when none of the keys it meets is held. Exact paths meet only
themselves and the globs over them, so the common case costs one dictionary look-up per path.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from orchestrator.core.globs import fixed_directory, is_glob, normal, overlap

# More comparisons than this cost too much at plan time; globs beyond it conflict with everything. Two globs count
# as two, and patterns of many directories as more.
MAX_COMPARISONS = 400_000
# Comparing takes as long as the product of the patterns' parts; up to this it counts once.
_SHORT = 32


class Conflicts:
    """The keys of subtasks 0, 1, 2 ..., from what each `touches`; None (unknown) runs alone.

    `holds[n]` are key numbers, `near[key]` the other keys that can name the same file, `alone[n]` says that nothing
    may run beside n, `patterns[key]` names a key for people.
    """

    __slots__ = ("_meets", "alone", "holds", "near", "patterns")

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
        self._meets: list[tuple[int, ...]] | None = None
        self.near: Mapping[int, frozenset[int]] = {}
        if not any(is_glob(pattern) for pattern in self.patterns):
            return
        self.near, unbounded = _neighbours(tuple(self.patterns))
        if unbounded:
            self.alone = [
                lonely or not unbounded.isdisjoint(own) for lonely, own in zip(self.alone, held, strict=True)
            ]

    @property
    def meets(self) -> list[tuple[int, ...]]:
        """All keys each subtask meets; equal ones are one value. Large where globs meet many paths."""
        if self._meets is None:
            near = self.near
            known: dict[tuple[int, ...], tuple[int, ...]] = {}
            for own in self.holds if near else ():
                if own not in known:
                    met = {other: None for key in own for other in (key, *sorted(near.get(key, ())))}
                    known[own] = tuple(met) if len(met) > len(own) else own
            self._meets = [known[own] for own in self.holds] if near else self.holds
        return self._meets


def comparisons(touches: Iterable[Iterable[str] | None]) -> int:
    """How many pairs of patterns `Conflicts` would have to compare, found out without comparing any."""
    tree = _Tree(list({normal(pattern): None for patterns in touches for pattern in patterns or ()}))
    return sum(tree.count(directory) for directory in tree.globs.values())


@lru_cache(maxsize=1)
def _neighbours(patterns: tuple[str, ...]) -> tuple[dict[int, frozenset[int]], frozenset[int]]:
    """Return for each key the other keys it can meet, and the keys for which that was too much to find out.

    The last answer is kept: a plan is checked, looked ahead over and put on a board with the same patterns.
    """
    near: dict[int, list[int]] = {}
    tree = _Tree(patterns)
    length = [pattern.count("/") + 2 for pattern in patterns]
    left = MAX_COMPARISONS
    unbounded: set[int] = set()
    for key, directory in tree.globs.items():
        pattern, candidates = patterns[key], tree.candidates(directory)
        left -= len(candidates)
        # Each pair once: those of its own directory that stand before it have been compared.
        done = {other for other in tree.by_directory[directory] if other <= key}
        for other in candidates:
            if left < 0:
                unbounded.add(key)
                break
            if other in done:
                continue
            left -= (length[key] * length[other] - 1) // _SHORT
            if overlap(pattern, patterns[other]):
                near.setdefault(key, []).append(other)
                near.setdefault(other, []).append(key)
    return {key: frozenset(others) for key, others in near.items()}, frozenset(unbounded)


class _Tree:
    """Patterns by the directories they lie in: `globs` with the one above each, keys of globs by that, and paths."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.globs = {
            key: fixed_directory(pattern) for key, pattern in enumerate(patterns) if is_glob(pattern)
        }
        self.by_directory: dict[str, list[int]] = {}
        for key, directory in self.globs.items():
            self.by_directory.setdefault(directory, []).append(key)
        self._paths = sorted((pattern, key) for key, pattern in enumerate(patterns) if key not in self.globs)

    def candidates(self, directory: str) -> list[int]:
        """The keys that lie in a glob's own directories: paths below them, globs of these and of those above."""
        found = [key for _, key in self._paths[self._below(directory)]]
        for globs in self._above(directory):
            found += globs
        return found

    def count(self, directory: str) -> int:
        below = self._below(directory)
        return len(range(below.start, below.stop)) + sum(len(globs) for globs in self._above(directory))

    def _below(self, directory: str) -> slice:
        if not directory:
            return slice(0, len(self._paths))
        first = bisect_left(self._paths, (directory, -1))
        return slice(first, bisect_left(self._paths, (directory[:-1] + chr(ord("/") + 1), -1)))

    def _above(self, directory: str) -> Iterator[list[int]]:
        parts = directory.split("/")[:-1]
        for depth in range(len(parts) + 1):
            yield self.by_directory.get("".join(f"{part}/" for part in parts[:depth]), [])
