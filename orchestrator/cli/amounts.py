"""Amounts, durations and models as people type them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

if TYPE_CHECKING:
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.money import Usd
    from orchestrator.wiring import Home

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class NoSuchModel(OrchestratorError):
    """The configuration has no alias of that name."""


def dollars(text: str | None, option: str) -> Usd | None:
    """Read a positive amount such as `1.20` or `$1.20`. Raises BadParameter that names the option."""
    from orchestrator.core.money import ZERO, Usd

    if text is None:
        return None
    try:
        amount = Usd.of(text)
    except ValueError:
        raise typer.BadParameter(
            f"{one_line(text, 40)!r} is no amount of dollars such as 1.20", param_hint=option
        ) from None
    if amount <= ZERO:
        raise typer.BadParameter(f"{amount} is not above zero", param_hint=option)
    return amount


def seconds(text: str | None, option: str) -> float | None:
    """Read a time such as `90`, `90s`, `30m` or `2h`. Raises BadParameter that names the option."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found:
        raise typer.BadParameter(
            f"{one_line(text, 40)!r} is no time such as 90s, 30m or 2h", param_hint=option
        )
    return float(found[1]) * _UNITS[found[2]]


def named_model(home: Home, model: str | None) -> ModelAlias | None:
    """The alias the user named. Raises NoSuchModel before anything is planned or spent."""
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.text import did_you_mean

    if model is None:
        return None
    catalogue = home.settings.table.catalogue
    known = [*catalogue.pools, *catalogue.unusable]
    if model not in known:
        meant = did_you_mean(model, known) or f": the configuration has {', '.join(dict.fromkeys(known))}"
        raise NoSuchModel(f"no model {one_line(model, 60)!r}{meant}")
    return ModelAlias(model)
