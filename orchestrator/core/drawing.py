"""A plan's graph laid out in layers, left to right: boxes and the lines between them, in abstract pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 232, 52
GAP_ACROSS, GAP_DOWN = 64, 22
MARGIN = 12
SWEEPS = 4


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
    layers = _ordered(_layers(inside), inside)
    tallest = max((len(layer) for layer in layers), default=0)
    height = tallest * (BOX_HEIGHT + GAP_DOWN) - GAP_DOWN + 2 * MARGIN if tallest else 2 * MARGIN
    places: dict[str, Box] = {}
    for column, layer in enumerate(layers):
        used = len(layer) * (BOX_HEIGHT + GAP_DOWN) - GAP_DOWN
        top = MARGIN + (height - 2 * MARGIN - used) // 2
        for row, name in enumerate(layer):
            places[name] = Box(
                id=name,
                x=MARGIN + column * (BOX_WIDTH + GAP_ACROSS),
                y=top + row * (BOX_HEIGHT + GAP_DOWN),
            )
    lines = [
        Line(source=other, target=name, path=_curve(places[other], places[name]))
        for name, others in inside.items()
        for other in others
    ]
    width = len(layers) * (BOX_WIDTH + GAP_ACROSS) - GAP_ACROSS + 2 * MARGIN if layers else 2 * MARGIN
    return Drawing(width=width, height=height, boxes=tuple(places.values()), lines=tuple(lines))


def _layers(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Every node one layer right of the last of its needs."""
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
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, layer in depth.items():
        layers[layer].append(name)
    return layers


def _ordered(layers: list[list[str]], needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Reorder each layer by the middle of its neighbours, there and back, so that few lines cross."""
    users: dict[str, list[str]] = {name: [] for name in needs}
    for name, others in needs.items():
        for other in others:
            users[other].append(name)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        neighbours = needs if forward else users
        rank = {name: row / max(1, len(layer)) for layer in layers for row, name in enumerate(layer)}
        for layer in layers if forward else reversed(layers):
            middles = {
                name: sum(rank[other] for other in neighbours[name]) / len(neighbours[name])
                if neighbours[name]
                else rank[name]
                for name in layer
            }
            layer.sort(key=lambda name, middles=middles: middles[name])  # type: ignore[misc]
            rank.update({name: row / max(1, len(layer)) for row, name in enumerate(layer)})
    return layers


def _curve(source: Box, target: Box) -> str:
    x1, y1 = source.x + BOX_WIDTH, source.y + BOX_HEIGHT // 2
    x2, y2 = target.x, target.y + BOX_HEIGHT // 2
    bend = max(24, (x2 - x1) // 2)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
