"""What goes out: heads byte for byte, bodies framed, and nothing that could be read as something else."""

from __future__ import annotations

import pytest

from app.domain.errors import FaultKind
from app.domain.ports import OutgoingBody, RawHeaders
from tests.conformance.upstream.exchanges import Connect, Pieces, ask, fault_of, summary
from tests.fakes.scripted import Peer, Received, ScriptedUpstream, answers, reply

OK = reply(200, b"ok")


async def received(
    connect: Connect, method: bytes, headers: RawHeaders, body: OutgoingBody, target: bytes = b"/"
) -> Received:
    async with ScriptedUpstream(answers(OK)) as upstream:
        answer = await ask(connect(upstream.origin), method, target, headers, body)
        assert answer.body == b"ok"
        assert upstream.requests[0].whole
        return upstream.requests[0]


async def test_a_head_goes_out_byte_for_byte(connect: Connect) -> None:
    headers = [(b"x-b", b"1"), (b"accept", b"*/*"), (b"x-a", b"caf\xc3\xa9"), (b"x-b", b"2")]
    target = b"/v1/containers/a%2Fb/../%2e?limit=1&after='x'|[]{}"
    request = await received(connect, b"GET", headers, None, target)
    host = request.header(b"host") or b""
    assert request.raw_head == (
        b"GET " + target + b" HTTP/1.1\r\nhost: " + host + b"\r\n"
        b"x-b: 1\r\naccept: */*\r\nx-a: caf\xc3\xa9\r\nx-b: 2\r\n\r\n"
    )
    assert host.startswith(b"127.0.0.1:")


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        (b"GET", None, []),
        (b"DELETE", None, []),
        (b"POST", None, [(b"content-length", b"0")]),
        (b"POST", b"", [(b"content-length", b"0")]),
        (b"DELETE", b"{}", [(b"content-length", b"2")]),
        (b"POST", b"x" * 1_000_000, [(b"content-length", b"1000000")]),
    ],
)
async def test_whole_bodies(
    connect: Connect, method: bytes, body: bytes | None, framing: list[tuple[bytes, bytes]]
) -> None:
    request = await received(connect, method, [], body)
    assert request.headers[1:] == framing
    assert request.body == (body or b"")


async def test_a_stream_goes_out_in_chunks(connect: Connect) -> None:
    body = Pieces(b"one", b"", b"two" * 100_000, b"3")
    request = await received(connect, b"POST", [], body)
    assert request.headers[1:] == [(b"transfer-encoding", b"chunked")]
    assert request.body == b"one" + b"two" * 100_000 + b"3"
    assert body.closed


async def test_a_stream_of_stated_length_goes_out_plain(connect: Connect) -> None:
    body = Pieces(b"one", b"two")
    request = await received(connect, b"POST", [(b"content-length", b"6")], body)
    assert request.headers[1:] == [(b"content-length", b"6")]
    assert request.body == b"onetwo"
    assert body.closed


async def test_a_stream_without_pieces_is_an_empty_body(connect: Connect) -> None:
    request = await received(connect, b"POST", [], Pieces())
    assert request.body == b""
    assert request.headers[1:] == [(b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize(
    ("length", "body", "error"),
    [
        (b"7", Pieces(b"one", b"two"), "shorter"),
        (b"5", Pieces(b"one", b"two"), "longer"),
        (b"6", Pieces(b"one", b"two", error=LookupError("gone")), "gone"),
        (None, Pieces(b"one", error=LookupError("gone")), "gone"),
        (None, Pieces(error=LookupError("gone")), "gone"),
    ],
)
async def test_a_stream_that_fails_is_never_a_whole_request(
    connect: Connect, length: bytes | None, body: Pieces, error: str
) -> None:
    body = Pieces(*body.pieces, error=body.error)  # parameters are shared
    headers = [(b"content-length", length)] if length else []
    if error == "gone" and length:
        headers = [(b"content-length", b"100")]

    async def script(peer: Peer) -> None:
        await peer.request()

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin)
        with pytest.raises((ValueError, LookupError), match=error):
            await ask(client, b"POST", b"/", headers, body)
        assert body.closed
        await client.aclose()
        await upstream.idle()
        assert not any(request.whole for request in upstream.requests)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET /", b"/", []),
        (b"get", b"/", []),
        (b"", b"/", []),
        (b"GET\r\n", b"/", []),
        (b"GET", b"", []),
        (b"GET", b"x", []),
        (b"GET", b"http://elsewhere/", []),
        (b"GET", b"/a b", []),
        (b"GET", b"/a\r\nx: y", []),
        (b"GET", b"/a\0", []),
        (b"GET", b"/a\n", []),
        (b"GET", b"/caf\xc3\xa9", []),
        (b"GET", b"/", [(b"x", b"a\r\ny: z")]),
        (b"GET", b"/", [(b"x", b"a\n")]),
        (b"GET", b"/", [(b"x", b"a\rb")]),
        (b"GET", b"/", [(b"x", b"a\0b")]),
        (b"GET", b"/", [(b"x\r\ny", b"a")]),
        (b"GET", b"/", [(b"x:", b"a")]),
        (b"GET", b"/", [(b"x y", b"a")]),
        (b"GET", b"/", [(b"", b"a")]),
        (b"GET", b"/", [(b"x\n", b"a")]),
        (b"GET", b"/", [(b"Content-Length", b"3")]),
        (b"GET", b"/", [(b"content-length", b"3")]),
        (b"GET", b"/", [(b"host", b"elsewhere")]),
        (b"GET", b"/", [(b"transfer-encoding", b"chunked")]),
    ],
)
async def test_a_head_that_could_be_read_as_another_is_refused(
    connect: Connect, method: bytes, target: bytes, headers: RawHeaders
) -> None:
    async with ScriptedUpstream(answers(OK)) as upstream:
        with pytest.raises(ValueError, match=r"the method|the target|header"):
            await ask(connect(upstream.origin), method, target, headers)
        assert upstream.connections == 0


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"+3")],
        [(b"content-length", b"")],
        [(b"content-length", b"3"), (b"content-length", b"3")],
        [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
    ],
)
async def test_a_stream_states_its_length_once_and_as_a_number(connect: Connect, headers: RawHeaders) -> None:
    body = Pieces(b"one")
    async with ScriptedUpstream(answers(OK)) as upstream:
        with pytest.raises(ValueError, match=r"framing|content-length"):
            await ask(connect(upstream.origin), b"POST", b"/", headers, body)
        assert upstream.connections == 0
    assert body.closed


async def test_nothing_listens(connect: Connect) -> None:
    async with ScriptedUpstream(answers(OK)) as upstream:
        origin = upstream.origin
    client = connect(origin, max_connections=1, pool=0.5)
    for _ in range(2):
        body = Pieces(b"one")
        fault = await fault_of(client, b"POST", body=body)
        assert summary(fault) == (FaultKind.UNREACHABLE, False)
        assert fault.detail == "connection refused"
        assert body.closed
        assert body.yielded_bytes == 0


async def test_a_name_that_nobody_has(connect: Connect) -> None:
    fault = await fault_of(connect("http://no-such-host.invalid"))
    assert summary(fault) == (FaultKind.UNREACHABLE, False)
    assert fault.detail == "name not resolved"
