"""Both directions at once: neither side is hurried, and memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import FaultKind, UpstreamFault
from tests.conformance.upstream.exchanges import Connect, ask, read_all, summary, wire_only
from tests.fakes.scripted import ClientLeft, Peer, ScriptedUpstream, answers, chunked, head, reply

PIECE = b"x" * 65536
KERNEL_BYTES = 16 * 1024 * 1024
"""More than two sockets' buffers ever hold on loopback."""


async def test_what_is_not_read_is_not_taken(connect: Connect) -> None:
    sent_bytes = 0
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent_bytes
        await peer.request()
        await peer.send(head(200, length=1024 * len(PIECE)))
        for _ in range(1024):
            sending = asyncio.ensure_future(peer.send(PIECE))
            await asyncio.wait([sending], timeout=0.2)
            if not sending.done():
                stuck.set()
            await sending
            sent_bytes += len(PIECE)

    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"GET", b"/", [])
        await stuck.wait()
        assert sent_bytes < KERNEL_BYTES
        taken = 0
        while piece := await reply_.read():
            taken += len(piece)
        assert taken == 1024 * len(PIECE)
        await reply_.aclose()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_large_answer_comes_whole_and_leaves_its_connection_usable(connect: Connect, framing: str) -> None:
    content = b"".join(b"%08d" % number for number in range(1024 * 1024))
    is_chunked = framing == "chunked"
    large_head = head(200, (b"transfer-encoding", b"chunked")) if is_chunked else head(200, length=len(content))

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(large_head + (chunked(content) if is_chunked else content))
            await peer.request()
            await peer.send(reply(200, b"ok"))

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin)
        for _ in range(2):
            assert (await ask(client)).body == content
            assert (await ask(client)).body == b"ok"
        assert upstream.connections == 1


async def test_a_body_is_asked_for_as_fast_as_it_is_taken(connect: Connect) -> None:
    asked_bytes = 0
    may_read = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked_bytes
        for _ in range(1024):
            asked_bytes += len(PIECE)
            yield PIECE

    async def script(peer: Peer) -> None:
        request = await peer.head()
        await may_read.wait()
        await peer.body(request)
        await peer.send(reply(200, b"%d" % len(request.body)))

    async with ScriptedUpstream(script) as upstream:
        asking = asyncio.ensure_future(ask(connect(upstream.origin), b"POST", body=body()))
        before = -1
        while before != asked_bytes or not asked_bytes:
            before = asked_bytes
            await asyncio.sleep(0.05)
        assert 0 < asked_bytes < KERNEL_BYTES
        may_read.set()
        assert (await asking).body == b"%d" % (1024 * len(PIECE))


async def test_a_cancelled_upload_never_looks_whole(connect: Connect) -> None:
    closed, started, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"half"
            started.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def script(peer: Peer) -> None:
        try:
            await peer.request()
        except ClientLeft:
            left.set()

    async with ScriptedUpstream(script, answers(reply(200, b"ok"))) as upstream:
        client = connect(upstream.origin, max_connections=1)
        asking = asyncio.ensure_future(ask(client, b"POST", body=body()))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert closed.is_set()
        await left.wait()
        assert bytes(upstream.requests[0].body) == b"half"
        assert (await ask(client)).body == b"ok"


async def test_an_upstream_that_breaks_off_closes_the_body(connect: Connect) -> None:
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield PIECE
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.receive()
        peer.reset()

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(UpstreamFault) as caught:
            await ask(connect(upstream.origin), b"POST", body=body())
        assert summary(caught.value) == (FaultKind.UNREACHABLE, True)
        assert closed.is_set()


class TestEarlyAnswer:
    """The upstream answers 413 and does not read on. httpx looks when it can send no more, which may be too late."""

    async def test_the_reply_comes_at_once_and_the_body_stops(self, connect: Connect, adapter: str) -> None:
        closed = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield PIECE
            finally:
                closed.set()

        async def refuses_without_reading(peer: Peer) -> None:
            await peer.head()
            await peer.send(reply(413, b"too large"))
            await never.wait()

        never = asyncio.Event()
        async with ScriptedUpstream(refuses_without_reading, answers(reply(200, b"ok"))) as upstream:
            client = connect(upstream.origin, max_connections=1, write=0.2)
            if adapter == "client":
                with pytest.raises(UpstreamFault) as caught:
                    await client.send(b"POST", b"/", [], body())
                assert summary(caught.value) == (FaultKind.TIMEOUT, True)
            else:
                reply_ = await client.send(b"POST", b"/", [], body())
                assert reply_.status == 413
                assert await read_all(reply_) == b"too large"
                await closed.wait()
                await reply_.aclose()
            assert closed.is_set()
            assert (await ask(client)).body == b"ok"
            assert upstream.connections == 2

    @wire_only
    async def test_a_body_not_sent_whole_takes_its_connection_along(self, connect: Connect) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            await asyncio.Event().wait()

        async with ScriptedUpstream(self.refuses, answers(reply(200, b"ok"))) as upstream:
            client = connect(upstream.origin)
            assert (await ask(client, b"POST", body=body())).status == 413
            assert (await ask(client)).body == b"ok"
            assert upstream.connections == 2

    @staticmethod
    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.send(reply(413, b"too large"))
        await peer.gone()

    @wire_only
    async def test_an_upstream_that_answers_and_closes(self, connect: Connect) -> None:
        closed = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"a"
                await asyncio.sleep(0.05)
                while True:
                    yield b"b"
                    await asyncio.sleep(0.01)
            finally:
                closed.set()

        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(reply(413, b"too large", (b"connection", b"close")))

        async with ScriptedUpstream(script) as upstream:
            answer = await ask(connect(upstream.origin), b"POST", body=body())
            assert (answer.status, answer.body) == (413, b"too large")
            assert closed.is_set()


@wire_only
async def test_reply_and_body_flow_at_the_same_time(connect: Connect) -> None:
    got_first = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await got_first.wait()
        yield b"two"

    async def echo(peer: Peer) -> None:
        await peer.head()
        await peer.send(head(200, length=6))
        for size in (8, 8):  # 3\r\none\r\n
            data = b""
            while len(data) < size:
                data += await peer.receive(size - len(data))
            await peer.send(data[3:6])
        assert await peer.receive(5) == b"0\r\n\r\n"
        await peer.request()
        await peer.send(reply(200, b"ok"))

    async with ScriptedUpstream(echo) as upstream:
        client = connect(upstream.origin)
        reply_ = await client.send(b"POST", b"/", [], body())
        assert await reply_.read() == b"one"
        got_first.set()
        assert await reply_.read() == b"two"
        assert await reply_.read() == b""
        await reply_.aclose()


@wire_only
async def test_a_body_that_fails_after_the_head_fails_the_reply(connect: Connect) -> None:
    may_fail = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await may_fail.wait()
        raise LookupError("gone")

    async def script(peer: Peer) -> None:
        request = await peer.head()
        await peer.send(head(200, length=6) + b"hel")
        await peer.body(request)

    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"POST", b"/", [], body())
        assert await reply_.read() == b"hel"
        may_fail.set()
        for _ in range(2):
            with pytest.raises(LookupError, match="gone"):
                await reply_.read()
        await reply_.aclose()
        await upstream.idle()
        assert not upstream.requests[0].whole


@wire_only
async def test_a_reply_let_go_stops_the_body(connect: Connect) -> None:
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def script(peer: Peer) -> None:
        request = await peer.head()
        await peer.send(head(200, length=6))
        await peer.body(request)

    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"POST", b"/", [], body())
        await reply_.aclose()
        assert closed.is_set()
        await upstream.idle()
        assert not upstream.requests[0].whole
