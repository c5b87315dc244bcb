"""The execute-tasks hook: what a coding agent sends when its user types `/execute-tasks`, and what it gets back.

A plan is shown and nothing is spent until the user says go. What goes wrong on our side never stands in the way of
the agent: it goes on by itself, and is told that no cap applies then.
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line, safe_text
from orchestrator.launching import alive, await_start, launch

if TYPE_CHECKING:
    from orchestrator.core.domain import Plan, RunId
    from orchestrator.core.money import Usd
    from orchestrator.plans import Drawn
    from orchestrator.wiring import Home

MAX_INPUT_BYTES = 1_000_000
INPUT_SECONDS = 3.0
START_SECONDS = 3.0
MAX_ANSWER_BYTES = 2_000

# `/implement-tasks` and the others are what versions 2 of Agent OS call it.
_COMMAND = re.compile(
    r"\s*(?P<command>/(?:[\w-]+:)*(?:execute[-_]tasks|implement-tasks|orchestrate-tasks|implement-spec))"
    r"(?![\w-])(?P<rest>[^\0]*)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w./,@+-]{1,200}|\$\d+(?:\.\d+)?")
_NUMBERS = re.compile(r"[A-Za-z]{0,2}-?\d+(?:\.\d+)*(?:,[A-Za-z]{0,2}-?\d+(?:\.\d+)*)*")
_GO = ("go", "run", "--go", "--run", "--yes")


class BadInput(OrchestratorError):
    """What came on standard input is not what a hook is sent. Nothing was planned and nothing was spent."""


class NothingToDo(OrchestratorError):
    """There is no task list, nothing in it is open, or no run could be started; the agent goes on by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `/execute-tasks`: in which directory, for which spec and tasks, and whether to carry it out."""

    directory: Path
    spec: str = ""
    only: tuple[str, ...] = ()
    go: bool = False
    budget: Usd | None = None
    from_prompt: bool = False
    command: str = "/execute-tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said, and by which run the tasks are carried out, if any was started or is under way."""

    text: str
    plan: Path | None = None
    run: str | None = None
    started: bool = False
    subtasks: int = 0


# --- input ------------------------------------------------------------------------------------------


def read_input(handle: int, *, seconds: float = INPUT_SECONDS) -> bytes:
    """Return what comes on a file descriptor until its end. Raises BadInput past a million bytes or some seconds."""
    parts: list[bytes] = []
    size = 0
    until = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise BadInput(
                f"standard input did not end within {seconds:g} seconds: nothing was planned or spent"
            )
        part = os.read(handle, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > MAX_INPUT_BYTES:
            raise BadInput(
                f"the hook's input has more than {MAX_INPUT_BYTES:,} bytes, the most it may have: nothing was spent"
            )


def read_request(data: bytes, directory: Path) -> Request | None:
    """Return what the JSON of a prompt hook asks for; None for any other prompt. Raises BadInput."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadInput("the hook's input is not JSON in UTF-8: nothing was planned or spent") from None
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        raise BadInput('the hook\'s input has no text under "prompt": nothing was planned or spent')
    match = _COMMAND.fullmatch(value["prompt"])
    if match is None:
        return None
    where = value.get("cwd")
    place = Path(where) if isinstance(where, str) and where and "\0" not in where else directory
    request = from_words(match["rest"].split(), place if place.is_dir() else directory)
    return replace(request, from_prompt=True, command=match["command"])


def from_words(words: Sequence[str], directory: Path) -> Request:
    """Read `[go] [spec] [2,2.1] [$1.50]`; words of any other shape are left out, for they come from a prompt."""
    from orchestrator.core.money import Usd

    request = Request(directory=directory)
    for word in words[:40]:
        if not _WORD.fullmatch(word):
            continue
        if word.lower() in _GO:
            request = replace(request, go=True)
        elif word.startswith("$"):
            request = replace(request, budget=Usd.of(word[1:]))
        elif _NUMBERS.fullmatch(word):
            request = replace(request, only=(*request.only, *word.split(",")))
        elif word not in ("--plan", "-"):
            request = replace(request, spec=word.removeprefix("@"))
    return request


# --- the work ---------------------------------------------------------------------------------------


def execute_tasks(
    home: Home, request: Request, environ: Mapping[str, str], *, starting: Callable[[], None] = lambda: None
) -> Answer:
    """Plan the spec's open tasks, and start them when the user said go. Calls no model; spends nothing itself.

    The same spec with the same contents has one plan and at most one run. `starting` is called right before that:
    from there on the caller must wait for the answer. Raises NothingToDo, OrchestratorError.
    """
    from orchestrator.adapters.plan_files import write_plan
    from orchestrator.adapters.run_lock import occupant
    from orchestrator.adapters.state import digest
    from orchestrator.core.tests_first import only_some
    from orchestrator.plans import repriced
    from orchestrator.task_plans import draw_tasks, source_name

    tasks = find_tasks(home, request)
    drawn = draw_tasks(home, tasks, budget=request.budget)
    only = _chosen(drawn.plan, request.only)
    if len(only) < len(drawn.plan.subtasks):
        drawn = repriced(home, drawn, only_some(drawn.plan, only))
    key = digest(str(home.repository), str(tasks), tasks.read_bytes(), ",".join(sorted(only)))
    directory = home.state / "hooks" / key
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    saved = directory / "plan.json"
    write_plan(saved, drawn.plan, overwrite=True)
    known = _known_run(home, directory)
    name = source_name(home, tasks)
    if known is not None:
        run, state = known
        what = {
            "ended": f"has ended: `orchestrator show {run}`, then `orchestrator accept {run}`; "
            f"for another run of the same tasks `orchestrator run {saved}`",
            "paused": f"is paused: `orchestrator show {run}` says why, `orchestrator resume {run}` goes on",
        }.get(state, f"is under way: `orchestrator show {run}`")
        text = (
            f"The orchestrator carries out {name}, not this session: run {run} {what}. "
            f"Nothing new was started and nothing was spent now."
        )
        return Answer(text=text, plan=saved, run=run, subtasks=len(only))
    if request.go or (request.from_prompt and home.settings.hook_dispatch):
        other = occupant(home.git, home.state)
        if other is not None:
            text = (
                f"Nothing was started and nothing was spent: run {other.run} of the orchestrator works on this "
                f"repository (`orchestrator show {other.run}`). Say go again when it has ended; until then this "
                f"session must not do these tasks."
            )
            return Answer(text=text, plan=saved, run=str(other.run), subtasks=len(only))
        starting()
        run = _start(home, directory, saved, request.budget, environ)
        cap = (
            f"at most {request.budget}"
            if request.budget
            else f"within {home.settings.budget.max_budget} a day"
        )
        text = (
            f"The orchestrator carries out {len(only)} tasks of {name} as run {run}, {cap}; this session must not do "
            f"them too. Watch it: `orchestrator show {run}`. Take the result: `orchestrator accept {run}`."
        )
        return Answer(text=text, plan=saved, run=run, started=True, subtasks=len(only))
    return Answer(text=_plan_text(drawn, name, only, saved, request), plan=saved, subtasks=len(only))


def find_tasks(home: Home, request: Request) -> Path:
    """The task list that is meant: the file or spec named, else the newest spec with something open."""
    from orchestrator.adapters.formats.task_files import read_task_file
    from orchestrator.adapters.formats.task_list import TaskFileFault

    root = (home.repository or request.directory).resolve()
    if request.spec:
        named = (request.directory / request.spec).resolve()
        for place in (named, named / "tasks.md"):
            if place.is_file() and place.is_relative_to(root):
                return place
    folders = [root / ".agent-os" / "specs", root / "agent-os" / "specs", root / "specs"]
    lists = [path for folder in folders for path in sorted(folder.glob("*/tasks.md"), reverse=True)]
    taskmaster = root / ".taskmaster" / "tasks" / "tasks.json"
    lists += [taskmaster] if taskmaster.is_file() else []
    if request.spec:
        wanted = request.spec.casefold().strip("/").rpartition("/")[2]
        fitting = [path for path in lists if wanted in path.parent.name.casefold()]
        if not fitting:
            have = ", ".join(path.parent.name for path in lists[:8]) or "none"
            raise NothingToDo(
                f"no spec {one_line(request.spec, 60)!r} with a tasks.md here (there: {one_line(have, 300)})"
            )
        return fitting[0]
    for path in lists:
        try:
            tasks = read_task_file(path)
        except TaskFileFault:
            continue
        if any(not tasks.is_done(item) and not item.skipped for item in tasks.tasks):
            return path
    raise NothingToDo("no task list with open tasks here" if lists else "no specs with a tasks.md here")


def _chosen(plan: Plan, only: Sequence[str]) -> tuple[str, ...]:
    """The subtasks that the task numbers name, with what they need; all without numbers. Raises NothingToDo."""
    from orchestrator.core.planning import closure
    from orchestrator.task_plans import numbered

    if not only:
        return tuple(str(subtask.id) for subtask in plan.subtasks)
    wanted = [name for number in only for name in numbered(plan, number)]
    if not wanted:
        raise NothingToDo(f"no open task has the number {one_line(', '.join(only), 60)}")
    needed = set(closure(plan, wanted))
    return tuple(str(subtask.id) for subtask in plan.subtasks if subtask.id in needed)


def _known_run(home: Home, directory: Path) -> tuple[str, str] | None:
    """The run that was started for the same contents, and where it stands; None when it never came to be."""
    from orchestrator.core.domain import RunId
    from orchestrator.core.events import RunEnded, RunPaused, RunResumed

    try:
        record = json.loads((directory / "run.json").read_bytes())
        run, process = str(record["run"]), int(record["process"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    events = list(home.store.events(RunId(run)))
    if not events and not alive(process):
        return None
    stopped = [event for event in events if isinstance(event, RunEnded | RunPaused | RunResumed)]
    last = stopped[-1] if stopped else None
    return run, "ended" if isinstance(last, RunEnded) else "paused" if isinstance(
        last, RunPaused
    ) else "running"


def _start(home: Home, directory: Path, plan: Path, budget: Usd | None, environ: Mapping[str, str]) -> RunId:
    from orchestrator.adapters.file_lock import locked

    with locked(directory / "lock"):
        known = _known_run(home, directory)
        if known is not None:
            raise NothingToDo(f"run {known[0]} was started meanwhile")
        log = directory / "output.log"
        log.unlink(missing_ok=True)
        run, process = launch(home, str(plan), log=log, budget=budget, environ=environ)
        await_start(home, run, process, log=log, seconds=START_SECONDS)
        (directory / "run.json").write_text(json.dumps({"run": run, "process": process}))
    return run


# --- output -----------------------------------------------------------------------------------------


def _plan_text(drawn: Drawn, name: str, only: Sequence[str], saved: Path, request: Request) -> str:
    """The priced plan within 2 KB; the whole of it is in the file that it names."""
    from orchestrator.adapters.plan_text import price_of

    prices = price_of(drawn.forecast)
    total = drawn.forecast.dollars
    numbers = " ".join(
        [f"{request.command} go", *([request.spec] if request.spec else []), ",".join(request.only)]
    )
    head = f"Orchestrator plan for {name}: {len(only)} tasks. Nothing runs yet and nothing was spent."
    likely = (
        "unknown"
        if total is None
        else f"{total.likely.rounded()} ({total.low.rounded()} to {total.high.rounded()})"
    )
    tail = [
        f"total: likely {likely}",
        f"The user decides: `{numbers.strip()}`, or `orchestrator run {saved}`. Until then do not carry out these "
        f"tasks; after it the orchestrator does, not this session.",
    ]
    room = MAX_ANSWER_BYTES - sum(len(line.encode()) + 1 for line in (head, *tail)) - 60
    lines = []
    chosen = [subtask for subtask in drawn.plan.subtasks if subtask.id in only]
    for number, subtask in enumerate(chosen):
        line = f"- {subtask.id} {one_line(subtask.title, 70)} [{subtask.tag.tier}, {prices[subtask.id]}]"
        room -= len(line.encode()) + 1
        if room < 0:
            lines.append(f"- and {len(chosen) - number} more: `orchestrator plan {saved}`")
            break
        lines.append(line)
    return safe_text("\n".join([head, *lines, *tail]))


def prompt_answer(answer: Answer) -> dict[str, Any]:
    """What Claude Code adds to the conversation: the plan, and that it must not do the tasks itself."""
    return {
        "hookSpecificOutput": {"hookEventName": "UserPromptSubmit", "additionalContext": answer.text},
    }


def open_answer(why: str) -> dict[str, Any]:
    """What Claude Code shows its user when we could not do our part: the agent goes on without a cap."""
    return {
        "systemMessage": f"orchestrator: {one_line(why, 300)}. The agent goes on by itself; no budget cap applies."
    }
