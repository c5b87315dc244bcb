"""What the scripted provider's dialects share: the texts of a request, usage, limits, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from orchestrator.adapters.scripted_playing import Asked
from orchestrator.adapters.scripted_script import Reply, UsageKind

BYTES_PER_TOKEN = 4

# The place in a JSON text that raw usage is put: raw text may be what JSON cannot say, like 1e400.
RAW_USAGE = "@@raw-usage@@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a reply says it took; a count is what the script gives, of any type. Both None: it says nothing."""

    counts: Mapping[str, object] | None = None
    raw: str | None = None

    @property
    def stated(self) -> bool:
        return self.counts is not None or self.raw is not None


class Dialect(Protocol):
    """One provider protocol: how a request is read and a reply is written. `number` is the call's."""

    name: str

    def read(self, body: Mapping[str, Any], *, alias: str | None, authorized: bool) -> Asked: ...

    def body(self, reply: Reply, used: Counted, asked: Asked, number: int) -> bytes: ...

    def frames(self, reply: Reply, used: Counted, asked: Asked, number: int) -> Iterable[bytes]: ...

    def error(self, message: str, *, code: str, status: int) -> bytes: ...

    def usage(self, used: Counted) -> dict[str, object] | None:
        """The stated usage in the dialect's own words."""


def estimated_tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def message_text(content: object) -> str:
    """The text of a message's content, plain or in parts; parts that are not text count as their JSON."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, Sequence):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "\n".join(
            part if isinstance(part, str) else json.dumps(whole, ensure_ascii=False)
            for part, whole in zip(parts, content, strict=True)
        )
    return json.dumps(content, ensure_ascii=False)


def texts_of(messages: object) -> tuple[str, ...]:
    if not isinstance(messages, list):
        return ()
    return tuple(message_text(message.get("content")) for message in messages if isinstance(message, Mapping))


def limit_of(*limits: object) -> int | None:
    """The first of the given limits that is a number of tokens."""
    return next((limit for limit in limits if isinstance(limit, int) and not isinstance(limit, bool)), None)


def within_limit(reply: Reply, max_tokens: int | None) -> Reply:
    """A reply of estimated length stops at the request's limit, as a model's would."""
    if max_tokens is None or reply.usage.kind is not UsageKind.ESTIMATED or reply.tool_calls:
        return reply
    if estimated_tokens(reply.text) <= max_tokens:
        return reply
    cut = reply.text.encode("utf-8", "surrogatepass")[: max_tokens * BYTES_PER_TOKEN]
    return replace(reply, text=cut.decode("utf-8", "ignore"), finish_reason="length")


def counted(reply: Reply, texts: Sequence[str]) -> Counted:
    """The usage to state for this reply to these messages."""
    usage = reply.usage
    match usage.kind:
        case UsageKind.NONE:
            return Counted()
        case UsageKind.RAW:
            return Counted(raw=usage.raw)
        case UsageKind.GIVEN:
            return Counted(counts=usage.counts)
        case UsageKind.ESTIMATED:
            output = reply.text + "".join(call.name + call.arguments for call in reply.tool_calls)
            return Counted(
                counts={
                    "input_tokens": sum(estimated_tokens(text) for text in texts),
                    "output_tokens": estimated_tokens(output),
                }
            )


def pieces(text: str, count: int) -> list[str]:
    """Cut a text into at most `count` parts of about the same length."""
    if not text:
        return []
    size = -(-len(text) // count)
    return [text[start : start + size] for start in range(0, len(text), size)]


def dumped(document: Mapping[str, object], used: Counted) -> bytes:
    # Numbers that are not finite go out as NaN and Infinity: some providers have sent them.
    text = json.dumps(document, ensure_ascii=False, allow_nan=True)
    return text.replace(f'"{RAW_USAGE}"', used.raw or "null").encode("utf-8", "surrogatepass")
