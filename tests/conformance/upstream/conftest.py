"""Every test here runs over both adapters of the port, on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from app.domain.ports import Upstream
from tests.conformance.upstream.exchanges import Connect, timeouts_of


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["wire", "client"])
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def connect(adapter: str) -> AsyncIterator[Connect]:
    """Make a client of an origin; `seconds` are those of Timeouts, by their first word. It is closed after the test."""
    made: list[Upstream] = []
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def connect(
        origin: str, *, max_connections: int = 4, ssl_context: ssl.SSLContext | None = None, **seconds: float
    ) -> Upstream:
        from app.upstream.client import ClientUpstream
        from app.upstream.wire import WireUpstream

        if ssl_context is None and origin.startswith("http:"):
            ssl_context = unused  # httpx wants one, and the default takes long to read
        kind = WireUpstream if adapter == "wire" else ClientUpstream
        upstream = kind(
            origin=origin, timeouts=timeouts_of(seconds), max_connections=max_connections, ssl_context=ssl_context
        )
        made.append(upstream)
        return upstream

    yield connect
    for upstream in made:
        await upstream.aclose()
