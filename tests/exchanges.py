"""Exchanges as the phases leave them, for tests of what comes after."""

from __future__ import annotations

import time
from typing import Any

from app.domain.deployments import Deployment
from app.domain.exchange import Attempt, Exchange, IncomingBody
from app.domain.identity import MASTER
from quaymaster.operations import CONTAINERS_RETRIEVE


class ReadBody(IncomingBody):
    """A body that has been read already."""

    def __init__(self, bytes_read: int = 0) -> None:
        self.declared_bytes = bytes_read
        self.bytes_read = bytes_read
        self.ended = True
        self.meter = None

    async def read(self) -> bytes:
        return b""

    def allow(self, max_bytes: int) -> None:
        pass


class NoUpstream:
    """An upstream that nobody asks."""

    async def send(self, method: bytes, target: bytes, headers: Any, body: Any = None) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


DEPLOYMENT = Deployment(
    name="openai-main",
    provider="openai",
    upstream=NoUpstream(),
    base_path="/v1",
    query_suffix="",
    credential_headers=[(b"authorization", b"Bearer sk-upstream-secret")],
)


def opened_exchange(path: str = "/v1/containers/cntr_1", bytes_in: int = 0) -> Exchange:
    """A request of which only the head is here."""
    return Exchange(request_id="req_1", method="GET", path=path, headers=[], query="", body=ReadBody(bytes_in))


def answered_exchange(status: int = 200, bytes_in: int = 0) -> Exchange:
    """A retrieve that an upstream took 0.25 s to answer."""
    exchange = opened_exchange(bytes_in=bytes_in)
    exchange.principal = MASTER
    exchange.operation = CONTAINERS_RETRIEVE
    exchange.container_id = "cntr_1"
    exchange.provider = "openai"
    exchange.deployment = DEPLOYMENT
    now = time.monotonic()
    exchange.started_at = now - 0.5
    exchange.attempts.append(Attempt(1, DEPLOYMENT, now - 0.3, now - 0.05, status))
    exchange.upstream_request_id = "req_upstream"
    exchange.status = status
    exchange.overhead_seconds = 0.002
    exchange.response_json = b'{"id":"cntr_1","object":"container"}'
    exchange.bytes_out = len(exchange.response_json)
    return exchange
