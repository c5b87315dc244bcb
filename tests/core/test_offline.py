"""The offline planner: from the values of a survey to the draft of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.core.domain import ExecutorName, Plan, Provenance
from orchestrator.core.facts import (
    Command,
    CommandKind,
    Finding,
    FindingKind,
    FunctionSize,
    HotSpot,
    SourceFile,
    Survey,
    Untested,
)
from orchestrator.core.offline import Group, NeedsModel, NothingToImprove, groups_of, plan_offline
from orchestrator.core.offline.places import NotThere, places_of
from orchestrator.core.planning import compile_plan
from orchestrator.core.standards import Standard, read_standard

ROOT = Path(__file__).resolve().parents[2]
GOAL = "Improve this application"


@pytest.fixture(scope="module")
def standard() -> Standard:
    path = ROOT / "agent-os" / "standards" / "prompt-optimization.md"
    return read_standard(path.read_text(encoding="utf-8"), source="prompt-optimization.md")


def finding(
    kind: FindingKind, path: str, line: int = 3, *, weight: int = 8, tool: str | None = None
) -> Finding:
    return Finding(
        kind=kind, rule="a-rule", path=path, line=line, fact=f"a fact of line {line}", weight=weight, symbol="f",
        quote="f(x)", fixable_by=tool,
    )  # fmt: skip


def untested(path: str, complexity: int = 12) -> Untested:
    test = "tests/test_" + path.rpartition("/")[2]
    return Untested(
        path=path, symbols=(("f", 3), ("g", 9)), lines=40, complexity=complexity, test_path=test,
        fact="no test imports this module or names any of its 2 functions and classes, `f` the first",
        near="tests/test_a.py",
    )  # fmt: skip


def function(path: str, complexity: int = 20) -> FunctionSize:
    return FunctionSize(path=path, name="run", line=5, end_line=64, complexity=complexity, parameters=2)


def application(**changes: object) -> Survey:
    paths = ["a.py", "b.py", "c.py", "d.py", "e.py", "tests/test_a.py"]
    survey = Survey(
        commit="0123456789abcdef",
        files=tuple(
            SourceFile(path=path, language="Python", lines=100, size_bytes=3000, test="test" in path)
            for path in paths
        ),
        commands=(
            Command(
                name="test", kind=CommandKind.TEST, argv=("python", "-m", "pytest"), path="pytest.ini", line=1
            ),
        ),
        findings=(
            finding(FindingKind.BUG, "a.py"),
            finding(FindingKind.BUG, "a.py", 7, weight=3),
            finding(FindingKind.ERROR_HANDLING, "b.py"),
            finding(FindingKind.PERFORMANCE, "c.py", weight=7),
            finding(FindingKind.STYLE, "b.py", 1, weight=2, tool="ruff-fix"),
            finding(FindingKind.FORMATTING, "a.py", 1, weight=1, tool="ruff-format"),
            finding(FindingKind.NOTE, "a.py", 9, weight=2),
        ),
        functions=(function("d.py"),),
        hot_spots=(HotSpot(path="d.py", commits=30, complexity=20),),
        untested=(untested("d.py"),),
        tests_of={"a.py": ("tests/test_a.py",)},
    )
    return replace(survey, **changes)  # type: ignore[arg-type]


def compiled(survey: Survey, standard: Standard, *, goal: str = GOAL, limit: int = 8) -> Plan:
    draft = plan_offline(goal, survey, standard, commit=survey.commit, limit=limit)
    return compile_plan(
        draft,
        goal=goal,
        standard=standard,
        made_from=Provenance(planner="offline", commit=survey.commit),
        commands=[command.name for command in survey.commands],
        files={file.path: file.lines for file in survey.files},
    )


def test_an_improvement_goal_gives_the_five_groups_with_the_tags_of_the_standard(standard: Standard):
    plan = compiled(application(), standard)
    assert [(subtask.id, subtask.tag.tier, subtask.category, subtask.group) for subtask in plan.subtasks] == [
        ("ruff-fix", "cheap", "cheap/syntax-corrections", "Fix what a tool can fix"),
        ("fix-a", "cheap", "cheap/bug-fixes", "Fix obvious bugs"),
        ("handle-errors-b", "cheap", "cheap/error-handling", "Improve error handling"),
        ("test-d", "cheap", "cheap/unit-tests", "Add unit tests"),
        ("speed-up-f", "smart", "smart/performance-analysis", "Optimize performance bottlenecks"),
        ("refactor-run", "smart", "smart/architecture-design", "Refactor architecture"),
        ("ruff-format", "cheap", "cheap/code-formatting", "Format"),
    ]


def test_tests_come_before_the_refactoring_they_protect_and_what_shares_a_file_is_ordered(standard: Standard):
    plan = compiled(application(), standard)
    assert {subtask.id: subtask.depends_on for subtask in plan.subtasks} == {
        "ruff-fix": (),
        "fix-a": (),
        "handle-errors-b": ("ruff-fix",),
        "test-d": (),
        "speed-up-f": (),
        "refactor-run": ("test-d",),
        "ruff-format": ("fix-a",),
    }
    # The compiler had no order to add.
    assert not [note for note in plan.notes if "waits for" in note]


def test_what_a_tool_can_do_costs_nothing_and_waits_for_no_model(standard: Standard):
    plan = compiled(application(), standard)
    [fix] = [subtask for subtask in plan.subtasks if subtask.tool == "ruff-fix"]
    assert fix.executor is ExecutorName.TOOL
    assert fix.depends_on == ()
    assert fix.estimate.input_tokens.high == fix.estimate.output_tokens.high == 0


def test_every_subtask_is_small_grounded_and_checked(standard: Standard):
    survey = application()
    lines = {file.path: file.lines for file in survey.files}
    for subtask in compiled(survey, standard).subtasks:
        assert subtask.touches and subtask.checks and subtask.evidence
        if subtask.executor is ExecutorName.EDIT:
            assert len([path for path in subtask.touches if "test" not in path]) <= 1
        for evidence in subtask.evidence:
            assert evidence.line <= lines[evidence.path]
        if subtask.tag.tier == "cheap":
            assert subtask.estimate.output_tokens.likely <= 1000


def test_instructions_name_place_fact_line_and_proof(standard: Standard):
    [fix] = [subtask for subtask in compiled(application(), standard).subtasks if subtask.id == "fix-a"]
    for part in ("`a.py`", "line 3, in `f`: a fact of line 3.", "f(x)", "0123456789ab", "`tests/test_a.py`"):
        assert part in fix.instructions
    # The lighter finding of the same file rides along.
    assert [evidence.line for evidence in fix.evidence] == [3, 7]
    assert fix.touches == ("a.py", "tests/test_a.py")


def test_the_same_facts_give_the_same_draft_byte_for_byte(standard: Standard):
    survey = application()
    shuffled = replace(survey, findings=survey.findings[::-1], files=survey.files[::-1])
    drafts = {
        json.dumps(plan_offline(GOAL, each, standard, commit=survey.commit)) for each in (survey, shuffled)
    }
    assert len(drafts) == 1


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_limit_keeps_the_most_valuable_and_never_a_refactoring_without_its_tests(
    standard: Standard, limit: int
):
    plan = compiled(application(), standard, limit=limit)
    ids = [subtask.id for subtask in plan.subtasks]
    assert len(ids) <= limit
    assert "fix-a" in ids
    assert "refactor-run" not in ids or "test-d" in ids


def test_no_group_crowds_out_the_others(standard: Standard):
    many = tuple(finding(FindingKind.BUG, f"m{n}.py") for n in range(30))
    files = tuple(SourceFile(path=f"m{n}.py", language="Python", lines=9, size_bytes=90) for n in range(30))
    survey = application()
    survey = replace(survey, findings=survey.findings + many, files=survey.files + files)
    plan = compiled(survey, standard)
    assert len(plan.subtasks) == 8
    assert {subtask.group for subtask in plan.subtasks} >= {
        Group.BUGS, Group.ERRORS, Group.TESTS, Group.PERFORMANCE, Group.ARCHITECTURE,
    }  # fmt: skip


def test_a_well_kept_library_gets_a_short_plan_or_none(standard: Standard):
    kinds = (CommandKind.TEST, CommandKind.LINT, CommandKind.TYPE)
    commands = tuple(
        Command(name=kind.value, kind=kind, argv=("x",), path="pytest.ini", line=1) for kind in kinds
    )
    kept = application(
        commands=commands,
        functions=(),
        untested=(untested("e.py", complexity=2),),
        findings=(
            finding(FindingKind.ERROR_HANDLING, "b.py", weight=6),
            finding(FindingKind.NOTE, "a.py", 9, weight=2),
        ),
    )
    with pytest.raises(
        NothingToImprove, match="nothing to improve was found without a model in 6 files"
    ) as told:
        plan_offline(GOAL, kept, standard, commit="0")
    assert told.value.exit_code == 0
    certain = replace(kept, findings=(finding(FindingKind.ERROR_HANDLING, "b.py", weight=7),))
    assert [subtask.id for subtask in compiled(certain, standard).subtasks] == ["handle-errors-b"]


def test_without_a_test_command_no_unit_tests_are_promised_for_other_languages(standard: Standard):
    module = replace(untested("e.ts"), test_path="e.test.ts")
    survey = application(
        files=(SourceFile(path="e.ts", language="TypeScript", lines=90, size_bytes=900),),
        commands=(
            Command(name="lint", kind=CommandKind.LINT, argv=("pnpm", "lint"), path="package.json", line=4),
        ),
        findings=(finding(FindingKind.BUG, "e.ts"),),
        functions=(),
        untested=(module,),
        tests_of={},
    )
    plan = compiled(survey, standard)
    [fix] = plan.subtasks
    assert (fix.id, fix.touches) == ("fix-e", ("e.ts",))
    assert [(check.kind.value, check.targets) for check in fix.checks] == [("command", ("lint",))]
    assert any(
        "no test command was found for 1 module without tests, e.ts the first" in n for n in plan.notes
    )


def test_a_change_that_nothing_can_check_says_so(standard: Standard):
    survey = application(
        files=(SourceFile(path="e.go", language="Go", lines=90, size_bytes=900),),
        commands=(),
        findings=(finding(FindingKind.BUG, "e.go"),),
        functions=(),
        untested=(),
        tests_of={},
    )
    [fix] = compiled(survey, standard).subtasks
    assert fix.checks == ()
    assert fix.notes == (
        "no test, type, lint or build command covers this file: nothing can check the change",
    )


def test_a_syntax_error_comes_first_and_is_a_syntax_correction(standard: Standard):
    broken = replace(
        finding(FindingKind.BUG, "e.py", weight=10), rule="syntax-error", fact="syntax error: it"
    )
    survey = application(findings=(*application().findings, broken))
    [fix] = compiled(survey, standard, limit=1).subtasks
    assert (fix.category, fix.title) == ("cheap/syntax-corrections", "Fix the syntax error in e.py, line 3")


def test_a_standard_with_other_rules_decides_by_its_own_words():
    own = read_standard(
        "## Cheap Model Tasks:\n- Repairs: fix, bug\n- Unit tests: test\n## Smart Model Tasks:\n- Hard: refactor\n",
        source="own.md",
    )
    tags = {subtask.id: subtask.tag.rule for subtask in compiled(application(), own).subtasks}
    assert tags["test-d"] == "cheap/unit-tests"
    assert tags["fix-a"] == "cheap/repairs"
    assert tags["refactor-run"] == "smart/hard"


def test_ids_are_unique_and_dependencies_point_backwards(standard: Standard):
    paths = ["x/util.py", "y/util.py", "z/util.py", "x/y/util.py"]
    survey = application(
        files=tuple(SourceFile(path=path, language="Python", lines=9, size_bytes=90) for path in paths),
        findings=tuple(finding(FindingKind.BUG, path) for path in paths),
        functions=tuple(function(path) for path in paths),
        untested=(),
        tests_of={},
    )
    plan = compiled(survey, standard, limit=20)
    ids = [subtask.id for subtask in plan.subtasks]
    assert len(set(ids)) == len(ids) == 8
    for subtask in plan.subtasks:
        assert all(ids.index(name) < ids.index(subtask.id) for name in subtask.depends_on)


def test_groups_are_worked_on_in_their_order(standard: Standard):
    order = [group.value for group in Group]
    groups = [order.index(subtask.group) for subtask in compiled(application(), standard).subtasks]
    assert all(one <= other for one, other in pairwise(groups))


# --- goals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "goal",
    [
        "Improve this application",
        "improve the code quality of this project, please",
        "Clean up this repository",
        "harden the codebase",
        "Make this library more robust and maintainable",
        "Improve a.py",
        "Improve the shop package",
    ],
)
def test_general_improvement_goals_ask_for_every_group(goal: str):
    assert groups_of(goal, names=["a.py", "shop"]) == frozenset(Group)


@pytest.mark.parametrize(
    ("goal", "groups"),
    [
        ("Add unit tests", {Group.TESTS}),
        ("fix obvious bugs", {Group.BUGS, Group.MECHANICAL}),
        ("Improve error handling", {Group.ERRORS}),
        ("optimize performance bottlenecks and refactor", {Group.PERFORMANCE, Group.ARCHITECTURE}),
        ("format this code", {Group.FORMATTING}),
    ],
)
def test_a_goal_that_names_groups_gets_only_those(goal: str, groups: set[Group]):
    assert groups_of(goal) == groups


@pytest.mark.parametrize("goal", ["Add unit tests", "improve the tests", "test the errors module"])
def test_a_directory_of_tests_is_no_reason_to_need_a_model(goal: str):
    assert groups_of(goal, names=["tests", "test", "errors"]) == {Group.TESTS}


def test_a_word_that_is_a_group_and_a_name_is_the_group_where_nothing_else_is_asked():
    assert groups_of("Improve errors", names=["errors"]) == frozenset(Group)
    assert groups_of("fix errors", names=["errors"]) == {Group.ERRORS}


@pytest.mark.parametrize(
    ("goal", "places"),
    [
        ("Improve this application", ()),
        ("Improve the code of this project for me, in general", ()),
        ("Improve error handling in the shop package", ("src/shop",)),
        ("Improve error handling in src/shop/.", ("src/shop",)),
        ("harden errors.py", ("src/shop/errors.py",)),
        ("refactor ./src/shop/errors.py and a.py", ("src/shop/errors.py", "a.py")),
        ("improve the errors module", ("src/shop/errors.py",)),
        ("Improve this Node.js application, its input/output and/or v1.0/v2.0", ()),
        ("Improve the whole package", ()),
    ],
)
def test_a_goal_that_names_a_place_keeps_to_it(goal: str, places: tuple[str, ...]):
    paths = ["a.py", "src/shop/errors.py", "src/shop/cart.py", "tests/test_errors.py"]
    survey = Survey(
        commit="0123456789abcdef",
        files=tuple(
            SourceFile(path=path, language="Python", lines=9, size_bytes=90, test=path.startswith("tests"))
            for path in paths
        ),
    )
    assert places_of(goal, survey) == places


def test_facts_of_other_places_make_no_subtask_and_a_file_that_is_not_there_is_named(standard: Standard):
    plan = compiled(application(), standard, goal="Improve a.py")
    assert {path for subtask in plan.subtasks for path in subtask.touches or ()} <= {
        "a.py",
        "tests/test_a.py",
    }
    assert "kept to what the goal names: a.py" in plan.notes
    for path in ("src/none.py", "lib/none.rs"):
        with pytest.raises(NotThere, match=rf"names {path}, which is not at commit 0123456789ab"):
            plan_offline(f"Improve {path}", application(), standard, commit="0123456789abcdef")


@pytest.mark.parametrize(
    "goal",
    [
        "Add a login page",
        "Improve the login page",
        "Implement OAuth and improve the tests",
        "Translate the interface to Dutch",
        "Improve the checkout conversion funnel",
        "migrate to postgres",
        "write documentation",
        "hello",
        "",
        "x" * 5000,
        "Design a database schema for a multi-tenant application",
        "Analyze the entire codebase and suggest performance improvements",
    ],
)
def test_any_other_goal_needs_a_model_and_says_how_to_get_one(goal: str, standard: Standard):
    with pytest.raises(NeedsModel) as told:
        plan_offline(goal, application(), standard, commit="0")
    assert told.value.exit_code == 4
    message = str(told.value)
    assert "needs a model" in message and "OPENROUTER_API_KEY" in message and "\n" not in message
    assert len(message) < 400


def test_what_nothing_can_check_is_not_refactored_and_what_no_test_covers_is_marked(standard: Standard):
    survey = application(
        files=(SourceFile(path="e.go", language="Go", lines=90, size_bytes=900),),
        commands=(),
        findings=(),
        functions=(function("e.go", 40),),
        untested=(),
        tests_of={},
    )
    with pytest.raises(NothingToImprove):
        plan_offline(GOAL, survey, standard, commit="0")
    vet = Command(name="lint", kind=CommandKind.LINT, argv=("go", "vet", "./..."), path="go.mod", line=1)
    [refactor] = compiled(replace(survey, commands=(vet,)), standard).subtasks
    assert refactor.notes == ("no test command covers this file: read the change before you accept it",)


def test_a_tool_takes_the_hundred_files_with_most_findings(standard: Standard):
    paths = [f"m{number:03}.py" for number in range(150)]
    findings = [finding(FindingKind.STYLE, path, 1, weight=2, tool="ruff-fix") for path in paths]
    findings += [finding(FindingKind.STYLE, path, 2, weight=2, tool="ruff-fix") for path in paths[60:]]
    findings += [finding(FindingKind.FORMATTING, path, 1, weight=1, tool="ruff-format") for path in paths]
    survey = application(
        files=tuple(SourceFile(path=path, language="Python", lines=9, size_bytes=90) for path in paths),
        findings=tuple(findings),
        functions=(),
        untested=(),
    )
    [fix] = compiled(survey, standard).subtasks
    assert fix.touches == (*paths[:10], *paths[60:])
    assert fix.title == "Fix mechanically what ruff can fix in 100 files"
