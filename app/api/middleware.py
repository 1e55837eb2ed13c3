"""The outermost layer: every request becomes an exchange, is answered in one shape, and is settled exactly once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, MutableMapping
from random import Random, SystemRandom
from typing import Any, Final, NamedTuple

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import PUBLIC_PATHS
from app.api.body import AsgiBody
from app.api.responses import send_error
from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.exchange import Exchange, Outcome
from app.gateway.settle import Settler
from app.telemetry.redaction import shown_path
from quaymaster.operations import route

log = structlog.get_logger("app.api")

MAX_ADMIN_BODY_BYTES: Final = 1024 * 1024
MAX_KEPT_BYTES: Final = 256 * 1024
"""Of an admin route's longer answers that come in pieces the log says nothing."""
# Request ids are names and no secrets; asking the kernel for each costs ten times as much.
_random: Final = Random()  # noqa: S311
_random_bits: Final = _random.getrandbits
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")


class Exchanges:
    """Opens an exchange, names it in `x-request-id`, and settles it in every case.

    The layers below find it in `scope["state"]` as `exchange`, beside the `route` its path leads to (or None). What is
    left there afterwards is a `Doubt`, where somebody wants to know of an answer that was lost.
    """

    def __init__(self, app: ASGIApp, settler: Settler) -> None:
        self.app = app
        self._settler = settler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what the layers below raise; nothing goes further up."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = open_exchange(scope, receive)
        found = route(exchange.path)
        if found is not None:  # already here, so that a refusal by a layer below is logged under its operation
            exchange.operation = found.methods.get(exchange.method)
        scope["state"] = {"exchange": exchange, "route": found}
        marked = _Marked(exchange, send)
        self._settler.opened(exchange)
        try:
            if self._settler.is_behind and exchange.path not in PUBLIC_PATHS:
                await self._settler.let_in()
            await self.app(scope, receive, marked.send)
        except GatewayError as refusal:
            await self._answer(exchange, refusal, marked)
        except ClientGone:
            exchange.outcome = Outcome.CLIENT_GONE
        except asyncio.CancelledError:
            if exchange.outcome is not Outcome.CLIENT_GONE:  # the time to drain is over
                exchange.outcome = Outcome.CANCELLED
                exchange.error_code = ErrorCode.SHUTTING_DOWN.value
                if not marked.started:
                    await send_error(exchange, shutting_down(exchange), marked.send)
        except Exception:
            log.exception("bug", request_id=exchange.request_id, path=shown_path(exchange.path))
            await self._answer(exchange, bug(exchange), marked)
        finally:
            self._settler.settle(exchange)
            # The server keeps the scope for as long as the connection is idle; a body of 90 MiB must not stay with it.
            scope["state"] = {} if exchange.on_lost is None else {"doubt": Doubt(exchange.on_lost, time.monotonic())}

    async def _answer(self, exchange: Exchange, error: GatewayError, marked: _Marked) -> None:
        if not marked.started:
            await send_error(exchange, error, marked.send)
        elif not marked.finished:
            exchange.outcome = Outcome.CUT_OFF
            exchange.error_code = error.code.value


class Doubt(NamedTuple):
    """An answer of which nobody knows whether it arrived: what to call if not, and when it was sent (monotonic)."""

    on_lost: Callable[[], None]
    sent_at: float


class _Marked:
    """A send channel that adds the headers every answer has, and counts."""

    __slots__ = ("_exchange", "_send", "finished", "started")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self.started = False
        self.finished = False
        self._exchange = exchange
        self._send = send

    async def send(self, message: MutableMapping[str, Any]) -> None:
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


def bug(exchange: Exchange) -> GatewayError:
    """What a client is told of a fault in the gateway."""
    return GatewayError(ErrorCode.INTERNAL_ERROR, f"The gateway failed; its log says why, under {exchange.request_id}.")


def shutting_down(exchange: Exchange) -> GatewayError:
    """What a client is told whose request outlived the time to drain."""
    may_be_done = bool(exchange.attempts) and not (exchange.operation and exchange.operation.idempotent)
    return GatewayError(
        ErrorCode.SHUTTING_DOWN,
        "The gateway is shutting down and could not wait any longer.",
        retry_after_seconds=1,
        should_retry=False if may_be_done else None,
    )


def _begin_anew() -> None:
    """Forget which ids come next, which processes that part here would all give."""
    _random.seed(SystemRandom().getrandbits(256))


_begin_anew()
os.register_at_fork(after_in_child=_begin_anew)


def new_request_id() -> str:
    """What a request is called in its answer and in the log: a millisecond, and 80 bits that nobody else has.

    It grows with time, so that the log's index of it grows at its end: with ids in any order a row costs 9 µs more.
    """
    return f"req_{int(time.time() * 1000) << 80 | _random_bits(80):032x}"


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


def limited(exchange: Exchange, receive: Receive) -> Receive:
    """A receive channel for the control plane, whose bodies are small."""
    exchange.body.allow(MAX_ADMIN_BODY_BYTES)
    pieces: list[bytes] = []

    async def receive_limited() -> MutableMapping[str, Any]:
        message = await receive()
        piece: bytes = message.get("body", b"")
        exchange.body.bytes_read += len(piece)
        if exchange.body.bytes_read > MAX_ADMIN_BODY_BYTES:
            raise GatewayError(
                ErrorCode.REQUEST_TOO_LARGE, f"The request body is larger than {MAX_ADMIN_BODY_BYTES} bytes."
            )
        if piece:
            pieces.append(piece)
            if not message.get("more_body", False):
                exchange.request_text = b"".join(pieces)
        return message

    return receive_limited


def kept(exchange: Exchange, send: Send) -> Send:
    """A send channel for the control plane: the JSON that a known caller gets is kept for the log."""
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
