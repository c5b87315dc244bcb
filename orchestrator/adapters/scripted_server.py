"""The scripted provider's HTTP side: dialects and control endpoints on loopback, with faults down to the socket."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.adapters.scripted_chat import ChatDialect
from orchestrator.adapters.scripted_messages import MessagesDialect
from orchestrator.adapters.scripted_playing import Barriers, Call, CallLog, Player
from orchestrator.adapters.scripted_replies import (
    Counted,
    Dialect,
    counted,
    estimated_tokens,
    texts_of,
    within_limit,
)
from orchestrator.adapters.scripted_script import Fault, FaultKind, Reply
from orchestrator.core.text import one_line

_NOTHING_LINGERS = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Performance:
    """A script at play, its record and barriers: exchanged as one, so that a late reply ends where it began."""

    player: Player
    log: CallLog
    barriers: Barriers


class Stage:
    """What the endpoints share: what is being played, and the open connections."""

    def __init__(self, performance: Performance) -> None:
        self.performance = performance
        self.closing = asyncio.Event()
        self.connections: dict[tuple[str, int], asyncio.Transport] = {}


class _Left(Exception):
    """The client has gone, or the provider is closing: nobody waits for the rest."""


class _Exchange:
    """One request and its answer on the wire."""

    def __init__(self, stage: Stage, scope: Scope, receive: Receive, send: Send) -> None:
        self.stage, self.scope, self.receive, self.send = stage, scope, receive, send
        self._watchers: tuple[asyncio.Task[None], ...] = ()

    async def body(self) -> bytes:
        data = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _Left
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        self._watchers = (
            asyncio.create_task(self._disconnected()),
            asyncio.create_task(self._closing()),
        )
        return bytes(data)

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _closing(self) -> None:
        await self.stage.closing.wait()

    async def while_connected(self, waiting: Awaitable[object]) -> None:
        """Wait for something. Raises _Left when the client goes first."""
        task = asyncio.ensure_future(waiting)
        await asyncio.wait({task, *self._watchers}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise _Left
        await task

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def part(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": False})

    async def disconnect(self, *, reset: bool) -> None:
        """Close the connection under the client: with a TCP reset, or just like that."""
        transport = self.stage.connections.get(tuple(self.scope["client"]))
        if transport is not None:
            if reset:
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOTHING_LINGERS)
                transport.abort()
            else:
                transport.close()
            await self._watchers[0]

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)


class ModelEndpoint:
    """Answers requests of one dialect by the script. An ASGI application of its own, for the faults' sake."""

    def __init__(self, stage: Stage, dialect: Dialect) -> None:
        self.stage, self.dialect = stage, dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(self.stage, scope, receive, send)
        try:
            await self._answer(exchange)
        except _Left:
            pass
        finally:
            await exchange.close()

    async def _answer(self, exchange: _Exchange) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.scope["headers"]
        }
        key = headers.get("authorization") or headers.get("x-api-key") or ""
        data = await exchange.body()
        secret = key.removeprefix("Bearer ")
        try:
            # What the client sends may hold its key anywhere; the record never does.
            text = data.decode("utf-8", "replace")
            body = json.loads(text.replace(secret, "redacted") if len(secret) >= 8 else text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            await self._refuse(exchange, "the request is not a JSON object")
            return
        playing, alias = self.stage.performance, exchange.scope["path_params"].get("alias")
        asked = self.dialect.read(body, alias=alias, authorized=bool(key))
        chosen = playing.player.choose(asked)
        call = playing.log.received(asked, chosen)
        if chosen is None:
            last = one_line(asked.texts[-1] if asked.texts else "", 80)
            await self._refuse(
                exchange,
                f"no rule of the script applies to call {call.number} (alias {alias or 'none'}, model "
                f"{asked.model or 'none'}, last message {last!r})",
            )
            playing.log.finished(call, "no rule applies")
            return
        outcome, used = "client gone", Counted()
        try:
            reply = within_limit(chosen[2], asked.max_tokens)
            used = counted(reply, asked.texts)
            outcome = await self._play(exchange, call, reply, used, key, playing.barriers)
        finally:
            playing.log.finished(call, outcome, self.dialect.usage(used) if used.raw is None else used.raw)

    async def _refuse(self, exchange: _Exchange, message: str) -> None:
        body = self.dialect.error(f"scripted provider: {message}", code="unscripted", status=400)
        await exchange.start(400, {"Content-Type": "application/json"})
        await exchange.end(body)

    async def _play(
        self, exchange: _Exchange, call: Call, reply: Reply, used: Counted, key: str, barriers: Barriers
    ) -> str:
        if reply.barrier is not None:
            async with barriers.held_at(reply.barrier) as released:
                await exchange.while_connected(released.wait())
        if reply.latency_seconds:
            await exchange.while_connected(asyncio.sleep(reply.latency_seconds))
        asked, fault = call.asked, reply.fault
        if fault is not None and fault.kind in (FaultKind.STATUS, FaultKind.BODY, FaultKind.REDIRECT):
            return await self._state(exchange, fault, key)
        if fault is not None and fault.kind is FaultKind.HANG:
            await exchange.while_connected(asyncio.Event().wait())
        if asked.stream:
            parts = list(self.dialect.frames(reply, used, asked, call.number))
            kind = "text/event-stream; charset=utf-8"
        else:
            parts = [self.dialect.body(reply, used, asked, call.number)]
            kind = "application/json"
        return await self._write(exchange, parts, kind, fault)

    async def _state(self, exchange: _Exchange, fault: Fault, key: str) -> str:
        """A fixed status, body or redirect. `{authorization}` in a message echoes the key, as some servers do."""
        if fault.kind is FaultKind.BODY:
            body = fault.body.encode()
        else:
            message = (fault.message or f"scripted status {fault.status}").replace("{authorization}", key)
            body = self.dialect.error(message, code=fault.code, status=fault.status)
        await exchange.start(fault.status, {"Content-Type": "application/json", **fault.headers})
        await exchange.end(body)
        return f"{fault.kind.value} {fault.status}"

    async def _write(
        self, exchange: _Exchange, parts: list[bytes], content_type: str, fault: Fault | None
    ) -> str:
        headers = {"Content-Type": content_type}
        if fault is None:
            if len(parts) == 1:
                headers["Content-Length"] = str(len(parts[0]))
            await exchange.start(200, headers)
            for part in parts[:-1]:
                await exchange.part(part)
            await exchange.end(parts[-1])
            return "replied"
        whole = b"".join(parts)
        if fault.kind is FaultKind.DRIP:
            await exchange.start(200, headers)
            for place in range(len(whole)):
                await exchange.part(whole[place : place + 1])
                await exchange.while_connected(asyncio.sleep(fault.interval_seconds))
            await exchange.end()
            return "dripped"
        if fault.after_bytes or fault.kind is not FaultKind.RESET:
            await exchange.start(200, headers)
            await exchange.part(whole[: fault.after_bytes])
        if fault.kind is FaultKind.TRUNCATE:
            await exchange.end()
        else:
            await exchange.disconnect(reset=fault.kind is FaultKind.RESET)
        return fault.kind.value


def application(stage: Stage) -> Starlette:
    """The endpoints: both dialects with and without an alias in the address, the model list, the controls."""

    async def models(request: Request) -> Response:
        known = sorted({call.asked.model for call in stage.performance.log.calls} | {"scripted"})
        return JSONResponse(
            {
                "object": "list",
                "data": [{"id": name, "object": "model", "owned_by": "script"} for name in known],
            }
        )

    async def calls(request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "call": call.number,
                    "rule": call.rule,
                    "play": call.play,
                    "alias": call.asked.alias,
                    "model": call.asked.model,
                    "digest": call.asked.digest,
                    "outcome": call.outcome,
                }
                for call in stage.performance.log.calls
            ]
        )

    async def release(request: Request) -> Response:
        count = request.query_params.get("count")
        if count is not None and not count.isdigit():
            return JSONResponse({"error": "count is not a whole number"}, status_code=400)
        stage.performance.barriers.release(request.path_params["name"], None if count is None else int(count))
        return JSONResponse(stage.performance.barriers.held())

    async def barriers(request: Request) -> Response:
        return JSONResponse(stage.performance.barriers.held())

    async def held(request: Request) -> Response:
        name, count = request.path_params["name"], int(request.query_params.get("count", "1"))
        arrived = await asyncio.to_thread(stage.performance.barriers.wait_until_held, name, count)
        return JSONResponse(stage.performance.barriers.held(), status_code=200 if arrived else 408)

    async def count_tokens(request: Request) -> Response:
        body = await request.json()
        texts = texts_of(body.get("messages")) if isinstance(body, dict) else ()
        return JSONResponse({"input_tokens": sum(map(estimated_tokens, texts))})

    async def root(request: Request) -> Response:
        return JSONResponse({"about": "scripted provider", "calls": len(stage.performance.log.calls)})

    chat, messages = ModelEndpoint(stage, ChatDialect()), ModelEndpoint(stage, MessagesDialect())
    prefixes = ("", "/v1", "/{alias}/v1")
    return Starlette(
        routes=[
            # Claude Code looks whether anybody is there before its first question.
            Route("/", root),
            Route("/{alias}", root),
            *(Route(prefix + "/chat/completions", chat, methods=["POST"]) for prefix in prefixes),
            *(Route(prefix + "/messages", messages, methods=["POST"]) for prefix in prefixes),
            *(
                Route(prefix + "/messages/count_tokens", count_tokens, methods=["POST"])
                for prefix in prefixes
            ),
            *(Route(prefix + "/models", models) for prefix in prefixes),
            Route("/control/calls", calls),
            Route("/control/barriers", barriers),
            Route("/control/barriers/{name}", held),
            Route("/control/release/{name}", release, methods=["POST"]),
        ]
    )


def _tracking(connections: dict[tuple[str, int], asyncio.Transport]) -> type[asyncio.Protocol]:
    class Tracked(H11Protocol):
        """Remembers each connection's transport, which the faults close; ASGI itself cannot."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP only
            super().connection_made(transport)
            if self.client is not None:
                connections[self.client] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                connections.pop(self.client, None)
            super().connection_lost(exc)

    return Tracked


async def serve(
    stage: Stage, listener: socket.socket, *, stop: asyncio.Event, ready: threading.Event | None = None
) -> None:
    """Serve until `stop` is set; open replies are cut off then."""
    config = uvicorn.Config(
        application(stage),
        http=_tracking(stage.connections),
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)

    async def end() -> None:
        await stop.wait()
        stage.closing.set()
        for transport in list(stage.connections.values()):
            transport.abort()
        server.should_exit = True

    ending = asyncio.create_task(end())
    if ready is not None:
        ready.set()
    try:
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()
