"""Claim: `--help` costs at most 15 times the CPU of `python -c pass`, other read commands at most 20 times.

Runs each command several times in turn with the bare interpreter and prints the ratio of median CPU seconds
(user + system, children included). Exit code 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMMANDS = {
    "--help": (["--help"], 15.0),
    "route": (["route", "fix the typo in the readme"], 20.0),
    "tag": (["tag", "refactor the session store"], 20.0),
    "budget status": (["budget", "status"], 20.0),
    "runs": (["runs"], 20.0),
    "show": (["show", "--json"], 20.0),
    "standards show": (["standards", "show"], 20.0),
}


def cpu_seconds(argv: list[str], cwd: str, environ: dict[str, str]) -> float:
    """User and system seconds of one finished process."""
    process = subprocess.Popen(
        argv, cwd=cwd, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _finish_a_run(repository: str, environ: dict[str, str]) -> None:
    """A small run in the repository, of nothing but a tool, for `runs` and `show` to look at."""
    Path(repository, "counting.py").write_text("import os\n\n\ndef one() -> int:\n    return 1\n")
    Path(repository, "test_counting.py").write_text(
        "import unittest\n\nimport counting\n\n\nclass Counting(unittest.TestCase):\n"
        "    def test_one(self) -> None:\n        self.assertEqual(counting.one(), 1)\n"
    )
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", "add", "."], check=True, env=environ, cwd=repository)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "one"], check=True, env=environ, cwd=repository)
    argv = [sys.executable, "-m", "orchestrator"]
    made = f"{repository}/../plan.json"
    offline = ["plan", "improve this application", "--offline", "--yes", "--out", made]
    for arguments in (offline, ["run", made, "--yes", "--only", "ruff-fix"]):
        subprocess.run([*argv, *arguments], check=True, env=environ, cwd=repository, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rounds = 5 if options.quick else 15
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "ORCHESTRATOR_STATE": f"{scratch}/state",
            "ORCHESTRATOR_CACHE": f"{scratch}/cache",
            "ORCHESTRATOR_CONFIG_DIR": f"{scratch}/config",
            # A key that no call uses: without one the defaults have no model to route to.
            "OPENROUTER_API_KEY": "unused",
        }
        subprocess.run(["git", "init", "-q", f"{scratch}/repository"], check=True, env=environ)
        repository = f"{scratch}/repository"
        commit = ["commit", "-q", "--allow-empty", "-m", "nothing"]
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", *identity, *commit], check=True, env=environ, cwd=repository)
        _finish_a_run(repository, environ)
        bare = [sys.executable, "-c", "pass"]
        print(f"{'command':20} {'CPU s':>8} {'bare s':>8} {'ratio':>7} {'limit':>7}")
        for name, (arguments, limit) in COMMANDS.items():
            argv = [sys.executable, "-m", "orchestrator", *arguments]
            cpu_seconds(argv, repository, environ)
            own: list[float] = []
            base: list[float] = []
            for _ in range(rounds):
                own.append(cpu_seconds(argv, repository, environ))
                base.append(cpu_seconds(bare, repository, environ))
            ratio = statistics.median(own) / statistics.median(base)
            figures[name] = {"ratio": round(ratio, 2), "limit": limit}
            print(
                f"{name:20} {statistics.median(own):8.3f} {statistics.median(base):8.3f} {ratio:7.1f} {limit:7.0f}"
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(row["ratio"] <= row["limit"] for row in figures.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
