"""Usage as providers write it on the wire -> our Usage; anything impossible is told apart from nothing at all.

Read from the raw reply: LiteLLM makes up what is missing (zeros, or its own count for a stream), which would
look like a bill.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.money import Usage, Usd

# Above every context there is: a count beyond this is a fault, not a bill.
_MOST_TOKENS = 100_000_000


class OddUsage(ValueError):
    """The usage is there but cannot be: not a number, negative, infinite, or more cached than sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireReply:
    """What the raw reply says: who answered, whether it came to its end, its usage and its stated cost.

    `usage` None with `odd` empty: it says nothing of usage. `odd` says what is impossible about it.
    """

    answered_by: str = ""
    ended: bool = False
    usage: Usage | None = None
    odd: str = ""
    cost: Usd | None = None


def documents(body: bytes) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a reply: one document, server-sent events, or one object per line."""
    text = body.decode("utf-8", "replace").strip()
    whole = _object(text)
    if whole is not None:
        yield from whole
        return
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if data.startswith(("{", "[")):
            yield from _object(data) or ()


def _object(text: str) -> list[Mapping[str, Any]] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # Gemini streams without SSE are one list of objects.
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]


def read_reply(body: bytes, *, streamed: bool) -> WireReply:
    """Read what matters from the raw reply of any dialect we know. Never raises."""
    found = list(documents(body))
    usage: dict[str, object] = {}
    answered_by = ""
    stated = ended = False
    for document in found:
        answered_by = _text(document.get("model") or document.get("modelVersion")) or answered_by
        ended = ended or _is_end(document)
        message = document.get("message")
        if isinstance(message, Mapping):
            # Anthropic's `message_start` wraps what the other dialects say at the top.
            answered_by = _text(message.get("model")) or answered_by
            if isinstance(message.get("usage"), Mapping):
                stated, usage = True, {**usage, **message["usage"]}
        for name in ("usage", "usageMetadata"):
            if name in document and document[name] is not None:
                stated = True
                part = document[name]
                usage = {**usage, **part} if isinstance(part, Mapping) else {"": part}
        if "prompt_eval_count" in document or "eval_count" in document:
            stated = True
            usage |= {
                name: document[name] for name in ("prompt_eval_count", "eval_count") if name in document
            }
    reply = WireReply(
        answered_by=answered_by,
        ended=ended or (not streamed and bool(found)),
    )
    if not stated:
        return reply
    return _with_usage(reply, usage)


def text_of(body: bytes) -> str | None:
    """The text of a complete reply, streamed or not, for when LiteLLM cannot read all of it; None without any."""
    parts: list[str] = []
    ended = False
    for document in documents(body):
        ended = ended or _is_end(document)
        try:
            parts += _texts(document)
        except (LookupError, TypeError, AttributeError):
            return None
    return "".join(parts) if parts and ended else None


def finish_of(body: bytes) -> str:
    """Why the reply ended, as OpenAI says it: `length` for one that its limit cut off, else `stop`."""
    said = ""
    for document in documents(body):
        delta = document.get("delta")
        places = [document, *(document.get("choices") or ()), *(document.get("candidates") or ()), delta]
        for place in places:
            for name in ("finish_reason", "finishReason", "stop_reason", "done_reason"):
                said = (_text(place.get(name)) if isinstance(place, Mapping) else "") or said
    return "length" if said.lower() in ("length", "max_tokens", "model_length") else "stop"


def _texts(document: Mapping[str, Any]) -> Iterator[str]:
    for choice in document.get("choices") or ():
        text = (choice.get("message") or choice.get("delta") or {}).get("content")
        if text is not None:
            yield text
    for candidate in document.get("candidates") or ():
        yield from (part["text"] for part in candidate["content"]["parts"] if not part.get("thought"))
    content = document.get("content")
    if isinstance(content, list):
        yield from (part["text"] for part in content if part["type"] == "text")
    match document:
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}}:
            yield text
        case {"message": {"content": str(text)}, "done": bool()}:
            yield text


def _with_usage(reply: WireReply, plain: Mapping[str, object]) -> WireReply:
    try:
        return replace(reply, usage=usage_from(plain), cost=_stated_cost(plain))
    except OddUsage as error:
        return replace(reply, odd=str(error))


def _is_end(document: Mapping[str, Any]) -> bool:
    if document.get("done") is True or document.get("type") == "message_stop" or document.get("stop_reason"):
        return True
    places = document.get("choices") or document.get("candidates") or ()
    return isinstance(places, list) and any(
        isinstance(place, Mapping) and (place.get("finish_reason") or place.get("finishReason"))
        for place in places
    )


def usage_from(plain: Mapping[str, object]) -> Usage:
    """Return the usage one provider's counts stand for. Raises OddUsage for counts that cannot be."""
    if "promptTokenCount" in plain or "totalTokenCount" in plain:
        usage = _gemini(plain)
    elif "prompt_eval_count" in plain or "eval_count" in plain:
        usage = Usage(
            input_tokens=_count(plain, "prompt_eval_count"), output_tokens=_count(plain, "eval_count")
        )
    elif "input_tokens" in plain and "prompt_tokens" not in plain:
        usage = _anthropic(plain)
    else:
        usage = _openai(plain)
    if usage.cache_read_tokens + usage.cache_write_tokens > usage.input_tokens:
        raise OddUsage("more cached than prompt tokens")
    if usage.input_tokens == 0:
        # No prompt is empty, so this is a provider that does not count.
        raise OddUsage("a prompt of no tokens")
    return usage


def _openai(plain: Mapping[str, object]) -> Usage:
    prompt, completion = _count(plain, "prompt_tokens"), _count(plain, "completion_tokens")
    into = _part(plain, "prompt_tokens_details")
    out = _part(plain, "completion_tokens_details")
    # Some vendors leave reasoning out of the completion and count it in the total only.
    completion = max(completion, _count(plain, "total_tokens", missing=0) - prompt)
    write = _count(into, "cache_write_tokens", missing=0) or _count(into, "cache_creation_tokens", missing=0)
    read = _count(into, "cached_tokens", missing=0) or _count(plain, "prompt_cache_hit_tokens", missing=0)
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=read or _count(plain, "cache_read_input_tokens", missing=0),
        cache_write_tokens=write or _count(plain, "cache_creation_input_tokens", missing=0),
        reasoning_tokens=_count(out, "reasoning_tokens", missing=0),
    )


def _anthropic(plain: Mapping[str, object]) -> Usage:
    into = _part(plain, "input_tokens_details")
    read = _count(plain, "cache_read_input_tokens", missing=0)
    write = _count(plain, "cache_creation_input_tokens", missing=0)
    return Usage(
        # The messages API counts the cached parts beside the input, the responses API within it.
        input_tokens=_count(plain, "input_tokens") + read + write,
        output_tokens=_count(plain, "output_tokens"),
        cache_read_tokens=read or _count(into, "cached_tokens", missing=0),
        cache_write_tokens=write,
        reasoning_tokens=_count(_part(plain, "output_tokens_details"), "reasoning_tokens", missing=0),
    )


def _gemini(plain: Mapping[str, object]) -> Usage:
    prompt = _count(plain, "promptTokenCount") + _count(plain, "toolUsePromptTokenCount", missing=0)
    thoughts = _count(plain, "thoughtsTokenCount", missing=0)
    output = _count(plain, "candidatesTokenCount", missing=0) + thoughts
    return Usage(
        input_tokens=prompt,
        output_tokens=max(output, _count(plain, "totalTokenCount", missing=0) - prompt),
        cache_read_tokens=_count(plain, "cachedContentTokenCount", missing=0),
        reasoning_tokens=thoughts,
    )


def _part(plain: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = plain.get(name)
    if part is None:
        return {}
    if not isinstance(part, Mapping):
        raise OddUsage(f"{name} is not an object")
    return part


def _count(plain: Mapping[str, object], name: str, *, missing: int | None = None) -> int:
    value = plain.get(name)
    if value is None and missing is not None:
        return missing
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OddUsage(f"{name} is {_shown(value)}")
    if not math.isfinite(value) or value < 0 or value != int(value) or value > _MOST_TOKENS:
        raise OddUsage(f"{name} is {_shown(value)}")
    return int(value)


def _stated_cost(plain: Mapping[str, object]) -> Usd | None:
    """The dollars a provider (OpenRouter) states; with a vendor's key of one's own, its fee and the vendor's bill."""
    stated = _cost(plain.get("cost"))
    details = plain.get("cost_details")
    upstream = _cost(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    if plain.get("is_byok") is True and stated is not None and upstream is not None:
        return stated + upstream
    return max((cost for cost in (stated, upstream) if cost is not None), default=None)


def _cost(value: object) -> Usd | None:
    """Odd amounts are ignored, our own reckoning stands."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or not 0 < value < 1_000_000:
        return None
    return Usd.of(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _shown(value: object) -> str:
    return repr(value)[:40]
