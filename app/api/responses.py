"""The head of an answer: what the upstream said, and what the gateway adds."""

from __future__ import annotations

import math
import time
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.domain.exchange import Exchange
from app.domain.money import usd_text
from app.domain.ports import RawHeaders


def head_lines(exchange: Exchange, status: int, headers: RawHeaders, dated: bytes) -> bytes:
    """An answer's head but for its framing and the empty line: these headers, and the gateway's own.

    `dated` are the lines that the server puts into every answer. Raises ValueError where a header is more than a line.
    """
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not lines.count(b"\n") == lines.count(b"\r") == len(headers):
        raise ValueError("a header holds a line break")
    exchange.status = status
    return b"".join((STATUS_LINE[status], dated, lines, own_lines(exchange)))


def own_lines(exchange: Exchange) -> bytes:
    """The gateway's own headers. Takes down what the gateway itself took until now."""
    overhead = exchange.overhead_seconds = time.perf_counter() - exchange.started_at - exchange.upstream_seconds
    lines = b"x-request-id: %b\r\nx-content-type-options: nosniff\r\nx-quaymaster-overhead-ms: %.2f\r\n" % (
        exchange.request_id.encode(),
        overhead * 1000,
    )
    if exchange.deployment is not None:
        lines += b"x-quaymaster-deployment: %b\r\nx-quaymaster-attempts: %d\r\n" % (
            exchange.deployment.name.encode(),
            len(exchange.attempts),
        )
    if exchange.operation is not None:
        lines += _cost_line(exchange.cost_nanousd) if exchange.cost_nanousd else _FREE
    verdict = exchange.verdict
    if verdict is not None and verdict.limit is not None:
        lines += b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\n" % (
            verdict.limit,
            verdict.remaining,
        )
        lines += b"x-ratelimit-reset-requests: %b\r\n" % _span(verdict.reset_seconds)
    return lines


def _cost_line(nanousd: int) -> bytes:
    return b"x-quaymaster-cost-usd: %b\r\n" % usd_text(nanousd).encode()


_FREE: Final = _cost_line(0)


def _span(seconds: float) -> bytes:
    """A time as Go writes it, never too short: "250ms", "8s", "1m0s"."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    minutes, rest = divmod(math.ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
