"""The HTTP under LiteLLM: what really left, what really came back, and nothing sent twice or anywhere else.

LiteLLM's errors do not say whether a request was sent (a reset after sending looks like a refused connection),
its replies hide whether usage was stated, and its clients follow redirects with the key. So every client it
makes gets this transport, which writes down each exchange in the `Wire` of the call it belongs to.
"""

from __future__ import annotations

import contextvars
import weakref
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

# Far above any reply of text; what is longer is not kept, so its usage is unknown.
_LONGEST_BODY = 64 * 1024 * 1024
_LONGEST_CONNECT_SECONDS = 20.0


@dataclass(slots=True)
class Wire:
    """One call's exchange: `sent` once a request may have reached the provider, `status` once it answered.

    `withdrawn` keeps a request that has not left from leaving.
    """

    sent: bool = False
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


class Redirected(httpx.RequestError):
    """The server answered with a redirect; following it would hand the key to whoever it names."""


class RecordingTransport(httpx.AsyncBaseTransport):
    """Wraps LiteLLM's own transport. Requests outside of a call of ours pass unrecorded but not redirected."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wire = CURRENT.get() or Wire()
        address = f"{request.method} {request.url}"
        if wire.withdrawn:
            raise Withdrawn("withdrawn before it was sent", request=request)
        if address in wire.addresses:
            raise SentTwice("not sent a second time", request=request)
        wire.addresses.add(address)
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
                wire.sent, wire.unreachable = False, str(error) or type(error).__name__
            raise
        wire.status = response.status_code
        wire.headers = {name.lower(): value for name, value in response.headers.items()}
        wire.body.clear()
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

    create.records = True  # type: ignore[attr-defined]
    AsyncHTTPHandler.create_async_transport = staticmethod(create)


async def close_connections() -> None:
    """Close what this event loop has open; later calls open anew."""
    for transport in list(_TRANSPORTS):
        await transport.aclose()
