"""Proves that the checks run a worktree's own code, and not the checkout's or an installed copy of it."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.preparation_compiled import outside
from orchestrator.adapters.preparation_node import installations, workspace_packages
from orchestrator.adapters.preparation_python import own_packages
from orchestrator.adapters.survey.languages import is_test

_PROBE = """
import importlib.util, json, os, sys
sys.path[0] = os.getcwd()
found = {}
for name in json.loads(sys.argv[1]):
    try:
        spec = importlib.util.find_spec(name)
        found[name] = (list(spec.submodule_search_locations or ()) or [spec.origin])[0] if spec else None
    except Exception as error:
        found[name] = None
print("canary:" + json.dumps(found))
"""

_SCRIPTS = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")


@dataclass(frozen=True, slots=True)
class Canary:
    """`proved` says what was found to come from the worktree; `fault` why it does not, empty when it does."""

    proved: str = ""
    fault: str = ""


async def look(runner: CheckRunner, worktree: str, environment: Environment) -> Canary:
    """Ask the checks' own interpreter where it would import from, and follow the links of a node workspace."""
    said: list[str] = []
    root = Path(worktree)
    # A name of the standard library is found there first, by the tests as well.
    packages = tuple(name for name in own_packages(root) if name not in sys.stdlib_module_names)
    if packages:
        ran = await runner.run(
            ("python", "-c", _PROBE, json.dumps(packages)), worktree=worktree, environment=environment
        )
        line = next((line for line in reversed(ran.output.splitlines()) if line.startswith("canary:")), None)
        if line is None:
            return Canary(fault=f"the checks' Python does not start: {ran.output.strip()[-200:]}")
        for name, place in json.loads(line.removeprefix("canary:")).items():
            # Output shows the worktree's own paths as relative ones.
            if place is None or (place.startswith("/") and not Path(place).is_relative_to(root)):
                where = f"comes from {place}" if place else "is not found"
                return Canary(fault=f"the checks would not run the worktree's code: package {name} {where}")
        said.append(f"{', '.join(packages[:3])} imported from the worktree")
    linked = 0
    own = workspace_packages(root)
    for modules in installations(root):
        for name, directory in own.items():
            place = modules / name
            if place.is_symlink():
                if place.resolve() != directory.resolve():
                    if directory == root and not _tests_import(root, name):
                        continue  # A dependency depends on a release of this project; the tests do not see it.
                    return Canary(
                        fault=f"the checks would not run the worktree's code: {name} leads to {place.resolve()}"
                    )
                linked += 1
    if linked:
        said.append(f"{linked} links to packages of the workspace lead into the worktree")
    if fault := outside(root):
        return Canary(fault=fault)
    return Canary(proved="; ".join(said))


def _tests_import(root: Path, name: str) -> bool:
    """Whether a test of this project names the project itself in an import, instead of a path."""
    named = re.compile(rf"""['"]{re.escape(name)}(/[^'"]*)?['"]""")
    for directory, folders, files in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in ("node_modules", ".git")]
        for file in files:
            place = Path(directory) / file
            path = place.relative_to(root).as_posix()
            looked_at = is_test(path) and file.endswith(_SCRIPTS) and not place.is_symlink()
            if looked_at and named.search(place.read_text("utf-8", "replace")):
                return True
    return False
