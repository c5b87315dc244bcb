"""Claim: on a 1,000-file repository `plan --offline` costs at most 1.5 times ruff, lizard and git log alone.

Makes a repository of Python, TypeScript and Go files with a history, then measures, in turn and without any cache:
`ruff check`, `lizard` over every file, `git log --name-only`, and `orchestrator plan "Improve this application"
--offline`, whole. Prints wall and CPU seconds (user + system, children included) and both ratios. Exit code 1 above
the limit. `--repository DIR` measures an existing clone instead.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.5
PYTHON = '''
def {name}(rows, limit={number}):
    """Sum what is above a limit, by key."""
    totals = {{}}
    for row in rows:
        key, value = row["key"], row.get("value", 0)
        if key is None or not value:
            continue
        if value > limit and key not in ("total", "rest"):
            totals[key] = totals.get(key, 0) + value
        elif value == limit:
            totals.setdefault("rest", []).append(key)
    return {{key: totals[key] for key in sorted(totals, key=str) if totals[key]}}
'''
TYPESCRIPT = """
export function {name}(rows: Row[], limit = {number}): Record<string, number> {{
  const totals: Record<string, number> = {{}}
  for (const row of rows) {{
    if (row.key === undefined || !row.value) continue
    if (row.value > limit && row.key !== 'total') {{
      totals[row.key] = (totals[row.key] ?? 0) + row.value
    }} else if (row.value === limit) {{
      totals.rest = (totals.rest ?? 0) + 1
    }}
  }}
  return totals
}}
"""
GO = """
func {name}(rows []Row) (map[string]int, error) {{
	totals := map[string]int{{}}
	for _, row := range rows {{
		if row.Key == "" || row.Value == 0 {{
			continue
		}}
		if row.Value > {number} && row.Key != "total" {{
			totals[row.Key] += row.Value
		}}
	}}
	return totals, nil
}}
"""
KINDS = (
    ("py", "import json\nimport os\n", PYTHON, 6),
    ("ts", "import { Row } from './row'\n", TYPESCRIPT, 3),
    ("go", "package it\n", GO, 1),
)


def make(root: Path, files: int, commits: int) -> None:
    """A repository with a history; the same for the same numbers."""
    chosen = random.Random(files)
    root.mkdir()
    git(root, "init", "-q")
    paths: list[Path] = []
    weights = [kind[3] for kind in KINDS]
    for number in range(files):
        suffix, head, body, _ = chosen.choices(KINDS, weights)[0]
        path = root / f"area{number % 20}" / f"module_{number}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        functions = range(chosen.randint(3, 16))
        path.write_text(head + "".join(body.format(name=f"part{number}_{n}", number=n) for n in functions))
        paths.append(path)
    tests = root / "tests" / "test_area0.py"
    tests.parent.mkdir()
    tests.write_text("import pytest\n\n\ndef test_nothing():\n    assert pytest\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    for number in range(commits):
        for path in chosen.sample(paths, 4):
            comment = "#" if path.suffix == ".py" else "//"
            with path.open("a") as file:
                file.write(f"{comment} change {number}\n")
        git(root, "commit", "-q", "-a", "-m", f"change {number}")


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, env=environment())


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}


def measured(argv: list[str], cwd: Path, scratch: Path) -> tuple[float, float, bytes]:
    """Wall seconds, CPU seconds and output of one process and its children."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        own = {
            f"ORCHESTRATOR_{name}": f"{scratch}/{name.lower()}" for name in ("STATE", "CACHE", "CONFIG_DIR")
        }
        environ = environment() | own
        process = subprocess.Popen(argv, cwd=cwd, env=environ, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode < 0 or process.returncode > 1:
            raise SystemExit(f"{argv[0]} ended with exit code {process.returncode}")
        output.seek(0)
        return wall, usage.ru_utime + usage.ru_stime, output.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 files, 3 rounds")
    parser.add_argument("--repository", type=Path, help="measure this clone instead")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    files, commits, rounds = (300, 30, 3) if options.quick else (1000, 150, 5)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.repository or Path(scratch) / "repository"
        if options.repository is None:
            make(root, files, commits)
        root = root.resolve()
        tools = Path(sys.executable).parent
        cache = Path(scratch) / "cache"
        commands = {
            "ruff": [str(tools / "ruff"), "check", "--isolated", "--no-cache", "--exit-zero", "--output-format", "json",
                     "--select", "F,B,PLE,PERF", "."],
            "lizard": [sys.executable, "-m", "lizard", "--csv", "."],
            "git log": ["git", "log", "--no-merges", "--no-renames", "--name-only", "--format=%x01", "-n2000"],
            "plan --offline": [sys.executable, "-m", "orchestrator", "plan", "Improve this application", "--offline",
                               "--json"],
        }  # fmt: skip
        walls: dict[str, list[float]] = {name: [] for name in commands}
        cpus: dict[str, list[float]] = {name: [] for name in commands}
        told: dict[str, object] = {}
        for _ in range(rounds):
            for name, argv in commands.items():
                shutil.rmtree(cache, ignore_errors=True)
                wall, cpu, output = measured(argv, root, Path(scratch))
                walls[name].append(wall)
                cpus[name].append(cpu)
                if name == "plan --offline":
                    told = {"subtasks": len(json.loads(output)["plan"]["subtasks"])}
    figures: dict[str, object] = dict(told)
    print(", ".join(f"{key}: {value}" for key, value in told.items()))
    print(f"{'':16} {'wall s':>8} {'CPU s':>8}")
    for name in commands:
        print(f"{name:16} {statistics.median(walls[name]):8.3f} {statistics.median(cpus[name]):8.3f}")
    worst = 0.0
    for what, seconds in (("wall", walls), ("cpu", cpus)):
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        ratio = middle["plan --offline"] / sum(middle[name] for name in ("ruff", "lizard", "git log"))
        figures[f"{what}_ratio"] = round(ratio, 3)
        worst = max(worst, ratio)
        print(f"{what} ratio to the sum of the three: {ratio:.2f} (limit {LIMIT})")
    if options.json:
        options.json.write_text(json.dumps(figures | {"limit": LIMIT}, indent=2) + "\n")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
