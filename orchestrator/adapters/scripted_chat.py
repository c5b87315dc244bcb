"""The chat completions dialect: requests read for the rules, replies written as JSON or as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.adapters.scripted_script import Reply, UsageKind

BYTES_PER_TOKEN = 4

# The place in a JSON text that raw usage is put: raw text may be what JSON cannot say, like 1e400.
_RAW_MARK = "@@raw-usage@@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a reply says it took; a count is what the script gives, of any type. None: it says nothing."""

    counts: Mapping[str, object] | None
    raw: str | None = None

    @property
    def stated(self) -> bool:
        return self.counts is not None or self.raw is not None


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
            part if isinstance(part, str) else json.dumps(whole)
            for part, whole in zip(parts, content, strict=True)
        )
    return json.dumps(content)


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
            return Counted(counts=None)
        case UsageKind.RAW:
            return Counted(counts=None, raw=usage.raw)
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


def texts_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        return ()
    return tuple(message_text(message.get("content")) for message in messages if isinstance(message, Mapping))


def max_tokens_of(body: Mapping[str, Any]) -> int | None:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return limit if isinstance(limit, int) and not isinstance(limit, bool) else None


def reply_body(reply: Reply, used: Counted, *, model: str, number: int) -> bytes:
    """The whole reply as one JSON document."""
    message: dict[str, object] = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(reply)
    document = {
        **_head(reply, model, number, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": _finish_reason(reply)}],
        **_usage(used),
    }
    return _dumped(document, used)


def reply_frames(
    reply: Reply, used: Counted, *, model: str, number: int, include_usage: bool
) -> Iterator[bytes]:
    """The reply as server-sent events: text in chunks, tool calls, the finish, usage if asked for, `[DONE]`."""
    head = _head(reply, model, number, "chat.completion.chunk")

    def frame(delta: Mapping[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event(_dumped({**head, "choices": [choice]}, used))

    yield frame({"role": "assistant", "content": ""})
    for part in pieces(reply.text, reply.chunk_count):
        yield frame({"content": part})
    for place, call in enumerate(_tool_calls(reply)):
        yield frame({"tool_calls": [{"index": place, **call}]})
    yield frame({}, _finish_reason(reply))
    if include_usage and used.stated:
        yield _event(_dumped({**head, "choices": [], **_usage(used)}, used))
    yield b"data: [DONE]\n\n"


def error_body(message: str, *, code: str, status: int) -> bytes:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json.dumps({"error": {"message": message, "type": kind, "code": code or None}}).encode()


def stated_usage(used: Counted) -> object:
    return _usage(used).get("usage") if used.raw is None else used.raw


def pieces(text: str, count: int) -> list[str]:
    """Cut a text into at most `count` parts of about the same length."""
    if not text:
        return []
    size = -(-len(text) // count)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _head(reply: Reply, model: str, number: int, kind: str) -> dict[str, object]:
    # A fixed time: two plays of one script are the same byte for byte.
    return {"id": f"scripted-{number}", "object": kind, "created": 1, "model": reply.model or model}


def _tool_calls(reply: Reply) -> list[dict[str, object]]:
    return [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for place, call in enumerate(reply.tool_calls)
    ]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(used: Counted) -> dict[str, object]:
    if used.raw is not None:
        return {"usage": _RAW_MARK}
    if used.counts is None:
        return {}
    counts = dict(used.counts)
    prompt, completion = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    usage: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if isinstance(prompt, int) and isinstance(completion, int):
        usage["total_tokens"] = prompt + completion
    details = {
        wire: counts[ours]
        for ours, wire in (
            ("cache_read_tokens", "cached_tokens"),
            ("cache_write_tokens", "cache_write_tokens"),
        )
        if ours in counts
    }
    if details:
        usage["prompt_tokens_details"] = details
    if "reasoning_tokens" in counts:
        usage["completion_tokens_details"] = {"reasoning_tokens": counts["reasoning_tokens"]}
    return {"usage": usage}


def _dumped(document: Mapping[str, object], used: Counted) -> bytes:
    # Numbers that are not finite go out as NaN and Infinity: some providers have sent them.
    text = json.dumps(document, ensure_ascii=False, allow_nan=True)
    return text.replace(f'"{_RAW_MARK}"', used.raw or "null").encode("utf-8", "surrogatepass")


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
