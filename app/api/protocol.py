"""One client connection: uvicorn's HTTP/1.1, with bounds on what a client may send and how long it may take.

uvicorn reads heads, trailers and chunk framing of any size, waits for ever, and answers what is not HTTP in plain text.
The bounds, each at the point that uvicorn has for it:

- A head: `max_headers` and `max_header_bytes`, then 431. HEAD_SECONDS, then the connection is closed.
- What is neither head nor body (trailers, chunk extensions, blank lines): `max_header_bytes` at a stretch, then 400.
- A body, an answer: STALL_SECONDS in which the client neither sends nor takes a byte that is due.
- What nobody wants any more (the body of a request that was refused, say): LINGER_SECONDS, in which it is thrown away,
  so that the client gets to read its answer.
- Requests sent ahead: MAX_AHEAD. Those before are answered, then the connection is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from enum import Enum
from typing import Any, Final

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.errors import rendered
from app.api.middleware import Doubt, new_request_id
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange

HEAD_SECONDS: Final = 30.0
"""How long a client may take to send a request's head."""
STALL_SECONDS: Final = 120.0
"""The longest silence of a client that owes us a body, and the longest time for which it takes no byte of an answer."""
LINGER_SECONDS: Final = 10.0
"""How long a client that was answered may go on sending."""
DOUBT_SECONDS: Final = 5.0
"""A connection that ends so soon after an answer may have ended before the client had it."""
MAX_AHEAD: Final = 32
"""How many requests may be sent before the first of them is answered."""

log = structlog.get_logger()


class _Part(Enum):
    """What of a request is arriving."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"


class GatewayProtocol(HttpToolsProtocol):
    """One client connection. A subclass sets the two limits."""

    max_header_bytes: int
    max_headers: int

    _part = _Part.NOTHING
    _progressed = False
    """Whether the bytes now being parsed brought a request further."""
    _framing_bytes = 0
    """How much has come since something did."""
    _received_bytes = 0
    _refusal: GatewayError | None = None
    _refused = False
    _deadline: asyncio.TimerHandle | None = None
    _deadline_seconds: float | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _stalled_quarters = 0
    _position = (0, 0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unanswered: deque[RequestResponseCycle] = deque()

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there, and may take HEAD_SECONDS to ask for something."""
        super().connection_made(transport)
        self._set_deadline(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what goes on and on without becoming a request."""
        if self._refused:
            return
        self._received_bytes += len(data)
        self._progressed = False
        super().data_received(data)
        self._framing_bytes = 0 if self._progressed else self._framing_bytes + len(data)
        if self._framing_bytes > self.max_header_bytes and not self.transport.is_closing():
            self._refusal = self._head_too_large() if self._part is _Part.HEAD else None
            self.send_400_response("")
        self._set_clocks()

    def pause_writing(self) -> None:
        """The client takes an answer more slowly than it comes."""
        super().pause_writing()
        self._watch_for_stalls()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: every request it still waits for hears of it, not only the last."""
        self._set_deadline(None)
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        self._tell_of_lost_answers()
        super().connection_lost(exc)

    def _tell_of_lost_answers(self) -> None:
        """Those that are not out, and the last one where it went out just now: who got it would mostly ask on."""
        for cycle in {self.cycle, *self._unanswered} - {None}:
            state = cycle.scope["state"]
            exchange: Exchange | None = state.get("exchange")
            doubt: Doubt | None = state.get("doubt")
            if exchange is not None and exchange.on_lost is not None:
                exchange.on_lost()
            elif doubt is not None and time.monotonic() - doubt.sent_at < DOUBT_SECONDS:
                doubt.on_lost()

    def shutdown(self) -> None:
        """The process is to stop: finish what is being answered, and close."""
        if self._refused:
            self.transport.close()
        else:
            super().shutdown()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A head begins."""
        self._part = _Part.HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._progressed = True
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.headers) > self.max_headers or size > self.max_header_bytes:
            self._refusal = self._head_too_large()
            raise httptools.HttpParserError("head too large")
        if len(self._unanswered) >= MAX_AHEAD:
            raise httptools.HttpParserError("too many requests ahead")
        super().on_headers_complete()
        self._unanswered.append(self.cycle)
        self.headers = []  # the request keeps its list: a trailer is no header
        self._part = _Part.BODY

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A body is whole, or there was none."""
        self._progressed = True
        self._part = _Part.NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._unanswered.popleft()
        super().on_response_complete()
        if self._part is not _Part.NOTHING:
            self._set_clocks()

    def _unsupported_upgrade_warning(self) -> None:
        """Upgrades are offers (h2c by Java's client, say): the request is answered as HTTP/1.1."""

    # Refusals.

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the API's shape, where an answer to it is next; else answer nothing more."""
        if self._part is not _Part.BODY and self._unanswered:
            self.cycle.keep_alive = False  # those that came before are fine
            self.flow.pause_reading()
        elif self._part is _Part.BODY and (len(self._unanswered) != 1 or self.cycle.response_started):
            self.transport.close()
        elif not (self._refused or self.transport.is_closing()):
            self._refuse(self._refusal or GatewayError(ErrorCode.INVALID_REQUEST, "The request is not valid HTTP."))

    def _refuse(self, refusal: GatewayError) -> None:
        """Answer, and heed no more. A request whose body turned out not to be HTTP ends as if its client had left."""
        self._refused = True
        self.flow.resume_reading()
        request_id = new_request_id()
        if self._unanswered:
            exchange: Exchange | None = self.cycle.scope["state"].get("exchange")
            request_id = exchange.request_id if exchange is not None else request_id
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        status, headers, body = rendered(refusal)
        log.warning("request_refused", request_id=request_id, status=status, error_code=refusal.code)
        headers += [(b"connection", b"close"), (b"x-request-id", request_id.encode())]
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers)]
        self.transport.write(b"".join((*lines, b"\r\n", body)))
        self.transport.write_eof()
        self._set_deadline(LINGER_SECONDS)  # closing at once would take back the answer from who is still sending

    def _head_too_large(self) -> GatewayError:
        return GatewayError(
            ErrorCode.HEADERS_TOO_LARGE,
            f"The request has more than {self.max_headers} headers, or {self.max_header_bytes} bytes of them.",
        )

    # Time.

    def _set_clocks(self) -> None:
        """Start, or leave alone, the clock for what is due from the client."""
        if self._refused or self.transport.is_closing():
            return
        if not self._unanswered:
            self._set_deadline(LINGER_SECONDS if self._part is _Part.BODY else HEAD_SECONDS)
            return
        self._set_deadline(None)
        if self._part is _Part.BODY:
            self._watch_for_stalls()

    def _set_deadline(self, seconds: float | None) -> None:
        """Close the connection so many seconds from when this was first asked for."""
        if seconds == self._deadline_seconds:
            return
        self._deadline_seconds = seconds
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.close)

    def _watch_for_stalls(self) -> None:
        if self._stall_timer is None:
            self._stalled_quarters = 0
            self._stall_timer = self.loop.call_later(STALL_SECONDS / 4, self._look_for_stall)

    def _look_for_stall(self) -> None:
        """Has anything moved that should? The transport does not say when it writes: look four times."""
        self._stall_timer = None
        sending = self._part is _Part.BODY and bool(self._unanswered)
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
