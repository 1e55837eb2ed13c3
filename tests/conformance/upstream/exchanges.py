"""What the tests of the upstream port share."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, Protocol

import pytest

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import OutgoingBody, RawHeaders, Timeouts, Upstream, UpstreamReply

wire_only = pytest.mark.parametrize("adapter", ["wire"], indirect=True)
"""For what httpx cannot do; the docstring of ClientUpstream lists it."""
client_only = pytest.mark.parametrize("adapter", ["client"], indirect=True)


class Connect(Protocol):
    """See the fixture `connect`."""

    def __call__(
        self, origin: str, *, max_connections: int = 4, ssl_context: ssl.SSLContext | None = None, **seconds: float
    ) -> Upstream: ...


class Answer(NamedTuple):
    status: int
    headers: RawHeaders
    body: bytes


def timeouts_of(seconds: Mapping[str, float]) -> Timeouts:
    chosen = {"pool": 5.0, "read": 5.0} | dict(seconds)
    return Timeouts(**{f"{name}_seconds": value for name, value in chosen.items()})


async def read_all(reply: UpstreamReply) -> bytes:
    pieces = []
    while piece := await reply.read():
        pieces.append(piece)
    assert await reply.read() == b""
    return b"".join(pieces)


async def ask(
    upstream: Upstream,
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: RawHeaders | None = None,
    body: OutgoingBody = None,
) -> Answer:
    """One whole exchange."""
    reply = await upstream.send(method, target, headers or [], body)
    try:
        return Answer(reply.status, reply.headers, await read_all(reply))
    finally:
        await reply.aclose()


async def fault_of(
    upstream: Upstream, method: bytes = b"GET", target: bytes = b"/", body: OutgoingBody = None
) -> UpstreamFault:
    """The fault in which an exchange must end."""
    with pytest.raises(UpstreamFault) as caught:
        await ask(upstream, method, target, None, body)
    return caught.value


def summary(fault: UpstreamFault) -> tuple[FaultKind, bool]:
    return fault.kind, fault.request_sent


class Pieces:
    """A request body in pieces, which remembers what became of it. `error` is raised after the last piece."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.yielded_bytes = 0
        self.closed = False

    async def _run(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.yielded_bytes += len(piece)
            yield piece
        if self.error is not None:
            raise self.error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not hasattr(self, "_running"):
            self._running = self._run()
        return await anext(self._running)

    async def aclose(self) -> None:
        self.closed = True
        if hasattr(self, "_running"):
            await self._running.aclose()  # type: ignore[attr-defined]
