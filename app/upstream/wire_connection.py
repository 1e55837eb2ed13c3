"""One connection to an upstream: it carries one exchange at a time, and watches over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from math import inf
from typing import Final, Protocol, cast

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import Piece, Timeouts
from app.outbox import Outbox
from app.upstream.streams import close_stream, measured
from app.upstream.wire_bulk import BULK_BYTES, BulkReader, ReadBuffers
from app.upstream.wire_reply import WireReply
from app.upstream.wire_request import JOINED_BYTES, WireRequest
from app.upstream.wire_response import ProtocolBroken

BUFFERED_BYTES: Final = 128 * 1024
"""What a reply may hold unread before reading from the upstream stops; it goes on at half of it."""


class StaleConnection(UpstreamFault):
    """A connection that had served before was closed before a byte of the answer came: most likely it idled out."""


class ConnectionOwner(Protocol):
    """Whoever lends connections. Every exchange ends in one call, either `returned` or `dropped`."""

    outbox: Outbox
    """For requests that can wait for others."""
    buffers: ReadBuffers
    """For large pieces of answers."""
    in_flight: int
    """How many exchanges there are now."""

    def returned(self, connection: WireConnection) -> None:
        """The exchange ended cleanly: the connection can carry another."""
        ...

    def dropped(self) -> None:
        """The exchange ended, and its connection with it."""
        ...

    def closed(self, connection: WireConnection) -> None:
        """The socket is gone."""
        ...


class WireConnection(asyncio.Protocol):
    """`usable` until it was cut or closed; `idle_since` is in the loop's time."""

    def __init__(self, timeouts: Timeouts, owner: ConnectionOwner) -> None:
        self.usable = True
        self.idle_since = 0.0
        self._timeouts = timeouts
        self._owner = owner
        self.loop = asyncio.get_running_loop()
        self._now = self.loop.time
        self._reply: WireReply | None = None
        self._served = False
        self._sending = False  # the request's stream is not all handed to the transport
        self._in_bulk = False  # a BulkReader is in place
        self._read_paused = False
        self._write_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._unsent_bytes = 0
        self._moved_at = 0.0  # when a byte last went either way
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def begin(self, request: WireRequest) -> WireReply:
        """Send a request. Whoever gets the reply must wait for its status, and close it also where that fails.

        The wait raises UpstreamFault, or what the request's stream raised.
        """
        owner = self._owner
        reply = self._reply = WireReply(self, request)
        now = self._moved_at = self._now()
        if request.body or request.stream is not None:
            self._send_long(reply, request)
        else:
            owner.outbox.put(self._transport, request.head, owner.in_flight)
        if self._timer_at > now + self._timeouts.read_seconds:
            self._watch()
        return reply

    def cut(self, reply: WireReply, error: BaseException) -> None:
        """End this reply's exchange with an error, unless it has ended; the connection goes with it."""
        if self._reply is reply:
            reply.fail(error)
            self._end(reply, reusable=False)

    def abort(self) -> None:
        """Close the socket at once. An exchange on it fails."""
        if self._reply is not None:
            self.cut(self._reply, UpstreamFault(FaultKind.UNREACHABLE, "the gateway closed", request_sent=True))
        elif self.usable:
            self.usable = False
            self._transport.abort()

    def read_on(self, reply: WireReply) -> None:
        """The reply has room again."""
        if self._read_paused and self._reply is reply and reply.unread_bytes <= BUFFERED_BYTES // 2:
            self._read_paused = False
            self._transport.resume_reading()
            self._moved_at = self._now()
            self._watch()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and the certificate verified."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: Piece) -> None:
        """Bytes of the answer, or bytes that nobody asked for."""
        reply = self._reply
        if reply is None:
            self.abort()
            return
        status = reply.status
        try:
            reply.feed(data)
        except ProtocolBroken as broken:
            reply.status = status  # a head is no better than what came along with it
            self.cut(reply, UpstreamFault(FaultKind.PROTOCOL, str(broken), request_sent=True))
            return
        if reply.complete:
            self._end(reply, reusable=reply.keep_alive)
        else:
            self._moved_at = self._now()
            if len(data) >= BULK_BYTES and reply.status and not self._in_bulk:
                self._in_bulk = True
                self._transport.set_protocol(BulkReader(self, self._owner.buffers, lambda: self._owner.in_flight))
            if reply.unread_bytes >= BUFFERED_BYTES and not self._read_paused:
                self._read_paused = True
                self._transport.pause_reading()
        reply.wake()

    def eof_received(self) -> None:
        """The upstream sends no more. The transport closes after this."""
        reply = self._reply
        if reply is not None and reply.end():
            self._end(reply, reusable=False)
            reply.wake()
        else:
            self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._lose()
        if self._timer is not None:
            self._timer.cancel()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The upstream takes bytes more slowly than they come."""
        self._write_paused = True
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._moved_at = self._now()
        self._watch()

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self._write_paused = False
        self._moved_at = self._now()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._watch()

    # The end of an exchange.

    def _lose(self) -> None:
        """The upstream closed the connection."""
        reply = self._reply
        if reply is None:
            self.abort()
            return
        if reply.begun:
            fault = UpstreamFault(FaultKind.UNREACHABLE, "the upstream broke off its answer", request_sent=True)
        else:
            kind = StaleConnection if self._served else UpstreamFault
            detail = "the upstream closed the connection without an answer"
            fault = kind(FaultKind.UNREACHABLE, detail, request_sent=True)
        self.cut(reply, fault)

    def _end(self, reply: WireReply, *, reusable: bool) -> None:
        """The exchange is over. A request that was not sent whole leaves a connection that nobody can use again."""
        self._reply = None
        if reply.sender is not None:
            reply.sender.cancel()
        if self._read_paused:
            self._read_paused = False
            self._transport.resume_reading()
        if not reusable or self._sending or self._transport.get_write_buffer_size():
            self.abort()
            self._owner.dropped()
        else:
            if self._in_bulk:
                self._in_bulk = False
                self._transport.set_protocol(self)
            self._served = True
            self.idle_since = self._now()
            self._owner.returned(self)

    # Sending what does not go out together with its head.

    def _send_long(self, reply: WireReply, request: WireRequest) -> None:
        self._transport.write(request.head)
        if request.body:
            self._transport.write(request.body)
        if request.stream is not None:
            self._sending = True
            reply.sender = self.loop.create_task(self._send_stream(reply, request.stream))
            reply.sender.add_done_callback(partial(self._stream_ended, reply))

    async def _send_stream(self, reply: WireReply, stream: AsyncIterator[bytes]) -> None:
        chunked = reply.request.stream_bytes is None
        try:
            async with aclosing(measured(stream, reply.request.stream_bytes)) as pieces:
                async for piece in pieces:
                    if self._write_paused:
                        self._drained = self.loop.create_future()
                        await self._drained
                    if self._reply is not reply:
                        return
                    self._write_piece(piece, chunked=chunked)
            if chunked and self._reply is reply:
                self._transport.write(b"0\r\n\r\n")
        finally:
            await close_stream(stream)

    def _write_piece(self, piece: bytes, *, chunked: bool) -> None:
        if not chunked:
            self._transport.write(piece)
        elif len(piece) <= JOINED_BYTES:
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self._transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))

    def _stream_ended(self, reply: WireReply, sender: asyncio.Task[None]) -> None:
        """The task that sends is done: the answer is now due, or the request must not look whole."""
        if sender.cancelled():
            error: BaseException | None = UpstreamFault(
                FaultKind.UNREACHABLE, "the request was not sent whole", request_sent=True
            )
        else:
            error = sender.exception()
        if self._reply is not reply:
            return
        if error is not None:
            self.cut(reply, error)
            return
        self._sending = False
        self._moved_at = self._now()
        self._watch()

    # Time. One timer per connection, moved on when it fires rather than at each byte.

    def _limit(self) -> float | None:
        """How long nothing may move as things stand, in seconds."""
        if self._reply is None:
            return None
        if self._write_paused:
            return self._timeouts.write_seconds
        if self._sending or self._read_paused:
            return None
        return self._timeouts.read_seconds

    def _watch(self) -> None:
        """See to it that the timer fires no later than needed."""
        limit = self._limit()
        if limit is None:
            return
        at = self._moved_at + limit
        if self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._look)

    def _look(self) -> None:
        """The timer: has anything moved for long enough?"""
        self._timer, self._timer_at = None, inf
        limit = self._limit()
        if limit is None or self._reply is None:
            return
        now = self._now()
        if self._write_paused:
            unsent_bytes = self._transport.get_write_buffer_size()  # the transport does not say when it writes
            if unsent_bytes != self._unsent_bytes:
                self._unsent_bytes = unsent_bytes
                self._moved_at = now
        if now < self._moved_at + limit:
            self._watch()
            return
        detail = f"the upstream took no byte for {limit:g} s" if self._write_paused else f"no byte for {limit:g} s"
        self.cut(self._reply, UpstreamFault(FaultKind.TIMEOUT, detail, request_sent=True))
