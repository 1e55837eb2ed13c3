"""Every step has its own limit, and a limit is on silence, never on a whole transfer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

from app.domain.errors import FaultKind
from tests.conformance.upstream.exchanges import Connect, Pieces, ask, fault_of, summary
from tests.fakes.scripted import Peer, ScriptedUpstream, accepts_only, answers, head, reply

LATE = (FaultKind.TIMEOUT, True)


async def test_a_handshake_that_takes_too_long(connect: Connect) -> None:
    async with ScriptedUpstream(accepts_only) as upstream:
        origin = upstream.origin.replace("http:", "https:")
        fault = await fault_of(connect(origin, connect=0.1, ssl_context=ssl.create_default_context()))
        assert summary(fault) == (FaultKind.TIMEOUT, False)


async def test_an_answer_that_never_begins(connect: Connect) -> None:
    async with ScriptedUpstream(accepts_only) as upstream:
        assert summary(await fault_of(connect(upstream.origin, read=0.05))) == LATE


async def test_a_head_that_stops(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5)[:-3])) as upstream:
        assert summary(await fault_of(connect(upstream.origin, read=0.05))) == LATE


async def test_a_body_that_stops(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5) + b"hel"), answers(reply(200, b"ok"))) as upstream:
        client = connect(upstream.origin, read=0.05, max_connections=1)
        assert summary(await fault_of(client)) == LATE
        assert (await ask(client)).body == b"ok"


async def test_a_kept_connection_that_falls_silent_is_not_tried_again(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"ok"))
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin, read=0.05)
        await ask(client)
        assert summary(await fault_of(client)) == LATE
        assert upstream.connections == 1


async def test_a_slow_answer_is_not_silence(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=12))
        for byte in b"slow and fine"[:12]:
            await asyncio.sleep(0.02)
            await peer.send(bytes([byte]))

    async with ScriptedUpstream(script) as upstream:
        assert (await ask(connect(upstream.origin, read=0.12))).body == b"slow and fin"


async def test_a_reader_that_takes_its_time_is_not_the_upstreams_silence(connect: Connect) -> None:
    body = b"x" * 8_000_000
    async with ScriptedUpstream(answers(reply(200, body))) as upstream:
        reply_ = await connect(upstream.origin, read=0.1).send(b"GET", b"/", [])
        await asyncio.sleep(0.3)
        taken = 0
        while piece := await reply_.read():
            taken += len(piece)
        assert taken == len(body)
        await reply_.aclose()


async def test_a_body_that_takes_its_time_is_not_the_upstreams_silence(connect: Connect) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b", b"c"):
            await asyncio.sleep(0.1)
            yield piece

    async with ScriptedUpstream(answers(reply(200, b"ok"))) as upstream:
        assert (await ask(connect(upstream.origin, read=0.15, write=0.05), b"POST", body=slowly())).body == b"ok"
        assert upstream.requests[0].body == b"abc"


async def test_an_upstream_that_takes_nothing(connect: Connect) -> None:
    """It also shows that a body is asked for only as fast as it goes out."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await never.wait()

    never = asyncio.Event()
    body = Pieces(*[b"x" * 65536] * 1024)
    async with ScriptedUpstream(script) as upstream:
        assert summary(await fault_of(connect(upstream.origin, write=0.2), b"POST", b"/", body)) == LATE
        assert body.closed
        assert body.yielded_bytes < 16 * 1024 * 1024


async def test_an_upstream_that_takes_nothing_of_a_whole_body(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await never.wait()

    never = asyncio.Event()
    async with ScriptedUpstream(script) as upstream:
        fault = await fault_of(connect(upstream.origin, write=0.2), b"POST", b"/", b"x" * 32_000_000)
        assert summary(fault) == LATE
        assert "took no byte" in fault.detail


async def test_an_upstream_that_takes_bytes_slowly_is_not_too_late(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.head()
        while len(received.body) < length:
            await asyncio.sleep(0.005)
            received.body += await peer.receive(1_000_000)
        await peer.send(reply(200, b"ok"))

    length = 24_000_000
    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin, write=0.25, read=0.25)
        assert (await ask(client, b"POST", b"/", None, b"x" * length)).body == b"ok"
