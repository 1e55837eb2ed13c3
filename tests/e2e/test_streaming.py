"""Files on their way through: flat memory, the pace of the slower side, and what happens when one end goes away."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import protocol
from tests.e2e.gateway import MASTER_KEY, RunningGateway, forwarding_to, running_gateway
from tests.e2e.memory import MemoryWatch
from tests.e2e.raw import AUTHORIZATION, RawConnection, raw_connection
from tests.e2e.raw import head as request_head
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.scripted import ClientLeft, Peer, Script, ScriptedUpstream, answers, head, reply
from tests.logs import captured_log

CONTAINER = "cntr_" + "ab" * 24
FILE = "cfile_" + "cd" * 16
FILES = f"/v1/containers/{CONTAINER}/files"
CONTENT = f"{FILES}/{FILE}/content"
JSON = (b"content-type", b"application/json")
MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = hashlib.shake_256(b"a block").digest(MIB - 8)
BEARER = {"Authorization": f"Bearer {MASTER_KEY}"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def blocks(size: int = GIB) -> Iterator[bytes]:
    """A large file, no two megabytes of it alike."""
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + BLOCK


BEFORE_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
AFTER_FILE = b"\r\n--b--\r\n"


def multipart(size: int = GIB) -> Iterator[bytes]:
    """The file as a form."""
    yield BEFORE_FILE
    yield from blocks(size)
    yield AFTER_FILE


def upload_head(size: int, *lines: bytes, authorization: bytes = AUTHORIZATION) -> bytes:
    """The head of a request that uploads a file of this size as a form."""
    length = b"Content-Length: %d" % (len(BEFORE_FILE) + size + len(AFTER_FILE))
    form = b"Content-Type: multipart/form-data; boundary=b"
    return request_head("POST", FILES, length, form, *lines, authorization=authorization)


def sha256(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def big_file_sha256() -> str:
    return sha256(blocks())


@asynccontextmanager
async def fronting(
    folder: Path, *scripts: Script, **settings: Any
) -> AsyncIterator[tuple[ServingGateway, ScriptedUpstream]]:
    """A gateway in this process in front of an upstream that follows these scripts."""
    async with (
        ScriptedUpstream(*scripts) as upstream,
        serving_gateway(folder, forwarding_to(upstream.origin, **settings)) as gateway,
    ):
        yield gateway, upstream


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


async def sends_big_file(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(head(200, length=GIB))
        for block in blocks():
            await peer.send(block)


async def test_a_large_download_takes_no_memory(tmp_path: Path, big_file_sha256: str) -> None:
    async with ScriptedUpstream(sends_big_file) as upstream:
        with running_gateway(tmp_path, forwarding_to(upstream.origin)) as gateway:
            async with MemoryWatch(gateway.process.pid) as memory:
                received = await asyncio.to_thread(download, gateway.port, CONTENT)
    assert received == (GIB, big_file_sha256)
    assert memory.grown_bytes < 32 * MIB


class Sink:
    """An upstream that takes any upload, and keeps its size and hash instead of its bytes."""

    def __init__(self, on_bytes: Callable[[], object] = lambda: None) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.whole = False
        self._on_bytes = on_bytes

    async def __call__(self, peer: Peer) -> None:
        request = await peer.head()
        rest = int(request.header(b"content-length") or 0)
        while rest:
            piece = await peer.receive(min(rest, MIB))
            self.digest.update(piece)
            self.size += len(piece)
            rest -= len(piece)
            self._on_bytes()
        self.whole = True
        await peer.send(reply(200, b"{}", JSON))


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

ENOUGH = 256 * MIB
"""More than every buffer on the way together."""
BUFFERS = 48 * MIB
"""More than the kernel and the gateway hold: four sockets' buffers, which grow to a few megabytes each."""


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


# The client goes away.

SOON_SECONDS = 2


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
