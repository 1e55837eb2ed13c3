"""The data plane's door: one table, looked up on the undecoded path, ahead of the framework's own routing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.declare import Endpoint
from app.api.middleware import kept, limited
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange, Outcome
from app.domain.ids import decode_id
from app.gateway.pipeline import Gateway
from app.telemetry.redaction import shown_path
from quaymaster.operations import Operation, Route

WATCH_AFTER_SECONDS: Final = 0.25
"""From here on somebody watches whether the client is still there. Most requests are over by then: a timer is all."""


class DataPlane:
    """Sends the nine operations to their endpoints, and everything else to `app`.

    FastAPI declares the same endpoints for the API's description; matching them here costs a fraction of its routing,
    and an encoded slash in an id stays where it is.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway, endpoints: Mapping[Operation, Endpoint]) -> None:
        self.app = app
        self._gateway = gateway
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises GatewayError for ids that cannot be and methods that are not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange: Exchange = scope["state"]["exchange"]
        found: Route | None = scope["state"]["route"]
        if found is None:
            await self.app(scope, limited(exchange, receive), kept(exchange, send))
            return
        endpoint = self._endpoints[identified(exchange, found)]
        scope["state"]["gateway"] = self._gateway
        with DisconnectWatch(exchange, receive) as watch:
            response = await endpoint(Request(scope, receive, send))
            if exchange.response_digest is not None:  # a file: `send` would go on taking it for a client that left
                watch.begin()
            await response(scope, receive, send)


def identified(exchange: Exchange, found: Route) -> Operation:
    """The exchange's operation, with the ids filled in. Raises GatewayError where there is none, or an id cannot be."""
    operation = exchange.operation
    if operation is None:
        raise GatewayError(
            ErrorCode.METHOD_NOT_ALLOWED,
            f"{exchange.method} is not allowed here.",
            allow=tuple(sorted(found.methods)),
        )
    if found.container_id is not None:
        exchange.container_id = decode_id(found.container_id)
        if exchange.container_id is None:
            raise GatewayError(
                ErrorCode.CONTAINER_NOT_FOUND, f"Container with id '{shown_path(found.container_id)[:256]}' not found."
            )
    if found.file_id is not None:
        exchange.file_id = decode_id(found.file_id)
        if exchange.file_id is None:
            raise GatewayError(
                ErrorCode.FILE_NOT_FOUND,
                f"File {shown_path(found.file_id)[:256]} not found on container {exchange.container_id}.",
            )
    return operation


class DisconnectWatch:
    """Notices a client that goes away while its answer is awaited or sent.

    A GET is cancelled then, which stops the upstream's transfer. What changes something upstream goes on to its end, so
    that what was made is known; an upload stops by itself when its body does.
    """

    __slots__ = ("_exchange", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, exchange: Exchange, receive: Receive) -> None:
        self._exchange = exchange
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        """Start to watch, in a while."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self.begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None  # its traceback leads back here, and on to the body: a cycle of 90 MiB

    def begin(self) -> None:
        """Watch from now on, or from when the request's body is read: until then its reader notices by itself."""
        self._timer.cancel()
        if not self._exchange.body.ended:
            self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self.begin)
        elif self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(), name="disconnect-watch")

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._exchange.outcome is None:
            self._exchange.outcome = Outcome.CLIENT_GONE
            if self._exchange.method == "GET" and self._task is not None:
                self._task.cancel()
