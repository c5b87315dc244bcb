"""The Anthropic messages dialect of the scripted provider, streamed (as Claude Code asks) and not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.adapters.scripted_playing import Asked
from orchestrator.adapters.scripted_replies import (
    RAW_USAGE,
    Counted,
    dumped,
    limit_of,
    message_text,
    pieces,
    texts_of,
)
from orchestrator.adapters.scripted_script import Reply, ToolCall

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class MessagesDialect:
    """Anthropic's `/v1/messages`."""

    name = "messages"

    def read(self, body: Mapping[str, Any], *, alias: str | None, authorized: bool) -> Asked:
        system = message_text(body.get("system"))
        return Asked(
            dialect=self.name,
            alias=alias,
            model=str(body.get("model", "")),
            texts=(*([system] if system else ()), *texts_of(body.get("messages"))),
            stream=body.get("stream") is True,
            max_tokens=limit_of(body.get("max_tokens")),
            body=body,
            authorized=authorized,
        )

    def body(self, reply: Reply, used: Counted, asked: Asked, number: int) -> bytes:
        text = [{"type": "text", "text": reply.text}] if reply.text else []
        tools = [
            {**_tool_use(call, number, place), "input": _input(call)}
            for place, call in enumerate(reply.tool_calls)
        ]
        return dumped(
            {
                **_head(reply, asked, number),
                "content": [*text, *tools],
                "stop_reason": _stop_reason(reply),
                **self._stated(used),
            },
            used,
        )

    def frames(self, reply: Reply, used: Counted, asked: Asked, number: int) -> Iterator[bytes]:
        """`message_start`, a block for the text and one per tool call, `message_delta`, `message_stop`."""

        def event(kind: str, **more: object) -> bytes:
            return f"event: {kind}\ndata: ".encode() + dumped({"type": kind, **more}, used) + b"\n\n"

        first = self._stated(used)
        if used.counts is not None:
            # What was put out is known at the end only.
            first = {"usage": {**(self.usage(used) or {}), "output_tokens": 0}}
        head = {**_head(reply, asked, number), "content": [], "stop_reason": None, **first}
        yield event("message_start", message=head)
        yield event("ping")
        place = 0
        if reply.text:
            yield event("content_block_start", index=place, content_block={"type": "text", "text": ""})
            for part in pieces(reply.text, reply.chunk_count):
                yield event("content_block_delta", index=place, delta={"type": "text_delta", "text": part})
            yield event("content_block_stop", index=place)
            place += 1
        for order, call in enumerate(reply.tool_calls):
            block = {**_tool_use(call, number, order), "input": {}}
            yield event("content_block_start", index=place, content_block=block)
            for part in pieces(call.arguments, reply.chunk_count):
                delta = {"type": "input_json_delta", "partial_json": part}
                yield event("content_block_delta", index=place, delta=delta)
            yield event("content_block_stop", index=place)
            place += 1
        ending: dict[str, object] = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
        yield event("message_delta", delta=ending, **self._stated(used))
        yield event("message_stop")

    def error(self, message: str, *, code: str, status: int) -> bytes:
        kind = code or _ERRORS.get(status) or ("invalid_request_error" if status < 500 else "api_error")
        return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()

    def usage(self, used: Counted) -> dict[str, object] | None:
        if used.counts is None:
            return None
        counts = used.counts
        whole, read = counts.get("input_tokens", 0), counts.get("cache_read_tokens", 0)
        write = counts.get("cache_write_tokens", 0)
        if isinstance(whole, int) and isinstance(read, int) and isinstance(write, int):
            # This dialect counts the cached parts beside the input, ours within it.
            whole -= read + write
        return {
            "input_tokens": whole,
            "output_tokens": counts.get("output_tokens", 0),
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
        }

    def _stated(self, used: Counted) -> dict[str, object]:
        if used.raw is not None:
            return {"usage": RAW_USAGE}
        usage = self.usage(used)
        return {} if usage is None else {"usage": usage}


def _head(reply: Reply, asked: Asked, number: int) -> dict[str, object]:
    return {
        "id": f"msg_scripted_{number}",
        "type": "message",
        "role": "assistant",
        "model": reply.model or asked.model,
        "stop_sequence": None,
    }


def _tool_use(call: ToolCall, number: int, place: int) -> dict[str, object]:
    return {"type": "tool_use", "id": f"toolu_scripted_{number}_{place}", "name": call.name}


def _input(call: ToolCall) -> object:
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments


def _stop_reason(reply: Reply) -> str:
    given = reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")
    return _STOP_REASONS.get(given, given)
