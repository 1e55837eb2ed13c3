"""Requests on a connection, in the order in which they came: each is answered when its turn has come."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol
from urllib.parse import unquote

from httptools import HttpRequestParser, parse_url
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr

from app.domain.exchange import Exchange
from app.domain.ports import RawHeaders
from app.outbox import Outbox


class Connection(Protocol):
    """What a turn needs of the connection that it is on."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    outbox: Outbox
    """For answers that can wait for others. What is not written by it is written by `send_now`."""
    tasks: set[asyncio.Task[None]]
    """Those of all connections: the server waits for them when it stops."""
    peer: tuple[str, int] | None
    """Who is at the other end, where that is known."""

    def send_now(self, data: bytes) -> None:
        """Write, behind what is in the outbox."""
        ...

    def close(self) -> None:
        """Close, when all of that is written."""
        ...

    def dated(self) -> bytes:
        """The lines that are in the head of every answer."""
        ...

    def answered(self) -> None:
        """The turn that had come is over."""
        ...


class Turn(Protocol):
    """One request: told of its body as it arrives, perhaps before it is `begun`."""

    keep_alive: bool
    """Whether the connection stays when it is answered."""
    begun: bool
    """Whether its turn has come."""

    @property
    def started(self) -> bool:
        """Whether the head of its answer is on its way."""
        ...

    @property
    def exchange(self) -> Exchange | None:
        """None where it has not begun."""
        ...

    def begin(self) -> None:
        """Its turn has come."""
        ...

    def feed(self, piece: bytes) -> None:
        """A piece of its body."""
        ...

    def finish(self) -> None:
        """Its body is whole, or there is none."""
        ...

    def disconnect(self) -> None:
        """Its client is gone."""
        ...


class Head:
    """A request's head."""

    __slots__ = ("headers", "is_1_0", "keep_alive", "method", "path", "query")

    def __init__(self, parser: HttpRequestParser, url: bytes, headers: RawHeaders) -> None:
        """What `parser` has just parsed. Raises ValueError and HttpParserError for a URL without a path."""
        path, _, query = url.partition(b"?")
        if path[:1] != b"/" or b"#" in url:
            parsed = parse_url(url)
            path, query = parsed.path or b"", parsed.query or b""
            if not path:
                raise ValueError("a URL without a path")
        self.method = parser.get_method().decode("ascii")
        self.path = path.decode("ascii")
        """Undecoded, as it was asked for."""
        self.query = query.decode("latin-1")
        self.headers = headers
        self.is_1_0 = parser.get_http_version() == "1.0"
        self.keep_alive: bool = not self.is_1_0 and parser.should_keep_alive()

    @property
    def waits(self) -> bool:
        """Whether the client sends its body only when it is told to."""
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers)


_OFFERS: Final = frozenset({b"upgrade", b"http2-settings"})


def without_offer(head: Head, url: bytes) -> bytes:
    """A head that offers another protocol, as it would be if it did not."""
    lines = [b"%b %b HTTP/%b" % (head.method.encode(), url, b"1.0" if head.is_1_0 else b"1.1")]
    for name, value in head.headers:
        if name == b"connection":
            words = [word for word in value.split(b",") if word.strip().lower() not in _OFFERS]
            if words:
                lines.append(b"connection: " + b",".join(words))
        elif name not in _OFFERS:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join((*lines, b"", b""))


class AsgiTurn:
    """A turn that an ASGI application answers, by uvicorn's own hand."""

    def __init__(self, connection: Connection, head: Head, app: Any, default_headers: RawHeaders) -> None:
        self.begun = False
        self._connection = connection
        self._app = app
        self._cycle = RequestResponseCycle(
            scope=_scope(connection, head),  # type: ignore[arg-type]
            transport=connection.transport,
            flow=connection.flow,
            logger=logging.getLogger("uvicorn.error"),
            access_logger=logging.getLogger("uvicorn.access"),
            access_log=False,
            default_headers=default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.waits,
            keep_alive=head.keep_alive,
            on_response=connection.answered,
        )

    @property
    def keep_alive(self) -> bool:
        """See `Turn`."""
        return self._cycle.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._cycle.keep_alive = value

    @property
    def started(self) -> bool:
        """See `Turn`."""
        return self._cycle.response_started

    @property
    def exchange(self) -> Exchange | None:
        """See `Turn`."""
        exchange: Exchange | None = self._cycle.scope["state"].get("exchange")
        return exchange

    def begin(self) -> None:
        """See `Turn`."""
        self.begun = True
        self._connection.outbox.flush()  # what comes now is written by uvicorn
        task = self._connection.loop.create_task(self._cycle.run_asgi(self._app))
        task.add_done_callback(self._connection.tasks.discard)
        self._connection.tasks.add(task)

    def feed(self, piece: bytes) -> None:
        """See `Turn`."""
        cycle = self._cycle
        if not cycle.response_complete:
            cycle.body += piece
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self._connection.flow.pause_reading()
            cycle.message_event.set()

    def finish(self) -> None:
        """See `Turn`."""
        self._cycle.more_body = False
        self._cycle.message_event.set()

    def disconnect(self) -> None:
        """See `Turn`."""
        self._cycle.disconnected = True
        self._cycle.message_event.set()


def _scope(connection: Connection, head: Head) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if head.is_1_0 else "1.1",
        "server": get_local_addr(connection.transport),
        "client": connection.peer,
        "scheme": "http",
        "root_path": "",
        "method": head.method,
        "path": unquote(head.path) if "%" in head.path else head.path,
        "raw_path": head.path.encode("ascii"),
        "query_string": head.query.encode("latin-1"),
        "headers": head.headers,
        "state": {},
    }
