"""The wire adapter's reply: what has arrived, until somebody reads it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import RawHeaders
from app.upstream.streams import close_stream
from app.upstream.wire_request import WireRequest
from app.upstream.wire_response import ResponseParser


class ReplySource(Protocol):
    """The connection over which a reply comes."""

    def cut(self, reply: WireReply, error: BaseException) -> None:
        """End this reply's exchange with an error, unless it has ended."""
        ...

    def read_on(self, reply: WireReply) -> None:
        """The reply has room again."""
        ...


class WireReply:
    """An `UpstreamReply`. One task at a time may read it.

    `status` and `headers` are there once `head` has returned. `sender` is the task that sends the request's stream.
    """

    __slots__ = ("_error", "_parser", "_source", "_waiter", "headers", "request", "sender", "status")

    def __init__(self, source: ReplySource, request: WireRequest) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.request = request
        self.sender: asyncio.Task[None] | None = None
        self._source = source
        self._parser = ResponseParser(head_only=request.method == b"HEAD")
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether any byte of an answer has arrived."""
        return self._parser.begun

    @property
    def complete(self) -> bool:
        """Whether the whole answer has arrived, though perhaps not been read."""
        return self._parser.complete

    @property
    def keep_alive(self) -> bool:
        """Whether the upstream keeps the connection open."""
        return self._parser.keep_alive

    @property
    def unread_bytes(self) -> int:
        """Body that has arrived and not been read."""
        return self._parser.unread_bytes

    async def head(self) -> None:
        """Wait for status and headers. Raises what `fail` was given."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._news()

    async def read(self) -> bytes:
        """See `UpstreamReply.read`."""
        parser = self._parser
        while not parser.pieces:
            if self._error is not None:
                raise self._error
            if parser.complete:
                return b""
            await self._news()
        piece = parser.take()
        if not parser.complete:
            self._source.read_on(self)
        return piece

    async def aclose(self) -> None:
        """See `UpstreamReply.aclose`. The request's stream is closed when this returns."""
        self._source.cut(self, UpstreamFault(FaultKind.UNREACHABLE, "the reply was closed", request_sent=True))
        if self.sender is not None:
            await asyncio.wait((self.sender,))
            await close_stream(self.request.stream)

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection. Raises ProtocolBroken."""
        parser = self._parser
        parser.feed(data)
        if not self.status and parser.status:
            self.status = parser.status
            self.headers = parser.headers
        self._wake()

    def end(self) -> bool:
        """The upstream sends no more: whether that makes the answer complete."""
        ended = self._parser.end()
        self._wake()
        return ended

    def fail(self, error: BaseException) -> None:
        """The rest will not come. What has arrived can still be read, then `error` is raised."""
        self._error = error
        self._wake()

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
