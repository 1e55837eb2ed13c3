"""A turn of the data plane: from the parser straight to the gateway, and from there straight to the socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import CORO_CREATED, getcoroutinestate
from typing import Final, NamedTuple

from app.api.body import ArrivingBody, NoBody
from app.api.data_plane import DataPlane
from app.api.errors import rendered
from app.api.failing import new_request_id
from app.api.responses import head_lines
from app.api.turns import Connection, Head
from app.domain.errors import ClientGone, GatewayError, UpstreamFault
from app.domain.exchange import Exchange, Outcome
from app.domain.ports import RawHeaders
from app.gateway.relay import Reply
from quaymaster.operations import Route

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_END: Final = b"\r\n"
_LAST_END: Final = b"connection: close\r\n\r\n"
"""The end of an answer's head, where it is the last on its connection."""
_BODILESS: Final = frozenset({204, 304})


class Doubt(NamedTuple):
    """An answer of which nobody knows whether it arrived: what to call if not, and when it was sent (monotonic)."""

    on_lost: Callable[[], None]
    sent_at: float


class Lane:
    """A `Turn`, and the `ReplyLine` of its answer: the head and a small body go out in one write.

    A client that leaves ends a GET, which stops the upstream's transfer. What changes something upstream goes on to its
    end, so that what was made is known; an upload stops by itself when its body does.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_data_plane",
        "_found",
        "_gone",
        "_head",
        "_serving",
        "_task",
        "_whole",
        "begun",
        "exchange",
        "finished",
        "keep_alive",
        "peer",
        "started",
    )

    def __init__(self, connection: Connection, data_plane: DataPlane, found: Route, head: Head) -> None:
        self.exchange: Exchange | None = None
        self.keep_alive = head.keep_alive
        self.peer = connection.peer
        self.begun = self.started = self.finished = False
        self._connection = connection
        self._data_plane = data_plane
        self._found = found
        self._head = head
        self._body: ArrivingBody | None = None
        self._whole = self._gone = False

    # The turn.

    def begin(self) -> None:
        """See `Turn`."""
        self.begun = True
        connection, head = self._connection, self._head
        body = self._arriving() if self._body is not None or not self._whole else NoBody()
        exchange = Exchange(new_request_id(), head.method, head.path, head.headers, head.query, body)
        self.exchange = exchange
        self._serving = self._data_plane.serve(exchange, self._found, self)
        self._task = connection.loop.create_task(self._serving)
        connection.tasks.add(self._task)

    def feed(self, piece: bytes) -> None:
        """See `Turn`."""
        if not self.finished:
            self._arriving().feed(piece)

    def finish(self) -> None:
        """See `Turn`."""
        self._whole = True
        if self._body is not None:
            self._body.finish()

    def disconnect(self) -> None:
        """See `Turn`."""
        self._gone = True
        if self._body is not None:
            self._body.disconnect()
        exchange = self.exchange
        if exchange is not None and exchange.outcome is None and exchange.body.ended:
            exchange.outcome = Outcome.CLIENT_GONE
            if exchange.method == "GET" and getcoroutinestate(self._serving) != CORO_CREATED:  # that would never end
                self._task.cancel()

    def _arriving(self) -> ArrivingBody:
        if self._body is None:
            self._body = ArrivingBody(
                self._head.headers,
                ask=self._ask if self._head.waits else None,
                pause=self._connection.flow.pause_reading,
                resume=self._connection.flow.resume_reading,
            )
        return self._body

    def _ask(self) -> None:
        if not (self.started or self._gone):
            self._connection.send_now(_CONTINUE)

    # The line.

    def close(self) -> None:
        """See `ReplyLine`."""
        connection = self._connection
        connection.tasks.discard(self._task)
        if self._body is not None:
            self._body.disconnect()
        if not (self.finished or self._gone):
            connection.transport.abort() if self._head.is_1_0 else connection.close()
        connection.answered()

    def send(self, reply: Reply) -> Awaitable[None] | None:
        """See `ReplyLine`."""
        if reply.whole is None:
            return self._stream(self._begun(), reply)
        if self._connection.flow.write_paused:
            return self._send_later(reply.status, reply.headers, reply.whole)
        self._send(reply.status, reply.headers, reply.whole)
        return None

    async def send_error(self, error: GatewayError) -> None:
        """See `Line`."""
        status, headers, body = rendered(error)
        exchange = self._begun()
        exchange.error_code = error.code.value
        exchange.response_json = body
        await self._send_later(status, headers, body)

    async def _send_later(self, status: int, headers: RawHeaders, body: bytes) -> None:
        if self._connection.flow.write_paused:
            await self._connection.flow.drain()
        self._send(status, headers, body)

    def _send(self, status: int, headers: RawHeaders, body: bytes) -> None:
        connection, exchange = self._connection, self._begun()
        if exchange.method == "HEAD":
            body = b""
        head = head_lines(exchange, status, headers, connection.dated())
        self.started = self.finished = True
        exchange.bytes_out = len(body)
        if not self._gone:
            end = _END if self.keep_alive else _LAST_END
            connection.outbox.put(connection.transport, b"".join((head, end, body)), len(connection.tasks))

    async def _stream(self, exchange: Exchange, reply: Reply) -> None:
        try:
            await self._send_pieces(exchange, reply)
        finally:
            await reply.aclose()

    async def _send_pieces(self, exchange: Exchange, reply: Reply) -> None:
        """Send piece by piece, at the pace of the slower side.

        Where the upstream breaks off in the middle the answer stays incomplete, and its connection is closed: a short
        file must never look whole.
        """
        flow, write = self._connection.flow, self._connection.transport.write
        try:
            head = head_lines(exchange, reply.status, reply.headers, self._connection.dated())
            is_chunked = not (
                self._head.is_1_0
                or reply.status in _BODILESS
                or any(name == b"content-length" for name, _ in reply.headers)
            )
            self.started = True
            if is_chunked:
                head += b"transfer-encoding: chunked\r\n"
            self._write(head + (_END if self.keep_alive else _LAST_END))
            while piece := await reply.read():
                if self._gone:
                    raise ClientGone
                write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if is_chunked else piece)
                exchange.bytes_out += len(piece)
                if flow.write_paused:
                    await flow.drain()
            exchange.outcome = exchange.outcome or Outcome.ANSWERED
            self.finished = True
            self._write(b"0\r\n\r\n" if is_chunked else b"")
        except UpstreamFault as fault:
            exchange.outcome = Outcome.CUT_OFF
            exchange.error_code = fault.kind.value
            exchange.error_detail = fault.detail

    def _write(self, data: bytes) -> None:
        if data and not self._gone:
            self._connection.send_now(data)

    def _begun(self) -> Exchange:
        if self.exchange is None:
            raise RuntimeError("an answer before its turn")
        return self.exchange
