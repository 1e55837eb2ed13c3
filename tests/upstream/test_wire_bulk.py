"""Large answers are read in large pieces, and small ones as before."""

from __future__ import annotations

import pytest

from app.domain.ports import Timeouts
from app.upstream.wire import WireUpstream
from app.upstream.wire_bulk import LARGEST_BYTES, SMALLEST_BYTES, ReadBuffer
from tests.conformance.upstream.exchanges import ask
from tests.fakes.scripted import Peer, ScriptedUpstream, head, reply

LOOP_BYTES = 256 * 1024
"""What an event loop reads at a time by itself."""


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
    ("readers", "size"), [(0, LARGEST_BYTES), (1, LARGEST_BYTES), (32, LOOP_BYTES), (1000, SMALLEST_BYTES)]
)
def test_the_more_read_the_smaller_their_pieces(readers: int, size: int) -> None:
    assert len(ReadBuffer().room(readers)) == size
