"""The edit protocol: what a model's reply is read as, whatever it looks like."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.edits import Deletion, Rename, Replacement, read_reply


def block(path: str, search: str, replace: str) -> str:
    return f"{path}\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def test_a_reply_is_a_summary_and_its_edits_in_order():
    reply = read_reply(
        "It was wrong.\nNow it is right.\n\n" + block("a.py", "x = 1\n", "x = 2\n") + "DELETE old.py\n"
    )
    assert reply.summary == "It was wrong.\nNow it is right."
    assert reply.edits == (
        Replacement(path="a.py", search=("x = 1",), replace=("x = 2",), line=5),
        Deletion(path="old.py", line=10),
    )
    assert reply.problems == ()


def test_the_path_may_stand_before_a_fence_or_in_one():
    for opening in (
        "a/b.py\n```python\n",
        "```python\na/b.py\n",
        "**a/b.py**\n\n```\n",
        "File: `a/b.py`\n",
        "### a/b.py:\n",
        "// a/b.py\n",
    ):
        reply = read_reply(f"{opening}<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n```\n")
        assert [edit.path for edit in reply.edits] == ["a/b.py"], opening


def test_a_second_block_without_a_path_belongs_to_the_same_file():
    text = block("a.py", "1\n", "2\n") + "\n<<<<<<< SEARCH\n3\n=======\n4\n>>>>>>> REPLACE\n"
    assert [edit.path for edit in read_reply(text).edits] == ["a.py", "a.py"]


def test_deletions_and_renames_stand_on_lines_of_their_own():
    reply = read_reply("DELETE `a.py`\nRENAME b.py -> c/d.py\nRENAME: `e f.py` -> `g.py`\n")
    assert reply.edits == (
        Deletion(path="a.py", line=1),
        Rename(old="b.py", new="c/d.py", line=2),
        Rename(old="e f.py", new="g.py", line=3),
    )


def test_what_cannot_be_read_is_a_problem_with_its_line():
    assert "no edit block" in read_reply("I would rather talk about it.").problems[0]
    cut = read_reply("a.py\n<<<<<<< SEARCH\nx\n=======\ny\n")
    assert cut.edits == () and "line 2" in cut.problems[0] and "REPLACE" in cut.problems[0]
    assert "no `=======`" in read_reply("a.py\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n").problems[0]
    nameless = read_reply("<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n")
    assert "no file name" in nameless.problems[0]


def test_a_block_inside_a_block_is_no_block():
    text = "a.py\n<<<<<<< SEARCH\nx\n<<<<<<< SEARCH\ny\n=======\nz\n>>>>>>> REPLACE\n"
    assert read_reply(text).problems


def test_a_search_that_holds_a_divider_can_be_cut_in_several_places():
    (edit,) = read_reply(block("a.rst", "Title\n=======\ntext\n", "Title\n=======\nother\n")).edits
    assert isinstance(edit, Replacement)
    cuts = [(edit.search, edit.replace), *edit.others]
    assert (("Title", "=======", "text"), ("Title", "=======", "other")) in cuts


def test_windows_line_ends_of_a_reply_are_not_part_of_its_lines():
    (edit,) = read_reply(block("a.py", "x\n", "y\n").replace("\n", "\r\n")).edits
    assert edit == Replacement(path="a.py", search=("x",), replace=("y",), line=2)


@given(st.text(max_size=400))
def test_no_text_makes_the_reader_fail(text):
    reply = read_reply(text)
    assert reply.edits or reply.problems


MARKERS = st.sampled_from(
    [
        "<<<<<<< SEARCH",
        "=======",
        ">>>>>>> REPLACE",
        "a/b.py",
        "```",
        "DELETE a.py",
        "RENAME a -> b",
        "text",
        "",
        "  ",
    ]
)


@given(st.lists(MARKERS, max_size=30))
def test_no_order_of_markers_makes_the_reader_fail(lines):
    reply = read_reply("\n".join(lines))
    assert reply.edits or reply.problems
    for edit in reply.edits:
        assert edit.line <= len(lines) + 1


LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30).filter(
    lambda line: not line.startswith(("<<<<<", "=====", ">>>>>")) and "\r" not in line
)


@given(st.lists(LINE, min_size=1, max_size=8), st.lists(LINE, max_size=8))
def test_what_is_written_as_a_block_is_read_as_it_was(search, replace):
    text = "x.py\n" + "\n".join(["<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE"])
    (edit,) = read_reply(text).edits
    assert (edit.path, edit.search, edit.replace) == ("x.py", tuple(search), tuple(replace))
