"""Claim: the same graph on the same machine in one run, ours beside LangGraph, Dask and Prefect.

1,000 layered nodes, 64 at a time, 50 ms each or uneven: makespan over the simulated ideal, and CPU per node. The peers
live in environments of their own, which `--make DIR` makes (once, from the package index pip is set up with) and
`--environments DIR` names. A peer that is not there is left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path

from graph import graph, ideal

HERE = Path(__file__).resolve().parent
OURS = HERE.parent / "dispatch_overhead.py"
PEERS = {
    "langgraph": ["langgraph==1.2.22"],
    "dask": ["distributed==2026.8.0"],
    # Its newest web framework broke it.
    "prefect": ["prefect==3.8.8", "fastapi<0.140"],
}


def make(directory: Path) -> None:
    for name, packages in PEERS.items():
        place = directory / name
        if not (place / "bin" / "python").exists():
            venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)


def row(python: Path | str, script: Path, *arguments: str, seconds: float = 400) -> dict[str, float] | str:
    try:
        done = subprocess.run(
            [python, script, *arguments],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"over {seconds:.0f} s"
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["failed"])[-1][:100]
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--make", type=Path, metavar="DIR", help="make the peers' environments there, then run"
    )
    parser.add_argument("--environments", type=Path, metavar="DIR")
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="200 nodes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.make:
        make(options.make)
    environments = options.environments or options.make
    size = 200 if options.quick else options.size
    report: dict[str, object] = {}
    print(f"{size:,} layered nodes, 64 at a time")
    print(f"{'':>24} {'makespan':>9} {'/ ideal':>8} {'CPU ms each':>12}")
    for kind in ("even", "uneven"):
        best = ideal(*graph(kind, size))
        rows: dict[str, dict[str, float] | str] = {
            "ours": row(sys.executable, OURS, "--row", kind, str(size), "memory", "."),
        }
        for name in PEERS:
            python = (environments or Path("nowhere")) / name / "bin" / "python"
            if python.exists():
                rows[name] = row(python.absolute(), HERE / f"run_{name}.py", kind, str(size))
            else:
                rows[name] = "not there: --make DIR"
        for name, found in rows.items():
            if isinstance(found, str):
                print(f"{kind + ': ' + name:>24} {found}")
                continue
            ratio, each = found["wall"] / best, 1000 * found["cpu"] / size
            report[f"{kind} {name}"] = {**found, "ratio": ratio, "cpu_ms": each}
            print(f"{kind + ': ' + name:>24} {found['wall']:8.2f}s {ratio:8.2f} {each:12.3f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
