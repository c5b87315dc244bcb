from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.drawing import BOX_HEIGHT, BOX_WIDTH, Box, Drawing, draw


def places(drawing: Drawing) -> dict[str, Box]:
    return {box.id: box for box in drawing.boxes}


def test_a_box_stands_right_of_everything_it_needs():
    at = places(draw({"publish": ["render", "parse"], "render": ["parse"], "parse": []}))
    assert at["parse"].x < at["render"].x < at["publish"].x


def test_no_subtasks_make_an_empty_picture():
    assert draw({}).boxes == ()
    assert draw({}).lines == ()


def test_needs_outside_the_graph_are_left_out():
    drawing = draw({"render": ["parse"]})
    assert [box.id for box in drawing.boxes] == ["render"]
    assert drawing.lines == ()


def test_a_need_named_twice_is_one_line():
    assert len(draw({"a": [], "b": ["a", "a"]}).lines) == 1


def points(path: str) -> list[tuple[int, int]]:
    """The corners of a path of curves and level strokes."""
    found = []
    for letter, numbers in re.findall(r"([MCH])([-\d ]+)", path):
        values = [int(number) for number in numbers.split()]
        found.append((values[0], found[-1][1]) if letter == "H" else (values[-2], values[-1]))
    return found


def test_a_line_over_several_layers_runs_beside_the_boxes_between():
    drawing = draw({"a": [], "b": ["a"], "c": ["b"], "d": ["c", "a"]})
    at = places(drawing)
    line = next(line for line in drawing.lines if (line.source, line.target) == ("a", "d"))
    for x, y in points(line.path)[1:-1]:
        for box in (at["b"], at["c"]):
            assert not (box.x <= x <= box.x + BOX_WIDTH and box.y <= y <= box.y + BOX_HEIGHT)


def test_neighbours_are_put_side_by_side_so_that_lines_do_not_cross():
    at = places(draw({"a": [], "b": [], "x": ["b"], "y": ["a"]}))
    assert (at["a"].y < at["b"].y) == (at["y"].y < at["x"].y)


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30).map(
        lambda rows: {
            f"s{place}": [f"s{need}" for need in needs if need < place] for place, needs in enumerate(rows)
        }
    )
)
def test_every_box_is_inside_the_picture_and_none_lies_on_another(needs: dict[str, list[str]]):
    drawing = draw(needs)
    assert sorted(places(drawing)) == sorted(needs)
    taken = set()
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT
        taken.add((box.x, box.y))
    columns: dict[int, list[int]] = {}
    for x, y in sorted(taken):
        columns.setdefault(x, []).append(y)
    for ys in columns.values():
        assert all(lower - upper > BOX_HEIGHT for upper, lower in pairwise(ys))
    assert len(taken) == len(needs)
    assert draw(needs) == drawing


def test_long_lines_over_a_huge_plan_do_not_multiply():
    # A place in every layer for every line from the root would be two hundred million places.
    count = 20_000
    needs = {f"s{place}": [f"s{place - 1}", "s0"] if place else [] for place in range(count)}
    drawing = draw(needs)
    assert len(drawing.lines) == 2 * count - 3
    assert sum(line.path.count("C") for line in drawing.lines) < 4 * count
