"""The HTTP under LiteLLM: what really left, what really came back, and nothing sent twice or anywhere else.

LiteLLM's errors do not say whether a request was sent (a reset after sending looks like a refused connection),
its replies hide whether usage was stated, and its clients follow redirects with the key. So every client it
makes gets this transport, which writes down each exchange in the `Wire` of the call it belongs to.
"""

from __future__ import annotations

import contextvars
import json
import weakref
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from orchestrator.adapters.models_failures import kind_of_wire

# Far above any reply of text; what is longer is not kept, so its usage is unknown.
_LONGEST_BODY = 64 * 1024 * 1024
_LONGEST_CONNECT_SECONDS = 20.0

# Where the vendors' dialects have the limit of a reply, and the prompt by which a request is known to be for one.
_LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "maxOutputTokens",
    "maxTokens",
    "max_new_tokens",
    "max_tokens_to_sample",
    "num_predict",
)
_LIMIT_SECTIONS = (
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "options",
    "parameters",
    "input",
)
# How many answers are wanted to one prompt: all are charged, and the hold is for one.
_COUNTS = ("n", "best_of", "candidateCount", "candidate_count", "num_generations", "num_return_sequences")
_PROMPTS = ("messages", "prompt", "input", "inputs", "contents", "instances", "message")


@dataclass(slots=True)
class Wire:
    """One call's exchange: `sent` once a request may have reached the provider, `status` once it answered.

    `reached` tells that LiteLLM came by here at all, `doubtful` that an earlier request of the same call may have
    cost something. `withdrawn` keeps a request that has not left from leaving, and so does a reply limit in it that
    is not at most `most_output_tokens`; `refused` says so.
    """

    most_output_tokens: int | None = None
    reached: bool = False
    sent: bool = False
    posted: bool = False
    doubtful: bool = False
    refused: str = ""
    withdrawn: bool = False
    unreachable: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    redirected_to: str = ""
    addresses: set[str] = field(default_factory=set)

    def text(self) -> bytes:
        """The body so far, decompressed when the server compressed it against our wish."""
        data = bytes(self.body)
        if self.headers.get("content-encoding", "identity").lower() in ("gzip", "deflate"):
            try:
                return zlib.decompressobj(wbits=47).decompress(data, _LONGEST_BODY)
            except zlib.error:
                return b""
        return data


CURRENT: contextvars.ContextVar[Wire | None] = contextvars.ContextVar("wire", default=None)


class SentTwice(httpx.RequestError):
    """A client wanted to send the same call again by itself: every call has its own hold, so this one has none."""


class Withdrawn(httpx.RequestError):
    """The call was cancelled, or its time was over, before the request left."""


class Unlimited(httpx.RequestError):
    """The request says nothing of how long the reply may be, or more than its hold pays for."""


class Redirected(httpx.RequestError):
    """The server answered with a redirect; following it would hand the key to whoever it names."""


class RecordingTransport(httpx.AsyncBaseTransport):
    """Wraps LiteLLM's own transport. Requests outside of a call of ours pass unrecorded but not redirected."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wire = CURRENT.get() or Wire()
        wire.reached = True
        address = f"{request.method} {request.url}"
        if wire.withdrawn:
            raise Withdrawn("withdrawn before it was sent", request=request)
        if address in wire.addresses:
            raise SentTwice("not sent a second time", request=request)
        if wire.most_output_tokens is not None and not _is_limited(
            await request.aread(), wire.most_output_tokens
        ):
            wire.refused = (
                f"its request would not keep to the output limit of {wire.most_output_tokens} tokens that was "
                f"reserved, so it was not sent: see litellm_params"
            )
            raise Unlimited(wire.refused, request=request)
        wire.addresses.add(address)
        if wire.sent and wire.posted and not kind_of_wire(wire)[1]:
            wire.doubtful = True
        before, wire.posted = wire.sent, request.method == "POST"
        wire.status, wire.headers = None, {}
        wire.body.clear()
        request.headers["accept-encoding"] = "identity"
        timeout = dict(request.extensions.get("timeout") or {})
        # A host that does not answer to connecting has not got the request: found out before the deadline is.
        timeout["connect"] = min(timeout.get("connect") or _LONGEST_CONNECT_SECONDS, _LONGEST_CONNECT_SECONDS)
        request.extensions = {**request.extensions, "timeout": timeout}
        wire.sent = True
        try:
            response = await self.inner.handle_async_request(request)
        except Exception as error:
            if _never_connected(error):
                wire.sent, wire.unreachable = before, str(error) or type(error).__name__
            raise
        wire.status = response.status_code
        wire.headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status_code < 400:
            wire.redirected_to = httpx.URL(response.headers.get("location", "")).host or "nowhere"
            await response.aclose()
            raise Redirected("redirects are not followed", request=request)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        response.stream = _Recorded(stream, wire)
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Recorded(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, wire: Wire) -> None:
        self._inner, self._wire = inner, wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            if len(self._wire.body) < _LONGEST_BODY:
                self._wire.body += chunk
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is_limited(body: bytes, most: int) -> bool:
    """Whether a request for a reply limits it to one of `most` tokens; true for any other request."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return True
    if not isinstance(document, dict) or not any(name in document for name in _PROMPTS):
        return True
    places = [document, *(document.get(name) for name in _LIMIT_SECTIONS)]
    limits = [place[name] for place in places if isinstance(place, dict) for name in _LIMITS if name in place]
    if any(
        place.get(name) not in (None, 1) for place in places if isinstance(place, dict) for name in _COUNTS
    ):
        return False
    return bool(limits) and all(isinstance(limit, int | float) and 0 < limit <= most for limit in limits)


def _never_connected(error: BaseException) -> bool:
    """Whether no connection came about: refused, no such host, TLS not agreed, no answer to connecting.

    Told by aiohttp's or httpcore's own classes: httpx.ConnectError alone also stands for a reset after sending.
    """
    import aiohttp

    classes: list[type[BaseException]] = [aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError]
    try:
        import httpcore
    except ImportError:
        pass
    else:
        classes += [httpcore.ConnectError, httpcore.ConnectTimeout]
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, tuple(classes)):
            return True
        link = link.__cause__
    return False


_TRANSPORTS: weakref.WeakSet[RecordingTransport] = weakref.WeakSet()


def record_exchanges() -> None:
    """Have every HTTP client that LiteLLM makes from now on use the recording transport. Can be repeated."""
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    make = AsyncHTTPHandler.create_async_transport
    if getattr(make, "records", False):
        return

    def create(*args: Any, **kwargs: Any) -> httpx.AsyncBaseTransport:
        transport = RecordingTransport(make(*args, **kwargs) or httpx.AsyncHTTPTransport())
        _TRANSPORTS.add(transport)
        return transport

    create.records = True  # type: ignore[attr-defined]  # a mark that it is ours
    AsyncHTTPHandler.create_async_transport = staticmethod(create)


async def close_connections() -> None:
    """Close what this event loop has open; later calls open anew."""
    for transport in list(_TRANSPORTS):
        await transport.aclose()
