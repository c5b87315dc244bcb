"""The deterministic executor: the fixes it promises, on the files it may change, and plain words when it cannot."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from orchestrator.adapters.check_runner import Environment
from orchestrator.adapters.executors.tool import ToolExecutor
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.core.domain import AttemptId, ExecutorName, RunId
from orchestrator.core.ports import ExecutorFailed, Work
from tests.adapters.repositories import subtask, write

UNTIDY = "import os\nimport re\nx = {  'a':1 }\nif not 'a' in x:\n    print(f'none')\ny = x == None\n"


@pytest.fixture
def use(tmp_path):
    """Run a tool in a worktree; return what it produced and the file afterwards."""

    def go(tool, *, touches=("app.py",), commands=None, files=None, prepared=None):
        root = (tmp_path / "wt").resolve()
        write(root, files or {"app.py": UNTIDY, "other.py": UNTIDY})
        settings = SimpleNamespace(commands=commands or {}, check_seconds=60.0)
        executor = ToolExecutor(
            settings=settings, sandbox=Sandbox.probe(), environ=dict(os.environ), prepared=prepared
        )
        asked = subtask(touches=touches)
        object.__setattr__(asked, "executor", ExecutorName.TOOL)
        object.__setattr__(asked, "tool", tool)
        work = Work(
            run=RunId("r"),
            attempt=AttemptId(asked.id, 1),
            subtask=asked,
            goal="",
            worktree=str(root),
            route=None,
        )
        return asyncio.run(executor.execute(work)), root

    return go


def test_ruff_fixes_what_is_safe_and_only_under_the_touches(use):
    produced, root = use("ruff-fix")
    text = (root / "app.py").read_text()
    assert "import os" not in text and "'a' not in x" in text and "print('none')" in text
    # Neither unsafe nor promised: a comparison with None may be overloaded.
    assert "y = x == None" in text and "{  'a':1 }" in text
    assert (root / "other.py").read_text() == UNTIDY
    assert produced.summary.startswith("ruff-fix: ") and produced.calls == 0 and not produced.bill


def test_ruff_formats_and_the_projects_own_formatter_is_called_by_its_name(use):
    _, root = use("ruff-format", touches=("*.py",))
    assert 'x = {"a": 1}' in (root / "app.py").read_text() == (root / "other.py").read_text()
    script = "import pathlib\npathlib.Path('app.py').write_text('formatted\\n')\n"
    _, root = use(
        "project-format", commands={"format": ("python", "f.py")}, files={"f.py": script, "app.py": "x"}
    )
    assert (root / "app.py").read_text() == "formatted\n"


def test_the_projects_formatter_is_the_one_its_set_up_installed(use, tmp_path):
    tools = tmp_path / "environment" / "bin"
    write(tools, {"tidy": "#!/bin/sh\nprintf '%s\\n' \"$STYLE\" > app.py\n"})
    (tools / "tidy").chmod(0o755)
    asked = []

    def prepared(worktree):
        asked.append(worktree)
        return Environment(path=(str(tools),), readable=(str(tools),), variables={"STYLE": "its own"})

    _, root = use("project-format", commands={"format": ("tidy",)}, prepared=prepared)
    assert (root / "app.py").read_text() == "its own\n" and asked == [str(root)]
    # Ours is the linter of a tool subtask: what the project installed under its name is not.
    write(tools, {"ruff": "#!/bin/sh\nexit 1\n"})
    (tools / "ruff").chmod(0o755)
    _, root = use("ruff-format", prepared=prepared)
    assert 'x = {"a": 1}' in (root / "app.py").read_text() and len(asked) == 1


@pytest.mark.parametrize(
    ("tool", "options", "said"),
    [
        ("rm-rf", {}, "there is no tool 'rm-rf'"),
        (None, {}, "there is no tool"),
        ("project-format", {}, "no formatter is configured"),
        ("project-format", {"commands": {"format": ("no-such-formatter",)}}, "no-such-formatter"),
        ("ruff-fix", {"touches": ("nothing/**",)}, "no Python file matches nothing/**"),
        ("ruff-fix", {"touches": None}, "needs to know which files"),
        ("ruff-format", {"files": {"app.py": "def (\n"}}, "ruff-format could not run"),
    ],
)
def test_what_cannot_be_done_is_said(use, tool, options, said):
    with pytest.raises(ExecutorFailed) as failed:
        use(tool, **options)
    assert said in failed.value.reason


def test_a_link_is_not_followed(use, tmp_path):
    write(tmp_path, {"outside.py": UNTIDY})
    (tmp_path / "wt").mkdir()
    (tmp_path / "wt" / "app.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(ExecutorFailed, match="no Python file"):
        use("ruff-fix", files={"other.py": UNTIDY})
    assert (tmp_path / "outside.py").read_text() == UNTIDY
