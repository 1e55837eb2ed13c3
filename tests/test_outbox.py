from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.outbox import FEW, Outbox

MANY = FEW + 1


class Reader(asyncio.Protocol):
    """The other end of a socket."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.taken += data
        self.news.set()

    async def has(self, expected: bytes) -> None:
        while len(self.taken) < len(expected):
            await self.news.wait()
            self.news.clear()
        assert self.taken == expected


@asynccontextmanager
async def line() -> AsyncIterator[tuple[asyncio.Transport, Reader]]:
    """A socket's two ends."""
    loop, reader = asyncio.get_running_loop(), Reader()
    server = await loop.create_server(lambda: reader, "127.0.0.1", 0)
    async with server:
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        try:
            yield transport, reader
        finally:
            transport.abort()


class Watched(asyncio.WriteTransport):
    """A transport that tells when it was written to."""

    def __init__(self, events: list[str], name: str) -> None:
        super().__init__()
        self._events = events
        self._name = name

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._events.append(f"{self._name} {bytes(data).decode()}")

    def is_closing(self) -> bool:
        return False


async def test_what_is_put_goes_out_in_order() -> None:
    outbox = Outbox()
    async with line() as (transport, reader):
        for piece in (b"one ", b"two ", b"three"):
            outbox.put(transport, piece, MANY)
        await asyncio.wait_for(reader.has(b"one two three"), 5)


async def test_it_waits_for_all_that_is_ready() -> None:
    events: list[str] = []
    outbox, loop = Outbox(), asyncio.get_running_loop()
    for name in ("a", "b", "c"):
        loop.call_soon(outbox.put, Watched(events, name), b"x", MANY)
        loop.call_soon(events.append, f"{name} has put")
    await asyncio.sleep(0)
    assert events == ["a has put", "b has put", "c has put"]
    await asyncio.sleep(0)
    assert events[3:] == ["a x", "b x", "c x"]


async def test_few_do_not_wait_and_keep_the_order() -> None:
    events: list[str] = []
    outbox, transport = Outbox(), Watched(events, "a")
    outbox.put(transport, b"1", MANY)
    outbox.put(transport, b"2", FEW)
    assert events == ["a 1", "a 2"]


async def test_flushed_it_is_written_once() -> None:
    events: list[str] = []
    outbox = Outbox()
    outbox.put(Watched(events, "a"), b"x", MANY)
    outbox.flush()
    assert events == ["a x"]
    await asyncio.sleep(0)
    assert events == ["a x"]


@pytest.mark.parametrize("leaving", ["close", "abort"])
async def test_who_has_left_is_not_written_to(leaving: str) -> None:
    outbox = Outbox()
    async with line() as (gone, _), line() as (there, reader):
        outbox.put(gone, b"x", MANY)
        outbox.put(there, b"y", MANY)
        getattr(gone, leaving)()
        await asyncio.wait_for(reader.has(b"y"), 5)
