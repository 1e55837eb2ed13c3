"""What the pool of the default client does beyond the port's contract."""

from __future__ import annotations

import asyncio

import pytest

import app.upstream.wire
from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import Timeouts
from app.upstream.wire import WireUpstream
from app.upstream.wire_connection import WireConnection
from tests.conformance.upstream.exchanges import ask, fault_of, summary
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, reply

OK = answers(reply(200, b"ok"))


def client_of(upstream: ScriptedUpstream, *, max_connections: int = 4, **seconds: float) -> WireUpstream:
    return WireUpstream(origin=upstream.origin, timeouts=Timeouts(**seconds), max_connections=max_connections)


@pytest.mark.parametrize("max_connections", [1, 4])
async def test_what_cannot_be_repeated_takes_no_connection_that_was_idle_for_long(
    monkeypatch: pytest.MonkeyPatch, max_connections: int
) -> None:
    monkeypatch.setattr(app.upstream.wire, "FRESH_SECONDS", 0.0)
    async with ScriptedUpstream(OK) as upstream:
        client = client_of(upstream, max_connections=max_connections)
        await ask(client)
        await ask(client)
        assert upstream.connections == 1
        await ask(client, b"POST")
        assert upstream.connections == 2
        await client.aclose()


async def test_the_connection_used_last_is_used_next() -> None:
    served: list[int] = []

    async def script(peer: Peer) -> None:
        number = upstream.connections
        while True:
            request = await peer.request()
            served.append(number)
            if request.target == b"/wait":
                arrived.set()
                await both.wait()
            await peer.send(reply(200, b"ok"))

    arrived, both = asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream(script) as upstream:
        client = client_of(upstream)
        first = asyncio.ensure_future(ask(client, target=b"/wait"))
        await arrived.wait()
        await ask(client)
        both.set()
        await first
        for _ in range(3):
            await ask(client)
        assert served == [1, 2, 1, 1, 1]
        await client.aclose()


async def test_idle_connections_are_closed_without_being_asked() -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"ok"))
        await peer.gone()
        left.set()

    async with ScriptedUpstream(script) as upstream:
        client = client_of(upstream, keepalive_seconds=0.02)
        await ask(client)
        await left.wait()
        await client.aclose()


async def test_a_full_pool_closes_the_longest_idle_for_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = 0
    one_closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal closed
        try:
            await OK(peer)
        finally:
            closed += 1
            one_closed.set()

    async with ScriptedUpstream(script) as upstream:
        client = client_of(upstream, max_connections=2)
        await asyncio.gather(ask(client), ask(client))
        monkeypatch.setattr(app.upstream.wire, "FRESH_SECONDS", 0.0)
        await ask(client, b"POST")
        await one_closed.wait()
        await ask(client)
        assert closed == 1
        await client.aclose()


async def test_a_send_that_is_connecting_while_the_client_closes_fails() -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = client_of(upstream)
        asking = asyncio.ensure_future(ask(client))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(Exception, match="closed"):
            await asking


async def test_a_connection_that_is_just_closing_is_not_used() -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = client_of(upstream)
        await ask(client)
        (connection,) = client._idle
        connection.abort()
        assert (await ask(client, b"POST")).body == b"ok"
        assert upstream.connections == 2
        await client.aclose()


async def test_a_connection_that_ends_as_it_is_made_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_and_cut(connection: WireConnection, transport: asyncio.BaseTransport) -> None:
        made(connection, transport)
        connection.abort()

    made = WireConnection.connection_made
    monkeypatch.setattr(WireConnection, "connection_made", made_and_cut)
    async with ScriptedUpstream(OK) as upstream:
        client = client_of(upstream, max_connections=1)
        for _ in range(2):
            fault = await fault_of(client, b"POST")
            assert summary(fault) == (FaultKind.UNREACHABLE, False)
        assert client._open == set()
        await client.aclose()


async def test_nothing_is_left_behind() -> None:
    """Neither a task nor a timer outlives its exchange by more than the client does."""
    async with ScriptedUpstream(OK) as upstream:
        client = client_of(upstream, max_connections=3)
        await asyncio.gather(*(ask(client, b"POST", body=b"x") for _ in range(20)))
        before = asyncio.all_tasks()
        assert not [task for task in before if "send_stream" in repr(task)]
        await client.aclose()
        assert client._open == set()
        assert not client._idle
        assert client.in_flight == 0


async def test_a_head_with_wrong_bytes_behind_it_is_no_answer() -> None:
    async with ScriptedUpstream(answers(reply(200, b"ok") + b"!")) as upstream:
        client = client_of(upstream)
        with pytest.raises(UpstreamFault, match="bytes after the end"):
            await client.send(b"GET", b"/", [])
        await client.aclose()


@pytest.mark.parametrize("max_connections", [0, -1])
def test_a_pool_of_nothing_is_refused(max_connections: int) -> None:
    with pytest.raises(ValueError, match="max_connections"):
        WireUpstream(origin="http://localhost", timeouts=Timeouts(), max_connections=max_connections)
