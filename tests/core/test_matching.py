"""Where a block belongs: exactly, but for white space, between its anchors; and never in a wrong place."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.core.edits import Replacement, read_reply
from orchestrator.core.matching import Applied, How, Unplaced, apply_replacement

FILE = """class Stock:
    def __init__(self):
        self.items = {}

    def add(self, sku, quantity):
        if quantity < 0:
            raise ValueError("negative")
        self.items[sku] = quantity
        return quantity

    def take(self, sku, quantity):
        if quantity < 0:
            raise ValueError("negative")
        self.items[sku] -= quantity
        return self.items[sku]
"""


def edit(search: str, replace: str, path: str = "stock.py") -> Replacement:
    return Replacement(
        path=path, search=tuple(search.splitlines()), replace=tuple(replace.splitlines()), line=1
    )


def test_exact_lines_are_replaced_and_nothing_else_changes():
    done = apply_replacement(
        FILE, edit("        self.items[sku] = quantity\n", "        self.items[sku] += quantity\n")
    )
    assert done == Applied(text=FILE.replace("[sku] = quantity", "[sku] += quantity"), how=How.EXACT)


def test_lines_that_stand_twice_are_refused_with_both_places():
    done = apply_replacement(
        FILE, edit('        if quantity < 0:\n            raise ValueError("negative")\n', "")
    )
    assert isinstance(done, Unplaced)
    assert "lines 6, 12" in done.why and "show more lines" in done.why


def test_a_block_at_the_margin_finds_its_place_and_takes_its_indentation():
    done = apply_replacement(FILE, edit(
        "self.items[sku] -= quantity\nreturn self.items[sku]\n",
        "self.items[sku] -= quantity\nif not self.items[sku]:\n    del self.items[sku]\n"
            "return self.items.get(sku, 0)\n",
    ))  # fmt: skip
    assert isinstance(done, Applied) and done.how is How.WHITESPACE
    assert done.text.endswith(
        "        self.items[sku] -= quantity\n        if not self.items[sku]:\n            del self.items[sku]\n"
        "        return self.items.get(sku, 0)\n"
    )


def test_tabs_shown_for_spaces_become_the_files_spaces():
    done = apply_replacement(
        FILE, edit("\t\tself.items = {}\n", "\t\tself.items = {}\n\t\tif True:\n\t\t\tpass\n")
    )
    assert isinstance(done, Applied)
    assert (
        "        self.items = {}\n        if True:\n            pass\n" in done.text and "\t" not in done.text
    )


def test_lines_that_are_only_shown_keep_their_own_white_space():
    text = "a  =  1\nb = 2\nc = 3 \n"
    done = apply_replacement(text, edit("a = 1\nb = 2\nc = 3\n", "a = 1\nb = 20\nc = 3\n"))
    assert isinstance(done, Applied) and done.text == "a  =  1\nb = 20\nc = 3 \n"


def test_a_few_wrong_lines_between_right_ones_still_find_the_place():
    body = [f"line {number} of the table" for number in range(40)]
    shown = [*body[10:22]]
    shown[4] = "line 14 of the tables"
    done = apply_replacement("\n".join(body) + "\n", Replacement(
        path="t.txt", search=tuple(shown), replace=("one line",), line=1))  # fmt: skip
    assert isinstance(done, Applied) and done.how is How.ANCHORED
    assert done.text.splitlines()[9:12] == [body[9], "one line", body[22]]


def test_a_block_that_is_nowhere_says_where_its_most_telling_line_is():
    done = apply_replacement(FILE, edit("    def take(self, sku, quantity):\n        pass\n", ""))
    assert isinstance(done, Unplaced) and "is line 11" in done.why


def test_line_endings_and_a_missing_last_newline_stay_as_they_are():
    crlf = apply_replacement("a\r\nb\r\nc\r\n", edit("b\n", "x\ny\n"))
    assert isinstance(crlf, Applied) and crlf.text == "a\r\nx\r\ny\r\nc\r\n"
    bare = apply_replacement("a\nb", edit("b\n", "c\nd\n"))
    assert isinstance(bare, Applied) and bare.text == "a\nc\nd"


def test_only_a_newline_ends_a_line():
    text = "one\x0ctwo\u2028three\nfour\n"
    done = apply_replacement(text, edit("four\n", "five\n"))
    assert isinstance(done, Applied) and done.text == "one\x0ctwo\u2028three\nfive\n"


def test_an_empty_search_makes_a_file_and_never_replaces_one():
    made = apply_replacement(None, edit("", "x = 1\n"))
    assert made == Applied(text="x = 1\n", how=How.NEW)
    assert isinstance(apply_replacement("y = 2\n", edit("", "x = 1\n")), Unplaced)
    assert isinstance(apply_replacement("\n", edit("", "x = 1\n")), Applied)
    assert isinstance(apply_replacement(None, edit("x\n", "y\n")), Unplaced)


@pytest.mark.parametrize("underline", ["=====", "=======", "========="])
def test_a_divider_in_the_text_is_text_when_it_stands_in_the_file(underline):
    text = f"Title\n{underline}\n\nold words\n\nMore\n{underline}\n"
    part = f"Title\n{underline}\n\n"
    reply = f"a.rst\n<<<<<<< SEARCH\n{part}old words\n=======\n{part}new words\n>>>>>>> REPLACE\n"
    (asked,) = read_reply(reply).edits
    assert isinstance(asked, Replacement)
    done = apply_replacement(text, asked)
    assert isinstance(done, Applied) and done.text == text.replace("old", "new")


LINES = st.lists(
    st.sampled_from(["a", "b", "c", "    d", "  e", "", "f = 1", "\tg"]), min_size=1, max_size=25
)


@given(LINES, st.data())
def test_a_unique_stretch_is_replaced_byte_for_byte(lines, data):
    start = data.draw(st.integers(0, len(lines) - 1))
    end = data.draw(st.integers(start + 1, len(lines)))
    search = lines[start:end]
    assume(any(line.strip() for line in search))
    places = sum(lines[at : at + len(search)] == search for at in range(len(lines)))
    new = data.draw(st.lists(st.sampled_from(["x", "    y", "", "z"]), max_size=5))
    done = apply_replacement("".join(f"{line}\n" for line in lines), Replacement(
        path="p", search=tuple(search), replace=tuple(new), line=1))  # fmt: skip
    if places == 1:
        assert isinstance(done, Applied)
        assert done.text == "".join(f"{line}\n" for line in [*lines[:start], *new, *lines[end:]])
    else:
        assert isinstance(done, Unplaced)


@given(LINES, st.lists(st.sampled_from(["p", "q", "    r", "a", ""]), min_size=1, max_size=6))
def test_lines_outside_the_place_are_never_touched(lines, search):
    text = "".join(f"{line}\n" for line in lines)
    done = apply_replacement(text, Replacement(path="p", search=tuple(search), replace=("NEW",), line=1))
    if isinstance(done, Applied) and done.how is not How.NEW:
        before, _, after = done.text.partition("NEW\n")
        assert text.startswith(before) and text.endswith(after)


@given(st.text(max_size=200), st.text(max_size=60), st.text(max_size=60))
def test_no_texts_make_the_matcher_fail(text, search, replace):
    apply_replacement(
        text,
        Replacement(path="p", search=tuple(search.split("\n")), replace=tuple(replace.split("\n")), line=1),
    )
