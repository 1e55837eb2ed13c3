"""What the httpx client is there for: HTTP/2 and proxies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import pytest
import trustme

from app.domain.errors import FaultKind
from app.domain.ports import Timeouts
from app.upstream.client import ClientUpstream
from tests.conformance.upstream.exchanges import Pieces, ask, fault_of, summary
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, reply


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(protocols)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def client_of(
    origin: str, *, ssl_context: ssl.SSLContext | None = None, http2: bool = False, proxy: str | None = None
) -> AsyncIterator[ClientUpstream]:
    client = ClientUpstream(
        origin=origin,
        timeouts=Timeouts(read_seconds=5),
        max_connections=4,
        ssl_context=ssl_context,
        http2=http2,
        proxy=proxy,
    )
    yield client
    await client.aclose()


class Http2Peer:
    """An HTTP/2 server of one connection: it answers each request with `status` and the body it was sent."""

    def __init__(self, status: int = 200, *, reset: bool = False) -> None:
        self.heads: list[dict[bytes, bytes]] = []
        self._status = status
        self._reset = reset
        self._bodies: dict[int, bytes] = {}

    async def __call__(self, peer: Peer) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        await peer.send(connection.data_to_send())
        while True:
            for event in connection.receive_data(await peer.receive()):
                self._take(connection, event)
            await peer.send(connection.data_to_send())

    def _take(self, connection: h2.connection.H2Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            assert event.headers is not None
            self.heads.append({bytes(name): bytes(value) for name, value in event.headers})
            self._bodies[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            connection.send_headers(event.stream_id, [(":status", str(self._status)), ("x-a", "b")])
            if self._reset:
                connection.reset_stream(event.stream_id)
            else:
                connection.send_data(event.stream_id, self._bodies[event.stream_id], end_stream=True)


async def test_http2(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    server = Http2Peer(201)
    async with (
        ScriptedUpstream(server, tls=serving(authority, "h2", "http/1.1"), hostname="localhost") as upstream,
        client_of(upstream.origin, ssl_context=trusting, http2=True) as client,
    ):
        asking = (ask(client, b"POST", b"/a%2Fb?c", [(b"x", b"y")], Pieces(b"one", b"two")) for _ in range(8))
        for answer in await asyncio.gather(*asking):
            assert (answer.status, answer.headers, answer.body) == (201, [(b"x-a", b"b")], b"onetwo")
        assert server.heads[0][b":path"] == b"/a%2Fb?c"
        assert server.heads[0][b":authority"] == upstream.origin.removeprefix("https://").encode()
        assert server.heads[0][b"x"] == b"y"
        assert upstream.connections == 1


async def test_http2_broken_off(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async with (
        ScriptedUpstream(Http2Peer(reset=True), tls=serving(authority, "h2"), hostname="localhost") as upstream,
        client_of(upstream.origin, ssl_context=trusting, http2=True) as client,
    ):
        assert summary(await fault_of(client, b"POST", body=b"x")) == (FaultKind.PROTOCOL, True)


async def test_an_upstream_without_http2_is_spoken_to_in_http1(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async with (
        ScriptedUpstream(
            answers(reply(200, b"ok")), tls=serving(authority, "http/1.1"), hostname="localhost"
        ) as upstream,
        client_of(upstream.origin, ssl_context=trusting, http2=True) as client,
    ):
        assert (await ask(client)).body == b"ok"


async def test_a_proxy_is_asked_for_the_whole_address() -> None:
    async with (
        ScriptedUpstream(answers(reply(200, b"ok"))) as proxy,
        client_of("http://upstream.invalid", proxy=proxy.origin) as client,
    ):
        assert (await ask(client, b"GET", b"/v1/a%2Fb/../c?d=|")).body == b"ok"
        assert proxy.requests[0].target == b"http://upstream.invalid/v1/a%2Fb/../c?d=|"
        assert proxy.requests[0].header(b"host") == b"upstream.invalid"


async def test_a_proxy_tunnels_tls(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async def tunnel(peer: Peer) -> None:
        request = await peer.request()
        assert request.method == b"CONNECT"
        host, port = request.target.split(b":")
        reader, writer = await asyncio.open_connection(host.decode(), int(port))
        await peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def back() -> None:
            while data := await reader.read(65536):
                await peer.send(data)

        backwards = asyncio.create_task(back())
        try:
            while True:
                writer.write(await peer.receive())
        finally:
            writer.transport.abort()
            await asyncio.wait([backwards])

    async with (
        ScriptedUpstream(
            answers(reply(200, b"ok")), tls=serving(authority, "http/1.1"), hostname="localhost"
        ) as upstream,
        ScriptedUpstream(tunnel) as proxy,
        client_of(upstream.origin, ssl_context=trusting, proxy=proxy.origin) as client,
    ):
        assert (await ask(client)).body == b"ok"
        assert upstream.requests[0].target == b"/"


async def test_a_proxy_that_refuses_means_that_nothing_was_sent(trusting: ssl.SSLContext) -> None:
    async with (
        ScriptedUpstream(answers(reply(403, b"no"))) as proxy,
        client_of("https://upstream.invalid", ssl_context=trusting, proxy=proxy.origin) as client,
    ):
        fault = await fault_of(client, b"POST", body=b"x")
        assert summary(fault) == (FaultKind.UNREACHABLE, False)
        assert fault.detail == "the proxy does not connect"


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with ScriptedUpstream(answers(reply(200, b"ok"))) as upstream, client_of(upstream.origin) as client:
        assert (await ask(client)).body == b"ok"


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_connections"):
        ClientUpstream(origin="http://localhost", timeouts=Timeouts(), max_connections=0)
