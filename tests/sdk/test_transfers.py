"""Uploads: whatever a file is given as, it arrives whole, once, and in pieces."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

import quaymaster
from quaymaster import (
    APIStatusError,
    InternalServerError,
    InvalidArgumentError,
)
from quaymaster.uploads import PIECE_BYTES
from tests.fakes.scripted import Peer, Received, ScriptedUpstream, answers, reply
from tests.sdk.served import CONTAINER, FILE, pattern
from tests.sdk.ways import calling

CONTENT = pattern(600_000)
JSON = (b"content-type", b"application/json")
MADE = reply(
    200,
    json.dumps({"id": FILE, "container_id": CONTAINER, "created_at": 1, "bytes": 3, "path": "/mnt/data/a"}).encode(),
    JSON,
)
BUSY = reply(503, b"{}", JSON)
BOTH = pytest.mark.parametrize("way", ["functions", "async functions"])

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quaymaster.retries.FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(CONTENT)
    return path


def part_of(request: Received) -> tuple[str, bytes]:
    """The head and the content of a form's only part."""
    boundary = (request.header(b"content-type") or b"").partition(b"boundary=")[2]
    start, end = b"--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--\r\n"
    body = bytes(request.body)
    assert body.startswith(start)
    assert body.endswith(end)
    head, _, content = body[len(start) : -len(end)].partition(b"\r\n\r\n")
    return head.decode(), content


async def sent(way: str, file: Any, **options: Any) -> Received:
    """The request that uploads this file."""
    async with ScriptedUpstream(answers(MADE)) as upstream, to(way, upstream) as call:
        made = await call("create_container_file", CONTAINER, file=file, **options)
    assert made.id == FILE
    [request] = upstream.requests
    return request


def to(way: str, upstream: ScriptedUpstream) -> Any:
    return calling(way, api_base=f"{upstream.origin}/v1", api_key="a-key-of-the-test")


async def left(upstream: ScriptedUpstream) -> None:
    """The client gave up in the middle: wait until the other end knows."""
    while not upstream.connections:  # noqa: ASYNC110 (nothing announces one)
        await asyncio.sleep(0)
    await upstream.idle()


def opened_at(path: Path, position: int) -> IO[bytes]:
    file = path.open("rb")
    file.seek(position)
    return file


@pytest.mark.parametrize(
    ("given", "name", "skipped"),
    [
        (lambda path: CONTENT, "upload", 0),
        (lambda path: bytearray(CONTENT), "upload", 0),
        (lambda path: memoryview(CONTENT)[7:], "upload", 7),
        (lambda path: path, "data.csv", 0),
        (str, "data.csv", 0),
        (lambda path: opened_at(path, 0), "data.csv", 0),
        (lambda path: opened_at(path, 1000), "data.csv", 1000),
        (lambda path: io.BytesIO(CONTENT), "upload", 0),
        (lambda path: ("n.bin", CONTENT), "n.bin", 0),
        (lambda path: ("n.bin", path), "n.bin", 0),
        (lambda path: (None, path), "data.csv", 0),
        (lambda path: ("n.bin", opened_at(path, 5)), "n.bin", 5),
    ],
)
async def test_a_file_may_be_given_as(
    way: str, path: Path, given: Callable[[Path], Any], name: str, skipped: int
) -> None:
    file = given(path)
    request = await sent(way, file)
    head, content = part_of(request)
    assert content == CONTENT[skipped:]
    assert f'name="file"; filename="{name}"' in head
    assert request.header(b"content-length") == b"%d" % len(request.body)
    assert request.header(b"transfer-encoding") is None
    held = file[1] if isinstance(file, tuple) else file
    if hasattr(held, "closed"):
        assert not held.closed
        held.close()


@BOTH
async def test_names_types_and_headers_of_the_part(way: str) -> None:
    head, _ = part_of(await sent(way, ('qu"ay\r\nü.csv', b"x")))
    assert 'filename="qu%22ay%0D%0Aü.csv"\r\nContent-Type: text/csv' in head
    head, _ = part_of(await sent(way, ("a", b"x", "image/png", {"X-Own": "yes"})))
    assert head.endswith("Content-Type: image/png\r\nX-Own: yes")
    head, _ = part_of(await sent(way, ("a", b"x", None, {"content-type": "a/b"})))
    assert head.lower().count("content-type") == 1
    head, _ = part_of(await sent(way, ("a", b"x")))
    assert head.endswith("Content-Type: application/octet-stream")


@BOTH
async def test_a_name_that_is_no_text_travels_as_its_bytes(way: str, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.bin"
    await asyncio.to_thread(Path(os.fsdecode(path)).write_bytes, b"x")
    request = await sent(way, os.fsdecode(path))
    assert b'filename="\xff.bin"' in request.body


@BOTH
async def test_a_pipe_has_no_size(way: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        os.write(writing, b"from a pipe")
        os.close(writing)
        seen: list[Any] = []
        request = await sent(way, ("p", reader), on_progress=lambda *each: seen.append(each))
    assert request.header(b"transfer-encoding") == b"chunked"
    assert request.header(b"content-length") is None
    assert part_of(request)[1] == b"from a pipe"
    assert seen == [(11, None)]


@BOTH
async def test_a_named_pipe_has_no_size_either(way: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"from a pipe",))
    writer.start()
    request = await sent(way, pipe)
    writer.join()
    assert part_of(request)[1] == b"from a pipe"


@BOTH
async def test_progress_is_that_of_the_file(way: str, path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    threads: set[int] = set()

    def on_progress(done: int, total: int | None) -> None:
        seen.append((done, total))
        threads.add(threading.get_ident())

    await sent(way, path, on_progress=on_progress)
    assert seen == [(PIECE_BYTES, 600_000), (2 * PIECE_BYTES, 600_000), (600_000, 600_000)]
    if "async" in way:
        assert threads == {threading.get_ident()}


@pytest.mark.parametrize("given", [lambda path: path, lambda path: CONTENT, lambda path: opened_at(path, 0)])
async def test_what_can_be_rewound_is_sent_again(way: str, path: Path, given: Callable[[Path], Any]) -> None:
    file = given(path)
    async with ScriptedUpstream(answers(BUSY, BUSY, MADE)) as upstream, to(way, upstream) as call:
        await call("create_container_file", CONTAINER, file=file)
    assert [part_of(request)[1] == CONTENT for request in upstream.requests] == [True] * 3
    keys = {request.header(b"idempotency-key") for request in upstream.requests}
    assert len(keys) == 1
    assert keys != {None}
    if hasattr(file, "close"):
        file.close()


async def test_what_cannot_be_rewound_is_sent_once(way: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        os.write(writing, b"once")
        os.close(writing)
        async with ScriptedUpstream(answers(BUSY)) as upstream, to(way, upstream) as call:
            with pytest.raises(InternalServerError):
                await call("create_container_file", CONTAINER, file=reader)
    assert len(upstream.requests) == 1


@BOTH
async def test_what_cannot_be_rewound_is_tried_again_where_nothing_was_sent(way: str) -> None:
    requests: list[Received] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, requests)
        await peer.request()
        await peer.send(MADE)
        await peer.close()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    reading, writing = os.pipe()
    os.write(writing, b"once")
    os.close(writing)
    with os.fdopen(reading, "rb") as reader:
        async with calling(way, api_base=f"http://127.0.0.1:{port}/v1", api_key="a-key-of-the-test") as call:
            uploading = asyncio.ensure_future(call("create_container_file", CONTAINER, file=reader, max_retries=100))
            await asyncio.sleep(0.1)  # nobody tells of a connection that was refused
            async with await asyncio.start_server(accept, "127.0.0.1", port):
                await uploading
    [request] = requests
    assert part_of(request)[1] == b"once"
    assert int(request.header(b"x-stainless-retry-count") or 0) > 0


@BOTH
async def test_a_file_that_grows_is_sent_as_it_was(way: str, path: Path) -> None:
    def grow(done: int, total: int | None) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    request = await sent(way, path, on_progress=grow)
    assert part_of(request)[1] == CONTENT


@BOTH
async def test_a_file_that_shrinks_is_an_error_at_once(way: str, path: Path) -> None:
    async with ScriptedUpstream(answers(MADE)) as upstream, to(way, upstream) as call:
        with pytest.raises(OSError, match="became shorter"):
            await call("create_container_file", CONTAINER, file=path, on_progress=lambda *_: os.truncate(path, 10))
        await left(upstream)
    assert upstream.connections == 1
    assert not any(request.whole for request in upstream.requests)


class Coroutines:
    async def read(self, size: int) -> bytes:
        return b""


@BOTH
async def test_what_is_no_file_is_not_sent(way: str, tmp_path: Path) -> None:
    async with ScriptedUpstream(answers(MADE)) as upstream, to(way, upstream) as call:
        unfit: list[Any] = [
            17,
            io.StringIO("text"),
            ("a",),
            ("a", b"", "t", {}, 5),
            Coroutines(),
            ("a", b"", "t\r\nx: y"),
        ]
        for file in unfit:
            with pytest.raises(InvalidArgumentError):
                await call("create_container_file", CONTAINER, file=file)
        with pytest.raises(FileNotFoundError):
            await call("create_container_file", CONTAINER, file=tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            await call("create_container_file", CONTAINER, file=tmp_path)
        assert upstream.connections == 0
        with tempfile.NamedTemporaryFile("w+") as text:
            text.write("text")
            text.seek(0)
            with pytest.raises(InvalidArgumentError, match="binary mode"):
                await call("create_container_file", CONTAINER, file=text)
        await left(upstream)


@BOTH
async def test_a_refusal_before_the_end_is_read(way: str) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.send(reply(413, b'{"error": {"message": "too large", "code": "request_too_large"}}', JSON))
        await peer.gone()

    async with ScriptedUpstream(refuses) as upstream, to(way, upstream) as call:
        with pytest.raises(APIStatusError, match="too large") as refused:
            await call("create_container_file", CONTAINER, file=pattern(1_000_000))
    assert refused.value.status_code == 413
    assert refused.value.code == "request_too_large"


class Slow(io.BytesIO):
    """A file on a disk that takes its time: until `go`."""

    def __init__(self) -> None:
        super().__init__(CONTENT)
        self.go = threading.Event()
        self.reached = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.reached.set()
        assert self.go.wait(5)
        return super().read(size)


async def test_the_event_loop_does_not_wait_for_the_disk() -> None:
    file = Slow()
    uploading = asyncio.create_task(sent("async functions", file))
    await asyncio.to_thread(file.reached.wait)
    file.go.set()  # comes to pass only if the loop is free
    assert part_of(await uploading)[1] == CONTENT


async def test_an_upload_that_is_cancelled_closes_its_file(path: Path) -> None:
    async def deaf(peer: Peer) -> None:
        await peer.head()
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    large = path.with_name("large")
    large.write_bytes(bytes(50_000_000))
    async with ScriptedUpstream(deaf) as upstream, to("async functions", upstream) as call:
        uploading = asyncio.ensure_future(call("create_container_file", CONTAINER, file=large))
        await begun.wait()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
    assert large not in {Path(file.path) for file in psutil.Process().open_files()}


async def test_upload_container_file_is_the_same_function() -> None:
    assert quaymaster.upload_container_file is quaymaster.create_container_file
    assert quaymaster.aupload_container_file is quaymaster.acreate_container_file
