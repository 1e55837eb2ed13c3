from __future__ import annotations

import asyncio
import sys

import pytest

from app.api.body import AHEAD_BYTES, ArrivingBody, NoBody
from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.ports import RawHeaders


class Client:
    """The other end, which is told to wait and to go on."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def body(self, *headers: tuple[bytes, bytes], waits: bool = False) -> ArrivingBody:
        """A body of up to a megabyte."""
        body = ArrivingBody(
            list(headers) or CHUNKED,
            ask=(lambda: self.told.append("ask")) if waits else None,
            pause=lambda: self.told.append("pause"),
            resume=lambda: self.told.append("resume"),
        )
        body.allow(2**20)
        return body


CHUNKED: RawHeaders = [(b"transfer-encoding", b"chunked")]


async def whole(body: ArrivingBody) -> bytes:
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)


async def test_it_comes_piece_by_piece() -> None:
    body = Client().body()
    reading = asyncio.create_task(whole(body))
    for piece in (b"one ", b"", b"two"):
        await asyncio.sleep(0)
        body.feed(piece)
    body.finish()
    assert await reading == b"one two"
    assert (body.ended, body.bytes_read) == (True, 7)


async def test_what_is_here_already_is_read_without_waiting() -> None:
    body = Client().body((b"content-length", b"3"))
    body.feed(b"all")
    body.finish()
    assert await body.read() == b"all"
    assert body.ended
    assert await body.read() == b""


async def test_no_more_is_taken_than_somebody_reads() -> None:
    client = Client()
    body = client.body()
    body.feed(bytes(AHEAD_BYTES))
    assert client.told == []
    body.feed(b"x")
    assert client.told == ["pause"]
    assert len(await body.read()) == AHEAD_BYTES + 1
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    assert client.told == ["pause", "resume"]
    body.finish()
    assert await reading == b""


async def test_a_client_that_waits_is_asked_once_and_only_when_somebody_reads() -> None:
    client = Client()
    body = client.body(waits=True)
    assert client.told == []
    reading = asyncio.create_task(whole(body))
    await asyncio.sleep(0)
    assert client.told[0] == "ask"
    body.feed(b"here")
    body.finish()
    assert await reading == b"here"
    assert client.told.count("ask") == 1


async def test_a_client_that_leaves_ends_the_reading_whatever_has_arrived() -> None:
    body = Client().body()
    body.feed(b"half")
    body.disconnect()
    with pytest.raises(ClientGone):
        await body.read()


async def test_a_reader_that_waits_hears_of_a_client_that_leaves() -> None:
    body = Client().body()
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    body.disconnect()
    with pytest.raises(ClientGone):
        await reading


async def test_more_than_is_allowed_is_refused_as_it_comes() -> None:
    body = Client().body()
    body.allow(3)
    body.feed(b"four")
    with pytest.raises(GatewayError) as refused:
        await body.read()
    assert refused.value.code is ErrorCode.REQUEST_TOO_LARGE


def test_more_than_is_allowed_is_refused_by_its_head() -> None:
    with pytest.raises(GatewayError) as refused:
        Client().body((b"content-length", b"4")).allow(3)
    assert refused.value.code is ErrorCode.REQUEST_TOO_LARGE


async def test_nothing_has_ended_already() -> None:
    body = NoBody()
    body.allow(0)
    assert (body.ended, body.declared_bytes, await body.read()) == (True, 0, b"")


async def test_small_pieces_take_no_more_than_their_size() -> None:
    body = Client().body()
    for _ in range(50_000):
        body.feed(b"xy")
    assert sum(map(sys.getsizeof, body._pieces)) < 2 * 100_000
    assert await body.read() == b"xy" * 50_000


async def test_after_its_answer_it_holds_nothing_and_asks_for_nothing() -> None:
    client = Client()
    body = client.body(waits=True)
    body.feed(b"rest")
    body.disconnect()
    assert not body._pieces
    with pytest.raises(ClientGone):
        await body.read()
    assert client.told == []
