"""What comes back: every framing that HTTP/1.1 has, and nothing that it has not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import FaultKind, UpstreamFault
from app.upstream.wire_head import MAX_HEADERS
from tests.conformance.upstream.exchanges import (
    Connect,
    ask,
    client_only,
    fault_of,
    read_all,
    summary,
    wire_only,
)
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, answers_once, chunked, head, reply

CHUNKED = (b"transfer-encoding", b"chunked")

VALID = {
    "length": (reply(200, b"hello"), 200, b"hello"),
    "empty": (reply(200, b""), 200, b""),
    "error": (reply(503, b"busy"), 503, b"busy"),
    "chunked": (head(200, CHUNKED) + chunked(b"hel", b"lo"), 200, b"hello"),
    "chunked, empty": (head(200, CHUNKED) + chunked(), 200, b""),
    "chunked, capital": (head(200, (b"Transfer-Encoding", b"Chunked")) + chunked(b"x"), 200, b"x"),
    "chunked, extension": (head(200, CHUNKED) + b"5;a=b\r\nhello\r\n0\r\n\r\n", 200, b"hello"),
    "chunked, trailers": (head(200, CHUNKED) + b"5\r\nhello\r\n0\r\nx: y\r\nz: a\r\n\r\n", 200, b"hello"),
    "100": (head(100) + reply(200, b"hello"), 200, b"hello"),
    "1xx, several": (head(103, (b"link", b"x")) + head(100) + head(102) + reply(201, b"hello"), 201, b"hello"),
    "204": (head(204), 204, b""),
    "204 with a length": (head(204, length=5), 204, b""),
    "304 with a length": (head(304, length=5), 304, b""),
    "304, chunked": (head(304, CHUNKED), 304, b""),
    "large": (reply(200, b"x" * 3_000_000), 200, b"x" * 3_000_000),
    "large chunks": (head(200, CHUNKED) + chunked(*[b"x" * 100_000] * 20), 200, b"x" * 2_000_000),
}


@pytest.mark.parametrize("name", VALID)
async def test_valid_answers_leave_the_connection_usable(connect: Connect, name: str) -> None:
    response, status, body = VALID[name]
    async with ScriptedUpstream(answers(response)) as upstream:
        client = connect(upstream.origin)
        for _ in range(2):
            answer = await ask(client)
            assert (answer.status, answer.body) == (status, body)
        assert upstream.connections == 1


@pytest.mark.parametrize("name", VALID)
async def test_what_is_at_hand_is_the_whole_body_and_needs_no_closing(connect: Connect, name: str) -> None:
    response, _, body = VALID[name]
    async with ScriptedUpstream(answers(response)) as upstream:
        client = connect(upstream.origin, max_connections=1, pool=1)
        for _ in range(2):
            reply_ = await client.send(b"GET", b"/", [])
            at_hand = reply_.at_hand()
            if at_hand is None:
                assert await read_all(reply_) == body
                await reply_.aclose()
            else:
                assert at_hand == body
        assert upstream.connections == 1
        assert await reply_.read() == b""
        await reply_.aclose()


@pytest.mark.parametrize(
    ("rest", "broken"),
    [
        (b"5\r\nworld\r\n0\r\n\r\n", False),
        (b"5\r\nworld\r\n", True),
        (b"5\r\nworld\r\n0\r\n\r\n!", True),
        (b"zz\r\n", True),
    ],
)
async def test_what_has_not_all_arrived_or_is_broken_is_not_at_hand(
    connect: Connect, adapter: str, rest: bytes, broken: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, CHUNKED) + b"5\r\nhello\r\n")
        await may_go_on.wait()
        await peer.send(rest)

    may_go_on = asyncio.Event()
    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"GET", b"/", [])
        assert reply_.at_hand() is None
        assert await reply_.read() == b"hello"
        assert reply_.at_hand() is None
        may_go_on.set()
        try:
            whole = b"hello"
            while (rest_at_hand := reply_.at_hand()) is None and (piece := await reply_.read()):
                whole += piece
        except UpstreamFault:
            assert broken
            assert reply_.at_hand() is None
        else:
            assert whole + (rest_at_hand or b"") == b"helloworld"
            assert not broken or (adapter == "client" and rest.endswith(b"!"))  # see test_what_httpx_makes_of_excess
        await reply_.aclose()


@wire_only
async def test_nothing_is_at_hand_while_the_request_is_still_sent(connect: Connect) -> None:
    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(reply(413, b"too large"))
        await peer.gone()

    closed = asyncio.Event()
    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"POST", b"/", [], body())
        assert reply_.at_hand() is None
        assert await read_all(reply_) == b"too large"
        await reply_.aclose()
        assert closed.is_set()


@wire_only
async def test_an_answer_in_one_segment_is_at_hand(connect: Connect) -> None:
    async with ScriptedUpstream(
        answers(reply(200, b"hello")), answers(head(200, CHUNKED) + chunked(b"hel", b"lo"))
    ) as up:
        client = connect(up.origin, max_connections=1)
        for _ in range(2):
            assert (await client.send(b"GET", b"/", [])).at_hand() == b"hello"


@pytest.mark.parametrize(
    "response",
    [
        head(200) + b"hello",
        head(200, (b"connection", b"close"), length=5) + b"hello",
        head(200, (b"connection", b"close"), CHUNKED) + chunked(b"hello"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
)
async def test_answers_that_end_with_their_connection(connect: Connect, response: bytes) -> None:
    async with ScriptedUpstream(answers_once(response)) as upstream:
        client = connect(upstream.origin)
        for _ in range(2):
            answer = await ask(client, b"POST")
            assert (answer.status, answer.body) == (200, b"hello")
        assert upstream.connections == 2


async def test_headers_come_as_they_were_sent(connect: Connect) -> None:
    response = head(200, (b"X-B", b"  1\t"), (b"Content-Type", b"a/b"), (b"x-b", b""), (b"X-C", b"\xc3\xa9"), length=0)
    async with ScriptedUpstream(answers(response)) as upstream:
        answer = await ask(connect(upstream.origin))
    assert answer.headers == [
        (b"x-b", b"1"),
        (b"content-type", b"a/b"),
        (b"x-b", b""),
        (b"x-c", b"\xc3\xa9"),
        (b"content-length", b"0"),
    ]


async def test_nothing_is_decompressed_followed_or_remembered(connect: Connect) -> None:
    redirect = reply(302, b"zip", (b"location", b"/other"), (b"set-cookie", b"a=b"), (b"content-encoding", b"gzip"))
    async with ScriptedUpstream(answers(redirect)) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"zip"
        await ask(client)
        assert [request.raw_head for request in upstream.requests[1:]] == [upstream.requests[0].raw_head]


async def test_the_answer_to_head_has_no_body(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5))) as upstream:
        answer = await ask(connect(upstream.origin), b"HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert (b"content-length", b"5") in answer.headers


async def test_an_answer_in_single_bytes(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in head(100) + head(200, CHUNKED) + chunked(b"hel", b"lo"):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with ScriptedUpstream(script) as upstream:
        assert (await ask(connect(upstream.origin))).body == b"hello"


INVALID = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "status": b"HTTP/1.1 20x OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "later version": b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n",
    "version": b"HTTP/3.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "header without colon": head(200)[:-2] + b"nonsense\r\n\r\n",
    "header name": head(200, (b"a b", b"c"), length=0),
    "NUL in a header": head(200, (b"a", b"b\0c"), length=0),
    "length is not a number": head(200, (b"content-length", b"five")) + b"hello",
    "negative length": head(200, (b"content-length", b"-5")) + b"hello",
    "two lengths": head(200, (b"content-length", b"6"), length=5) + b"hello",
    "length and chunked": head(200, CHUNKED, length=5) + chunked(b"hello"),
    "unknown coding": head(200, (b"transfer-encoding", b"gzip")) + b"hello",
    "coding under chunked": head(200, (b"transfer-encoding", b"gzip, chunked")) + chunked(b"hello"),
    "chunked twice": head(200, CHUNKED, CHUNKED) + chunked(b"hello"),
    "chunk size": head(200, CHUNKED) + b"zz\r\nhello\r\n0\r\n\r\n",
    "negative chunk size": head(200, CHUNKED) + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk longer than its size": head(200, CHUNKED) + b"3\r\nhello\r\n0\r\n\r\n",
    "switching protocols": head(101, (b"connection", b"upgrade"), (b"upgrade", b"x")) + b"hello",
    "switching, no header": head(101) + reply(200, b"hello"),
    "head of 10 MB": head(200, (b"x", b"y" * 10_000_000), length=0),
    "head of 10 MB in many headers": head(200, *[(b"x", b"y" * 100)] * 100_000, length=0),
    "too many headers": head(200, *[(b"x", b"y")] * (MAX_HEADERS + 1), length=0),
}
MORE_INVALID = {
    "two equal lengths": head(200, (b"content-length", b"5"), length=5) + b"hello",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "folded header": head(200, (b"a", b"b\r\n c"), length=0),
    "empty line first": b"\r\n" + reply(200, b"hello"),
    "unknown status": head(999, length=0),
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"hello"),
    "head without end": head(200)[:-2] + b"x: " + b"y" * 70_000,
    "1xx without end": head(102, (b"x", b"y" * 100)) * 700,
    "trailers without end": head(200, CHUNKED) + b"0\r\n" + b"x: y\r\n" * 90_000,
    "excess": reply(200, b"hello") + b"!",
    "excess after an empty body": reply(200, b"") + b"!",
    "excess line": reply(200, b"hello") + b"\r\n",
    "excess after 204": head(204, length=5) + b"hello",
    "excess after chunks": head(200, CHUNKED) + chunked(b"hello") + b"!",
    "excess line after chunks": head(200, CHUNKED) + chunked(b"hello") + b"\r\n",
    "excess line after trailers": head(200, CHUNKED) + b"0\r\nx: y\r\n\r\n\r\n",
    "a second answer": reply(200, b"hello") + reply(200, b"other"),
    "a second answer after chunks": head(200, CHUNKED) + chunked(b"hello") + head(204),
}
"""What the httpx adapter takes, or calls by another name; see its docstring."""


@pytest.mark.parametrize("name", INVALID)
async def test_anything_else_is_a_broken_protocol(connect: Connect, name: str) -> None:
    await breaks_the_protocol(connect, INVALID[name])


@wire_only
@pytest.mark.parametrize("name", MORE_INVALID)
async def test_the_finer_points_are_a_broken_protocol_too(connect: Connect, name: str) -> None:
    await breaks_the_protocol(connect, MORE_INVALID[name])


async def breaks_the_protocol(connect: Connect, response: bytes) -> None:
    invalid = answers_once(response)
    async with ScriptedUpstream(invalid, answers(reply(200, b"next"))) as upstream:
        client = connect(upstream.origin)
        assert summary(await fault_of(client)) == (FaultKind.PROTOCOL, True)
        assert (await ask(client)).body == b"next"
        assert upstream.connections == 2


@client_only
@pytest.mark.parametrize("name", ["excess", "excess line", "a second answer", "excess after chunks"])
async def test_what_httpx_makes_of_excess(connect: Connect, name: str) -> None:
    async with ScriptedUpstream(answers(MORE_INVALID[name]), answers(reply(200, b"next"))) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"hello"
        if name == "a second answer":
            assert (await ask(client)).body == b"other"
        else:
            assert summary(await fault_of(client)) == (FaultKind.PROTOCOL, True)


async def test_an_answer_that_nobody_asked_for_is_not_the_next_one(connect: Connect, adapter: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"first"))
        await may_go_on.wait()
        await peer.send(reply(200, b"unasked"))
        sent.set()
        await peer.gone()
        dropped.set()

    may_go_on, sent, dropped = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream(script, answers(reply(200, b"next"))) as upstream:
        client = connect(upstream.origin, keepalive=60)
        assert (await ask(client)).body == b"first"
        may_go_on.set()
        if adapter == "wire":
            await dropped.wait()
        else:
            await sent.wait()  # httpx looks when it takes a connection
        assert (await ask(client)).body == b"next"


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (b"", FaultKind.UNREACHABLE),
        (b"HT", FaultKind.UNREACHABLE),
        (head(200, length=5)[:-2], FaultKind.UNREACHABLE),
        (head(100), FaultKind.UNREACHABLE),
        (head(200, length=5), FaultKind.UNREACHABLE),
        (reply(200, b"hello")[:-1], FaultKind.UNREACHABLE),
        (head(200, CHUNKED), FaultKind.UNREACHABLE),
        (head(200, CHUNKED) + b"5\r\nhel", FaultKind.UNREACHABLE),
        (head(200, CHUNKED) + b"5\r\nhello\r\n", FaultKind.UNREACHABLE),
        (head(200, CHUNKED) + b"5\r\nhello\r\n0\r\n", FaultKind.UNREACHABLE),
    ],
)
async def test_an_answer_cut_off_is_never_whole(connect: Connect, response: bytes, kind: FaultKind) -> None:
    async with ScriptedUpstream(answers_once(response)) as upstream:
        assert summary(await fault_of(connect(upstream.origin), b"POST")) == (kind, True)


async def test_a_reset_in_mid_body_comes_after_what_arrived(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=10) + b"hello")
        await arrived.wait()
        peer.reset()

    arrived = asyncio.Event()
    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"GET", b"/", [])
        assert await reply_.read() == b"hello"
        arrived.set()
        for _ in range(2):
            with pytest.raises(UpstreamFault) as caught:
                await reply_.read()
            assert summary(caught.value) == (FaultKind.UNREACHABLE, True)
        await reply_.aclose()
        await reply_.aclose()


async def test_a_half_closed_upstream_still_answers(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"hello"))
        peer.half_close()
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin)
        for _ in range(2):
            assert (await ask(client)).body == b"hello"
        assert upstream.connections == 2
