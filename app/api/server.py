"""The HTTP server: uvicorn, with the connections of `app.api.protocol`, and a shutdown that leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import uvicorn.config
import uvicorn.server

from app.api.application import Edge
from app.api.polling import BusyPoll
from app.api.protocol import GatewayProtocol
from app.outbox import Outbox

UNSENT_BYTES: Final = 512 * 1024
"""How much of an answer the kernel takes ahead of what it can send. It would take 4 MB: with a thousand slow clients it
came to the end of what it has for all connections, and everybody's answers took four times as long."""
CANCEL_SECONDS: Final = 5.0
"""How long requests that were cancelled may take to clean up."""

_SAID_BETTER: Final = frozenset(
    {
        "Invalid HTTP request received.",
        "ASGI callable returned without completing response.",
    }
)
"""What uvicorn logs although there is a line with a request id for it."""


class CannotListen(Exception):
    """The address cannot be had. The message says which and why."""


class Server(uvicorn.server.Server):
    """Serves until a signal comes; `on_started` is called with the port once connections are accepted."""

    def __init__(self, config: uvicorn.config.Config, on_started: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then say so. Raises CannotListen."""
        try:
            await super().startup(sockets)
        except SystemExit as exiting:  # how uvicorn says that
            raise CannotListen(why_not(self.config.host, self.config.port, exiting.__context__)) from None
        for listening in (each for server in self.servers for each in server.sockets):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)  # connections inherit it
        self._on_started(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Drain; then return when every request has been cancelled and has cleaned up, and no connection is left."""
        await super().shutdown(sockets)
        tasks = self.server_state.tasks
        if self.force_exit:  # a second Ctrl-C: uvicorn only stops waiting
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks), timeout=CANCEL_SECONDS)
        for connection in tuple(self.server_state.connections):
            connection.transport.close()


def make_server(
    edge: Edge,
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
    given = {
        "max_header_bytes": max_header_bytes,
        "max_headers": max_headers,
        "data_plane": edge.data_plane,
        "outbox": Outbox(),
        "poll": BusyPoll(),
    }
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    config = uvicorn.config.Config(
        edge.control_plane,
        host=host,
        port=port,
        http=type("ServingProtocol", (GatewayProtocol,), given),
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=cast(int, keepalive_seconds),  # uvicorn hands both to asyncio, which takes fractions
        timeout_graceful_shutdown=cast(int, drain_seconds),
    )
    return Server(config, on_started)


def why_not(host: str, port: int, reason: BaseException | None) -> str:
    """Why an address cannot be listened on, in words for an operator."""
    if isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: stop what listens there, or choose another with --port"
    return f"cannot listen on {host} port {port}: {reason}"


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in _SAID_BETTER
