"""Scratch directories: gone after their command, and after their process where that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.adapters.scratch import clear_scratch, scratch_directory

HOLDS = """
import signal, sys
from pathlib import Path
from orchestrator.adapters.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1])) as place:
    (place / "home" / "left").touch()
    print(place, flush=True)
    signal.pause()
"""


def test_a_directory_is_removed_whatever_was_put_there(tmp_path: Path):
    with scratch_directory(tmp_path) as place:
        (place / "tmp" / "deep").mkdir()
        (place / "tmp" / "deep" / "file").touch()
        (place / "tmp" / "deep").chmod(0)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path: Path):
    (tmp_path / "orchestrator-demo").mkdir()
    outside = tmp_path / "orchestrator-scratch-link"
    outside.symlink_to(tmp_path / "orchestrator-demo")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        with scratch_directory(tmp_path) as own:
            clear_scratch(tmp_path)
            assert own.exists()
        assert (place / "home" / "left").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert place.exists()
        clear_scratch(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orchestrator-demo", outside.name]
