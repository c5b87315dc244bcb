"""Task lists that people already have: read as their files say, written back by changing only status bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orchestrator.adapters.formats.agent_os import read_agent_os
from orchestrator.adapters.formats.detection import detect, read_tasks
from orchestrator.adapters.formats.drafting import NothingOpen, draft_of, nodes_of
from orchestrator.adapters.formats.spec_kit import read_spec_kit
from orchestrator.adapters.formats.task_files import TaskFileChanged, read_task_file, write_status
from orchestrator.adapters.formats.task_list import Role, TaskFileFault, TaskList
from orchestrator.adapters.formats.task_master import complexity_of, read_task_master, tags_of
from orchestrator.adapters.formats.ticking import tick_in
from orchestrator.adapters.settings import load_standard
from orchestrator.core.domain import Plan, Provenance
from orchestrator.core.planning import compile_plan, plan_to_json

V1 = b"""# Spec Tasks

## Tasks

- [x] 1. Greet people
  - [x] 1.1 Write tests for greet
  - [x] 1.2 Verify all tests pass

- [ ] 2. Say goodbye
  - [ ] 2.1 Write tests for goodbye in `tests/test_bye.py`
  - [x] 2.2 Implement goodbye
  - [ ] 2.3 Add the command
  - [ ] 2.4 Verify all tests pass
"""
V2 = b"""# Task Breakdown: Greetings

#### Task Group 1: Base
**Dependencies:** None

- [ ] 1.0 Complete the base
  - [ ] 1.1 Write 2 focused tests
  - [ ] 1.2 Create the model

#### Task Group 2: Surface
**Dependencies:** Task Group 1 (the model), 7

- [ ] 2.0 Complete the surface
  - [ ] 2.1 Create the page

#### Task Group 3: Docs
**Dependencies:** Task Groups 1-2

- [ ] 3.0 Complete the docs
  - [ ] 3.1 Write the page
"""
MASTER = (
    '{\r\n "master": {"tasks": [\n'
    '  {"id": 1, "title": "Caf\\u00e9 \u00e9t\u00e9", "status": "done", "dependencies": []},\n'
    '  {"id": "2", "title": "B", "status" : "pending", "dependencies": [1, "9"], "own": {"x": [1.50]},\n'
    '   "subtasks": [{"id": 1, "title": "b1", "status": "pending"},'
    '{"id": 2, "title": "b2", "dependencies": ["2.1"]}, {"id": 3, "title": "b3", "status": "deferred"}]},\n'
    '  {"id": 3, "title": "C", "status": "pending", "dependencies": ["2"]}]}, "other": {"tasks": []}}'
).encode()


def everything(shared_data: Path) -> list[tuple[str, bytes, str | None]]:
    found: list[tuple[str, bytes, str | None]] = []
    for path in sorted((shared_data / "task-files").glob("*/*")):
        if path.name == "README.md" or path.suffix == ".yml" or path.name.endswith(".expected.json"):
            continue
        data = path.read_bytes()
        tags = tags_of(data) if path.suffix == ".json" else (None,)
        found += [(path.name, data, tag) for tag in tags]
    return found


def compiled(tasks: TaskList) -> Plan:
    draft = draft_of(tasks, source="tasks.md")
    for plain in draft["subtasks"]:
        assert plain.pop("source").startswith("tasks.md#")
    return compile_plan(
        draft,
        goal="carry out tasks.md",
        standard=load_standard(repository=None, environ={}),
        made_from=Provenance(planner=f"import:{tasks.format}", commit="0" * 40),
    )


# --- real files -----------------------------------------------------------------------------------


@pytest.mark.needs_shared
def test_every_real_file_imports_and_exports_unchanged_byte_for_byte(shared_data: Path) -> None:
    cases = everything(shared_data)
    assert len(cases) == 30
    for name, data, tag in cases:
        tasks = read_tasks(name, data, tag=tag)
        assert tasks.with_status({}) == data, name
        assert tasks.tasks, name
        try:
            plan = compiled(tasks)
        except NothingOpen:
            assert all(tasks.is_done(item) or item.skipped for item in tasks.tasks)
            continue
        assert len(plan.subtasks) == len(nodes_of(tasks))


@pytest.mark.needs_shared
def test_changing_one_status_of_a_real_file_changes_only_its_bytes(shared_data: Path) -> None:
    for name, data, tag in everything(shared_data):
        tasks = read_tasks(name, data, tag=tag)
        chosen = tasks.tasks[:: max(1, len(tasks.tasks) // 5)]
        for item in chosen:
            # What a heading above says is not the task's own status.
            wanted = not (item.done or (item.mark is None and tasks.is_done(item)))
            changed = tasks.with_status({item.id: wanted})
            assert changed != data, (name, item.id)
            again = read_tasks(name, changed, tag=tag)
            assert [other.id for other in again.items] == [other.id for other in tasks.items]
            own = {item.id, *(step.id for step in tasks.steps.get(item.id, ()))}
            for old, new in zip(tasks.items, again.items, strict=True):
                assert old.title == new.title
                if old.id not in own:
                    assert (old.done, old.status) == (new.done, new.status)
            assert again.by_id[item.id].done is wanted or again.is_done(again.by_id[item.id]) is wanted


AGENT_OS = {
    # majors, subs, boxes, checked boxes, edges between groups
    "hakin19__zen-support__claude-code-sdk-integration.md": (8, 39, 47, 17, 0),
    "arkanwolfshade__MythosMUD__logout-button.md": (5, 35, 40, 40, 0),
    "Kunde21__forgejo-mcp__gitea-sdk-client.md": (6, 15, 99, 61, 0),
    "jamestagal__webkit__consultation-domain.md": (6, 41, 171, 171, 0),
    "jamestagal__webkit__frontend-integration.md": (6, 45, 0, 0, 0),
    "peerjakobsen__ObsidianGTD__fastapi-bedrock-service.md": (4, 31, 31, 0, 0),
    "TheCardGoat__tcg-engines__move-enumeration-system.md": (0, 29, 29, 26, 0),
    "arkanwolfshade__MythosMUD__health-endpoint.md": (0, 14, 105, 92, 0),
    "DigitalTactics__uwotm8__ai-tell-removal.md": (8, 44, 52, 52, 20),
    "JonHubbard1__LocaleLogic__database-schema-and-core-models.md": (6, 61, 67, 53, 5),
    "TheCardGoat__tcg-engines__lorcana-ability-text-parser.md": (15, 95, 110, 110, 19),
}


@pytest.mark.needs_shared
def test_agent_os_counts_are_those_of_the_files(shared_data: Path) -> None:
    seen = {}
    for name, data, _ in everything(shared_data):
        if name not in AGENT_OS:
            continue
        tasks = read_agent_os(data)
        numbered = [item for item in tasks.items if item.role is Role.TASK]
        majors = [item for item in numbered if "." not in item.id or item.id.endswith(".0")]
        boxes = [item for item in tasks.items if item.status in (" ", "x", "X")]
        checked = sum(item.done for item in boxes)
        assert len(boxes) == tasks.boxes
        seen[name] = (len(majors), len(numbered) - len(majors), len(boxes), checked, len(tasks.dependencies))
    assert seen == AGENT_OS


@pytest.mark.needs_shared
def test_task_master_dependency_counts_are_those_of_the_files(shared_data: Path) -> None:
    seen: dict[str, list[int]] = {}
    for name, data, tag in everything(shared_data):
        if not name.endswith(".json"):
            continue
        tasks = read_task_master(data, tag=tag)
        counts = seen.setdefault(name.partition("__")[0], [0, 0, 0, 0])
        unknown = sum("not in the file" in warning.what for warning in tasks.warnings)
        for item in tasks.items:
            counts[0 if item.parent is None else 1] += 1
            counts[2 if item.parent is None else 3] += len(item.depends_on)
        counts[2] += unknown
    assert seen == {
        "0xfauzi": [34, 111, 96, 91],
        "5dlabs": [2, 10, 1, 9],
        "Acurioustractor": [11, 8, 27, 20],
        "AKRD44": [40, 0, 62, 0],
        "eyaltoledano": [182, 914, 206, 768],
    }


@pytest.mark.needs_shared
@pytest.mark.parametrize("example", ["01-quickstart", "02-cost-aware"])
def test_the_schedule_examples_have_the_edges_files_and_critical_path_they_state(
    shared_data: Path, example: str
) -> None:
    stem = shared_data / "task-files" / "spec-kit" / f"jfranc38__spec-kit-schedule__{example}"
    expected = json.loads(Path(f"{stem}.expected.json").read_text("utf-8"))
    tasks = read_spec_kit(Path(f"{stem}.md").read_bytes())
    assert sorted(map(list, tasks.dependencies)) == sorted(expected["edges"])
    for assigned in expected["assignments"]:
        assert list(tasks.by_id[assigned["task_id"]].touches or ()) == assigned["file_paths"]
    seconds = {assigned["task_id"]: assigned["duration"] for assigned in expected["assignments"]}
    finish: dict[str, tuple[int, tuple[str, ...]]] = {}
    for item in tasks.tasks:
        before = max((finish[name] for name in item.depends_on), default=(0, ()))
        finish[item.id] = (before[0] + seconds[item.id], (*before[1], item.id))
    assert list(max(finish.values())[1]) == expected["critical_path"]
    from orchestrator.core.planning import critical_path

    path, _ = critical_path(compiled(tasks))
    assert [name.upper() for name in path] == expected["critical_path"]


@pytest.mark.needs_shared
def test_spec_kit_ranges_tables_and_back_references_are_read(shared_data: Path) -> None:
    folder = shared_data / "task-files" / "spec-kit"
    excerpt = read_spec_kit(
        (folder / "graphedge__cypress-realworld-app__001-user-authentication-excerpt.md").read_bytes()
    )
    assert len(excerpt.tasks) == 10
    assert excerpt.by_id["T-008"].depends_on == ("T-003",)
    assert set(excerpt.by_id["T-039"].depends_on) == {
        "T-001", "T-002", "T-003", "T-005", "T-007", "T-008", "T-013", "T-014",
    }  # fmt: skip
    chinese = read_spec_kit((folder / "Rickwen1126__notebooklm-controller__001-mvp.md").read_bytes())
    assert (chinese.boxes, len(chinese.tasks)) == (131, 129)
    assert [warning.line for warning in chinese.warnings] == [103, 104]


# --- small ones -----------------------------------------------------------------------------------


def test_open_subtasks_of_agent_os_become_nodes_in_order_and_verifying_belongs_to_the_one_before() -> None:
    nodes = nodes_of(read_agent_os(V1))
    assert [(node.id, node.needs, node.covers) for node in nodes] == [
        ("2-1", (), ("2.1",)),
        ("2-3", ("2-1",), ("2.3", "2.4")),
    ]


def test_a_group_of_agent_os_two_waits_for_the_groups_it_names() -> None:
    tasks = read_agent_os(V2)
    assert tasks.by_id["group 3"].depends_on == ("group 1", "group 2")
    assert {node.id: node.needs for node in nodes_of(tasks)} == {
        "1-1": (), "1-2": ("1-1",), "2-1": ("1-2",), "3-1": ("1-2", "2-1"),
    }  # fmt: skip
    assert [str(warning) for warning in tasks.warnings] == ["line 11: depends on 7, which is not in the file"]


def test_the_last_subtask_ticks_its_parent_too_and_a_note_goes_beneath_an_open_one() -> None:
    tasks = read_agent_os(V1)
    done = tasks.finished_with(["2.1", "2.3", "2.4"])
    assert done == ("2.1", "2.3", "2.4", "2")
    ticked = tasks.with_status(dict.fromkeys(done, True))
    assert ticked == V1.replace(b"[ ]", b"[x]")
    noted = tasks.with_status({}, {"2.1": "the suite\nfails"})
    assert (
        b"tests/test_bye.py`\n    \xe2\x9a\xa0\xef\xb8\x8f Blocking issue: the suite fails\n  - [x] 2.2"
        in noted
    )
    assert read_agent_os(noted).with_status({}, {"2.1": "again"}).count("⚠️".encode()) == 1
    assert read_agent_os(noted).with_status({"2.1": True}) == tasks.with_status({"2.1": True})


def test_task_master_keeps_every_byte_but_the_status() -> None:
    tasks = read_task_master(MASTER)
    assert [item.id for item in tasks.items] == ["1", "2", "2.1", "2.2", "2.3", "3"]
    assert {node.id: node.needs for node in nodes_of(tasks)} == {"2-1": (), "2-2": ("2-1",), "3": ("2-2",)}
    assert tasks.with_status({"2.1": True}) == MASTER.replace(
        b'"b1", "status": "pending"', b'"b1", "status": "done"'
    )
    assert tasks.with_status({"2.2": True}) == MASTER.replace(b'{"id": 2,', b'{"status": "done", "id": 2,')
    with pytest.raises(TaskFileFault, match="did you mean 'other'"):
        read_task_master(MASTER, tag="othr")


def test_complexity_reports_are_read_when_they_are_some() -> None:
    report = {"complexityAnalysis": [{"taskId": 3, "complexityScore": 7, "reasoning": "many parts"}]}
    assert complexity_of(json.dumps(report).encode()) == {"3": (7, "many parts")}
    assert complexity_of(b"[1]") == complexity_of(b"nothing") == {}


def test_formats_are_told_apart_and_a_goal_is_none() -> None:
    assert detect("tasks.md", V1) == "agent-os"
    assert detect("any.md", V2) == "agent-os"
    assert detect("t.json", MASTER) == "task-master"
    assert detect("tasks.md", b"- [ ] T001 [P] x in a.py\n") == "spec-kit"
    assert detect("goal.md", b"Improve this application\n") is None
    assert detect("package.json", b'{"name": "x"}') is None
    assert detect("plan.json", plan_to_json(compiled(read_agent_os(V1))).encode()) == "native"


# --- files ----------------------------------------------------------------------------------------


def test_a_status_is_written_whole_with_a_backup_and_keeps_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "tasks.md"
    path.write_bytes(V1)
    path.chmod(0o640)
    assert write_status(path, read_task_file(path), {"2.1": True}, backups=tmp_path / "backups")
    assert path.read_bytes() == V1.replace(b"[ ] 2.1", b"[x] 2.1")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [kept.read_bytes() for kept in (tmp_path / "backups").iterdir()] == [V1]
    assert not write_status(path, read_task_file(path), {"2.1": True}, backups=tmp_path / "backups")


def test_a_file_that_changed_meanwhile_is_merged_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.md"
    path.write_bytes(V1)
    before = read_task_file(path)
    path.write_bytes(V1.replace(b"[ ] 2.3 Add", b"[x] 2.3 Add").replace(b"# Spec", b"# My spec"))
    assert write_status(path, before, {"2.1": True}, backups=tmp_path / "b")
    assert path.read_bytes() == V1.replace(b"[ ] 2.3", b"[x] 2.3").replace(b"[ ] 2.1", b"[x] 2.1").replace(
        b"# Spec", b"# My spec"
    )
    path.write_bytes(V1.replace(b"Write tests for goodbye", b"Something else entirely"))
    with pytest.raises(TaskFileChanged, match=r"2\.1 is another one now"):
        write_status(path, before, {"2.1": True}, backups=tmp_path / "b")
    assert b"[x] 2.1" not in path.read_bytes()


# --- anything at all --------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(
            b"- [ ] ",
            b"- [x] ",
            b"[X] ",
            b"  - [ ] ",
            b"# ",
            b"### ",
            b"```",
            b"~~~\n",
            b"\n",
            b"\r\n",
            b"\r",
            b"\t",
        ),
        *(
            b"1. ",
            b"1.1 ",
            b"2.0 ",
            b"Task Group 2: x",
            b"**Dependencies:** Task Groups 1-9",
            b"**1.2** y",
            b"**",
        ),
        *(
            b"T001 ",
            b"[P] ",
            b"[US1] ",
            b"(depends on T001-T9)",
            b"| Depends on | x |",
            b"Phase 1: a",
            b" \xe2\x9c\x85",
        ),
        *(
            b"\xff",
            b"\0",
            b"\xef\xbb\xbf",
            "⚠️ Blocking issue: z".encode(),
            b"src/a.py",
            b"word ",
            b"99999999999.",
        ),
    ]
)
SOUP = st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join)


@given(SOUP)
def test_any_bytes_are_read_as_markdown_without_a_crash_or_a_lost_line(data: bytes) -> None:
    for read in (read_agent_os, read_spec_kit):
        tasks = read(data)
        assert tasks.with_status({}) == data
        assert len({item.id for item in tasks.items}) == len(tasks.items)
        boxes = [item for item in tasks.items if item.mark and item.mark.end - item.mark.start == 1]
        assert len(boxes) >= tasks.boxes
        nodes_of(tasks)
        for item in tasks.tasks[:5]:
            ticked = tasks.with_status({item.id: True}, {})
            assert ticked.count(b"\n") >= data.count(b"\n") - 1
            open_again = read(ticked)
            assert open_again.is_done(open_again.by_id[item.id])


@given(st.integers(0, len(MASTER) - 1), st.binary(min_size=0, max_size=3), st.integers(0, 4))
def test_mutated_json_is_refused_or_read_without_a_lost_byte(at: int, new: bytes, cut: int) -> None:
    data = MASTER[:at] + new + MASTER[at + cut :]
    try:
        tasks = read_task_master(data)
    except TaskFileFault:
        return
    assert tasks.with_status({}) == data
    for item in tasks.items:
        json.loads(tasks.with_status({item.id: True}), strict=False)
    nodes_of(tasks)


@pytest.mark.slow
@pytest.mark.needs_shared
@given(st.data())
def test_mutated_real_files_never_crash_and_lose_nothing(shared_data: Path, data: st.DataObject) -> None:
    name, text, tag = data.draw(st.sampled_from(everything(shared_data)))
    at = data.draw(st.integers(0, len(text)))
    mutated = text[:at] + data.draw(SOUP) + text[at + data.draw(st.integers(0, 60)) :]
    try:
        tasks = read_tasks(name, mutated, format=detect(name, text), tag=tag)
    except TaskFileFault:
        return
    assert tasks.with_status({}) == mutated
    nodes_of(tasks)


def test_a_subtask_ticks_the_tag_it_came_from(tmp_path: Path) -> None:
    tasks = b'{"tasks": [{"id": 1, "title": "X", "status": "pending"}]}'
    both = b'{"a": ' + tasks + b', "b": ' + tasks + b"}"
    (tmp_path / "tasks.json").write_bytes(both)
    plan = compiled(read_task_master(both, tag="b"))
    plan = replace(plan, made_from=replace(plan.made_from, template="b"))
    subtask = replace(plan.subtasks[0], source="tasks.json#1")
    assert tick_in(tmp_path, subtask, plan, "task-master") == "tasks.json"
    first, second = (tmp_path / "tasks.json").read_bytes().split(b'"b":')
    assert b"pending" in first and b"done" in second
    assert tick_in(tmp_path, subtask, plan, "task-master") is None
    assert tick_in(tmp_path, replace(subtask, source="../tasks.json#1"), plan, "task-master") is None
