"""Plans and runs as texts, compared with tests/expected/; a change of words shows there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.markdown_sheet import DRAWN_SUBTASKS, MAX_CHARACTERS, Sheet
from orchestrator.adapters.plan_text import priced_plan_text
from orchestrator.adapters.rendering_html import plan_html, run_html
from orchestrator.adapters.rendering_markdown import plan_markdown, run_markdown
from orchestrator.adapters.rendering_terminal import run_text
from orchestrator.adapters.report_words import tried_words
from orchestrator.adapters.workspaces import kept_prefix
from orchestrator.core.domain import Ended, Plan, Policy, SubtaskId, WaitingFor
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Noted,
    PlanReplaced,
    RunResumed,
    RunStarted,
    SubtaskLanded,
)
from orchestrator.core.forecast import forecast
from orchestrator.core.ledger import HoldState
from orchestrator.core.money import Usd
from tests.core.report_building import (
    DOCUMENT,
    PAUSED,
    RUN,
    SUITE,
    a_report,
    a_run,
    not_landed,
    outcome,
    report_of,
)
from tests.core.report_cut_off import KILLED, holds, interrupted_run, killed_run
from tests.core.report_plan import a_forecast, a_plan, subtask, table
from tests.core.report_replanned import DROPPED, a_replanned_run, another_plan

EXPECTED = Path(__file__).resolve().parents[1] / "expected"


def compare(name: str, said: str) -> None:
    expected = (EXPECTED / name).read_text(encoding="utf-8")
    assert said.rstrip("\n") == expected.rstrip("\n"), f"tests/expected/{name} differs"


def test_a_run_on_a_terminal():
    compare("run.txt", run_text(a_report()))


def test_a_run_on_a_narrow_terminal():
    compare("run-narrow.txt", run_text(a_report(scripted="scripted models: script.yaml"), width=60))


def test_a_run_as_markdown():
    compare("run.md", run_markdown(a_report(scripted="scripted models: script.yaml")))


def test_a_plan_as_markdown():
    compare("plan.md", plan_markdown(a_plan(), a_forecast(), remarks=("2 uncommitted changes",)))


def test_every_form_says_which_files_went_to_which_model():
    many = tuple(f"src/part_{number:02}.py" for number in range(14))
    events = [
        replace(event, outcome=replace(event.outcome, files_sent=("app.py", "<b>.py", *many)))
        if isinstance(event, AttemptFinished) and event.outcome.calls
        else event
        for event in a_run()
    ]
    report = report_of(events)
    models = {
        row.model
        for event in report.subtasks
        for row in event.attempts
        if row.outcome and row.outcome.files_sent
    }
    listed = ", ".join(sorted(("app.py", "<b>.py", *many))[:12])
    said = run_text(report, width=2000)
    assert len(models) > 1
    for model in models:
        assert f"shown to {model}: {listed} and 4 more, see `show --json`\n" in said + "\n"
    assert "shown to cheap: &lt;b&gt;.py, app.py" in run_html(report)
    assert "<b>" not in run_markdown(report) and "shown to cheap" in run_markdown(report)
    assert "shown to" not in run_text(report_of(a_run()))


def test_attempts_that_called_no_model_are_not_told_as_tries():
    tried = {row.subtask.id: tried_words(row) for row in a_report().subtasks}
    assert tried["speed-up-statement"] == ""
    assert tried["split-command-line"] == "smart x2"


def test_every_form_names_what_is_kept_of_work_that_did_not_land():
    kept = [
        f"refs/orchestrator/{RUN}/improve-error-handling-of-the-statement/1",
        f"refs/orchestrator/{RUN}/split-command-line/1",
        f"refs/orchestrator/{RUN}/split-command-line/2",
    ]
    for said in (run_text(a_report()), run_markdown(a_report()), run_html(a_report())):
        assert [ref for ref in kept if ref not in said] == []
    once, twice = (report_of(not_landed(delivered_again=again), []) for again in (False, True))
    for forms in (run_text, run_markdown, run_html):
        assert f"{kept_prefix(RUN)}fix-rounding/1" in forms(once)
        assert "commit a91e04d7c35f" in forms(twice) and "refs/" not in forms(twice)


def test_what_waits_says_for_what():
    started = a_run()[0]
    assert isinstance(started, RunStarted)
    begun = [
        started,
        *(event for event in a_run()[2:6] if not isinstance(event, AttemptFinished | SubtaskLanded)),
    ]
    running = report_of(begun, [])
    standing = {row.subtask.id: row.standing for row in running.subtasks}
    assert standing["fix-rounding"] == standing["remove-unused-imports"] == ""
    assert standing["improve-error-handling-of-the-statement"] == "waits for remove-unused-imports"
    assert standing["add-refund-tests"] == "waits for a free slot"
    assert report_of(begun[:2], []).subtasks[0].standing == "ready to start"
    alone = replace(
        started,
        plan=replace(started.plan, subtasks=(*started.plan.subtasks[:2], subtask("x", "X", "cheap/x"))),
    )
    assert report_of([alone, *begun[1:]], []).subtasks[2].standing == (
        "waits for a file: the files it touches are unknown, so it runs alone"
    )
    paused = replace(PAUSED, waiting_for=WaitingFor.USER, reason="on request")
    assert report_of([*begun, paused], []).subtasks[2].standing == "waits until the run goes on"
    for said in (run_text(running), run_markdown(running), run_html(running)):
        assert "waits for remove-unused-imports" in said
    assert "waiting: waits" not in run_markdown(running)


def test_the_time_line_draws_what_is_under_way_up_to_the_last_event():
    events = a_run()[:3]
    assert isinstance(events[-1], AttemptStarted)
    later = Noted(code="x", text="still there", at="2026-11-23T10:00:42.000000Z")
    page = run_html(report_of([*events, later], []))
    (bar,) = re.findall(r'<i class="bar running" style="margin-left:([\d.]+)%;width:([\d.]+)%">', page)
    assert (float(bar[0]), float(bar[1])) == (0.0, 100.0)
    assert "42.0 s, under way" in page
    assert '<i class="swatch running"></i>under way' in page
    assert "under way" not in run_html(a_report())
    # With nothing to tell how long, it is seen all the same.
    assert "0.0 s, under way" in run_html(report_of(events, []))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal_where_it_can_be_broken(width: int):
    said, _, rest = run_text(a_report(), width=width).partition("--- Review")
    for line in said.splitlines():
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= max(width, longest + 12), line
    assert DOCUMENT.rstrip() in rest


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_of_a_plan_only_the_table_may_be_wider_than_the_terminal(width: int):
    vendors = {"cheap": "google", "smart": "anthropic or openai"}
    said = priced_plan_text(a_plan(), a_forecast(), vendors=vendors, remarks=("a word " * 30,), width=width)
    heading, _, rest = said.split("\n\n", 2)
    for line in [*heading.splitlines(), *rest.splitlines()]:
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= max(width, longest + 12), line
    whole = " ".join(rest.split())
    for start in ("note: a word a word", "odds: entry:", "goes to google (cheap): ", "total: likely"):
        assert start in whole


def test_a_plan_says_which_files_go_to_which_vendor_at_once_and_which_when_a_subtask_is_escalated():
    vendors = {"cheap": "google", "smart": "anthropic or openai"}
    plan = replace(
        a_plan(), subtasks=tuple(replace(a_plan().subtasks[place], depends_on=()) for place in (0, 1, 2, 6))
    )
    said = priced_plan_text(plan, a_forecast(plan), vendors=vendors, width=400)
    assert [line for line in said.splitlines() if line.startswith("goes to")] == [
        "goes to google (cheap): billing/amounts.py, tests/test_rounding.py, tests/test_refunds.py, "
        "billing/refunds.py; their tests, and what uses them",
        "goes to anthropic or openai (smart): billing/cli.py; their tests, and what uses them",
        "goes to anthropic or openai (smart) only when a subtask is escalated: billing/amounts.py, "
        "tests/test_rounding.py, tests/test_refunds.py, billing/refunds.py",
    ]
    never = forecast(plan, table(), policy=Policy.TAGS)
    assert "is escalated" not in priced_plan_text(plan, never, vendors=vendors, width=400)
    many = large(20, touches=tuple(f"part_{number}.py" for number in range(20)))
    assert "part_11.py and 8 more, see `--json`" in priced_plan_text(many, a_forecast(many), width=400)


def test_a_list_of_failing_tests_is_cut_to_the_first_in_every_form():
    report = a_report()
    for said in (run_text(report), run_markdown(report), run_html(report)):
        assert "and 6 more" in said
        assert SUITE[1] not in said.replace("\\", "")


def test_a_scripted_run_says_that_nothing_was_paid():
    report = a_report(scripted="scripted models: script.yaml")
    for said in (run_text(report), run_markdown(report), run_html(report)):
        assert "scripted models: script.yaml, at real prices; nothing was paid" in said


def test_unsandboxed_checks_are_said_loudly():
    first, *rest = a_run()
    report = report_of([replace(first, sandbox="none"), *rest])  # type: ignore[type-var]
    assert "UNSANDBOXED" in run_text(report)
    assert "UNSANDBOXED" in run_html(report)
    assert "Unsandboxed" in run_markdown(report)


def test_a_plan_without_subtasks_is_told_in_every_form():
    plan = replace(a_plan(), subtasks=())
    assert "0 subtasks" in plan_markdown(plan, a_forecast(plan))
    assert "nothing to do" in plan_html(plan, a_forecast(plan))


def test_the_same_plan_gives_the_same_bytes():
    assert plan_html(a_plan(), a_forecast()) == plan_html(a_plan(), a_forecast())
    assert plan_markdown(a_plan(), a_forecast()) == plan_markdown(a_plan(), a_forecast())


def test_a_page_shows_every_name_whole_and_why_each_tag():
    page = plan_html(a_plan(), a_forecast(), budget=Usd.of("0.50"))
    names = ["".join(found) for found in re.findall(r'class="name">([^<]+)</text>', page)]
    assert "".join(names).count("improve-error-handling-of-the-statement") == 1
    assert not [name for name in names if "…" in name]
    assert page.count("<b>Why ") == len(a_plan().subtasks)
    assert "$0.50" in page


def large(count: int, **more: object) -> Plan:
    return replace(
        a_plan(),
        subtasks=tuple(
            subtask(f"part-{place}", f"Part {place} {'of the work ' * 8}", "cheap/bug-fixes", **more)  # type: ignore[arg-type]
            for place in range(count)
        ),
    )


def test_a_large_plan_has_a_table_and_no_picture():
    plan = large(DRAWN_SUBTASKS + 1)
    said = plan_markdown(plan, a_forecast(plan))
    assert "```mermaid" not in said
    assert f"{DRAWN_SUBTASKS + 1} subtasks: too many for a picture" in said
    assert "```mermaid" in plan_markdown(large(DRAWN_SUBTASKS), a_forecast(large(DRAWN_SUBTASKS)))


@pytest.mark.parametrize("count", [200, 5_000])
def test_a_comment_is_cut_at_whole_lines_and_says_so(count: int):
    plan = large(count)
    said = plan_markdown(plan, a_forecast(plan))
    assert len(said.encode("utf-16-le")) // 2 <= MAX_CHARACTERS
    assert "**Cut to fit into one comment.**" in said
    assert said.count("<details>") == said.count("</details>")


def test_a_run_with_a_huge_document_leaves_it_out_by_name():
    events = [
        replace(event, outcome=replace(event.outcome, document="word " * 20_000))  # type: ignore[type-var,union-attr]
        if getattr(getattr(event, "outcome", None), "document", None)
        else event
        for event in a_run()
    ]
    said = run_markdown(report_of(events))
    assert len(said) <= MAX_CHARACTERS
    assert "Left out: the document of review-payments" in said
    assert "word word" not in said
    assert run_text(report_of(events)).count("word") == 20_000


def test_characters_beyond_the_basic_plane_count_twice():
    sheet = Sheet(more="")
    assert sheet.add(["😀" * 30_000], what="faces")
    assert not sheet.add(["😀" * 3_000], what="more faces")


def test_ids_that_do_not_break_at_a_hyphen_still_fit_their_box():
    plan = replace(a_plan(), subtasks=(subtask("x" * 60, "Long", "cheap/bug-fixes"),))
    page = plan_html(plan, a_forecast(plan))
    names = re.findall(r'class="name">([^<]+)</text>', page)
    assert len(names) == 2
    assert all(len(name) <= 26 for name in names)
    assert SubtaskId("x" * 60) in page


def test_every_form_marks_what_is_not_in_the_new_plan_and_names_what_was_kept_of_it():
    report = report_of(a_replanned_run())
    ref = f"refs/orchestrator/{RUN}/split-command-line/2"
    for said in (run_text(report, width=200), run_markdown(report), run_html(report)):
        assert ref in said
        assert "shown to smart: billing/dropped.py" in said
    reason = "billing/cli.py does not parse: unexpected indent in line 214; not in the new plan"
    assert f"split-command-line: {reason}" in run_text(report, width=200)
    assert f"`split-command-line` failed: {reason}" in run_markdown(report)
    assert run_html(report).count('<span class="badge">not in the new plan</span>') == len(DROPPED)
    # What the new plan stands in for is not there to be tried again.
    assert "orchestrator retry" not in run_text(report)
    assert "not in the new plan" not in run_text(a_report())


def test_the_subtasks_of_another_tier_that_a_new_plan_dropped_are_on_the_page():
    cheap = replace(
        another_plan(), subtasks=tuple(row for row in another_plan().subtasks if row.tag.tier == "cheap")
    )
    page = run_html(report_of([*a_run()[:-1], PlanReplaced(plan=cheap, reason="x")]))
    assert page.count('class="subtask ') == len(a_plan().subtasks) + 1


def test_what_was_cut_off_says_who_was_called_for_it():
    report = report_of(interrupted_run(), holds())
    for said in (run_text(report, width=200), run_markdown(report), run_html(report)):
        assert "shown to cheap (vendor/cheap) for fix-rounding: files not recorded: cut off" in said
        assert "shown to smart (vendor/smart) for review-payments: files not recorded: cut off" in said
    page = run_html(report)
    assert "<td>cut off</td>" in page and "under way" not in page
    assert "cut off</span>" in page
    # What is still under way will tell its files.
    assert "shown to cheap" not in run_text(report_of(killed_run(), holds()))


def test_files_of_an_attempt_that_was_delivered_twice_are_known_of_the_second_delivery_only():
    again = Noted(code="redelivered", text="fix-rounding#1 was cut off", subtask=KILLED.subtask)
    ended = outcome(Ended.PASSED, model="cheap", tokens=(9, 9), files_sent=("billing/amounts.py",))
    events = [*interrupted_run(), RunResumed(), again, AttemptFinished(attempt=KILLED, outcome=ended)]
    second = replace(holds()[3], state=HoldState.SETTLED, hold=9, deployment="other/cheap")
    said = run_text(report_of(events, [*holds(), second]), width=200)
    assert "shown to cheap: billing/amounts.py\n" in said
    assert (
        "shown to cheap (vendor/cheap, other/cheap) for fix-rounding: files not recorded: cut off\n" in said
    )
    assert "files not recorded" not in run_text(report_of(events, [holds()[0], second]))
