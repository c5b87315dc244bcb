"""What a plan's subtasks say about each other: ids, dependencies, depth, and files that two would change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from orchestrator.core import graph
from orchestrator.core.conflicts import Conflicts
from orchestrator.core.domain import Subtask, SubtaskId, same_id
from orchestrator.core.globs import is_glob
from orchestrator.core.planning_fields import PlanLimits
from orchestrator.core.planning_problems import Problems
from orchestrator.core.text import did_you_mean, one_line

_MAX_PAIRS = 200_000


def check_ids(ids: Sequence[str], problems: Problems) -> None:
    """Name every id that occurs twice, also when two differ only in case or in Unicode composition."""
    if len(set(ids)) == len(ids) and all(name.isascii() and name == name.lower() for name in ids):
        return
    seen: dict[str, str] = {}
    for name in ids:
        first = seen.get(same_id(name))
        if first is None:
            seen[same_id(name)] = name
            continue
        other = "" if first == name else f" ({one_line(first, 60)!r} is the same id)"
        problems.add("plan", f"id {one_line(name, 60)!r} is used twice{other}")


def link(ids: Sequence[str], depends_on: Sequence[Sequence[str]], problems: Problems) -> list[list[int]]:
    """Return for each subtask the places of those it needs, naming unknown ones with the nearest id."""
    place = {name: number for number, name in enumerate(ids)}
    needs: list[list[int]] = []
    for name, wanted in zip(ids, depends_on, strict=True):
        found: list[int] = []
        for other in wanted:
            number = place.get(other)
            if number is not None:
                found.append(number)
                continue
            problems.add(
                f"subtask {one_line(name, 60)!r}",
                f"depends on {one_line(other, 60)!r}, which is not in the plan{_hint(other, ids)}",
            )
        needs.append(found)
    return needs


def _hint(name: str, ids: Sequence[str]) -> str:
    if len(ids) > 500:
        # Comparing with all of a large plan, for each fault, would take longer than reading it.
        ids = [other for other in ids if other[:2] == name[:2] and abs(len(other) - len(name)) <= 2][:500]
    return did_you_mean(name, ids)


def check_shape(
    ids: Sequence[str], needs: graph.Needs, problems: Problems, limits: PlanLimits
) -> list[int] | None:
    """Return the topological order, or None with every cycle named; name a chain that is too long."""
    ordered = graph.order(needs)
    if len(ordered) < len(ids):
        for cycle in graph.cycles(needs):
            path = [ids[node] for node in (*cycle, cycle[0])]
            shown = path if len(path) <= 24 else [*path[:12], f"... {len(path) - 24} more ...", *path[-12:]]
            problems.add("plan", f"cycle {' -> '.join(shown)}")
        return None
    if len(ids) > limits.max_depth:
        depths = graph.depths(needs, ordered)
        deepest = max(range(len(ids)), key=depths.__getitem__)
        if depths[deepest] > limits.max_depth:
            problems.add(
                "plan",
                f"too deep: {depths[deepest]} subtasks wait for each other up to {ids[deepest]!r}, "
                f"at most {limits.max_depth}",
            )
    return ordered


def unordered_overlaps(
    subtasks: Sequence[Subtask], needs: graph.Needs, ordered: Sequence[int], problems: Problems
) -> list[tuple[int, int, str]]:
    """Return every (earlier, later, file) that may change the same file without either waiting for the other.

    A subtask with unknown `touches` runs alone, so it overlaps nothing.
    """
    contested = _contested(subtasks)
    if not contested:
        return []
    conflicts = Conflicts(contested)
    for number, alone in enumerate(conflicts.alone):
        if alone:
            problems.add(
                f"subtask {subtasks[number].id!r}",
                "touches patterns that are too many to compare with all others: name files instead",
            )
    precedence = graph.Precedence(needs, ordered)
    found: list[tuple[int, int, str]] = []
    seen: set[tuple[int, int]] = set()
    for key, one, other in _neighbours(conflicts, precedence):
        earlier, later = sorted((one, other), key=precedence.rank)
        if (earlier, later) in seen:
            continue
        if len(seen) >= _MAX_PAIRS:
            problems.add("plan", f"more than {_MAX_PAIRS} pairs of subtasks change the same files")
            break
        seen.add((earlier, later))
        # Unknown, because the work bound was reached, counts as unordered: one edge more does no harm.
        if not precedence.before(earlier, later):
            found.append((earlier, later, conflicts.patterns[key]))
    return found


def _contested(subtasks: Sequence[Subtask]) -> list[tuple[str, ...]]:
    """What each subtask touches, less the paths that no other one names; empty when nothing is left.

    Almost every path of a large plan is named once, and then only a glob could mean it too.
    """
    touched = [subtask.touches or () for subtask in subtasks]
    seen: set[str] = set()
    twice: set[str] = set()
    for paths in touched:
        for path in paths:
            if path in seen:
                twice.add(path)
            else:
                seen.add(path)
    if any(is_glob(path) for path in seen):
        return touched
    return [tuple([path for path in paths if path in twice]) for paths in touched] if twice else []


def _neighbours(conflicts: Conflicts, precedence: graph.Precedence) -> Iterator[tuple[int, int, int]]:
    """Yield (key, one, other) for the pairs whose order decides that all which share a key are ordered."""
    holders: dict[int, list[int]] = {}
    for node, keys in enumerate(conflicts.holds):
        for key in keys:
            holders.setdefault(key, []).append(node)
    guests: dict[int, list[int]] = {}
    for node, keys in enumerate(conflicts.meets):
        if keys is not conflicts.holds[node]:
            own = set(conflicts.holds[node])
            for key in keys:
                if key not in own:
                    guests.setdefault(key, []).append(node)
    for key, nodes in holders.items():
        if len(nodes) > 1:
            # Those that share a file are all ordered when each is ordered with the next.
            chain = sorted(nodes, key=precedence.rank)
            for one, other in pairwise(chain):
                yield key, one, other
        for guest in guests.get(key, ()):
            for node in nodes:
                yield key, guest, node


def with_edges(subtasks: Sequence[Subtask], edges: Sequence[tuple[int, int, str]]) -> list[Subtask]:
    """Return the subtasks with each later one waiting for the earlier one."""
    added: dict[int, list[SubtaskId]] = {}
    for earlier, later, _ in edges:
        added.setdefault(later, []).append(subtasks[earlier].id)
    return [
        replace(subtask, depends_on=tuple(dict.fromkeys((*subtask.depends_on, *added[number]))))
        if number in added
        else subtask
        for number, subtask in enumerate(subtasks)
    ]
