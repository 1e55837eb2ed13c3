"""A transport may do what a test cannot make a real one do at will."""

from __future__ import annotations

from app.domain.ports import Timeouts
from app.upstream.wire import WireUpstream
from app.upstream.wire_connection import BUFFERED_BYTES
from tests.conformance.upstream.exchanges import ask, read_all
from tests.fakes.scripted import Peer, ScriptedUpstream, head, reply


async def test_an_end_that_comes_while_reading_is_paused_leaves_nothing_paused() -> None:
    """A transport may still hand over what it had read when it was paused; TLS transports do."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=3 * BUFFERED_BYTES))
        await peer.send(b"x" * (3 * BUFFERED_BYTES - 3))
        await peer.request()
        await peer.send(reply(200, b"ok"))

    async with ScriptedUpstream(script) as upstream:
        client = WireUpstream(origin=upstream.origin, timeouts=Timeouts(read_seconds=5), max_connections=1)
        large = await client.send(b"GET", b"/", [])
        (connection,) = client._open
        taken = 0
        while taken < 3 * BUFFERED_BYTES - 3:
            taken += len(await large.read())
        connection._read_paused = True
        connection._transport.pause_reading()
        connection.data_received(b"end")
        assert await read_all(large) == b"end"
        await large.aclose()
        assert (await ask(client)).body == b"ok"
        assert upstream.connections == 1
        await client.aclose()
