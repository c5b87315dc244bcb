"""The provider that every budget is held against: it counts the calls it answered. In a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

OUTPUT_TOKENS, DOLLARS_PER_MILLION = 500, 2
UPSTREAM_SECONDS = 0.2
REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "bench",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": OUTPUT_TOKENS, "total_tokens": OUTPUT_TOKENS + 10},
}


async def serve() -> None:
    """Answer chat completions after a while, and `GET /calls` with how many were answered; until stdin closes."""
    calls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        try:
            while line := await reader.readline():
                length = 0
                while (header := await reader.readline()).strip():
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                await reader.readexactly(length)
                if line.startswith(b"POST"):
                    # Counted as it arrives: what a caller does not wait for is billed all the same.
                    calls += 1
                    await asyncio.sleep(UPSTREAM_SECONDS)
                    body = json.dumps(REPLY).encode()
                else:
                    body = str(calls).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                    % len(body)
                    + body
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def provider() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.communicate()


def calls_at(url: str) -> int:
    with urllib.request.urlopen(url.replace("/v1", "/calls")) as reply:
        return int(reply.read())


if __name__ == "__main__":
    asyncio.run(serve())
