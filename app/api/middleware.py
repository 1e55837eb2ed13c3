"""The control plane's outermost layer: every request becomes an exchange, and its body and answer are bounded."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import PUBLIC_PATHS
from app.api.body import AsgiBody
from app.api.errors import rendered
from app.api.failing import answer_instead, new_request_id
from app.domain.errors import ClientGone, GatewayError
from app.domain.exchange import Exchange, Outcome
from app.gateway.settle import Settler

MAX_ADMIN_BODY_BYTES: Final = 1024 * 1024
MAX_KEPT_BYTES: Final = 256 * 1024
"""Of an admin route's longer answers that come in pieces the log says nothing."""
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")


class Exchanges:
    """Opens an exchange, which the layers below find in `scope["state"]`, and settles it in every case."""

    def __init__(self, app: ASGIApp, settler: Settler) -> None:
        self.app = app
        self._settler = settler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what the layers below raise; nothing goes further up."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = open_exchange(scope, receive)
        scope["state"] = {"exchange": exchange}
        line = AsgiLine(exchange, send)

        self._settler.opened(exchange)
        try:
            if self._settler.is_behind and exchange.path not in PUBLIC_PATHS:
                await self._settler.let_in()
            await self.app(scope, receive, line.send)
        except BaseException as raised:
            await answer_instead(exchange, raised, line)
        finally:
            self._settler.settle(exchange)
            scope["state"] = {}  # the server keeps the scope for as long as the connection is idle


class Bounds:
    """Lets bodies through that are small, and keeps for the log what is asked and answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises GatewayError REQUEST_TOO_LARGE."""
        if scope["type"] == "http":
            exchange: Exchange = scope["state"]["exchange"]
            receive, send = _limited(exchange, receive), _kept(exchange, send)
        await self.app(scope, receive, send)


class AsgiLine:
    """`app.api.failing.Line` over an ASGI send channel. It adds the headers that every answer has, and counts."""

    __slots__ = ("_exchange", "_send", "finished", "started")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self.started = False
        self.finished = False
        self._exchange = exchange
        self._send = send

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a message of the ASGI protocol."""
        if message["type"] == "http.response.start":
            self.started = True
            self._exchange.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self._exchange.request_id.encode()),
                _NOSNIFF,
            ]
        else:
            self.finished = not message.get("more_body", False)
            self._exchange.bytes_out += len(message.get("body", b""))
        await self._send(message)

    async def send_error(self, error: GatewayError) -> None:
        """Send one of the gateway's own errors."""
        status, headers, body = rendered(error)
        self._exchange.error_code = error.code.value
        self._exchange.response_json = body
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        self._exchange.outcome = self._exchange.outcome or Outcome.ANSWERED
        await self.send({"type": "http.response.body", "body": body})


def open_exchange(scope: Scope, receive: Receive) -> Exchange:
    """The exchange of a request whose head has arrived."""
    headers = scope["headers"]
    return Exchange(
        request_id=new_request_id(),
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        headers=headers,
        query=scope["query_string"].decode("latin-1"),
        body=AsgiBody(receive, headers),
    )


def _limited(exchange: Exchange, receive: Receive) -> Receive:
    body = exchange.body
    body.allow(MAX_ADMIN_BODY_BYTES)
    pieces: list[bytes] = []
    begun = False

    async def receive_limited() -> MutableMapping[str, Any]:
        nonlocal begun
        if begun and body.ended:  # whoever asks on waits for the client to leave
            return await receive()
        begun = True
        try:
            pieces.append(await body.read())
        except ClientGone:
            return {"type": "http.disconnect"}
        if body.ended:
            exchange.request_text = b"".join(pieces) or None
        return {"type": "http.request", "body": pieces[-1], "more_body": not body.ended}

    return receive_limited


def _kept(exchange: Exchange, send: Send) -> Send:
    """A send channel that keeps the JSON that a known caller gets."""
    if exchange.principal is None:
        return send
    pieces: list[bytes] = []
    is_json = False

    async def send_kept(message: MutableMapping[str, Any]) -> None:
        nonlocal is_json
        if message["type"] == "http.response.start":
            is_json = (b"content-type", b"application/json") in message.get("headers", ())
        elif is_json and exchange.bytes_out < MAX_KEPT_BYTES:
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                exchange.response_json = b"".join(pieces)
        await send(message)

    return send_kept
