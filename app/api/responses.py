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
    lines = b"\r\n".join([*map(b": ".join, headers), b""])
    if not lines.count(b"\n") == lines.count(b"\r") == len(headers):
        raise ValueError("a header holds a line break")
    exchange.status = status
    return b"".join((STATUS_LINE[status], dated, lines, own_lines(exchange).encode()))


def own_lines(exchange: Exchange) -> str:
    """The gateway's own headers. Takes down what the gateway itself took until now."""
    overhead = exchange.overhead_seconds = time.monotonic() - exchange.started_at - exchange.upstream_seconds
    lines = (
        f"x-request-id: {exchange.request_id}\r\nx-content-type-options: nosniff\r\n"
        f"x-quaymaster-overhead-ms: {overhead * 1000:.2f}\r\n"
    )
    deployment, verdict = exchange.deployment, exchange.verdict
    if deployment is not None:
        lines += f"x-quaymaster-deployment: {deployment.name}\r\nx-quaymaster-attempts: {len(exchange.attempts)}\r\n"
    if exchange.operation is not None:
        cost = exchange.cost_nanousd
        lines += f"x-quaymaster-cost-usd: {usd_text(cost) if cost else _FREE}\r\n"
    if verdict is not None and verdict.limit is not None:
        lines += (
            f"x-ratelimit-limit-requests: {verdict.limit}\r\nx-ratelimit-remaining-requests: {verdict.remaining}\r\n"
            f"x-ratelimit-reset-requests: {_span(verdict.reset_seconds)}\r\n"
        )
    return lines


_FREE: Final = usd_text(0)


def _span(seconds: float) -> str:
    """A time as Go writes it, never too short: "250ms", "8s", "1m0s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
