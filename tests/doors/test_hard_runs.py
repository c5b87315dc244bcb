"""Whole runs where it is hard: a disk that fails or is full (T02), sixteen attempts at once, untidy work (T18)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import requires
from tests.doors.main_job import SCRIPT, Scene, small_plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def untidy(scene: Scene) -> None:
    """A stash, staged and unstaged edits and an untracked file, as people have them."""
    readme = scene.repository / "README.md"
    readme.write_text("stashed\n")
    scene.git("stash", "-q")
    readme.write_text("staged\n")
    scene.git("add", "README.md")
    readme.write_text("edited\n")
    (scene.repository / "mine.txt").write_text("untracked\n")


@requires("strace")
@pytest.mark.parametrize(
    ("fault", "said"),
    [("fdatasync:error=EIO:when=4", "I/O error"), ("pwrite64:error=ENOSPC:when=25+", "disk full")],
)
def test_a_run_whose_disk_fails_stops_in_one_line_and_goes_on_when_it_is_well_again(
    scene: Scene, fault: str, said: str
):
    untidy(scene)
    plan = small_plan(scene)
    before = scene.fingerprint()
    store = scene.scratch / "state" / "orchestrator.sqlite3"
    files = [option for suffix in ("", "-wal", "-journal") for option in ("-P", f"{store}{suffix}")]
    call = fault.partition(":")[0]
    trace = ["strace", "-f", "--detach-on=execve", "-qq", "-o", os.devnull, *files]
    faulty = [*trace, "-e", f"trace={call}", "-e", f"inject={fault}"]
    run = scene.argv("run", str(plan), "--yes", "--json", "--scripted", str(SCRIPT), "--budget", "1")
    done = subprocess.run(
        [*faulty, *run], cwd=scene.repository, env=scene.environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"error: {said}")
    assert str(store) in last
    assert "Traceback" not in done.stderr
    again = scene.run("resume", "--scripted", str(SCRIPT))
    assert again.returncode == 0, again.stderr
    assert scene.report()["state"] == "done"
    assert scene.fingerprint() == before


def test_sixteen_attempts_at_once_all_land_beside_work_that_stays_as_it_was(scene: Scene):
    names = "abcdefghijklmnop"
    for name in names:
        (scene.repository / "stockroom" / f"part_{name}.py").write_text(
            "import os\nimport sys\n\nMOST = sys.maxsize\n"
        )
    scene.git("add", ".")
    scene.git("commit", "-q", "-m", "Sixteen parts")
    plan = small_plan(scene)
    saved = json.loads(plan.read_text())
    (tool,) = [subtask for subtask in saved["subtasks"] if subtask.get("tool")]
    saved["subtasks"] = [
        {**tool, "id": f"part-{name}", "touches": [f"stockroom/part_{name}.py"]} for name in names
    ]
    plan.write_text(json.dumps(saved))
    untidy(scene)
    before = scene.fingerprint()

    process = scene.start("run", str(plan), "--yes", "--json", "--parallel", "16", "--scripted", str(SCRIPT))
    said, _ = process.communicate(timeout=500)

    assert process.returncode == 0, said
    (branch,) = scene.git("branch", "--list", "orchestrator/*", "--format=%(refname:short)").split()
    changed = scene.git("diff", "--name-only", "main", branch).split()
    assert changed == [f"stockroom/part_{name}.py" for name in names]
    assert scene.git("rev-list", "--count", f"main..{branch}").strip() == "16"
    assert len(scene.git("worktree", "list").splitlines()) == 1
    assert scene.fingerprint() == before
