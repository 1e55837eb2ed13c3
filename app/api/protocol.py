"""One client connection: HTTP/1.1 by llhttp, with bounds on what a client may send and how long it may take.

It is a protocol for uvicorn's server, which accepts connections, keeps the date and stops. The nine operations take the
`Lane`; what else is asked for goes to the ASGI application. The bounds:

- A head: `max_headers` and `max_header_bytes`, then 431. HEAD_SECONDS, then the connection is closed.
- What is neither head nor body (trailers, chunk extensions, blank lines): `max_header_bytes` at a stretch, then 400.
- A body, an answer: STALL_SECONDS in which the client neither sends nor takes a byte that is due.
- What nobody wants any more (the body of a request that was refused, say): LINGER_SECONDS, in which it is thrown away,
  so that the client gets to read its answer.
- Between requests: the server's `timeout_keep_alive`, and LAST_CALL_SECONDS once the process is to stop.
- Requests sent ahead: MAX_AHEAD. Those before are answered, then the connection is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final, Literal

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from app.api.clock import Dated, Deadline
from app.api.data_plane import DataPlane
from app.api.errors import rendered
from app.api.failing import new_request_id
from app.api.lane import Doubt, Lane
from app.api.polling import BusyPoll
from app.api.turns import AsgiTurn, Head, Turn, without_offer
from app.domain.errors import ErrorCode, GatewayError
from app.domain.ports import RawHeaders
from app.outbox import Outbox
from quaymaster.operations import route

HEAD_SECONDS: Final = 30.0
"""How long a client may take to send a request's head."""
STALL_SECONDS: Final = 120.0
"""The longest silence of a client that owes us a body, and the longest time for which it takes no byte of an answer."""
LINGER_SECONDS: Final = 10.0
"""How long a client that was answered may go on sending."""
LAST_CALL_SECONDS: Final = 0.5
"""How long a connection that nobody uses stays when the process is to stop. What its client has just sent, or sends
before it can know, is answered, and told that the connection ends: who asks on without a pause would lose a request."""
DOUBT_SECONDS: Final = 5.0
"""A connection that ends so soon after an answer may have ended before the client had it."""
MAX_AHEAD: Final = 32
"""How many requests may be sent before the first of them is answered."""

log = structlog.get_logger()


_Part = Literal["nothing", "head", "body"]
"""What of a request is arriving. Words: an Enum's members take 50 ns each to look up, ten times a request."""

_Awaited = Literal["request", "head", "rest", "last request"]
"""What a client has a time for: to ask on, to send a head, to send what nobody wants any more, to ask once more."""


class GatewayProtocol(asyncio.Protocol):
    """One client connection. A subclass sets the two limits, the data plane, and what all connections share."""

    max_header_bytes: int
    max_headers: int
    data_plane: DataPlane
    outbox: Outbox
    poll: BusyPoll

    transport: asyncio.Transport
    flow: FlowControl
    peer: tuple[str, int] | None = None

    _part: _Part = "nothing"
    _framing_bytes = 0
    """How much has come since something brought a request further."""
    _head_bytes = 0
    """No less than what has come of the head that is arriving."""
    _received_bytes = 0
    _url = b""
    _headers: RawHeaders
    _declined = b""
    """The head of a request that offers another protocol, without the offer."""
    _refusal: GatewayError | None = None
    _refused = False
    _stopping = False
    """Whether the process is to stop: no request is to come after the next."""
    _awaited: _Awaited | None = None
    """What the client has a time for."""
    _latest: Turn | None = None
    """Whose body is arriving, also where it is answered already."""
    _doubt: Doubt | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _stalled_quarters = 0
    _position = (0, 0)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.tasks = server_state.tasks
        self.dated = Dated(server_state)
        self._server = server_state
        self._app = config.loaded_app
        self._keep_alive_seconds = config.timeout_keep_alive
        self._parser = self._new_parser()
        self._turns: deque[Turn] = deque()
        self._deadline = Deadline(self.loop, self._out_of_time)

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there, and may take HEAD_SECONDS to ask for something."""
        self._server.connections.add(self)  # type: ignore[arg-type]
        self.transport = transport
        self.flow = FlowControl(transport)
        self.peer = get_remote_addr(transport)
        self._await("head", HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what goes on and on without becoming a request."""
        if self._refused:
            return
        size, turns = len(data), self._turns
        self._received_bytes += size
        self._framing_bytes += size
        self._head_bytes += size
        is_busy = bool(turns)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._not_http()
        if self._framing_bytes > self.max_header_bytes and not self.transport.is_closing():
            self._refusal = self._head_too_large() if self._part == "head" else None
            self._not_http()
        if self._part != "head":
            self._head_bytes = 0
        if turns and not (is_busy or self._refused or self.transport.is_closing()):
            turns[0].begin()
            self.poll.moved(len(self.tasks))
        self._set_clocks()

    def pause_writing(self) -> None:
        """The client takes an answer more slowly than it comes."""
        self.flow.pause_writing()
        self._watch_for_stalls()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.flow.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: every request it still waits for hears of it, not only the last."""
        self._server.connections.discard(self)
        self._deadline.close()
        del self._parser  # it leads back here, as the deadline did: 6 KB that stay until there are enough to collect
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        turns, self._turns, self._latest = self._turns, deque(), None
        for turn in turns:
            turn.disconnect()
            if turn.exchange is not None and turn.exchange.on_lost is not None:
                turn.exchange.on_lost()
        if self._doubt is not None and time.monotonic() - self._doubt.sent_at < DOUBT_SECONDS:
            self._doubt.on_lost()  # whoever got that answer would mostly ask on
        self.flow.resume_writing()

    def _decline(self, rest: bytes) -> None:
        """Read on behind the head of an offer (h2c by Java's client, say), where llhttp expects another protocol.

        The head without the offer is parsed anew, and answered as HTTP/1.1.
        """
        while self._declined:
            declined, self._declined = self._declined, b""
            self._parser = self._new_parser()
            data = declined + rest
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self._not_http()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # Else llhttp takes what follows a request that says `connection: close` for an error before it is answered.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # What the server calls.

    def shutdown(self) -> None:
        """The process is to stop: finish what is being answered, or is asked now, and close."""
        self._stopping = True
        if self._refused:
            self.close()
        elif self._turns:
            self._turns[-1].keep_alive = False
        else:
            self._await("last request", LAST_CALL_SECONDS)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A head begins."""
        self._part = "head"
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of what is asked for."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody reads."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """A head is whole. Raises HttpParserError where it is larger than it may be."""
        headers, url = self._headers, self._url
        self._framing_bytes = 0
        self._headers = []
        if len(headers) > self.max_headers or (
            self._head_bytes > self.max_header_bytes
            and len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > self.max_header_bytes
        ):
            self._refusal = self._head_too_large()
            raise httptools.HttpParserError("head too large")
        if len(self._turns) >= MAX_AHEAD:
            raise httptools.HttpParserError("too many requests ahead")
        head = Head(self._parser, url, headers)
        if self._parser.should_upgrade() and head.method != "CONNECT":
            self._declined = without_offer(head, url)
            return
        found = route(head.path)  # by the undecoded path
        if found is not None:
            self._latest = Lane(self, self.data_plane, found, head)
        else:
            self._latest = AsgiTurn(self, head, self._app, self._server.default_headers)
        if self._stopping:
            self._latest.keep_alive = False
        self._turns.append(self._latest)
        self._doubt = None
        self._part = "body"

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._framing_bytes = 0
        if self._latest is not None:
            self._latest.feed(body)

    def on_message_complete(self) -> None:
        """A body is whole, or there was none."""
        self._framing_bytes = 0
        self._part = "nothing"
        if self._latest is not None:
            self._latest.finish()
            self._latest = None  # a body of 90 MiB must not stay for as long as the connection is idle

    # What a turn calls.

    def send_now(self, data: bytes) -> None:
        """See `Connection`."""
        self.outbox.flush()
        self.transport.write(data)

    def close(self) -> None:
        """See `Connection`."""
        self.outbox.flush()
        self.transport.close()

    def answered(self) -> None:
        """The turn that had come is over: the next begins, or the client has its time to ask on."""
        turns = self._turns
        if not turns:  # the connection is gone
            return
        turn = turns.popleft()
        if isinstance(turn, Lane) and (exchange := turn.exchange) is not None and exchange.on_lost is not None:
            self._doubt = Doubt(exchange.on_lost, time.monotonic())
        if self._refused:
            return
        if not turn.keep_alive:
            self.close()
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if turns:
            turns[0].begin()
        elif self._part == "nothing":
            self._await("request", self._keep_alive_seconds)
            self.poll.moved(len(self.tasks))
        else:
            self._set_clocks()

    # Refusals.

    def _not_http(self) -> None:
        """Refuse what is not HTTP, in the API's shape, where an answer to it is next; else answer nothing more."""
        if self._part != "body" and self._turns:
            self._turns[-1].keep_alive = False  # those that came before are fine
            self.flow.pause_reading()
        elif self._part == "body" and (len(self._turns) != 1 or self._turns[0].started):
            self.close()
        elif not (self._refused or self.transport.is_closing()):
            self._refuse(self._refusal or GatewayError(ErrorCode.INVALID_REQUEST, "The request is not valid HTTP."))

    def _refuse(self, refusal: GatewayError) -> None:
        """Answer, and heed no more. A request whose body turned out not to be HTTP ends as if its client had left."""
        self._refused = True
        self.flow.resume_reading()
        request_id = new_request_id()
        if self._turns:
            turn = self._turns[0]
            if not turn.begun:
                turn.begin()
            turn.disconnect()
            request_id = request_id if turn.exchange is None else turn.exchange.request_id
        status, headers, body = rendered(refusal)
        log.warning("request_refused", request_id=request_id, status=status, error_code=refusal.code)
        headers += [(b"connection", b"close"), (b"x-request-id", request_id.encode())]
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers)]
        self.send_now(b"".join((*lines, b"\r\n", body)))
        self.transport.write_eof()
        self._await("rest", LINGER_SECONDS)  # closing at once would take back the answer from who still sends

    def _head_too_large(self) -> GatewayError:
        return GatewayError(
            ErrorCode.HEADERS_TOO_LARGE,
            f"The request has more than {self.max_headers} headers, or {self.max_header_bytes} bytes of them.",
        )

    # Time.

    def _set_clocks(self) -> None:
        """Start, or leave alone, the clock for what is due from the client."""
        if self._turns:
            if not self._refused:
                self._awaited = None
                if self._part == "body":
                    self._watch_for_stalls()
        elif not (self._refused or self.transport.is_closing()):
            if self._part == "body":
                self._await("rest", LINGER_SECONDS)
            elif not self._stopping:
                self._await("head", HEAD_SECONDS)

    def _await(self, awaited: _Awaited, seconds: float) -> None:
        """Close the connection so many seconds from when this was first awaited."""
        if awaited != self._awaited:
            self._awaited = awaited
            self._deadline.set(seconds)

    def _out_of_time(self) -> None:
        if self._awaited is not None:
            self.close()

    def _watch_for_stalls(self) -> None:
        if self._stall_timer is None:
            self._stalled_quarters = 0
            self._stall_timer = self.loop.call_later(STALL_SECONDS / 4, self._look_for_stall)

    def _look_for_stall(self) -> None:
        """Has anything moved that should? The transport does not say when it writes: look four times."""
        self._stall_timer = None
        sending = self._part == "body" and bool(self._turns)
        if not (sending or self.flow.write_paused):
            return
        position = (self._received_bytes, self.transport.get_write_buffer_size())
        held_up_by_us = self.flow.read_paused and not self.flow.write_paused
        self._stalled_quarters = 0 if held_up_by_us or position != self._position else self._stalled_quarters + 1
        self._position = position
        if self._stalled_quarters == 4:
            self.transport.abort()
            return
        self._stall_timer = self.loop.call_later(STALL_SECONDS / 4, self._look_for_stall)
