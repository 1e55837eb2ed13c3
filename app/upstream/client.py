"""The upstream client for what the default one does not do: proxies and HTTP/2. It is httpx, and slower.

The only module of the gateway's data plane that imports httpx, so that it is loaded only where it is used.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import httpx

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import OutgoingBody, RawHeaders, Timeouts, UpstreamReply
from app.upstream.faults import connect_fault
from app.upstream.origin import Origin
from app.upstream.streams import close_stream, measured
from app.upstream.tls import Trust
from app.upstream.wire_head import MAX_HEADERS
from app.upstream.wire_request import REPEATABLE, check_head, framing_header

_VERSIONS: Final = frozenset((b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2"))
_SLICE_BYTES: Final = 64 * 1024
"""httpx limits the time for each piece, so that a piece must be small."""
_BROKEN_OFF: Final = ("Server disconnected", "peer closed connection")
"""How httpcore and h11 begin to say that an answer ended early, which httpx does not tell from a wrong one."""


class ClientUpstream:
    """An `Upstream` over httpx: HTTP/2 where `http2` is set and the origin agrees, `proxy` for an HTTP proxy's URL.

    The other arguments are those of `WireUpstream`. `ssl_context` is changed where `http2` is set (its ALPN), so do not
    share it with a `WireUpstream`. Nothing is read from the environment, no cookie kept, no redirect followed and
    nothing decompressed.

    Where httpx is less strict than the port's default adapter:

    - The answer is read only when the request was sent. Of an upstream that answers early, a timeout of writing is seen
      where it keeps the connection open without reading, and mostly a broken connection where it closes it.
    - Bytes that come along with the end of an answer are noticed by the next request on that connection, if at all: a
      whole second answer is taken for the answer to it. Use this adapter for upstreams that you trust.
    - An answer with the same Content-Length twice is taken, and 1xx or trailers without end. The head may have 100 KiB.
    - A kept connection is used for any method, however long it was idle within `keepalive_seconds`. The second attempt
      after a lost race may meet a second one.
    - Requests that wait for a connection get one in no order, and in time quadratic in their number.

    Raises ValueError for an origin that is not one.
    """

    def __init__(
        self,
        *,
        origin: str,
        timeouts: Timeouts,
        max_connections: int,
        ssl_context: ssl.SSLContext | None = None,
        http2: bool = False,
        proxy: str | None = None,
    ) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        self._origin = Origin.parse(origin)
        self._url = httpx.URL(origin)
        self._timeouts = timeouts
        self._limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=timeouts.keepalive_seconds,
        )
        self._trust = Trust(ssl_context)
        self._http2 = http2
        self._proxy = proxy
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._closed = False

    async def send(self, method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody = None) -> UpstreamReply:
        """See `Upstream.send`. Raises ValueError for a head that could be read as another: see `check_head`."""
        try:
            length = check_head(method, target, headers, body)
            framing = framing_header(method, body, length)
            all_headers = [(b"host", self._origin.host), *headers, *([framing] if framing else [])]
            repeatable = method in REPEATABLE and (body is None or isinstance(body, bytes))
            attempt = _Attempt(self._timeouts)
            try:
                return await self._attempt(attempt, method, target, all_headers, _OutgoingStream(body, length))
            except UpstreamFault:
                if not (repeatable and attempt.lost_race):
                    raise
            return await self._attempt(attempt, method, target, all_headers, _OutgoingStream(body, length))
        finally:
            await close_stream(body)

    async def aclose(self) -> None:
        """See `Upstream.aclose`. Further sends fail."""
        self._closed = True
        if self._transport is not None:
            await self._transport.aclose()

    async def _attempt(
        self, attempt: _Attempt, method: bytes, target: bytes, headers: RawHeaders, stream: _OutgoingStream
    ) -> UpstreamReply:
        transport = await self._connected_transport()
        request = httpx.Request(
            method.decode(), self._url, headers=headers, stream=stream, extensions=attempt.extensions()
        )
        request.url = _ExactURL(self._url, target)
        try:
            response = await transport.handle_async_request(request)
        except httpx.TransportError as error:
            raise attempt.fault(error) from None
        reply = ClientReply(response, attempt)
        if (complaint := _complaint(response)) is not None:
            await reply.aclose()
            raise UpstreamFault(FaultKind.PROTOCOL, complaint, request_sent=True)
        return reply

    async def _connected_transport(self) -> httpx.AsyncHTTPTransport:
        """The pool, made at the first request because reading the system's authorities takes time."""
        if self._closed:
            raise UpstreamFault(FaultKind.UNREACHABLE, "the gateway closed its connections", request_sent=False)
        if self._transport is None:
            context = await self._trust.context()
            self._transport = self._transport or httpx.AsyncHTTPTransport(
                verify=context, trust_env=False, http2=self._http2, limits=self._limits, proxy=self._proxy
            )
        return self._transport


class ClientReply:
    """An `UpstreamReply`. One task at a time may read it."""

    def __init__(self, response: httpx.Response, attempt: _Attempt) -> None:
        self.status = response.status_code
        self.headers: RawHeaders = [(name.lower(), value) for name, value in response.headers.raw]
        self._response = response
        self._attempt = attempt
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()
        self._ended = False
        self._error: BaseException | None = None

    async def read(self) -> bytes:
        """See `UpstreamReply.read`."""
        if self._error is not None:
            raise self._error
        while not self._ended:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                self._ended = True
            except httpx.TransportError as error:
                self._error = self._attempt.fault(error)
                raise self._error from None
            except BaseException:  # httpx has closed the response: what follows would look like its end
                self._error = UpstreamFault(FaultKind.UNREACHABLE, "the reply was closed", request_sent=True)
                raise
            else:
                if piece:
                    return piece
        return b""

    def at_hand(self) -> bytes | None:
        """See `UpstreamReply.at_hand`. httpx does not tell what has arrived."""
        return None

    async def aclose(self) -> None:
        """See `UpstreamReply.aclose`."""
        if not self._ended and self._error is None:
            self._error = UpstreamFault(FaultKind.UNREACHABLE, "the reply was closed", request_sent=True)
        await self._response.aclose()


class _ExactURL(httpx.URL):
    """A URL whose path and query go out as they are, where httpx would resolve dots and quote."""

    def __init__(self, origin: httpx.URL, target: bytes) -> None:
        super().__init__(origin)
        self._target = target

    @property
    def raw_path(self) -> bytes:
        """The target."""
        return self._target


class _OutgoingStream(httpx.AsyncByteStream):
    """A request body as httpx takes it. An iterator yields exactly `length` bytes, or it raises ValueError."""

    def __init__(self, body: OutgoingBody, length: int | None) -> None:
        self._body = body
        self._length = length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, bytes):
            for start in range(0, len(self._body), _SLICE_BYTES):
                yield self._body[start : start + _SLICE_BYTES]
        elif self._body is not None:
            async with aclosing(measured(self._body, self._length)) as pieces:
                async for piece in pieces:
                    yield piece


class _Attempt:
    """What httpcore tells about a request on its way: whether it took a kept connection, and whether it was sent."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._kept_connection = True
        self._sent = False
        self._answered = False
        self.lost_race = False

    def extensions(self) -> dict[str, Any]:
        """What goes to httpcore along with the request."""
        seconds = {
            "connect": self._timeouts.connect_seconds,
            "read": self._timeouts.read_seconds,
            "write": self._timeouts.write_seconds,
            "pool": self._timeouts.pool_seconds,
        }
        return {"timeout": seconds, "trace": self._note}

    async def _note(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self._kept_connection = False
        elif event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self._sent = True
        elif event.endswith(".receive_response_headers.complete"):
            self._answered = True

    def fault(self, error: httpx.TransportError) -> UpstreamFault:
        """The fault behind an error of httpx."""
        broken_off = isinstance(error, httpx.NetworkError) or str(error).startswith(_BROKEN_OFF)
        self.lost_race = broken_off and self._kept_connection and self._sent and not self._answered
        if isinstance(error, httpx.TimeoutException):
            return UpstreamFault(FaultKind.TIMEOUT, self._late(error), request_sent=self._sent)
        if not self._sent:
            return _connecting_fault(error)
        if broken_off:
            return UpstreamFault(FaultKind.UNREACHABLE, "the upstream broke off", request_sent=True)
        return UpstreamFault(FaultKind.PROTOCOL, "the upstream broke the protocol", request_sent=True)

    def _late(self, error: httpx.TimeoutException) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return f"not connected within {self._timeouts.connect_seconds:g} s"
        if isinstance(error, httpx.PoolTimeout):
            return f"no free connection for {self._timeouts.pool_seconds:g} s"
        if isinstance(error, httpx.WriteTimeout):
            return f"the upstream took no byte for {self._timeouts.write_seconds:g} s"
        return f"the upstream sent no byte for {self._timeouts.read_seconds:g} s"


def _connecting_fault(error: httpx.TransportError) -> UpstreamFault:
    """The fault for a connection that was not made: the error of the socket, under the wrappings of three libraries."""
    if isinstance(error, httpx.ProxyError):
        return UpstreamFault(FaultKind.UNREACHABLE, "the proxy does not connect", request_sent=False)
    cause: BaseException = error
    while not isinstance(cause, OSError) or cause.errno is None:
        inner = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
        if inner is None:
            break
        cause = inner
    return connect_fault(cause)


def _complaint(response: httpx.Response) -> str | None:
    """What is wrong with the head of an answer that httpx lets pass."""
    headers = response.headers
    if not 200 <= response.status_code <= 599 or response.extensions["http_version"] not in _VERSIONS:
        return "the response has an unknown status or version, or switches protocols"
    if len(headers.raw) > MAX_HEADERS:
        return f"the response has more than {MAX_HEADERS} headers"
    if "content-length" in headers and "transfer-encoding" in headers:
        return "the response frames its body twice"
    return None
