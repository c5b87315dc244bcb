"""Why a provider call failed, whether it may have been billed, and when to try again."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.adapters.models_usage import documents, read_reply
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import Flag

if TYPE_CHECKING:
    from orchestrator.adapters.models_wire import Wire

LONGEST_RETRY_AFTER_SECONDS = 3600.0

_MODERATED = re.compile(rb"content_filter|content_policy|content management policy|moderation|flagged")


# Refusals that come after the work: a reply that broke its schema (Groq), one that its limit cut off (OpenAI).
_GENERATED = re.compile(rb"failed_generation|could not finish the message", re.IGNORECASE)


class FailureKind(StrEnum):
    """What to do next follows from the kind, see `metering.py`."""

    RATE_LIMITED = "rate limited"
    UNREACHABLE = "unreachable"
    MISCONFIGURED = "misconfigured"
    REFUSED = "refused"
    FILTERED = "filtered"
    BROKEN = "broken"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure:
    """A call without a usable reply.

    `unprocessed` is true only when the request provably never left or was refused before any work: then nothing
    can have been billed. `usage`, `answered_by` and `stated_cost` are what a whole but unreadable reply still said.
    `message` is one safe, scrubbed line.
    """

    kind: FailureKind
    unprocessed: bool
    message: str
    status: int | None = None
    retry_after_seconds: float | None = None
    usage: Usage | None = None
    flags: tuple[Flag, ...] = ()
    answered_by: str = ""
    stated_cost: Usd | None = None


def retry_after_seconds(headers: Mapping[str, str], *, now_epoch_seconds: float) -> float | None:
    """The wait a reply asks for: seconds or an HTTP date, at most an hour; None for no wish or garbage."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    text = headers.get("retry-after", "").strip()
    seconds: float | None = None
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", milliseconds):
        seconds = float(milliseconds) / 1000
    elif re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
        seconds = float(text)
    elif re.fullmatch(r"\d+", text):
        seconds = LONGEST_RETRY_AFTER_SECONDS
    elif text and len(text) < 64:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        try:
            seconds = moment.timestamp() - now_epoch_seconds
        except (OverflowError, OSError, ValueError):
            return None
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def told_by(wire: Wire, otherwise: str) -> str:
    """The provider's own words about its refusal when there are any, else LiteLLM's without its decoration."""
    words = ""
    for document in documents(wire.text()):
        error = document.get("error", document.get("detail", document.get("message")))
        inner = error.get("message") if isinstance(error, Mapping) else error
        words = words or (inner if isinstance(inner, str) else "")
    if not words:
        bare = otherwise.partition("Traceback (most recent call last)")[0]
        words = re.sub(r"^(litellm\.)?(\w+(Error|Exception)( - |: )\s*(litellm\.)?)+", "", bare).strip()
    return f"HTTP {wire.status}: {words}" if wire.status not in (None, 200) else words or "no reply"


def kind_of_status(status: int, *, body: bytes) -> tuple[FailureKind, bool]:
    """What an HTTP status means: the kind, and whether the provider refused before doing any work."""
    match status:
        case _ if 400 <= status < 500 and status != 429 and _MODERATED.search(body[:20_000]):
            # Somebody's filter has read the prompt, and may want to be paid for it.
            return FailureKind.FILTERED, False
        case _ if 400 <= status < 500 and status != 408 and _has_worked(body):
            return (FailureKind.RATE_LIMITED if status == 429 else FailureKind.REFUSED), False
        case 429:
            return FailureKind.RATE_LIMITED, True
        case 401 | 402 | 403 | 404 | 405 | 410:
            return FailureKind.MISCONFIGURED, True
        case 408:
            return FailureKind.BROKEN, False
        case _ if 300 <= status < 400:
            return FailureKind.MISCONFIGURED, True
        case 400 | 406 | 411 | 413 | 414 | 415 | 416 | 417 | 422 | 426 | 428 | 431 | 451:
            return FailureKind.REFUSED, True
        case _:
            return FailureKind.BROKEN, False


def _has_worked(body: bytes) -> bool:
    """Whether a refusal shows that a model was at work before: its words, or a bill."""
    return bool(_GENERATED.search(body)) or read_reply(body, streamed=False).usage is not None


def kind_of_wire(wire: Wire) -> tuple[FailureKind, bool]:
    """What a call without a reply came to, told from the exchange alone."""
    kind, unprocessed = _kind_of_last(wire)
    # Nothing was done for the last request, but something may have been for one before it.
    return (FailureKind.BROKEN, False) if unprocessed and wire.doubtful else (kind, unprocessed)


def _kind_of_last(wire: Wire) -> tuple[FailureKind, bool]:
    if wire.unreachable and wire.status is None:
        return FailureKind.UNREACHABLE, True
    if not wire.sent:
        # LiteLLM refused it before anything left: an unknown provider, a missing key, a parameter it rejects.
        return FailureKind.MISCONFIGURED, True
    if wire.redirected_to:
        return FailureKind.MISCONFIGURED, True
    if wire.status is not None and wire.status != 200:
        return kind_of_status(wire.status, body=wire.text())
    return FailureKind.BROKEN, False
