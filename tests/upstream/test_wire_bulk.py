"""Large answers are read in large pieces, and small ones as before."""

from __future__ import annotations

import pytest

from app.domain.ports import Timeouts
from app.upstream.wire import WireUpstream
from app.upstream.wire_bulk import LARGEST_BYTES, SHARED_BYTES, SMALLEST_BYTES, BulkReader, ReadBuffers
from tests.conformance.upstream.exchanges import ask
from tests.fakes.scripted import Peer, ScriptedUpstream, head, reply

LOOP_BYTES = 256 * 1024
"""What an event loop reads at a time by itself."""


class Target:
    """What reads, and keeps it."""

    def __init__(self) -> None:
        self.taken: list[bytes | memoryview] = []

    def data_received(self, data: bytes | memoryview) -> None:
        self.taken.append(data)

    def eof_received(self) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


async def test_who_is_behind_gets_larger_pieces_until_the_answer_ends() -> None:
    content = b"".join(b"%08d" % number for number in range(4 * 1024 * 1024))  # 32 MiB, no piece like another

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=len(content)) + content)
        await peer.request()
        await peer.send(reply(200, b"ok"))

    async with ScriptedUpstream(script) as upstream:
        client = WireUpstream(origin=upstream.origin, timeouts=Timeouts(read_seconds=5), max_connections=1)
        large = await client.send(b"GET", b"/", [])
        pieces = []
        while piece := await large.read():
            pieces.append(piece)
        await large.aclose()
        assert b"".join(pieces) == content
        assert LOOP_BYTES < max(map(len, pieces)) <= LARGEST_BYTES
        (connection,) = client._idle
        assert connection._transport.get_protocol() is connection
        assert (await ask(client)).body == b"ok"
        assert upstream.connections == 1
        await client.aclose()


@pytest.mark.parametrize(
    ("readers", "size"),
    [(0, LARGEST_BYTES), (1, LARGEST_BYTES), (32, LOOP_BYTES), (33, SMALLEST_BYTES), (1000, SMALLEST_BYTES)],
)
def test_the_more_read_the_smaller_their_pieces(readers: int, size: int) -> None:
    assert len(ReadBuffers().lend(readers)) == size


def read(buffers: ReadBuffers, content: bytes, readers: int = 1) -> memoryview:
    """A piece, as a connection gets it."""
    room = buffers.lend(readers)
    room[: len(content)] = content
    return buffers.watch(room[: len(content)], room)


def test_what_somebody_holds_is_not_written_to() -> None:
    buffers = ReadBuffers()
    held = [read(buffers, b"%d" % number) for number in range(10)]
    part = held[3][:1]
    assert [bytes(piece) for piece in held] == [b"%d" % number for number in range(10)]
    del held
    assert bytes(read(buffers, b"x")) == b"x"
    assert bytes(part) == b"3"


def test_what_nobody_holds_is_lent_again() -> None:
    buffers = ReadBuffers()
    piece = read(buffers, b"one")
    memory = piece.obj
    del piece
    assert buffers.lend(1).obj is memory
    assert buffers.lend(1).obj is not memory


def test_no_more_is_kept_than_is_shared() -> None:
    buffers = ReadBuffers()
    held = [read(buffers, b"x") for _ in range(SHARED_BYTES // LARGEST_BYTES + 3)]
    del held
    assert buffers._free_bytes == SHARED_BYTES
    assert sum(len(memory) for free in buffers._free.values() for memory in free) == SHARED_BYTES


async def test_who_sends_little_at_a_time_does_not_take_a_room_for_each() -> None:
    target = Target()
    reader = BulkReader(target, ReadBuffers(), lambda: 1)
    first = reader.get_buffer(-1)
    for number in range(3):
        assert reader.get_buffer(-1) is first
        first[:1] = b"%d" % number
        reader.buffer_updated(1)
    reader.buffer_updated(len(first))
    assert target.taken[:3] == [b"0", b"1", b"2"]
    assert target.taken[3].obj is first.obj  # type: ignore[union-attr]
    assert reader.get_buffer(-1) is not first
