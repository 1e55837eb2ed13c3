"""How answers reach the client's connection."""

from __future__ import annotations

import math
import time
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.errors import rendered
from app.domain.errors import GatewayError, UpstreamFault
from app.domain.exchange import Exchange, Outcome
from app.domain.limiting import Verdict
from app.domain.money import usd_text
from app.domain.ports import RawHeaders
from app.gateway.relay import Reply


class RelayedResponse(Response):
    """An upstream's answer on its way down, piece by piece, at the pace of the slower side.

    Where the upstream breaks off in the middle the response stays incomplete, so that the server breaks the client's
    connection: a short file must never look whole.
    """

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        # Response.__init__ would render a body and headers that are never used.
        self.exchange = exchange
        self.reply = reply
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, and let the upstream go in every case."""
        exchange, reply = self.exchange, self.reply
        try:
            await start(exchange, reply.status, reply.headers, send)
            if reply.whole is None:
                while piece := await reply.read():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            exchange.outcome = exchange.outcome or Outcome.ANSWERED
            await send({"type": "http.response.body", "body": reply.whole or b""})
        except UpstreamFault as fault:
            exchange.outcome = Outcome.CUT_OFF
            exchange.error_code = fault.kind.value
            exchange.error_detail = fault.detail
        finally:
            await reply.aclose()


async def start(exchange: Exchange, status: int, headers: RawHeaders, send: Send) -> None:
    """Send an answer's head, with the gateway's own headers."""
    exchange.status = status
    overhead = exchange.overhead_seconds = time.monotonic() - exchange.started_at - exchange.upstream_seconds
    if exchange.deployment is not None:
        headers.append((b"x-quaymaster-deployment", exchange.deployment.name.encode()))
        headers.append((b"x-quaymaster-attempts", b"%d" % len(exchange.attempts)))
    if exchange.operation is not None:
        headers.append(_cost(exchange.cost_nanousd) if exchange.cost_nanousd else _FREE)
    if exchange.verdict is not None:
        headers += rate_headers(exchange.verdict)
    headers.append((b"x-quaymaster-overhead-ms", b"%.2f" % (overhead * 1000)))
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _cost(nanousd: int) -> tuple[bytes, bytes]:
    return b"x-quaymaster-cost-usd", usd_text(nanousd).encode()


_FREE: Final = _cost(0)


def rate_headers(verdict: Verdict) -> RawHeaders:
    """How the request rate stands that has the least left, as OpenAI says it; nothing where none is limited."""
    if verdict.limit is None:
        return []
    return [
        (b"x-ratelimit-limit-requests", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % verdict.remaining),
        (b"x-ratelimit-reset-requests", _span(verdict.reset_seconds)),
    ]


def _span(seconds: float) -> bytes:
    """A time as Go writes it, never too short: "250ms", "8s", "1m0s"."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    minutes, rest = divmod(math.ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


async def send_error(exchange: Exchange, error: GatewayError, send: Send) -> None:
    """Send one of the gateway's own errors."""
    status, headers, body = rendered(error)
    exchange.error_code = error.code.value
    exchange.response_json = body
    await start(exchange, status, headers, send)
    exchange.outcome = exchange.outcome or Outcome.ANSWERED
    await send({"type": "http.response.body", "body": body})
