"""The chat completions dialect of the scripted provider, streamed and not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.adapters.scripted_playing import Asked
from orchestrator.adapters.scripted_replies import RAW_USAGE, Counted, dumped, limit_of, pieces, texts_of
from orchestrator.adapters.scripted_script import Reply


class ChatDialect:
    """OpenAI's `/chat/completions`."""

    name = "chat"

    def read(self, body: Mapping[str, Any], *, alias: str | None, authorized: bool) -> Asked:
        return Asked(
            dialect=self.name,
            alias=alias,
            model=str(body.get("model", "")),
            texts=texts_of(body.get("messages")),
            stream=body.get("stream") is True,
            max_tokens=limit_of(body.get("max_completion_tokens"), body.get("max_tokens")),
            body=body,
            authorized=authorized,
        )

    def body(self, reply: Reply, used: Counted, asked: Asked, number: int) -> bytes:
        message: dict[str, object] = {"role": "assistant", "content": reply.text or None}
        if reply.tool_calls:
            message["tool_calls"] = _tool_calls(reply, number)
        document = {
            **_head(reply, asked, number, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": _finish_reason(reply)}],
            **self._stated(used),
        }
        return dumped(document, used)

    def frames(self, reply: Reply, used: Counted, asked: Asked, number: int) -> Iterator[bytes]:
        """Text in chunks, tool calls, the finish, usage if it was asked for, `[DONE]`."""
        head = _head(reply, asked, number, "chat.completion.chunk")

        def frame(delta: Mapping[str, object], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _event(dumped({**head, "choices": [choice]}, used))

        yield frame({"role": "assistant", "content": ""})
        for part in pieces(reply.text, reply.chunk_count):
            yield frame({"content": part})
        for place, call in enumerate(_tool_calls(reply, number)):
            yield frame({"tool_calls": [{"index": place, **call}]})
        yield frame({}, _finish_reason(reply))
        options = asked.body.get("stream_options")
        if used.stated and isinstance(options, Mapping) and options.get("include_usage") is True:
            yield _event(dumped({**head, "choices": [], **self._stated(used)}, used))
        yield b"data: [DONE]\n\n"

    def error(self, message: str, *, code: str, status: int) -> bytes:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return json.dumps({"error": {"message": message, "type": kind, "code": code or None}}).encode()

    def usage(self, used: Counted) -> dict[str, object] | None:
        if used.counts is None:
            return None
        counts = used.counts
        prompt, completion = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
        usage: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": completion}
        if isinstance(prompt, int) and isinstance(completion, int):
            usage["total_tokens"] = prompt + completion
        ours = {"cache_read_tokens": "cached_tokens", "cache_write_tokens": "cache_write_tokens"}
        details = {wire: counts[name] for name, wire in ours.items() if name in counts}
        if details:
            usage["prompt_tokens_details"] = details
        if "reasoning_tokens" in counts:
            usage["completion_tokens_details"] = {"reasoning_tokens": counts["reasoning_tokens"]}
        return usage

    def _stated(self, used: Counted) -> dict[str, object]:
        if used.raw is not None:
            return {"usage": RAW_USAGE}
        usage = self.usage(used)
        return {} if usage is None else {"usage": usage}


def _head(reply: Reply, asked: Asked, number: int, kind: str) -> dict[str, object]:
    # A fixed time: two plays of one script are the same byte for byte.
    return {"id": f"scripted-{number}", "object": kind, "created": 1, "model": reply.model or asked.model}


def _tool_calls(reply: Reply, number: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"call_{number}_{place}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for place, call in enumerate(reply.tool_calls)
    ]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
