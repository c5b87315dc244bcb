"""setup.sh refuses what cannot work before it changes anything, in one line that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run_setup(tmp_path: Path):
    """Run a copy of setup.sh in an empty directory, with the given scripts in place of programs."""
    commands = tmp_path / "bin"
    commands.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "setup.sh", project)

    def run(*arguments: str, programs: dict[str, str]) -> tuple[int, list[str]]:
        for name, body in programs.items():
            (commands / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
            (commands / name).chmod(0o755)
        environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
        environment["PYTHON"] = "python-for-the-test"
        process = subprocess.run(
            ["bash", "setup.sh", *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert sorted(path.name for path in project.iterdir()) == ["setup.sh"], "something was made"
        assert process.stdout == ""
        return process.returncode, process.stderr.splitlines()

    return run


REAL_PYTHON = f'exec "{sys.executable}" "$@"'


@pytest.mark.parametrize("machine", ["armv6l", "armv7l", "armv8l"])
def test_32_bit_arm_is_refused_by_name(run_setup, machine: str):
    code, lines = run_setup(programs={"uname": f"echo {machine}", "python-for-the-test": REAL_PYTHON})
    assert code == 2
    assert lines == [
        f"setup: 32-bit ARM ({machine}) is not supported: there are no wheels for it; "
        "use a 64-bit system (aarch64)"
    ]


def test_a_32_bit_python_on_a_64_bit_arm_kernel_is_refused(run_setup):
    python = f'case "$*" in *struct*) echo 4 ;; *) {REAL_PYTHON} ;; esac'
    code, lines = run_setup(programs={"uname": "echo aarch64", "python-for-the-test": python})
    assert code == 2
    assert len(lines) == 1
    assert "32-bit Python on aarch64" in lines[0]


def test_an_old_python_is_refused_with_its_version(run_setup):
    python = 'case "$*" in *version_info*) exit 1 ;; *) echo ", found 3.9.2" ;; esac'
    code, lines = run_setup(programs={"python-for-the-test": python})
    assert code == 2
    assert lines == [
        "setup: Python 3.11 or newer is needed, found 3.9.2; install it, "
        "or name one: PYTHON=/path/to/python ./setup.sh"
    ]


def test_a_python_that_is_not_there_is_refused(run_setup):
    code, lines = run_setup(programs={})
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("setup: Python 3.11 or newer is needed; ")


def test_debian_without_the_venv_package_is_told_its_name(run_setup):
    python = f'case "$*" in *ensurepip*) exit 1 ;; *) {REAL_PYTHON} ;; esac'
    code, lines = run_setup(programs={"python-for-the-test": python})
    assert code == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert lines == [
        "setup: python-for-the-test cannot make virtual environments; "
        f"on Debian: sudo apt install python{version}-venv"
    ]


def test_an_unknown_option_is_named(run_setup):
    code, lines = run_setup("--developer", programs={})
    assert code == 2
    assert lines == ["setup: unknown option '--developer': only --dev is known"]
