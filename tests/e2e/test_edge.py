"""What the edge does with connections that other servers leave to their framework."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import ref

import pytest

from app.api.protocol import GatewayProtocol
from tests.e2e.raw import RawConnection, head, raw_connection
from tests.e2e.serving import ServingGateway, fronting, serving_gateway
from tests.e2e.transfers import CONTAINER, JSON
from tests.fakes.scripted import answers, reply
from tests.logs import captured_log

OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
BODY = b'{"name":"x"}'
UNKNOWN = f"/v1/containers/{CONTAINER}"


@pytest.mark.parametrize("at_once", [True, False], ids=["in one packet", "in two"])
async def test_an_offer_of_another_protocol_takes_no_body_along(tmp_path: Path, at_once: bool) -> None:
    """What follows such a head is its body, not another protocol and not another request."""
    async with (
        fronting(tmp_path, answers(reply(200, b'{"id":"cntr_new"}', JSON))) as (gateway, upstream),
        raw_connection(gateway.port) as client,
    ):
        start = head("POST", "/v1/containers", *OFFER, b"Content-Length: %d" % len(BODY))
        if at_once:
            await client.send(start + BODY + head("GET", "/nowhere"))
        else:
            await client.send(start)
            await client.send(BODY)
            await client.send(head("GET", "/nowhere"))
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 404
        (request,) = upstream.requests
        assert bytes(request.body) == BODY
        assert not {b"upgrade", b"http2-settings", b"connection"} & {name.lower() for name, _ in request.headers}


async def test_an_offer_without_a_body_is_declined_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway, raw_connection(gateway.port) as client:
        for _ in range(2):
            await client.send(head("GET", UNKNOWN, *OFFER))
            assert (await client.answer()).status == 404


async def test_nothing_stays_of_a_request_before_a_broken_one(tmp_path: Path) -> None:
    """It is never begun, or ends: a task that did neither would hold up the gateway's stop."""
    async with asyncio.timeout(10):  # `drain_seconds` is 30
        async with serving_gateway(tmp_path) as gateway:
            for _ in range(3):
                async with raw_connection(gateway.port) as client:
                    broken = head("POST", "/v1/containers", b"Transfer-Encoding: chunked") + b"zz\r\n"
                    await client.send(head("GET", UNKNOWN) + broken)
                    await client.closed()


async def test_who_asks_and_leaves_at_once_is_settled_all_the_same(tmp_path: Path) -> None:
    with captured_log() as log:
        async with asyncio.timeout(10):
            async with serving_gateway(tmp_path) as gateway:
                for _ in range(20):
                    async with raw_connection(gateway.port) as client:
                        await client.send(head("GET", UNKNOWN))
                        client.reset()
        asked = log.events("request")
    assert {line["outcome"] for line in asked} <= {"client_gone", "answered"}


@asynccontextmanager
async def uncollected(gateway: ServingGateway) -> AsyncIterator[tuple[RawConnection, list[ref[GatewayProtocol]]]]:
    """A connection; what it was in the gateway has to be gone soon after this ends, without the collector."""
    gc.collect()
    gc.disable()
    gone = asyncio.Event()
    watching: list[ref[GatewayProtocol]] = []
    try:
        async with raw_connection(gateway.port) as client:
            yield client, watching
            [connection] = [each for each in gc.get_objects() if isinstance(each, GatewayProtocol)]
            watching.append(ref(connection, lambda _: gone.set()))
            del connection
            client.leave()
        async with asyncio.timeout(5):
            await gone.wait()
    finally:
        gc.enable()


LEFT = {
    "half a body": (head("POST", "/v1/containers", b"Content-Length: 1000") + b'{"name":', False),
    "half a large body": (head("POST", "/v1/containers", b"Content-Length: 1000000") + bytes(100_000), False),
    "a refusal by the head": (head("POST", "/v1/containers", b"Content-Length: 9", authorization=b"") + b"x", True),
    "a refusal before the body": (
        head("POST", "/v1/containers", b"Content-Length: 9", b"Expect: 100-continue", authorization=b""),
        True,
    ),
}


@pytest.mark.parametrize(("sent", "is_answered"), LEFT.values(), ids=LEFT)
async def test_who_leaves_in_the_middle_leaves_no_cycle(tmp_path: Path, sent: bytes, is_answered: bool) -> None:
    async with serving_gateway(tmp_path) as gateway:
        async with raw_connection(gateway.port) as before:  # what is made once is made
            await before.send(head("GET", UNKNOWN))
            await before.answer()
            before.leave()
        async with uncollected(gateway) as (client, _):
            await client.send(sent)
            if is_answered:
                assert (await client.answer()).status == 401


async def test_half_an_admin_body_is_no_bug(tmp_path: Path) -> None:
    with captured_log() as log:
        async with serving_gateway(tmp_path) as gateway, raw_connection(gateway.port) as client:
            await client.send(head("GET", "/openapi.json"))
            await client.answer()
            await client.send(head("POST", "/key/generate", b"Content-Length: 10") + b"{")
            client.leave()
        assert not log.events("bug")
        line = log.events("request")[-1]
    assert (line["outcome"], line["status"]) == ("client_gone", None)
