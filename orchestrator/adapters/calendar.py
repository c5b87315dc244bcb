"""Budget windows in the user's time zone. The time comes in as seconds since 1970; nothing here reads a clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.core.catalogue import BudgetRules
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.ledger import BUCKET_SECONDS, Status, Totals, UnknownDuration

DAY_SECONDS = 86_400


class UnknownTimeZone(OrchestratorError):
    """The system knows no zone of this name."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` on, in whole seconds since 1970; `end` is None for a rolling window."""

    start: int
    end: int | None


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that IANA name. Raises UnknownTimeZone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimeZone(
            f"time zone {name!r} is unknown here: use an IANA name like Europe/Berlin, or UTC"
        ) from None


def window_name(duration: str) -> str:
    return {"1d": "day", "1mo": "month"}.get(duration, duration)


def rolling_days(duration: str) -> int | None:
    """The length of a rolling window; None for a calendar one. Raises UnknownDuration."""
    if duration in ("1d", "1mo"):
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,3}d", duration):
        raise UnknownDuration(duration)
    return int(duration[:-1])


def span(duration: str, timezone: str, now: float) -> Span:
    """Return the window of `duration` that holds the moment `now`."""
    days = rolling_days(duration)
    if days is not None:
        # A call counts until the whole bucket it fell in has left the window: late by minutes, never early.
        start = int(now) - days * DAY_SECONDS
        return Span(start - start % BUCKET_SECONDS, None)
    return _calendar_span(duration, timezone, int(now // BUCKET_SECONDS) * BUCKET_SECONDS)


@lru_cache(maxsize=64)
def _calendar_span(duration: str, timezone: str, moment: int) -> Span:
    here = zone(timezone)
    local = datetime.fromtimestamp(moment, here)
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if duration == "1d":
        following = first + timedelta(days=1)
    else:
        first = first.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    # A midnight that a clock change skips or repeats is the first instant of the new date.
    return Span(int(first.timestamp()), int(following.timestamp()))


def iso(seconds: float) -> str:
    """Return the moment as the journal writes it: `2026-11-23T10:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str) -> float:
    """Read an ISO 8601 moment or date (UTC unless it says otherwise). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def unused_budget(rules: BudgetRules, now: float) -> Status:
    """The status of the window while there is no store yet: everything is left."""
    found = span(rules.duration, rules.timezone, now)
    return Status(
        window=window_name(rules.duration),
        since=iso(found.start),
        until=iso(found.end) if found.end is not None else None,
        timezone=rules.timezone,
        cap=rules.max_budget,
        totals=Totals(),
        left=rules.max_budget,
        alerts=rules.alerts,
    )
