"""A plan's graph laid out in layers, left to right: boxes and the lines between them, in abstract pixels.

A line that passes a layer gets a place of its own there, so that it runs beside the boxes and not beneath them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

BOX_WIDTH, BOX_HEIGHT = 232, 62
GAP_ACROSS, GAP_DOWN = 56, 18
PASS_HEIGHT = 10
MARGIN = 12
SWEEPS = 4
# Beyond it lines run straight: nobody can follow them, and long lines over many layers are quadratic.
MAX_PASSES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The place of one subtask; `x`, `y` are its upper left corner."""

    id: str
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """From the right side of `source` to the left side of `target`; `path` is an SVG path."""

    source: str
    target: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def draw(needs: Mapping[str, Sequence[str]]) -> Drawing:
    """Lay out an acyclic graph: `needs` names what each node depends on. Needs outside the graph are left out."""
    inside = {name: [other for other in others if other in needs] for name, others in needs.items()}
    depth = _depths(inside)
    routes = _routes(inside, depth)
    linked: dict[_Node, list[_Node]] = {name: [] for name in inside}
    for route in routes:
        for before, after in pairwise(route):
            linked.setdefault(after, []).append(before)
    layers: list[list[_Node]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in linked:
        layers[depth[node] if isinstance(node, str) else node.layer].append(node)
    _sort(layers, linked)
    height = max((_height(layer) for layer in layers), default=0) + 2 * MARGIN
    corners: dict[_Node, tuple[int, int]] = {}
    for column, layer in enumerate(layers):
        y = (height - _height(layer)) // 2
        for node in layer:
            corners[node] = (MARGIN + column * (BOX_WIDTH + GAP_ACROSS), y)
            y += _size(node) + GAP_DOWN
    boxes = [Box(id=name, x=corners[name][0], y=corners[name][1]) for name in depth]
    lines = [
        Line(source=str(route[0]), target=str(route[-1]), path=_path(route, corners)) for route in routes
    ]
    width = len(layers) * (BOX_WIDTH + GAP_ACROSS) - GAP_ACROSS + 2 * MARGIN if layers else 2 * MARGIN
    return Drawing(width=width, height=height, boxes=tuple(boxes), lines=tuple(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """Where the line from `source` to `target` goes through a layer that is neither's."""

    source: str
    target: str
    layer: int


_Node = str | _Pass


def _depths(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The layer of each node: one right of the last of its needs."""
    depth: dict[str, int] = {}
    pending = {name: len(others) for name, others in needs.items()}
    users: dict[str, list[str]] = {name: [] for name in needs}
    for name, others in needs.items():
        for other in others:
            users[other].append(name)
    ready = [name for name, count in pending.items() if count == 0]
    for name in ready:
        depth[name] = max((depth[other] + 1 for other in needs[name]), default=0)
        for user in users[name]:
            pending[user] -= 1
            if pending[user] == 0:
                ready.append(user)
    return depth


def _routes(needs: Mapping[str, Sequence[str]], depth: Mapping[str, int]) -> list[list[_Node]]:
    """Each line as what it goes through, from the node it starts at to the one it ends at."""
    routes: list[list[_Node]] = []
    passes = 0
    for name in depth:
        for other in dict.fromkeys(needs[name]):
            between = range(depth[other] + 1, depth[name])
            passes += len(between)
            through = (
                [_Pass(source=other, target=name, layer=layer) for layer in between]
                if passes <= MAX_PASSES
                else []
            )
            routes.append([other, *through, name])
    return routes


def _sort(layers: list[list[_Node]], before: Mapping[_Node, Sequence[_Node]]) -> None:
    """Order each layer by the middle of its neighbours, there and back, so that few lines cross."""
    after: dict[_Node, list[_Node]] = {node: [] for node in before}
    for node, others in before.items():
        for other in others:
            after[other].append(node)
    for sweep in range(SWEEPS):
        neighbours = after if sweep % 2 else before
        rank = {node: place / max(1, len(layer)) for layer in layers for place, node in enumerate(layer)}
        for layer in reversed(layers) if sweep % 2 else layers:
            middle = {
                node: sum(rank[other] for other in neighbours[node]) / len(neighbours[node])
                if neighbours[node]
                else rank[node]
                for node in layer
            }
            layer.sort(key=middle.__getitem__)
            rank.update({node: place / max(1, len(layer)) for place, node in enumerate(layer)})


def _size(node: _Node) -> int:
    return BOX_HEIGHT if isinstance(node, str) else PASS_HEIGHT


def _height(layer: Sequence[_Node]) -> int:
    return sum(map(_size, layer)) + GAP_DOWN * (len(layer) - 1)


def _path(route: Sequence[_Node], corners: Mapping[_Node, tuple[int, int]]) -> str:
    x, y = corners[route[0]]
    x, y = x + BOX_WIDTH, y + BOX_HEIGHT // 2
    path = f"M{x} {y}"
    for node in route[1:]:
        next_x, corner_y = corners[node]
        next_y = corner_y + _size(node) // 2
        bend = max(24, (next_x - x) // 2)
        path += f"C{x + bend} {y} {next_x - bend} {next_y} {next_x} {next_y}"
        x, y = next_x, next_y
        if not isinstance(node, str):
            x += BOX_WIDTH
            path += f"H{x}"
    return path
