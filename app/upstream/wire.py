"""The default upstream client: a keep-alive pool of asyncio connections to one origin, HTTP/1.1 read by llhttp.

It does little per request: one write, one future, no task (a streamed body takes one), no timer of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from typing import Final

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import OutgoingBody, RawHeaders, Timeouts
from app.outbox import Outbox
from app.upstream.faults import connect_fault
from app.upstream.origin import Origin
from app.upstream.streams import close_stream
from app.upstream.tls import Trust
from app.upstream.wire_bulk import ReadBuffers
from app.upstream.wire_connection import StaleConnection, WireConnection
from app.upstream.wire_reply import WireReply
from app.upstream.wire_request import REPEATABLE, encode_request

FRESH_SECONDS: Final = 1.0
"""Any other request takes a kept connection only when it was idle for less: a lost race could not be repaired."""


class WireUpstream:
    """An `Upstream` over HTTP/1.1. Nothing is opened before the first `send`; it then belongs to that event loop.

    `origin` is `http://host[:port]` or `https://host[:port]`. At most `max_connections` are open at a time; who waits
    for one is served in the order they came. With `ssl_context` None the system's authorities are trusted.

    An answer that ends early is FaultKind.UNREACHABLE (the upstream broke off), one that is wrong is
    FaultKind.PROTOCOL. A body framed by nothing but the end of the connection cannot be told from a truncated one. A
    timeout of writing is noticed within twice its time.

    Raises ValueError for an origin that is not one.
    """

    def __init__(
        self,
        *,
        origin: str,
        timeouts: Timeouts,
        max_connections: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        self._origin = Origin.parse(origin)
        self._timeouts = timeouts
        self._max_connections = max_connections
        self._trust = Trust(ssl_context)
        self.in_flight = 0
        self.outbox = Outbox()
        self.buffers = ReadBuffers()
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._idle: dict[WireConnection, None] = {}  # in the order they became idle
        self._open: set[WireConnection] = set()
        self._all_closed: asyncio.Future[None] | None = None
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(self, method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody = None) -> WireReply:
        """See `Upstream.send`. Raises ValueError for a head that could be read as another: see `check_head`."""
        try:
            request = encode_request(method, target, headers, body, self._origin.host)
            repeatable = request.stream is None and method in REPEATABLE
            max_idle_seconds = self._timeouts.keepalive_seconds if repeatable else FRESH_SECONDS
            connection = self._take_idle(max_idle_seconds) if self.in_flight < self._max_connections else None
            if connection is not None:
                self.in_flight += 1
            else:
                connection = await self._lease(max_idle_seconds)
        except BaseException:
            await close_stream(body)
            raise
        while True:
            reply = connection.begin(request)
            try:
                while not reply.status:
                    await reply.news()
                return reply
            except BaseException as error:
                await reply.aclose()
                if not (repeatable and isinstance(error, StaleConnection)):
                    raise
            connection = await self._lease_again()  # a new one, which is not stale

    async def aclose(self) -> None:
        """See `Upstream.aclose`. Returns when every socket is closed; further sends fail."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_closed_fault())
        self._waiting.clear()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            self._all_closed = self._all_closed or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._all_closed)

    # What a connection calls.

    def returned(self, connection: WireConnection) -> None:
        """See `ConnectionOwner`."""
        self._idle[connection] = None
        if self._reaper is None:
            self._reap_in(self._timeouts.keepalive_seconds)
        self._free_slot()

    def dropped(self) -> None:
        """See `ConnectionOwner`."""
        self._free_slot()

    def closed(self, connection: WireConnection) -> None:
        """See `ConnectionOwner`."""
        self._idle.pop(connection, None)
        self._open.discard(connection)
        if not self._open and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)

    # Slots: one per exchange in flight. A free slot and a waiter never exist at the same time.

    async def _lease(self, max_idle_seconds: float) -> WireConnection:
        """A connection for one exchange: one that was idle for less, or else a new one."""
        if self._closed:
            raise _closed_fault()
        if self.in_flight < self._max_connections:
            self.in_flight += 1
        else:
            await self._wait_for_slot()
        connection = self._take_idle(max_idle_seconds)
        if connection is not None:
            return connection
        try:
            return await self._connect()
        except BaseException:
            self._free_slot()
            raise

    async def _lease_again(self) -> WireConnection:
        """A new connection for what was sent already: a fault now comes after that."""
        try:
            return await self._lease(0)
        except UpstreamFault as fault:
            raise UpstreamFault(fault.kind, fault.detail, request_sent=True) from None

    async def _wait_for_slot(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(self._timeouts.pool_seconds):
                await waiter
        except BaseException as error:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._free_slot()  # it came too late
            if isinstance(error, TimeoutError):
                detail = f"no free connection for {self._timeouts.pool_seconds:g} s"
                raise UpstreamFault(FaultKind.TIMEOUT, detail, request_sent=False) from None
            raise

    def _free_slot(self) -> None:
        """Hand a slot to whoever has waited longest."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)
                return
        self.in_flight -= 1

    # Connections.

    def _take_idle(self, max_idle_seconds: float) -> WireConnection | None:
        """The connection that became idle last, if that was recent enough."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if not connection.usable:
                continue
            if connection.loop.time() - connection.idle_since < max_idle_seconds:
                return connection
            self._idle[connection] = None
            break
        return None

    async def _connect(self) -> WireConnection:
        """A new connection, in place of the one longest idle where all are open."""
        if len(self._idle) > self._max_connections - self.in_flight:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.abort()
        try:
            async with asyncio.timeout(self._timeouts.connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: WireConnection(self._timeouts, self),
                    self._origin.hostname,
                    self._origin.port,
                    ssl=await self._trust.context() if self._origin.secure else None,
                )
        except TimeoutError:
            detail = f"not connected within {self._timeouts.connect_seconds:g} s"
            raise UpstreamFault(FaultKind.TIMEOUT, detail, request_sent=False) from None
        except OSError as error:
            raise connect_fault(error) from None
        if not connection.usable:
            raise UpstreamFault(FaultKind.UNREACHABLE, "connection closed at once", request_sent=False)
        self._open.add(connection)
        if self._closed:
            connection.abort()
            raise _closed_fault()
        return connection

    def _reap_in(self, seconds: float) -> None:
        self._reaper = asyncio.get_running_loop().call_later(seconds, self._reap)

    def _reap(self) -> None:
        """Close what has been idle for too long, and look again when the next will have been."""
        self._reaper = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._idle):
            rest_seconds = connection.idle_since + self._timeouts.keepalive_seconds - now
            if rest_seconds > 0:
                self._reap_in(rest_seconds)
                break
            del self._idle[connection]
            connection.abort()


def _closed_fault() -> UpstreamFault:
    return UpstreamFault(FaultKind.UNREACHABLE, "the gateway closed its connections", request_sent=False)
