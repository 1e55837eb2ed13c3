"""Connections: kept, lost, shared out, and let go."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from app.domain.errors import FaultKind, UpstreamFault
from tests.conformance.upstream.exchanges import (
    Connect,
    Pieces,
    ask,
    client_only,
    fault_of,
    read_all,
    summary,
    wire_only,
)
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, answers_once, head, reply

T = TypeVar("T")
OK = answers(reply(200, b"ok"))


async def test_one_connection_carries_one_request_after_another(connect: Connect) -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = connect(upstream.origin)
        for method in (b"GET", b"POST", b"DELETE", b"GET"):
            assert (await ask(client, method)).body == b"ok"
        await ask(client, b"POST", body=Pieces(b"a", b"b"))
        assert upstream.connections == 1
        assert len(upstream.requests) == 5


async def test_nothing_is_opened_before_the_first_request(connect: Connect) -> None:
    async with ScriptedUpstream(OK) as upstream:
        await connect(upstream.origin).aclose()
        assert upstream.connections == 0


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_connection_closed_between_requests_is_not_used(connect: Connect, method: bytes) -> None:
    async with ScriptedUpstream(answers_once(reply(200, b"one")), OK) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"one"
        await upstream.idle()
        await asyncio.sleep(0.01)  # let the loop see the FIN
        assert (await ask(client, method)).body == b"ok"
        assert [request.method for request in upstream.requests] == [b"GET", method]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_lost_race_is_repaired_once(connect: Connect, method: bytes, how: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"one"))
        await peer.request()
        if how == "reset":
            peer.reset()

    async with ScriptedUpstream(script, answers(reply(202, b""))) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"one"
        answer = await ask(client, method, b"/again", None, b"{}" if method == b"DELETE" else None)
        assert answer.status == 202
        assert [request.target for request in upstream.requests] == [b"/", b"/again", b"/again"]
        assert upstream.requests[1].raw_head == upstream.requests[2].raw_head


@pytest.mark.parametrize(
    ("method", "streamed"), [(b"POST", False), (b"POST", True), (b"PUT", False), (b"DELETE", True)]
)
async def test_a_lost_race_is_reported_where_a_repeat_could_do_it_twice(
    connect: Connect, method: bytes, streamed: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"one"))
        await peer.request()

    async with ScriptedUpstream(script, OK) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"one"
        fault = await fault_of(client, method, b"/again", Pieces(b"x") if streamed else b"x")
        assert summary(fault) == (FaultKind.UNREACHABLE, True)
        assert upstream.connections == 1


async def test_a_new_connection_that_closes_is_not_a_lost_race(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with ScriptedUpstream(script) as upstream:
        assert summary(await fault_of(connect(upstream.origin))) == (FaultKind.UNREACHABLE, True)
        assert upstream.connections == 1


@wire_only
async def test_a_lost_race_is_not_run_again(connect: Connect) -> None:
    """Where one kept connection was closed, the others most likely were, too."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"one"))
        await peer.request()

    async with ScriptedUpstream(script, script, OK) as upstream:
        client = connect(upstream.origin)
        await asyncio.gather(ask(client), ask(client))
        assert upstream.connections == 2
        assert (await ask(client)).body == b"ok"
        assert upstream.connections == 3


async def test_a_connecting_request_that_is_cancelled_holds_nobody_up(connect: Connect) -> None:
    accepted, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        accepted.set()
        await peer.gone()
        left.set()

    async with ScriptedUpstream(script) as upstream:
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client = connect(
            upstream.origin.replace("http:", "https:"), max_connections=1, ssl_context=unused, pool=0.5, connect=0.5
        )
        asking = asyncio.ensure_future(ask(client))
        await accepted.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await left.wait()
        fault = await fault_of(client)
        assert fault.detail.startswith("not connected within")


@wire_only
async def test_the_first_byte_of_an_answer_decides_the_race(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"one"))
        await peer.request()
        await peer.send(b"H")

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"one"
        assert summary(await fault_of(client)) == (FaultKind.UNREACHABLE, True)
        assert upstream.connections == 1


async def test_an_answer_that_began_is_not_a_lost_race(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"one"))
        await peer.request()
        await peer.send(head(200, length=5) + b"two")

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"one"
        assert summary(await fault_of(client)) == (FaultKind.UNREACHABLE, True)
        assert upstream.connections == 1


async def test_a_repair_that_fails_says_that_something_was_sent(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(200, b"one"))
        await peer.request()
        upstream.stop_listening()

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin)
        assert (await ask(client)).body == b"one"
        assert summary(await fault_of(client)) == (FaultKind.UNREACHABLE, True)


async def test_a_connection_idle_for_too_long_is_closed_rather_than_used(connect: Connect) -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = connect(upstream.origin, keepalive=0.05)
        await ask(client)
        await asyncio.sleep(0.1)
        await ask(client)
        assert upstream.connections == 2


async def test_an_unread_reply_takes_its_connection_along(connect: Connect) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=10) + b"hello")
        await peer.gone()
        left.set()

    async with ScriptedUpstream(script, OK) as upstream:
        client = connect(upstream.origin, max_connections=1)
        reply_ = await client.send(b"GET", b"/", [])
        assert await reply_.read() == b"hello"
        await reply_.aclose()
        await reply_.aclose()
        await left.wait()
        with pytest.raises(UpstreamFault):
            await reply_.read()
        assert (await ask(client)).body == b"ok"


async def test_who_waits_too_long_for_a_connection_is_told(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5)), OK) as upstream:
        client = connect(upstream.origin, max_connections=1, pool=0.05)
        holding = await client.send(b"GET", b"/", [])
        body = Pieces(b"x")
        fault = await fault_of(client, b"POST", b"/", body)
        assert summary(fault) == (FaultKind.TIMEOUT, False)
        assert body.closed
        await holding.aclose()
        assert (await ask(client)).body == b"ok"


async def test_who_waits_is_served_in_the_order_they_came(connect: Connect, adapter: str) -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = connect(upstream.origin, max_connections=1)
        targets = [b"/%02d" % number for number in range(30)]
        await asyncio.gather(*[await started(ask(client, b"GET", target)) for target in targets])
        served = [request.target for request in upstream.requests]
        assert (served if adapter == "wire" else sorted(served)) == targets  # httpx lets all run for it
        assert upstream.connections == 1


async def test_no_more_connections_than_allowed(connect: Connect) -> None:
    busy = 0
    most = 0

    async def script(peer: Peer) -> None:
        nonlocal busy, most
        while True:
            await peer.request()
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1
            await peer.send(reply(200, b"ok"))

    async with ScriptedUpstream(script) as upstream:
        client = connect(upstream.origin, max_connections=3)
        await asyncio.gather(*(ask(client, b"POST") for _ in range(30)))
        assert upstream.connections == 3
        assert most <= 3


async def test_a_cancelled_wait_costs_nobody_their_turn(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5)), OK) as upstream:
        client = connect(upstream.origin, max_connections=1)
        holding = await client.send(b"GET", b"/", [])
        waiting = [await started(ask(client, b"GET", b"/%d" % number)) for number in range(6)]
        for task in waiting[::2]:
            task.cancel()
        await holding.aclose()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ended] == [True, False] * 3
        assert (await ask(client)).body == b"ok"


async def test_a_wait_cancelled_just_as_it_ends_gives_its_turn_away(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5)), OK) as upstream:
        client = connect(upstream.origin, max_connections=1)
        holding = await client.send(b"GET", b"/", [])
        waiting = await started(ask(client))
        closing = asyncio.ensure_future(holding.aclose())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, closing, return_exceptions=True)
        assert waiting.cancelled()
        assert (await ask(client)).body == b"ok"


async def test_a_request_cancelled_in_flight_drops_its_connection(connect: Connect) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.gone()
        left.set()

    async with ScriptedUpstream(script, OK) as upstream:
        client = connect(upstream.origin, max_connections=1)
        asking = asyncio.ensure_future(ask(client))
        await arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await left.wait()
        assert (await ask(client)).body == b"ok"
        assert upstream.connections == 2


async def test_a_read_cancelled_never_looks_like_the_end(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=10) + b"hello"), OK) as upstream:
        client = connect(upstream.origin, max_connections=1)
        reply_ = await client.send(b"GET", b"/", [])
        assert await reply_.read() == b"hello"
        reading = await started(reply_.read())
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await reply_.aclose()
        with pytest.raises(UpstreamFault):
            await reply_.read()
        assert (await ask(client)).body == b"ok"


@client_only
async def test_a_read_cancelled_is_the_last(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=10) + b"hello")) as upstream:
        reply_ = await connect(upstream.origin).send(b"GET", b"/", [])
        assert await reply_.read() == b"hello"
        reading = await started(reply_.read())
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(UpstreamFault):
            await reply_.read()
        await reply_.aclose()


@wire_only
async def test_a_read_cancelled_can_be_taken_up_again(connect: Connect) -> None:
    may_go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=5))
        await may_go_on.wait()
        await peer.send(b"hello")

    async with ScriptedUpstream(script) as upstream:
        reply_ = await connect(upstream.origin).send(b"GET", b"/", [])
        reading = await started(reply_.read())
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        may_go_on.set()
        assert await read_all(reply_) == b"hello"
        await reply_.aclose()


async def test_closing_fails_what_is_in_flight(connect: Connect) -> None:
    async with ScriptedUpstream(answers(head(200, length=5))) as upstream:
        client = connect(upstream.origin)
        reply_ = await client.send(b"GET", b"/", [])
        await client.aclose()
        with pytest.raises(UpstreamFault):
            await reply_.read()
        await reply_.aclose()
        assert summary(await fault_of(client)) == (FaultKind.UNREACHABLE, False)
        await upstream.idle()
        await client.aclose()


async def test_many_requests_at_once(connect: Connect) -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = connect(upstream.origin, max_connections=32, pool=30)
        answered = await asyncio.gather(*(ask(client, b"GET", b"/%d" % number) for number in range(256)))
        assert all(answer.body == b"ok" for answer in answered)
        assert sorted(request.target for request in upstream.requests) == sorted(b"/%d" % n for n in range(256))
        assert upstream.connections <= 32


async def test_a_reply_read_late_does_not_hold_up_others(connect: Connect) -> None:
    async with ScriptedUpstream(OK) as upstream:
        client = connect(upstream.origin, max_connections=2)
        late = await client.send(b"GET", b"/", [])
        assert (await ask(client)).body == b"ok"
        assert await read_all(late) == b"ok"
        await late.aclose()


async def started(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has run until it first waits."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task
