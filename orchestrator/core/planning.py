"""The plan compiler: a draft -> a Plan that can be run, or every reason why it cannot.

A draft comes from a model, from the offline planner or from an imported task list; all are compiled the same
way. Two that may change the same file must be ordered: a model is told to order them, because only it knows
which comes first; for drafts without an author to ask, the order of the list decides and the edge is noted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.domain import (
    DecidedBy,
    Deliverable,
    ExecutorName,
    Plan,
    Provenance,
    Subtask,
    SubtaskId,
    Tag,
)
from orchestrator.core.globs import normal, overlap
from orchestrator.core.planning_document import (
    check_goal,
    check_structure,
    plan_from_json,
    plan_from_plain,
    plan_to_json,
)
from orchestrator.core.planning_draft import Draft, slug
from orchestrator.core.planning_fields import (
    FILE_LIMITS,
    MODEL_LIMITS,
    PlanLimits,
    SubtaskFields,
    kind_of,
    subtask_name,
)
from orchestrator.core.planning_order import (
    closure,
    critical_path,
    dependents_of,
    needs_check,
    needs_of,
    plan_digest,
    topological_order,
    unchecked,
)
from orchestrator.core.planning_problems import InvalidPlan, Problems
from orchestrator.core.planning_reader import read_reply
from orchestrator.core.planning_structure import check_ids, check_shape, link, unordered_overlaps, with_edges
from orchestrator.core.standards import Standard, UnknownRule
from orchestrator.core.text import one_line

__all__ = [
    "FILE_LIMITS",
    "MODEL_LIMITS",
    "MODEL_PLANNER",
    "InvalidPlan",
    "PlanLimits",
    "closure",
    "compile_plan",
    "critical_path",
    "dependents_of",
    "needs_of",
    "plan_digest",
    "plan_from_json",
    "plan_from_plain",
    "plan_to_json",
    "slug",
    "topological_order",
    "unchecked",
    "with_finished",
]

MODEL_PLANNER = "model"
OFFLINE_PLANNER = "offline"
"""Values of `Provenance.planner`; imported task lists carry the name of their format."""

_NO_TOKENS = {"input_tokens": [0, 0, 0], "output_tokens": [0, 0, 0], "seconds": [1, 3, 15]}
_CHEAP_EDIT = {
    "input_tokens": [1_500, 4_000, 12_000],
    "output_tokens": [200, 600, 1_500],
    "seconds": [5, 15, 60],
}
_OTHER_EDIT = {
    "input_tokens": [3_000, 9_000, 30_000],
    "output_tokens": [800, 2_500, 8_000],
    "seconds": [20, 60, 240],
}
_DOCUMENT = {
    "input_tokens": [4_000, 15_000, 50_000],
    "output_tokens": [600, 1_800, 5_000],
    "seconds": [15, 45, 180],
}


def compile_plan(
    draft: Mapping[str, Any] | list[Any] | str,
    *,
    goal: str,
    standard: Standard,
    made_from: Provenance,
    limits: PlanLimits | None = None,
    commands: Collection[str] | None = None,
    files: Mapping[str, int] | None = None,
    scope: Sequence[str] = (),
) -> Plan:
    """Return the plan that `draft` means. Raises InvalidPlan with every problem at once.

    `draft` is a model's reply as text, or plain data: `{"subtasks": [{id, title, instructions, category,
    deliverable, depends_on, touches, checks: [{kind, targets}], estimate: {input_tokens: [low, likely, high],
    output_tokens: [...], seconds: [...]}, evidence: [{path, line, fact}], notes, executor, tool, group}],
    "questions": [{id, text, options, default}], "notes": [...]}`. `commands` are the names a `command` check may
    use (None: not checked); `files` maps each path of the repository to its number of lines, and evidence that
    is not there is left out with a note. `scope` holds globs that every touched file must match one of.

    Drafts of a model (`made_from.planner == "model"`) are held to `MODEL_LIMITS`, must check every edit and
    must order those that change one file; for others a missing order is added along the list.
    """
    by_model = made_from.planner == MODEL_PLANNER
    limits = limits or (MODEL_LIMITS if by_model else FILE_LIMITS)
    problems = Problems()
    check_goal(goal, problems)
    remarks: list[str] = []
    value: Any = draft
    if isinstance(draft, str):
        reading = read_reply(draft)
        problems.extend(reading.problems)
        problems.raise_any()
        value = reading.value
        remarks.extend(reading.notes)
    shaped = Draft(value, problems, limits)
    remarks.extend(shaped.remarks)
    fields = SubtaskFields(problems, limits, commands)
    subtasks: list[Subtask] = []
    for place, plain in enumerate(shaped.subtasks):
        remarks.extend(_drop_unfounded(plain, files))
        tag = _tag(plain, place, standard, problems, must_match=by_model)
        plain["tag"] = tag
        plain["category"] = tag.rule
        plain.setdefault("estimate", _usual_estimate(plain, tag, standard))
        # An id that is missing has been named already.
        subtask = fields.read(plain, place) if "id" in plain else None
        if subtask is None:
            continue
        if subtask.executor is ExecutorName.EDIT:
            subtask = replace(subtask, tag=standard.bounded(tag, subtask.estimate.output_tokens.likely))
        if by_model and not subtask.checks and needs_check(subtask):
            problems.add(
                subtask_name(plain, place),
                "has no check: name tests, paths to lint, or a command of the settings that decides whether it is done",
            )
        for path in _outside(subtask, scope):
            problems.add(
                subtask_name(plain, place),
                f"touches {one_line(path, 60)!r}, which is outside {one_line(', '.join(scope), 100)}",
            )
        subtasks.append(subtask)
    check_ids(shaped.ids, problems)
    _check_renamed(shaped, problems)
    if len(subtasks) < len(shaped.subtasks) or problems:
        _check_links(shaped, problems, limits)
    elif by_model:
        check_structure(subtasks, problems, limits)
    else:
        subtasks, added = _ordered(subtasks, problems, limits)
        remarks.extend(added)
    problems.raise_any()
    return Plan(
        goal=goal,
        subtasks=tuple(subtasks),
        made_from=made_from,
        questions=shaped.questions,
        notes=tuple(dict.fromkeys((*shaped.notes, *remarks))),
    )


def _tag(
    plain: Mapping[str, Any], place: int, standard: Standard, problems: Problems, *, must_match: bool
) -> Tag:
    """The tag of the category that was chosen, else of the signal words, else (not for models) the cheapest."""
    category = plain.get("category", "")
    if not isinstance(category, str):
        problems.add(subtask_name(plain, place), f"category is {kind_of(category)}, not a text")
        return _cheapest(standard, "unknown category")
    if category.strip():
        try:
            return standard.tag_for(category)
        except UnknownRule as error:
            problems.add(subtask_name(plain, place), str(error))
            return _cheapest(standard, "unknown category")
    words = " ".join(str(plain.get(key, ""))[:4000] for key in ("title", "instructions"))
    tag = standard.match(words)
    if tag is None and must_match:
        problems.add(
            subtask_name(plain, place),
            f"has no category: choose one of {one_line(', '.join(rule.id for rule in standard.rules), 600)}",
        )
    return tag or _cheapest(standard, f"no signal word of {standard.source}")


def _cheapest(standard: Standard, reason: str) -> Tag:
    return Tag(tier=standard.tiers[0].tier, rule="", decided_by=DecidedBy.STANDARD, reason=reason)


def _outside(subtask: Subtask, scope: Sequence[str]) -> list[str]:
    """What the subtask touches and no glob of the scope can mean; a directory's name means what is in it."""
    if not scope or subtask.touches is None:
        return []
    wide = [form for glob in map(normal, scope) for form in (glob, f"{glob.removesuffix('/')}/**")]
    return [path for path in subtask.touches if not any(overlap(path, glob) for glob in wide)]


def _usual_estimate(plain: Mapping[str, Any], tag: Tag, standard: Standard) -> dict[str, list[int]]:
    if plain.get("executor") == ExecutorName.TOOL:
        return _NO_TOKENS
    if plain.get("deliverable") == Deliverable.DOCUMENT:
        return _DOCUMENT
    return _CHEAP_EDIT if tag.tier == standard.tiers[0].tier else _OTHER_EDIT


def _drop_unfounded(plain: dict[str, Any], files: Mapping[str, int] | None) -> list[str]:
    """Take out evidence for lines that are not there; say so."""
    evidence = plain.get("evidence")
    if files is None or not isinstance(evidence, list):
        return []
    remarks: list[str] = []
    kept: list[Any] = []
    for item in evidence:
        if isinstance(item, Mapping) and isinstance(item.get("path"), str):
            path, line = item["path"], item.get("line", 0)
            lines = files.get(path)
            if lines is None or (isinstance(line, int) and line > max(lines, 1)):
                remarks.append(f"left out evidence that is not there: {one_line(f'{path}:{line}', 80)}")
                continue
        kept.append(item)
    plain["evidence"] = kept
    return remarks


def _check_links(shaped: Draft, problems: Problems, limits: PlanLimits) -> None:
    """Name what is wrong between subtasks although some of them have faults of their own."""
    named = [plain for plain in shaped.subtasks if isinstance(plain.get("id"), str)]
    wanted = [
        [name for name in plain.get("depends_on", ()) if isinstance(name, str)]
        if isinstance(plain.get("depends_on", ()), list | tuple)
        else []
        for plain in named
    ]
    ids = [plain["id"] for plain in named]
    check_shape(ids, link(ids, wanted, problems), problems, limits)


def _check_renamed(shaped: Draft, problems: Problems) -> None:
    """Name ids that were different as written and are one as kebab-case."""
    if problems:
        return
    first: dict[str, str] = {}
    for written, plain in zip(shaped.ids, shaped.subtasks, strict=False):
        other = first.setdefault(plain["id"], written)
        if other != written:
            problems.add(
                "plan",
                f"ids {one_line(other, 60)!r} and {one_line(written, 60)!r} are both {plain['id']!r}",
            )


def _ordered(
    subtasks: list[Subtask], problems: Problems, limits: PlanLimits
) -> tuple[list[Subtask], list[str]]:
    """Return the subtasks with an edge for each pair that would change one file, in the order of the list."""
    ids = [subtask.id for subtask in subtasks]
    needs = link(ids, [subtask.depends_on for subtask in subtasks], problems)
    ordered = check_shape(ids, needs, problems, limits)
    if ordered is None or problems:
        return subtasks, []
    edges = unordered_overlaps(subtasks, needs, ordered, problems)
    if not edges:
        return subtasks, []
    subtasks = with_edges(subtasks, edges)
    check_structure(subtasks, problems, limits)
    shown = [
        f"{ids[later]} waits for {ids[earlier]}: both change {file}" for earlier, later, file in edges[:20]
    ]
    if len(edges) > len(shown):
        shown.append(f"{len(edges) - len(shown)} more subtasks wait for one that changes the same file")
    return subtasks, shown


def with_finished(plan: Plan, finished: Sequence[Subtask], *, taken: Collection[str]) -> Plan:
    """Return `plan` behind what is already done, its ids moved away from those in `taken`, which were used before.

    A new subtask that changes a file of a finished one waits for it, which it does not notice: it is done.
    """
    ids = {*taken, *(subtask.id for subtask in finished)}
    renamed: dict[str, SubtaskId] = {}
    for subtask in plan.subtasks:
        name, number = str(subtask.id), 2
        while name in ids:
            name, number = f"{subtask.id}-{number}", number + 1
        ids.add(name)
        renamed[subtask.id] = SubtaskId(name)
    new = [
        replace(
            subtask,
            id=renamed[subtask.id],
            depends_on=tuple(renamed[name] for name in subtask.depends_on),
        )
        for subtask in plan.subtasks
    ]
    names = {subtask.id for subtask in finished}
    done = [
        replace(subtask, depends_on=tuple(name for name in subtask.depends_on if name in names))
        for subtask in finished
    ]
    problems = Problems()
    subtasks, _ = _ordered([*done, *new], problems, FILE_LIMITS)
    problems.raise_any()
    return replace(plan, subtasks=tuple(subtasks))
