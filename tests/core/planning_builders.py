"""Small builders of plans for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

from orchestrator.adapters.state import packaged
from orchestrator.core.domain import Plan, Provenance
from orchestrator.core.planning import compile_plan
from orchestrator.core.standards import Standard, read_standard


@cache
def standard() -> Standard:
    path = packaged("agent-os", "standards", "prompt-optimization.md")
    return read_standard(path.read_text(encoding="utf-8"), source=path.name)


def draft(name: str, *needs: str, touches: Any = "own", **more: Any) -> dict[str, Any]:
    """A subtask that changes a file of its own unless told otherwise."""
    return {
        "id": name,
        "title": f"Fix {name}",
        "category": "cheap/bug-fixes",
        "depends_on": list(needs),
        "touches": [f"src/{name}.py"] if touches == "own" else touches,
        "checks": [{"kind": "tests", "targets": [f"tests/test_{name}.py"]}],
        "estimate": {
            "input_tokens": [500, 1000, 2000],
            "output_tokens": [200, 400, 800],
            "seconds": [5, 10, 20],
        },
        **more,
    }


def planned(
    *subtasks: dict[str, Any], planner: str = "offline", goal: str = "Improve it", **more: Any
) -> Plan:
    return compile_plan(
        {"subtasks": list(subtasks), **more},
        goal=goal,
        standard=standard(),
        made_from=Provenance(planner=planner, commit="c0ffee"),
    )
