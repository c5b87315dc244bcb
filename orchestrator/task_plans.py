"""A task list that somebody already has -> a priced plan, and statuses back into it. No model is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.formats.detection import detect
from orchestrator.adapters.formats.drafting import draft_of, with_test_globs
from orchestrator.adapters.formats.task_files import read_bytes, read_task_file, replace_file
from orchestrator.adapters.formats.task_list import MAX_BYTES, TaskFileFault
from orchestrator.adapters.formats.task_master import complexity_of
from orchestrator.adapters.state import digest
from orchestrator.core.domain import IMPORTED, Plan, Provenance
from orchestrator.core.planning import compile_plan
from orchestrator.plans import Drawn, Manner, Past, Wish, past_of, priced

if TYPE_CHECKING:
    from orchestrator.adapters.formats.task_list import TaskList
    from orchestrator.core.domain import RunId
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home


def task_file(what: str) -> Path | None:
    """Return the path when `what` names a task list in a format we know; None for goals and plans."""
    path = Path(what) if 0 < len(what) < 4096 and "\n" not in what and "\0" not in what else None
    if path is None or path.suffix.casefold() not in (".md", ".markdown", ".json") or not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        return None
    found = detect(path.name, read_bytes(path))
    return path if found not in (None, "native") else None


def source_name(home: Home, path: Path) -> str:
    """How a plan names the file: relative to the repository where it lies in it, so that it can be found there."""
    whole = path.resolve()
    if home.repository is not None:
        root = home.repository.resolve()
        if whole.is_relative_to(root):
            return whole.relative_to(root).as_posix()
    return str(whole)


def plan_of(home: Home, tasks: TaskList, path: Path, *, limit: int | None = None) -> Plan:
    """Compile the open tasks of the list. Raises NothingOpen, InvalidPlan."""
    source = source_name(home, path)
    draft = draft_of(tasks, source=source, limit=limit, complexity=_complexity(path, tasks))
    if tasks.format != "spec-kit" and home.repository is not None:
        _infer(home, tasks, draft["subtasks"])
    # Not the draft's business: a model that drafts must not say which boxes its work ticks.
    sources = {plain["id"]: plain.pop("source") for plain in draft["subtasks"]}
    about = "" if tasks.title.casefold() in ("", "spec tasks", "tasks") else f": {tasks.title}"
    plan = compile_plan(
        draft,
        goal=f"Carry out {source}{about}",
        standard=home.standard,
        made_from=Provenance(
            planner=f"{IMPORTED}{tasks.format}",
            commit=home.git.head() if home.repository is not None else "",
            goal=original_digest(tasks.data),
            # Two tags of one file may hold the same ids: a status must go where the plan came from.
            template=tasks.tag or "",
            standard=home.standard.digest,
            prices=home.settings.prices_digest,
        ),
    )
    subtasks = tuple(replace(subtask, source=sources[subtask.id]) for subtask in plan.subtasks)
    return replace(plan, subtasks=subtasks)


def draw_tasks(
    home: Home,
    path: Path,
    *,
    tag: str | None = None,
    format: str | None = None,
    limit: int | None = None,
    budget: Usd | None = None,
    run: RunId | None = None,
    learn: bool = False,
    offline: bool = False,
    fresh: bool = False,
    manner: Manner | None = None,
) -> Drawn:
    """Return the priced plan of a task file's open tasks. `learn` prices it by the user's own runs too.

    Nobody is asked here; `offline` and `fresh` are the user's wish for whoever asks a model afterwards.
    """
    tasks = read_task_file(path, format=format, tag=tag)
    plan = plan_of(home, tasks, path, limit=limit)
    past = past_of(home) if learn else Past()
    wish = Wish(
        goal=plan.goal,
        budget=budget,
        run=run,
        limit=limit,
        offline=offline,
        fresh=fresh,
        manner=manner or Manner(),
    )
    return Drawn(
        plan=plan,
        forecast=priced(home, plan, home.settings.table, past, wish.manner),
        wish=wish,
        past=past,
    )


# --- the original, for a lossless way back ----------------------------------------------------------


def original_digest(data: bytes) -> str:
    return digest(data.decode("latin-1"))


def keep_original(home: Home, data: bytes) -> None:
    """Keep the bytes of an imported file, by which `export` can give back what the plan does not hold."""
    directory = home.state / "imports"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = directory / original_digest(data)
    if not place.exists():
        replace_file(place, data)


def keep_source(home: Home, plan: Plan, what: str) -> None:
    """Keep the file that a saved plan was just made of, when it is a task list that is still the same."""
    if plan.made_from.imported_from and (path := task_file(what)) is not None:
        data = read_bytes(path)
        if original_digest(data) == plan.made_from.goal:
            keep_original(home, data)


def original_of(home: Home, plan: Plan) -> bytes | None:
    """The bytes of the file the plan was imported from; None when it was not, or not on this machine."""
    name = plan.made_from.goal
    if not plan.made_from.imported_from or not name.isalnum():
        return None
    place = home.state / "imports" / name
    return place.read_bytes() if place.is_file() else None


def covered(plan: Plan) -> Mapping[str, tuple[str, ...]]:
    """The ids in the task file that each subtask of an imported plan stands for."""
    return {
        subtask.id: tuple(subtask.source.partition("#")[2].split(","))
        for subtask in plan.subtasks
        if "#" in subtask.source
    }


def numbered(plan: Plan, number: str) -> tuple[str, ...]:
    """The subtasks of an imported plan that a number of its list names: that task, or all beneath it."""
    return tuple(
        name
        for name, ids in covered(plan).items()
        if any(known == number or known.startswith(f"{number}.") for known in ids)
    )


# --- what the repository says -----------------------------------------------------------------------


def _infer(home: Home, tasks: TaskList, subtasks: list[dict[str, object]]) -> None:
    """Give a task the files it names, where they are in the repository: the rest runs alone, which is recorded.

    A named file's tests may change with it. All of it is shown as inferred, and can be edited.
    """
    known = set(home.git.files_at(home.git.head()))
    by_source = {item.id: item for item in tasks.items}
    for plain in subtasks:
        ids = str(plain.get("source", "")).partition("#")[2].split(",")
        item = by_source.get(ids[0])
        if item is None or "touches" in plain or not item.touches:
            continue
        # A path that is not there is a guess of the text: one guess, and the task is not held to any.
        if not all(path in known for path in item.touches):
            continue
        plain["touches"] = with_test_globs(item.touches)
        notes = plain.setdefault("notes", [])
        assert isinstance(notes, list)
        notes.append("touches: inferred from the files that the text names")


def _complexity(path: Path, tasks: TaskList) -> Mapping[str, tuple[int, str]]:
    """task-master's own complexity report for the tag, where there is one beside the file."""
    if tasks.format != "task-master":
        return {}
    suffix = f"_{tasks.tag}" if tasks.tag not in (None, "master") else ""
    report = path.parent.parent / "reports" / f"task-complexity-report{suffix}.json"
    try:
        return complexity_of(read_bytes(report)) if report.is_file() else {}
    except TaskFileFault:
        return {}
