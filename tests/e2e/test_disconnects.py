"""What happens when one end goes away, or stands still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from app.api import protocol
from tests.e2e.raw import head as request_head
from tests.e2e.raw import raw_connection
from tests.e2e.serving import fronting
from tests.e2e.transfers import (
    AFTER_FILE,
    BEFORE_FILE,
    BLOCK,
    BUFFERS,
    CONTAINER,
    CONTENT,
    FILES,
    GIB,
    JSON,
    MIB,
    SOON_SECONDS,
    Sink,
    blocks,
    sends_big_file,
    upload_head,
)
from tests.fakes.scripted import Peer, answers, head, reply
from tests.logs import captured_log

# The client goes away.


@pytest.mark.parametrize("leaving", ["closes", "resets"])
@pytest.mark.parametrize("ahead", [b"", request_head("GET", "/v1/containers")], ids=["", "another ahead"])
async def test_nobody_waits_for_a_slow_answer(tmp_path: Path, leaving: str, ahead: bytes) -> None:
    """Also where the client had sent another request ahead."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def is_slow(peer: Peer) -> None:
        await peer.request()
        reached.set()
        await peer.gone()
        left.set()

    with captured_log() as log:
        async with fronting(tmp_path, is_slow) as (gateway, _), raw_connection(gateway.port) as client:
            await client.send(request_head("GET", CONTENT) + ahead)
            await reached.wait()
            client.leave() if leaving == "closes" else client.reset()
            await asyncio.wait_for(left.wait(), SOON_SECONDS)
        line = log.events("request")[0]
    assert (line["outcome"], line["status"], line["error_code"]) == ("client_gone", None, None)


async def test_a_download_that_nobody_reads_ends(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def sends_for_ever(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=GIB))
        try:
            for block in blocks():
                await peer.send(block)
        finally:
            left.set()

    with captured_log() as log:
        async with fronting(tmp_path, sends_for_ever) as (gateway, _), raw_connection(gateway.port) as client:
            await client.send(request_head("GET", CONTENT))
            await client.answer_head()
            await client.read(MIB)
            client.leave()
            await asyncio.wait_for(left.wait(), SOON_SECONDS)
        (line,) = log.events("request")
    assert (line["outcome"], line["status"]) == ("client_gone", 200)
    assert MIB <= line["bytes_out"] < BUFFERS


async def test_half_an_upload_never_looks_whole(tmp_path: Path) -> None:
    begun, cut = asyncio.Event(), asyncio.Event()
    sink = Sink(on_bytes=begun.set)

    async def takes(peer: Peer) -> None:
        try:
            await sink(peer)
        finally:
            cut.set()

    with captured_log() as log:
        async with fronting(tmp_path, takes) as (gateway, _), raw_connection(gateway.port) as client:
            await client.send(upload_head(10 * MIB) + BEFORE_FILE + BLOCK)
            await begun.wait()
            client.leave()
            await asyncio.wait_for(cut.wait(), SOON_SECONDS)
        (line,) = log.events("request")
    assert not sink.whole
    assert (line["outcome"], line["status"]) == ("client_gone", None)


@pytest.mark.parametrize("path", ["/v1/containers", FILES])
async def test_half_a_small_body_never_goes_up(tmp_path: Path, path: str) -> None:
    with captured_log() as log:
        async with (
            fronting(tmp_path, answers(reply(200, b"{}"))) as (gateway, upstream),
            raw_connection(gateway.port) as client,
        ):
            form = b"Content-Type: multipart/form-data; boundary=b"
            await client.send(request_head("POST", path, b"Content-Length: 1000", form) + b'{"name":')
            client.leave()
        (line,) = log.events("request")
    assert line["outcome"] == "client_gone"
    assert not upstream.requests


CHANGES = [
    ("POST", "/v1/containers", b'{"name":"x"}', b'{"id":"cntr_new"}', "cntr_new"),
    ("POST", FILES, b"".join((BEFORE_FILE, b"hello", AFTER_FILE)), b'{"id":"cfile_new"}', CONTAINER),
    ("DELETE", f"/v1/containers/{CONTAINER}", b"", b'{"deleted":true}', CONTAINER),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "made", "container_id"), CHANGES, ids=["create", "upload", "delete"]
)
async def test_what_changes_something_runs_to_its_end(
    tmp_path: Path, method: str, path: str, body: bytes, made: bytes, container_id: str
) -> None:
    reached = asyncio.Event()

    async def is_slow(peer: Peer) -> None:
        await peer.request()
        reached.set()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.gone(), 1)
        await peer.send(reply(200, made, JSON))

    with captured_log() as log:
        async with fronting(tmp_path, is_slow) as (gateway, upstream), raw_connection(gateway.port) as client:
            form = b"Content-Type: multipart/form-data; boundary=b" if path == FILES else b"X: 1"
            await client.send(request_head(method, path, b"Content-Length: %d" % len(body), form) + body)
            await reached.wait()
            client.leave()
            await upstream.idle()
        (line,) = log.events("request")
    assert (line["outcome"], line["container_id"]) == ("client_gone", container_id)
    assert line["response_body"] == json.loads(made)
    assert line["upstream_ms"] >= 1000


# The upstream goes away.


class Cut:
    """An upstream that sends these bytes, and goes wrong in its way once the client has seen the head."""

    def __init__(self, begun: bytes, then: Callable[[Peer], Awaitable[object]]) -> None:
        self.seen = asyncio.Event()
        self._begun = begun
        self._then = then

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(self._begun)
        await self.seen.wait()
        await self._then(peer)


async def close(peer: Peer) -> None:
    await peer.close()


async def reset(peer: Peer) -> None:
    peer.reset()


async def send_nonsense(peer: Peer) -> None:
    await peer.send(b"nonsense\r\n")
    await peer.gone()


BY_LENGTH = head(200, length=GIB) + b"x" * 1000
IN_CHUNKS = head(200, (b"transfer-encoding", b"chunked")) + b"4\r\nabcd\r\n"
CUTS = [
    (BY_LENGTH, close, "upstream_unreachable"),
    (BY_LENGTH, reset, "upstream_unreachable"),
    (BY_LENGTH, Peer.gone, "upstream_timeout"),
    (IN_CHUNKS, close, "upstream_unreachable"),
    (IN_CHUNKS, reset, "upstream_unreachable"),
    (IN_CHUNKS, send_nonsense, "upstream_protocol_error"),
]


@pytest.mark.parametrize("transport", ["wire", "httpx"])
@pytest.mark.parametrize(("begun", "then", "code"), CUTS)
async def test_half_a_file_never_looks_whole(
    tmp_path: Path, begun: bytes, then: Callable[[Peer], Awaitable[object]], code: str, transport: str
) -> None:
    cut = Cut(begun, then)
    deployment = {"transport": transport, "timeouts": {"read_seconds": 0.3}}
    with captured_log() as log:
        async with fronting(tmp_path, cut, answers(reply(200, b"{}")), deployment=deployment) as (gateway, _):
            async with gateway.client.stream("GET", CONTENT) as answer:
                assert answer.status_code == 200
                cut.seen.set()
                with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                    await answer.aread()
            assert (await gateway.client.get("/v1/containers")).status_code == 200
        line, _ = log.events("request")
        others = [event for event in log.events() if event["level"] in ("error", "critical")]
    assert (line["status"], line["outcome"], line["error_code"]) == (200, "cut_off", code)
    assert line["error_detail"]
    assert not others


# Clients that stand still.


async def test_a_client_that_owes_a_body_and_is_silent_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.4)
    sink = Sink()
    async with fronting(tmp_path, sink) as (gateway, upstream), raw_connection(gateway.port) as client:
        await client.send(upload_head(10 * MIB) + BEFORE_FILE + BLOCK)
        await asyncio.wait_for(client.closed(), SOON_SECONDS)
        await asyncio.wait_for(upstream.idle(), SOON_SECONDS)
    assert not sink.whole


async def test_a_client_that_takes_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.4)
    async with (
        fronting(tmp_path, sends_big_file) as (gateway, upstream),
        raw_connection(gateway.port) as client,
    ):
        await client.send(request_head("GET", CONTENT))
        await client.answer_head()
        await asyncio.wait_for(upstream.idle(), SOON_SECONDS)


async def test_who_moves_or_waits_for_us_is_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.2)

    async def takes_its_time(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.6)
        await peer.send(reply(200, b"{}", JSON))

    async with fronting(tmp_path, takes_its_time) as (gateway, _), raw_connection(gateway.port) as client:
        form = b"".join((BEFORE_FILE, b"hello", AFTER_FILE))
        await client.send(upload_head(5))
        for position in range(0, len(form), 10):
            await asyncio.sleep(0.05)
            await client.send(form[position : position + 10])
        assert (await client.answer()).status == 200
