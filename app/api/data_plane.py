"""The data plane's door: the nine operations go from the connection straight to the gateway, past the framework.

FastAPI declares them too, for the API's description. An ASGI server, FastAPI's routing and an endpoint took 90 µs of a
request of 200; the undecoded path is looked up in one table instead, so an encoded slash in an id stays where it is.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from app.api.auth import Callers
from app.api.failing import Line, answer_instead
from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.ids import decode_id
from app.gateway.pipeline import Gateway
from app.gateway.relay import Reply
from app.gateway.settle import Settler
from app.telemetry.redaction import shown_path
from quaymaster.operations import Operation, Route


class ReplyLine(Line, Protocol):
    """The way down for what an upstream answers."""

    peer: tuple[str, int] | None
    """Who is at its other end."""

    def send(self, reply: Reply) -> Awaitable[None] | None:
        """Send a reply, at the pace of the slower side, and close it in every case; None where that is done already.

        What it returns must be awaited, which may raise ClientGone.
        """
        ...

    def close(self) -> None:
        """Nothing more is sent: what has begun and is not whole is broken off."""
        ...


class DataPlane:
    """Answers the nine operations."""

    def __init__(self, gateway: Gateway, callers: Callers, settler: Settler) -> None:
        self._gateway = gateway
        self._callers = callers
        self._settler = settler

    async def serve(self, exchange: Exchange, found: Route, line: ReplyLine) -> None:
        """Answer one request, and settle it. Raises nothing."""
        exchange.operation = found.methods.get(exchange.method)  # so that a refusal is logged under its operation
        self._settler.opened(exchange)
        try:
            if exchange.outcome is not None:  # the client has left already
                raise ClientGone
            if self._settler.is_behind:
                await self._settler.let_in()
            callers, peer = self._callers, line.peer
            principal = callers.known(exchange, peer) or await callers.identify(exchange, peer)
            reply = await self._gateway.handle(exchange, principal, identified(exchange, found))
            if sending := line.send(reply):
                await sending
        except BaseException as raised:
            await answer_instead(exchange, raised, line)
        finally:
            self._settler.settle(exchange)
            line.close()


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
