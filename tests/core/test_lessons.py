"""What attempts are told of those before them."""

from __future__ import annotations

from orchestrator.core.domain import SubtaskId
from orchestrator.core.events import SubtaskUndone
from orchestrator.core.lessons import Lessons
from tests.core.runs import attempt, finished, landed, rejected


def test_a_subtask_that_is_taken_back_is_still_told_why_its_earlier_attempts_failed():
    lessons, parse = Lessons(), SubtaskId("parse")
    lessons.take_in(finished("parse#1", rejected("1 test fails")))
    (before,) = lessons.feedback(parse, [attempt("parse#1")], [])
    assert before.text == "feedback: 1 test fails"
    for event in (
        finished("parse#2"),
        landed("parse#2"),
        SubtaskUndone(subtask=parse, commit="c1", retry=True),
    ):
        lessons.take_in(event)
    told = lessons.feedback(parse, [attempt("parse#1")], ["mind the gap"])
    assert [feedback.text for feedback in told] == ["1 test fails", "mind the gap"]
