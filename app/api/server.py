"""The HTTP server: uvicorn, with limits on what a request's head may be and errors in the API's own shape.

uvicorn's httptools protocol reads heads of any size and answers broken requests in plain text. The subclass below adds
four things, each at the point uvicorn has for it: a bound on the head, a time for it to arrive, OpenAI's error
envelope, and a bound on how long an upload that has already been answered is still read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.errors import rendered
from app.domain.errors import ErrorCode, GatewayError

HEAD_SECONDS: Final = 30.0
"""How long a client may take to send a request's head."""
LINGER_SECONDS: Final = 10.0
"""How long a body is still read after its request was answered, so that the client gets to read the answer."""


class GatewayProtocol(HttpToolsProtocol):
    """One client connection."""

    max_header_bytes: int
    max_headers: int

    _head_bytes = 0
    _head_begun = False
    _deadline: asyncio.TimerHandle | None = None
    _refusal: GatewayError | None = None

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a head that grows past its bound whether or not it ever ends."""
        began_before = self._head_begun
        super().data_received(data)
        if not self._head_begun:
            return
        self._head_bytes = self._head_bytes + len(data) if began_before else 0
        if self._head_bytes > self.max_header_bytes and not self.transport.is_closing():
            self._refusal = self._head_too_large()
            self.send_400_response("")
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._close_unless_answering)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._head_begun = False
        self._drop_deadline()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.headers) > self.max_headers or size > self.max_header_bytes:
            self._refusal = self._head_too_large()
            raise httptools.HttpParserError("head too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A body is whole."""
        if self.cycle.response_complete:
            self._drop_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out; if its request is not all here yet, read on for a while."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._drop_deadline()
            self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._drop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the API's shape; cut off where an answer is already on its way."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        refusal = self._refusal or GatewayError(ErrorCode.INVALID_REQUEST, "The request is not valid HTTP.")
        status, headers, body = rendered(refusal)
        lines = [STATUS_LINE[status]]
        lines += [b"%b: %b\r\n" % header for header in (*headers, (b"connection", b"close"))]
        self.transport.write(b"".join((*lines, b"\r\n", body)))
        self.transport.close()

    def _head_too_large(self) -> GatewayError:
        return GatewayError(
            ErrorCode.HEADERS_TOO_LARGE,
            f"The request has more than {self.max_headers} headers, or {self.max_header_bytes} bytes of them.",
        )

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_unless_answering(self) -> None:
        self._deadline = None
        if self._head_begun and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


class Server(uvicorn.Server):
    """Serves until a signal comes; `on_started` is called with the port once connections are accepted."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_started(self.servers[0].sockets[0].getsockname()[1])


def make_server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    max_header_bytes: int,
    max_headers: int,
    keepalive_seconds: float,
    drain_seconds: float,
    on_started: Callable[[int], None],
) -> Server:
    """A server for the gateway. It drains on SIGTERM: in-flight requests get `drain_seconds`."""
    limits = {"max_header_bytes": max_header_bytes, "max_headers": max_headers}
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=type("LimitedProtocol", (GatewayProtocol,), limits),
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(keepalive_seconds),
        timeout_graceful_shutdown=max(1, int(drain_seconds)),
    )
    return Server(config, on_started)
