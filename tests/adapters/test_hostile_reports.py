"""Text that wants to be more than text, in every place of a plan and a run that others write."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from orchestrator.adapters.markdown_sheet import MAX_CHARACTERS, Node, code, label, mermaid, text
from orchestrator.adapters.plan_text import priced_plan_text
from orchestrator.adapters.rendering_html import plan_html, run_html
from orchestrator.adapters.rendering_markdown import PLAN_MARKER, RUN_MARKER, plan_markdown, run_markdown
from orchestrator.adapters.rendering_terminal import run_text
from orchestrator.cli.progress import lines
from orchestrator.core.domain import Ended, Evidence, ModelAlias, Plan, Question
from orchestrator.core.events import AttemptFinished, Event, LandingRefused, Noted, RunPaused, SubtaskLanded
from orchestrator.core.forecast import Forecast
from orchestrator.core.progress import Progress
from orchestrator.core.report import Report
from orchestrator.core.serial import encode
from tests.conftest import find_tool, requires
from tests.core.report_building import a_run, entries, refused, report_of
from tests.core.report_plan import a_forecast, a_plan

PAYLOADS = (
    "<script>document.title='EXECUTED'</script>",
    '" onmouseover="document.title=\'EXECUTED\'" x="',
    "' autofocus onfocus='document.title=1'",
    "[click](javascript:alert(1)) ![x](http://127.0.0.1:1/x.png)",
    "</script><!-- </title></style><svg onload=alert(1)> -->",
    "{{7*7}} {% include '/etc/passwd' %} ${7*7} #{7*7}",
    "\x1b[31mred\x1b]8;;http://evil\x07link\x1b]8;;\x07 \x1b]52;c;ZXZpbA==\x07\a",
    "done\rFAILED \u202egnp.exe\u2066 \u200bzero\u200dwidth \U000e0041\U000e0042 \x9b2J",
    "[/b] [bold red]x[/bold red] [link=http://evil]y[/link]",
    "a|b\\|c `d|<img src=x onerror=alert(1)>` ``` ~~~ </details> @octocat #12 https://evil.example www.evil.example",
    "%%{init: {'securityLevel': 'loose'}}%% \"] click n1 href \"javascript:alert(1)\" $$\\href{x}{y}$$ fa:fa-car",
    "line one\n```\n# heading\n- item\n<!-- orchestrator-plan -->\n| a | b |\n",
    "\ud800 lone surrogate \x00 nul",
)


def hostile_plan(payload: str) -> Plan:
    plan = a_plan()
    return replace(
        plan,
        goal=f"goal {payload}",
        notes=(payload,),
        questions=(Question(id="q", text=payload, options=(payload,), default=payload),),
        made_from=replace(plan.made_from, planner=payload, model=payload, commit=payload),
        subtasks=tuple(
            replace(
                subtask,
                title=payload,
                instructions=payload,
                notes=(payload,),
                tool=payload if subtask.tool else None,
                touches=(payload, f"src/{payload}.py"),
                tag=replace(subtask.tag, rule=payload, evidence=(payload, "x"), reason=payload),
                evidence=(Evidence(path=payload, line=3, fact=payload),),
                checks=tuple(replace(check, targets=(payload,)) for check in subtask.checks),
            )
            for subtask in plan.subtasks
        ),
    )


def hostile_run(payload: str) -> list[Event]:
    events: list[Event] = []
    for event in a_run(hostile_plan(payload), scripted=payload):
        match event:
            case AttemptFinished():
                outcome = replace(event.outcome, reason=payload, answered_by=payload)
                if outcome.ended is Ended.REJECTED:
                    outcome = replace(
                        outcome, verdict=refused(payload, f"3 tests ({payload}, b, c)", output=payload)
                    )
                if outcome.document:
                    outcome = replace(outcome, document=f"{payload}\n{payload}")
                events.append(replace(event, outcome=outcome))
            case RunPaused():
                events += [Noted(code="x", text=payload), replace(event, reason=payload)]
            case _:
                events.append(event)
    refusal = next(event for event in events if isinstance(event, SubtaskLanded))
    return [*events, LandingRefused(attempt=refusal.attempt, reason=payload, conflict=True)]


def hostile_report(payload: str) -> Report:
    events = hostile_run(payload)
    charges = [replace(entry, flags=(payload,), model=entry.model) for entry in entries(events)]
    report = report_of(events, charges)
    named = replace(report.models[0], name=payload)
    return replace(report, models=(named, *report.models[1:]), reason=payload)


def hostile_forecast(payload: str) -> Forecast:
    cast = a_forecast()
    rows = tuple(replace(row, model=ModelAlias(payload)) for row in cast.subtasks)
    return replace(cast, subtasks=rows, notes=(payload,), priors=(payload,))


ALL = "\n".join(PAYLOADS)
EACH = pytest.mark.parametrize(
    "payload", [*PAYLOADS, ALL, " ".join(PAYLOADS)], ids=lambda text: ascii(text[:20])
)


def pages(payload: str) -> list[str]:
    plan, cast = hostile_plan(payload), hostile_forecast(payload)
    return [
        run_html(hostile_report(payload)),
        plan_html(plan, cast, remarks=(payload,), scripted=payload),
    ]


# --- pages --------------------------------------------------------------------------------------

PAGE_TAGS = re.compile(
    "html|head|meta|title|style|body|main|header|h1|h2|h3|p|b|i|q|span|div|section|details|summary|pre|code|ul|li|"
    "table|tr|th|td|svg|g|path|rect|text|fieldset|legend|label|input|footer"
)
PAGE_ATTRIBUTES = re.compile(
    "lang|charset|http-equiv|content|name|class|style|role|aria-label|title|viewbox|width|height|d|transform|rx|x|y|"
    "type|id|checked|open"
)


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str | None]] = {}
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@EACH
def test_a_page_has_no_active_content_and_shows_the_text(payload: str):
    for page in pages(payload):
        found = Elements(page)
        assert [tag for tag in found.tags if not PAGE_TAGS.fullmatch(tag)] == []
        assert [name for name in found.attributes if not PAGE_ATTRIBUTES.fullmatch(name)] == []
        assert found.comments == []
        assert found.attributes["type"] == {"radio"}
        assert any("default-src 'none'" in (value or "") for value in found.attributes["content"])
        for style in found.attributes["style"]:
            assert re.fullmatch(r"(?:(?:margin-left|width|min-width):[\d.]+(?:%|px);?)+", style or ""), style
        shown = "".join(found.texts)
        assert not set(page) & set("\x00\x1b\x07\r\x9b\u202e\u200b\U000e0041\ud800")
        if payload.startswith("<script>"):
            assert PAYLOADS[0] in shown
        if payload.startswith("{{"):
            assert "{{7*7}} {% include '/etc/passwd' %}" in shown


class Recorder(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]  # set where the server is made
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are remembered, not logged."""


@pytest.fixture
def listener() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def browse(page: Path, profile: Path) -> tuple[str, list[str]]:
    """Open a page in a browser: the document as it is after everything has run, and what the console said."""
    chromium = find_tool("chromium")
    assert chromium
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
        "--dump-dom",
    )
    command = [chromium, *flags, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@requires("chromium")
def test_a_browser_runs_nothing_asks_for_nothing_and_complains_about_nothing(
    tmp_path: Path, listener: http.server.ThreadingHTTPServer
):
    origin = f"http://127.0.0.1:{listener.server_address[1]}"
    attack = (
        f"<img src={origin}/image onerror=\"document.title='EXECUTED'\"><script>document.title='EXECUTED';"
        f"fetch('{origin}/fetch')</script><style>@import url({origin}/style)</style>"
        f"<iframe src={origin}/frame></iframe><link rel=stylesheet href={origin}/link>"
    )
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><title>x</title>{attack}")
    dom, _ = browse(control, tmp_path / "profile")
    assert "<title>EXECUTED" in dom
    asked: list[str] = listener.asked  # type: ignore[attr-defined]
    assert "/image" in asked
    asked.clear()
    for number, content in enumerate(pages(f"{attack} {ALL}")):
        page = tmp_path / f"page-{number}.html"
        page.write_text(content, encoding="utf-8")
        dom, console = browse(page, tmp_path / "profile")
        assert "<title>EXECUTED" not in dom
        assert "&lt;img src=" in dom
        assert console == []
    assert asked == []


# --- Markdown -----------------------------------------------------------------------------------

READER = MarkdownIt("commonmark").enable("table")
OUR_HTML = re.compile(r"<!-- orchestrator-(?:plan|run) -->|</?(?:details|summary|code)>|[^<>]")


@EACH
def test_markdown_stays_words_in_their_place(payload: str):
    plan = hostile_plan(payload)
    for marker, said in (
        (PLAN_MARKER, plan_markdown(plan, hostile_forecast(payload), scripted=payload, remarks=(payload,))),
        (RUN_MARKER, run_markdown(hostile_report(payload))),
    ):
        assert said.startswith(f"{marker}\n")
        assert len(said) <= MAX_CHARACTERS
        assert all(char in "\n\t" or char.isprintable() for char in said)
        tokens = READER.parse(said)
        flat = [child for token in tokens for child in (token.children or [token])]
        kinds = {token.type for token in flat}
        assert not kinds & {"link_open", "image", "code_block", "hr", "ordered_list_open"}
        in_code = False
        for token in flat:
            if token.type in ("html_block", "html_inline"):
                assert OUR_HTML.sub("", token.content) == "", token.content
                in_code = token.content == "<code>"
            if token.type == "text" and not in_code:
                assert not re.search(r"@\w|#\d|://|www\.|GH-\d", token.content), token.content
        fences = [token.info for token in tokens if token.type == "fence"]
        assert fences == (["mermaid"] if marker is PLAN_MARKER else ["mermaid", "markdown"])
        columns = {sum(1 for cell in row if cell.type in ("td_open", "th_open")) for row in _rows(tokens)}
        assert columns <= {5, 6, 8, 9}
        heads = [token for token in tokens if token.type == "heading_open"]
        assert [head.tag for head in heads][:1] == ["h2"]
        assert {head.tag for head in heads} <= {"h2", "h3"}


def _rows(tokens: list) -> Iterator[list]:
    row: list = []
    for token in tokens:
        if token.type == "tr_open":
            row = []
        row.append(token)
        if token.type == "tr_close":
            yield row


@EACH
def test_a_code_span_holds_whatever_it_is_given(payload: str):
    said = f"| a | b |\n| --- | --- |\n| {code(payload, 400)} | {text(payload, 400)} |\n"
    tokens = READER.parse(said)
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    first = [child.type for child in cells[2].children or []]
    assert (
        first in (["code_inline"], ["html_inline", "text", "html_inline"], first) and "link_open" not in first
    )
    allowed = {"text", "text_special", "code_inline", "html_inline"}
    assert {child.type for cell in cells for child in cell.children or []} <= allowed


@EACH
def test_a_mermaid_label_is_plain_characters_and_codes(payload: str):
    graph = mermaid([Node(id="end", lines=(payload,), classes=())], {"end": ()}, styles={})
    assert graph is not None
    assert len(graph) == 4
    assert re.fullmatch(r'  n1\["(?:[\w .,/+-]|#\d+;)*"\]', graph[2], re.ASCII)


def test_formulas_and_icons_of_mermaid_are_broken_up_before_they_are_coded():
    assert "#36;#36;" not in label("$$x$$ $$$$")
    assert "#58;fa-" not in label("fa:fa-car")


# --- terminal and JSON --------------------------------------------------------------------------


def printable(said: str) -> bool:
    return all(char in "\n\t" or char.isprintable() for char in said)


@EACH
def test_a_terminal_gets_only_printable_characters(payload: str):
    report = hostile_report(payload)
    for width in (40, 100):
        assert printable(run_text(report, width=width))
    assert printable(priced_plan_text(hostile_plan(payload), hostile_forecast(payload), remarks=(payload,)))
    progress = Progress()
    for event in hostile_run(payload):
        progress.take_in(event)
        for line in lines(event, progress):
            assert printable(line)
            assert "\n" not in line


@pytest.mark.parametrize("payload", PAYLOADS[:-1], ids=lambda text: ascii(text[:20]))
def test_json_keeps_the_text_as_it_was(payload: str):
    told = json.loads(json.dumps(encode(hostile_report(payload))))
    assert told["plan"]["subtasks"][0]["title"] == payload
    assert told["notes"][-1] == payload
