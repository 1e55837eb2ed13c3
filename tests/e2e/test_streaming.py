"""Files on their way through: flat memory, the pace of the slower side, and refusals before bodies."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.api import protocol
from tests.e2e.gateway import RunningGateway, forwarding_to, running_gateway
from tests.e2e.memory import MemoryWatch
from tests.e2e.raw import RawConnection, raw_connection
from tests.e2e.raw import head as request_head
from tests.e2e.serving import fronting
from tests.e2e.transfers import (
    AFTER_FILE,
    BEARER,
    BEFORE_FILE,
    BLOCK,
    BUFFERS,
    CONTENT,
    FILES,
    FORM,
    GIB,
    JSON,
    MIB,
    SOON_SECONDS,
    Sink,
    blocks,
    multipart,
    sends_big_file,
    sha256,
    upload_head,
)
from tests.fakes.scripted import ClientLeft, Peer, ScriptedUpstream, answers, head, reply

ENOUGH = 256 * MIB
"""More than every buffer on the way together."""


@pytest.fixture(scope="module")
def big_file_sha256() -> str:
    return sha256(blocks())


def download(port: int, path: str) -> tuple[int, str]:
    """Fetch a file, and say how large it is and its hash."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=BEARER)
    answer = connection.getresponse()
    digest, size, buffer = hashlib.sha256(), 0, bytearray(MIB)
    while count := answer.readinto(buffer):
        digest.update(memoryview(buffer)[:count])
        size += count
    connection.close()
    return size, digest.hexdigest()


async def test_a_large_download_takes_no_memory(tmp_path: Path, big_file_sha256: str) -> None:
    async with ScriptedUpstream(sends_big_file) as upstream:
        with running_gateway(tmp_path, forwarding_to(upstream.origin)) as gateway:
            async with MemoryWatch(gateway.process.pid) as memory:
                received = await asyncio.to_thread(download, gateway.port, CONTENT)
    assert received == (GIB, big_file_sha256)
    assert memory.grown_bytes < 32 * MIB


def upload(port: int, size: int = GIB) -> int:
    """Send a file as a form, and say what the answer's status is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    length = {"Content-Length": str(len(BEFORE_FILE) + size + len(AFTER_FILE))}
    connection.request("POST", FILES, body=multipart(size), headers=BEARER | FORM | length)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("providers", [1, 2])
async def test_a_large_upload_takes_no_memory(tmp_path: Path, big_file_sha256: str, providers: int) -> None:
    """With two providers and nothing that names one, only the end of the body can say: it waits on disk."""
    sink = Sink()
    others = [{"name": "other", "provider": "other", "api_base": "http://127.0.0.1:9/v1"}] * (providers - 1)
    async with ScriptedUpstream(sink) as upstream:
        settings: dict[str, Any] = {"server": {"max_upload_bytes": 2 * GIB}, "others": others}
        with running_gateway(tmp_path, forwarding_to(upstream.origin, **settings)) as gateway:
            async with MemoryWatch(gateway.process.pid) as memory:
                assert await asyncio.to_thread(upload, gateway.port) == 200
            line = gateway.log("containers.files.create")
            spooled = open_files(gateway.process.pid, tmp_path / "data" / "spool")
    assert sink.size == GIB + len(BEFORE_FILE) + len(AFTER_FILE)
    assert sink.digest.hexdigest() == sha256(multipart())
    assert line["request_body"] == {"bytes": GIB, "sha256": big_file_sha256}
    assert memory.grown_bytes < 32 * MIB
    assert not spooled
    assert not list((tmp_path / "data" / "spool").iterdir())


def open_files(pid: int, folder: Path) -> list[str]:
    """What a process has open in a folder, deleted files too."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [link for link in links if link.startswith(str(folder))]


# The pace of the slower side.


async def test_a_client_that_stops_reading_stops_the_upstream(tmp_path: Path) -> None:
    sent = 0
    finished = asyncio.Event()

    async def sends_much(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(head(200, length=ENOUGH))
        for block in blocks(ENOUGH):
            await peer.send(block)
            sent += len(block)
        finished.set()

    async with fronting(tmp_path, sends_much) as (gateway, _), raw_connection(gateway.port) as client:
        await client.send(request_head("GET", CONTENT))
        assert (await client.answer_head()).status == 200
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(finished.wait(), 1)
        assert sent < BUFFERS
        for block in blocks(ENOUGH):
            assert await client.read(MIB) == block
        assert finished.is_set()


def queued(port: int, client_port: int) -> int:
    """How many bytes the kernel holds of what was written to a client's connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local[-4:], 16), int(remote[-4:], 16)) == (port, client_port):
            return int(queues.partition(":")[0], 16)
    raise LookupError("no such connection")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a connection holds")
async def test_the_kernel_does_not_hold_megabytes_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def sends_much(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=ENOUGH))
        with suppress(TimeoutError):
            for block in blocks(ENOUGH):
                await asyncio.wait_for(peer.send(block), 1)
        stuck.set()

    async with fronting(tmp_path, sends_much) as (gateway, _), raw_connection(gateway.port) as client:
        await client.send(request_head("GET", CONTENT))
        await stuck.wait()
        assert 0 < queued(gateway.port, client.port) < MIB


async def test_an_upstream_that_stops_reading_stops_the_client(tmp_path: Path) -> None:
    may_go_on = asyncio.Event()
    received = 0

    async def waits(peer: Peer) -> None:
        nonlocal received
        request = await peer.head()
        await may_go_on.wait()
        while received < int(request.header(b"content-length") or 0):
            received += len(await peer.receive(MIB))
        await peer.send(reply(200, b"{}", JSON))

    async with fronting(tmp_path, waits) as (gateway, _), raw_connection(gateway.port) as client:
        await client.send(upload_head(ENOUGH) + BEFORE_FILE)
        sent = 0

        async def send_file() -> None:
            nonlocal sent
            for block in blocks(ENOUGH):
                await client.send(block)
                sent += len(block)

        sending = asyncio.create_task(send_file())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 1)
        assert sent < BUFFERS
        may_go_on.set()
        await sending
        await client.send(AFTER_FILE)
        assert (await client.answer()).status == 200
        assert received == ENOUGH + len(BEFORE_FILE) + len(AFTER_FILE)


@pytest.mark.parametrize("length", [2, None])
async def test_bytes_pass_as_they_come(tmp_path: Path, length: int | None) -> None:
    first_is_there = asyncio.Event()

    async def trickles(peer: Peer) -> None:
        await peer.request()
        framing = [] if length else [(b"transfer-encoding", b"chunked")]
        await peer.send(head(200, *framing, length=length))
        await peer.send(b"a" if length else b"1\r\na\r\n")
        await first_is_there.wait()
        await peer.send(b"b" if length else b"1\r\nb\r\n0\r\n\r\n")

    async with (
        asyncio.timeout(10),
        fronting(tmp_path, trickles) as (gateway, _),
        gateway.client.stream("GET", CONTENT) as answer,
    ):
        pieces = answer.aiter_raw(1)
        assert await anext(pieces) == b"a"
        first_is_there.set()
        assert await anext(pieces) == b"b"


async def test_an_upload_without_a_length_streams_too(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in multipart(3 * MIB):
            yield piece

    async with fronting(tmp_path, answers(reply(200, b"{}", JSON))) as (gateway, upstream):
        answer = await gateway.client.post(FILES, content=pieces(), headers=FORM)
    assert answer.status_code == 200
    assert bytes(upstream.requests[0].body) == b"".join(multipart(3 * MIB))
    assert upstream.requests[0].header(b"content-length") is None


# Refusals come before bodies.

BAD_KEY = b"Authorization: Bearer sk-wrong\r\n"


async def test_a_bad_key_is_refused_before_a_byte_of_the_body_is_asked_for(tmp_path: Path) -> None:
    async with fronting(tmp_path, answers(reply(200, b"{}"))) as (gateway, upstream):
        async with raw_connection(gateway.port) as client:
            await client.send(upload_head(GIB, b"Expect: 100-continue", authorization=BAD_KEY))
            answer = await client.answer()  # the first thing that comes: no 100 stands before it
            assert (answer.status, answer.error_code) == (401, "invalid_api_key")
        async with raw_connection(gateway.port) as client:
            await client.send(upload_head(MIB, b"Expect: 100-continue"))
            assert (await client.answer()).status == 100
            await client.send(b"".join(multipart(MIB)))
            assert (await client.answer()).status == 200
    assert len(upstream.requests) == 1


ENDLESS = 2**50
"""So large that no client comes to its end."""
TOO_LARGE = [
    (upload_head(ENDLESS, authorization=BAD_KEY), 401, "invalid_api_key"),
    (upload_head(ENDLESS), 413, "request_too_large"),
    (request_head("POST", "/v1/containers", b"Content-Length: %d" % ENDLESS), 413, "request_too_large"),
    (request_head("GET", CONTENT, b"Content-Length: %d" % ENDLESS), 413, "request_too_large"),
]


@pytest.mark.parametrize(("request_bytes", "status", "code"), TOO_LARGE, ids=["bad key", "upload", "create", "get"])
async def test_a_client_that_sends_on_gets_to_read_its_refusal(
    tmp_path: Path, request_bytes: bytes, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.5)
    async with (
        fronting(tmp_path, answers(reply(200, b"{}"))) as (gateway, upstream),
        raw_connection(gateway.port) as client,
    ):
        await client.send(request_bytes)
        for _ in range(8):
            await client.send(BLOCK)  # all this before it looks at what came back
        answer = await client.answer()
        assert (answer.status, answer.error_code) == (status, code)
        with pytest.raises(ConnectionError):  # not for ever, though
            await asyncio.wait_for(send_on(client), SOON_SECONDS)
    assert not upstream.requests


async def send_on(client: RawConnection) -> None:
    while True:
        await client.send(BLOCK)


async def test_a_refused_body_that_ends_leaves_a_connection_to_go_on_with(tmp_path: Path) -> None:
    async with (
        fronting(tmp_path, answers(reply(200, b"{}"))) as (gateway, _),
        raw_connection(gateway.port) as client,
    ):
        await client.send(upload_head(MIB, authorization=BAD_KEY))
        assert (await client.answer()).status == 401
        await client.send(b"".join(multipart(MIB)) + request_head("GET", "/v1/containers"))
        assert (await client.answer()).status == 200


async def test_an_upload_that_did_not_say_how_large_it_is_ends_at_the_limit(tmp_path: Path) -> None:
    cut = asyncio.Event()
    sink = Sink()

    async def takes(peer: Peer) -> None:
        await peer.head()
        try:
            while True:
                sink.size += len(await peer.receive(MIB))
        except ClientLeft:
            cut.set()

    async def pieces() -> AsyncIterator[bytes]:
        for piece in multipart(64 * MIB):
            yield piece

    async with fronting(tmp_path, takes, server={"max_upload_bytes": 2 * MIB}) as (gateway, _):
        answer = await gateway.client.post(FILES, content=pieces(), headers=FORM)
        await asyncio.wait_for(cut.wait(), SOON_SECONDS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert sink.size < 4 * MIB


# Parts of files, from the embedded provider.


def test_parts_of_a_file(shared_gateway: RunningGateway) -> None:
    client = shared_gateway.client
    container = client.post("/v1/containers", json={"name": "x"}).json()["id"]
    files = {"file": ("a.txt", b"0123456789")}
    file = client.post(f"/v1/containers/{container}/files", files=files).json()["id"]
    path = f"/v1/containers/{container}/files/{file}/content"

    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["accept-ranges"] == "bytes"
    etag = whole.headers["etag"]

    def part(wanted: str, **conditions: str) -> tuple[int, bytes, str | None]:
        answer = client.get(path, headers={"Range": wanted} | conditions)
        return answer.status_code, answer.content, answer.headers.get("content-range")

    assert part("bytes=2-4") == (206, b"234", "bytes 2-4/10")
    assert part("bytes=7-") == (206, b"789", "bytes 7-9/10")
    assert part("bytes=-2") == (206, b"89", "bytes 8-9/10")
    assert part("bytes=2-4", **{"If-Range": etag}) == (206, b"234", "bytes 2-4/10")
    assert part("bytes=2-4", **{"If-Range": '"another"'}) == (200, b"0123456789", None)
    status, _, content_range = part("bytes=10-")
    assert (status, content_range) == (416, "bytes */10")

    known = client.get(path, headers={"If-None-Match": etag})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    assert (client.get(path, headers={"If-None-Match": '"another"'})).status_code == 200
