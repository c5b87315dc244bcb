"""`orchestrator doctor`: is everything there, and what of the configuration is not as it seems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.adapters.diagnosis import Finding
    from orchestrator.wiring import Home

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "warning", "error": "ERROR  "}


def doctor(
    config: Annotated[Path | None, typer.Option(help="Another configuration file.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired safely.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation, the configuration and the models. Calls no model."""
    from orchestrator.adapters.diagnosis import Level, exit_code
    from orchestrator.core.text import safe_text
    from orchestrator.wiring import open_home

    home = open_home(config)
    findings = _all(home)
    repairs = _repaired(findings) if fix else []
    if any(repair["done"] for repair in repairs):
        findings = _all(home)
    code = exit_code(findings)
    if as_json:
        answer = {
            "findings": [_as_json(finding) for finding in findings],
            "repairs": repairs,
            "exit_code": code,
        }
        typer.echo(json.dumps(answer, indent=2))
        raise typer.Exit(code)
    for repair in repairs:
        typer.echo(safe_text(f"repair: {repair['what']}", newlines=False))
    for finding in findings:
        line = f"{_MARKS[finding.level]}  {finding.area}: {finding.what}"
        typer.echo(safe_text(line, newlines=False))
        if finding.remedy and finding.level is not Level.OK:
            hint = " (`doctor --fix` does it)" if finding.repair and not fix else ""
            typer.echo(safe_text(f"         -> {finding.remedy}{hint}", newlines=False))
    raise typer.Exit(code)


def _all(home: Home) -> list[Finding]:
    from orchestrator.adapters.diagnosis import Finding, Level
    from orchestrator.adapters.diagnosis_configuration import diagnose_settings
    from orchestrator.adapters.diagnosis_machine import diagnose_machine
    from orchestrator.adapters.diagnosis_store import diagnose_store
    from orchestrator.adapters.settings import load_settings, read_source
    from orchestrator.adapters.settings_standard import load_standard
    from orchestrator.adapters.state import database
    from orchestrator.core.domain import InvalidDocument, OrchestratorError
    from orchestrator.core.standards import USUAL_TIERS

    def errors(area: str, error: OrchestratorError) -> list[Finding]:
        said = (
            [str(problem) for problem in error.problems]
            if isinstance(error, InvalidDocument)
            else [str(error)]
        )
        return [Finding(area=area, level=Level.ERROR, what=what) for what in said]

    findings: list[Finding] = []
    sandbox, tiers = "auto", list(USUAL_TIERS)
    try:
        settings = load_settings(
            config=home.config, repository=home.repository, environ=home.environ, state=home.state
        )
    except OrchestratorError as error:
        findings += errors("configuration", error)
    else:
        sources = [read_source(Path(source)) for source in settings.sources]
        findings += diagnose_settings(settings, sources, today=home.clock.now()[:10])
        findings += diagnose_store(database(home.state), settings.budget, now=home.clock.epoch_seconds())
        sandbox, tiers = settings.sandbox, [*tiers, *settings.table.tier_models]
    try:
        standard = load_standard(repository=home.repository, environ=home.environ, tiers=tiers)
    except OrchestratorError as error:
        findings += errors("standard", error)
    else:
        findings.append(
            Finding(area="standard", level=Level.OK, what=f"{standard.source}: {len(standard.rules)} rules")
        )
    return diagnose_machine(home.environ, state=home.state, sandbox=sandbox) + findings


def _repaired(findings: list[Finding]) -> list[dict[str, object]]:
    from orchestrator.core.domain import OrchestratorError

    repairs: list[dict[str, object]] = []
    for finding in findings:
        if finding.repair is None:
            continue
        try:
            repairs.append({"what": finding.repair(), "done": True})
        except (OrchestratorError, OSError) as error:
            repairs.append({"what": f"{finding.area} is not repaired: {error}", "done": False})
    return repairs


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "area": finding.area,
        "level": finding.level.value,
        "what": finding.what,
        "remedy": finding.remedy,
        "fixable": finding.repair is not None,
    }
