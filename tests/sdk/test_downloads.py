"""Downloads over a network that fails: whole, of one file, or not there at all."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import json
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quaymaster import (
    APIConnectionError,
    APITimeoutError,
    AsyncQuaymaster,
    ContainerExpiredError,
    InvalidArgumentError,
    QuaymasterError,
    adownload_container_file,
    astream_container_file_content,
)
from tests.fakes.scripted import Peer, ScriptedUpstream, accepts_only, answers, chunked, head, reply
from tests.local.hosting import hosted
from tests.sdk.served import CONTAINER, ETAG, FILE, Served, fetching, pattern
from tests.sdk.ways import calling

SIZE = 400_000
CONTENT = pattern(SIZE)
OTHER = pattern(SIZE, b"another")
JSON = (b"content-type", b"application/json")
EXPIRED = reply(404, b'{"error": {"message": "Container has expired."}}', JSON)
BOTH = pytest.mark.parametrize("way", ["functions", "async functions"])

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quaymaster.retries.FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that nothing but the download's target may be left in."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
async def kept(folder: Path) -> AsyncIterator[Path]:
    """A target that exists, and must not be touched by what fails."""
    target = folder / "kept"
    target.write_bytes(b"as it was")
    yield target
    assert target.read_bytes() == b"as it was"
    assert os.listdir(folder) == ["kept"]


def asked(upstream: ScriptedUpstream) -> list[tuple[bytes | None, bytes | None]]:
    """What each request says of Range and If-Range."""
    return [(each.header(b"range"), each.header(b"if-range")) for each in upstream.requests]


async def test_a_download_cut_three_times_ends_whole(way: str, folder: Path) -> None:
    served = Served(CONTENT, cuts=[100_000, 100_000, 100_000])
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
    assert path == folder / "got"
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert os.listdir(folder) == ["got"]
    assert asked(upstream) == [
        (None, None),
        (b"bytes=100000-", b'"one"'),
        (b"bytes=200000-", b'"one"'),
        (b"bytes=300000-", b'"one"'),
    ]


@pytest.mark.parametrize("validators", [(), ((b"etag", b'W/"weak"'),)])
async def test_without_a_strong_etag_the_last_bytes_are_compared(
    way: str, folder: Path, validators: tuple[tuple[bytes, bytes], ...]
) -> None:
    served = Served(CONTENT, cuts=[100, 100_000, 100_000], validators=validators)
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
    assert path.read_bytes() == CONTENT
    assert asked(upstream)[1:] == [(b"bytes=0-", None), (b"bytes=98976-", None), (b"bytes=197952-", None)]


async def test_a_stream_goes_on_too(way: str) -> None:
    served = Served(CONTENT, cuts=[100_000, 1, 100_000])
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        pieces = await fetch.stream(chunk_size=3_000)
    assert b"".join(pieces) == CONTENT
    assert {len(piece) for piece in pieces[:-1]} == {3_000}


@BOTH
@pytest.mark.parametrize(
    "after",
    [
        Served(OTHER, validators=((b"etag", b'"two"'),)),
        Served(OTHER + b"longer", validators=()),
        Served(OTHER, validators=()),
        Served(OTHER, validators=(), ranges=False),
    ],
    ids=["another etag", "another size", "other bytes", "no ranges"],
)
async def test_two_files_are_never_joined(way: str, folder: Path, after: Served) -> None:
    before = Served(CONTENT, cuts=[100_000], validators=(ETAG,) if after.validators else ())
    async with ScriptedUpstream(before, after) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
    assert path.read_bytes() == after.content

    before.cuts = [100_000]
    async with ScriptedUpstream(before, after) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APIConnectionError, match="the rest cannot be had"):
            await fetch.stream()


@BOTH
@pytest.mark.parametrize(
    ("told", "etag"),
    [
        (b"bytes 99999-399999/400000", b'"one"'),
        (b"bytes 100001-399999/400000", b'"one"'),
        (b"bytes 100000-399999/400001", b'"one"'),
        (b"bytes 100000-399999/399999", b'"one"'),
        (b"bytes 100000-399999/400000", b'"two"'),
        (b"nonsense", b'"one"'),
        (b"", b'"one"'),
    ],
)
async def test_a_part_that_does_not_fit_is_not_taken(way: str, kept: Path, told: bytes, etag: bytes) -> None:
    async def wrong(peer: Peer) -> None:
        await peer.request()
        framing = [(b"content-range", told)] if told else []
        await peer.send(head(206, (b"etag", etag), *framing, length=300_000) + CONTENT[100_000:])

    async with ScriptedUpstream(Served(CONTENT, cuts=[100_000]), wrong) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APIConnectionError):
            await fetch.download(kept)
        assert asked(upstream)[-1] == (None, None)


@BOTH
async def test_a_server_that_cannot_send_parts_is_asked_for_the_whole_again(way: str, folder: Path) -> None:
    served = Served(CONTENT, cuts=[300_000, 100_000], validators=((b"accept-ranges", b"none"),), ranges=False)
    seen: list[int] = []
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got", on_progress=lambda done, total: seen.append(done))
    assert path.read_bytes() == CONTENT
    assert asked(upstream) == [(None, None)] * 3
    assert seen[-1] == SIZE
    assert sorted(seen) != seen


@BOTH
async def test_a_server_that_sends_parts_as_it_likes_is_asked_until_all_is_there(way: str, folder: Path) -> None:
    async def miserly(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, ETAG, length=SIZE) + CONTENT[:50_000])

    async def parts(peer: Peer) -> None:
        while True:
            start = int((await peer.request()).header(b"range")[6:-1])  # type: ignore[index]
            stop = min(start + 90_000, SIZE)
            told = (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, SIZE))
            await peer.send(reply(206, CONTENT[start:stop], ETAG, told))

    async with ScriptedUpstream(miserly, parts) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
    assert path.read_bytes() == CONTENT
    assert upstream.connections == 2


@BOTH
async def test_only_the_end_of_a_body_of_unknown_length_is_lost(way: str, folder: Path) -> None:
    served = Served(CONTENT, cuts=[SIZE], chunked=True)
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
    assert path.read_bytes() == CONTENT
    assert asked(upstream)[1:] == [(b"bytes=400000-", b'"one"')]


@BOTH
async def test_a_cut_before_the_first_byte(way: str, folder: Path) -> None:
    async with ScriptedUpstream(Served(CONTENT, cuts=[0, 0])) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
    assert path.read_bytes() == CONTENT
    assert asked(upstream) == [(None, None)] * 3


async def test_without_retries_a_cut_is_the_end(way: str, kept: Path) -> None:
    async with ScriptedUpstream(Served(CONTENT, cuts=[100_000])) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APIConnectionError):
            await fetch.download(kept, max_retries=0)
    assert len(upstream.requests) == 1


@BOTH
async def test_a_server_that_brings_next_to_nothing_is_given_up(way: str, kept: Path) -> None:
    async with ScriptedUpstream(Served(CONTENT, cuts=[1] * 100)) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APIConnectionError):
            await fetch.download(kept)
    assert len(upstream.requests) == 3


@BOTH
async def test_a_server_that_brings_no_more_after_a_good_beginning_is_given_up(way: str, kept: Path) -> None:
    served = Served(CONTENT, cuts=[200_000] + [1] * 100)
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APIConnectionError):
            await fetch.download(kept)
    assert len(upstream.requests) == 3


@BOTH
async def test_a_server_that_stops_is_asked_for_the_rest_and_given_up(way: str, kept: Path, folder: Path) -> None:
    async def stops(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, ETAG, length=SIZE) + CONTENT[:1000])
        await peer.gone()

    async with ScriptedUpstream(stops, Served(CONTENT)) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got", timeout=0.2)
        assert path.read_bytes() == CONTENT
        path.unlink()
    async with ScriptedUpstream(stops, accepts_only) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APITimeoutError):
            await fetch.download(kept, timeout=0.2, max_retries=1)


@BOTH
async def test_a_container_that_dies_meanwhile(way: str, kept: Path) -> None:
    async with (
        ScriptedUpstream(Served(CONTENT, cuts=[100_000]), answers(EXPIRED)) as upstream,
        fetching(way, upstream) as fetch,
    ):
        with pytest.raises(ContainerExpiredError):
            await fetch.download(kept)


async def test_a_refusal_leaves_nothing(way: str, kept: Path, folder: Path) -> None:
    async with ScriptedUpstream(answers(EXPIRED)) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(ContainerExpiredError):
            await fetch.download(kept)
        with pytest.raises(ContainerExpiredError):
            await fetch.download(folder / "new")


@BOTH
async def test_a_range_of_the_callers_own_is_not_gone_on_with(way: str, kept: Path) -> None:
    served = Served(CONTENT, cuts=[100_000] * 3)
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(APIConnectionError):
            await fetch.stream(extra_headers={"Range": "bytes=100000-"})
        assert len(upstream.requests) == 1
        assert (
            b"".join(await fetch.stream(extra_headers={"Range": "bytes=399000-"}, max_retries=0)) == CONTENT[399_000:]
        )


@pytest.mark.parametrize("way", ["async functions", "async client"])
async def test_a_cancelled_download_leaves_nothing(way: str, kept: Path) -> None:
    async def stops(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=3_000_000) + pattern(2_500_000))
        await peer.gone()

    async with ScriptedUpstream(stops) as upstream, fetching(way, upstream) as fetch:
        arrived = asyncio.Event()
        task = asyncio.create_task(fetch.download(kept, on_progress=lambda *_: arrived.set()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class Slow(io.BytesIO):
    """A file on a disk that takes its time: until `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.reached = threading.Event()

    def write(self, data: Any) -> int:
        self.reached.set()
        assert self.go.wait(5)
        return super().write(data)


@pytest.mark.parametrize("size", [SIZE, 3_000_000])
async def test_the_event_loop_does_not_wait_for_the_disk(size: int) -> None:
    file, content = Slow(), pattern(size)
    async with ScriptedUpstream(Served(content)) as upstream, fetching("async functions", upstream) as fetch:
        task = asyncio.create_task(fetch.download(file))
        await asyncio.to_thread(file.reached.wait)
        file.go.set()  # comes to pass only if the loop is free
        await task
    assert file.getvalue() == content


@contextmanager
def abandoned() -> Iterator[list[str]]:
    """Asynchronous generators that were left to the garbage collector, which ends them in tasks of their own."""
    left: list[str] = []
    before = sys.get_asyncgen_hooks()

    def note(generator: Any) -> None:
        left.append(repr(generator))
        if before.finalizer is not None:
            before.finalizer(generator)

    sys.set_asyncgen_hooks(finalizer=note)
    try:
        yield left
    finally:
        sys.set_asyncgen_hooks(finalizer=before.finalizer)


@pytest.mark.parametrize("client", [False, True])
async def test_a_reader_may_leave_in_the_middle(client: bool) -> None:
    async with ScriptedUpstream(Served(pattern(10_000_000))) as upstream:
        options: dict[str, Any] = {"api_base": f"{upstream.origin}/v1", "api_key": "a-key-of-the-test"}
        async with AsyncQuaymaster(**options) as quay:
            content = quay.containers.files.stream(FILE, container_id=CONTAINER)
            if not client:
                content = astream_container_file_content(CONTAINER, FILE, **options)
            with abandoned() as left:
                async with content as opened:
                    async for _ in opened.aiter_bytes(1000):
                        break
                gc.collect()
                assert not left


@BOTH
async def test_progress(way: str, folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    threads: set[int] = set()

    def on_progress(done: int, total: int | None) -> None:
        seen.append((done, total))
        threads.add(threading.get_ident())

    async with ScriptedUpstream(Served(CONTENT, cuts=[100_000])) as upstream, fetching(way, upstream) as fetch:
        await fetch.download(folder / "got", on_progress=on_progress)
    assert seen == sorted(seen)
    assert seen[-1] == (SIZE, SIZE)
    assert len(threads) == 1
    if "async" in way:
        assert threads == {threading.get_ident()}


@BOTH
async def test_an_error_of_on_progress_is_the_callers(way: str, kept: Path) -> None:
    def on_progress(done: int, total: int | None) -> None:
        raise ZeroDivisionError

    async with ScriptedUpstream(Served(CONTENT)) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(ZeroDivisionError):
            await fetch.download(kept, on_progress=on_progress)


@BOTH
async def test_into_an_open_file_from_where_it_stands(way: str) -> None:
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)
    served = Served(CONTENT, cuts=[100_000, 50_000], validators=(), ranges=False)
    async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
        assert await fetch.download(file) is None
    assert file.getvalue() == b"before" + CONTENT
    assert not file.closed


@BOTH
async def test_a_shorter_file_after_a_restart_leaves_nothing_of_the_longer_one(way: str) -> None:
    file = io.BytesIO()
    longer = Served(pattern(3_000_000), cuts=[2_500_000], ranges=False)
    async with ScriptedUpstream(longer, Served(b"")) as upstream, fetching(way, upstream) as fetch:
        await fetch.download(file)
    assert file.getvalue() == b""


@BOTH
async def test_what_cannot_be_set_back_takes_no_restart(way: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb", buffering=0) as writer:
        got = asyncio.create_task(asyncio.to_thread(reader.read))
        async with ScriptedUpstream(Served(CONTENT, cuts=[100_000])) as upstream, fetching(way, upstream) as fetch:
            await fetch.download(writer)
        served = Served(CONTENT, cuts=[100_000], ranges=False)
        async with ScriptedUpstream(served) as upstream, fetching(way, upstream) as fetch:
            with pytest.raises(APIConnectionError):
                await fetch.download(writer)
        writer.close()
        assert await got == CONTENT


class Sips(io.RawIOBase):
    """A file that takes a little at a time, as unbuffered ones may; with `full`, nothing."""

    def __init__(self, full: bool = False) -> None:
        self.taken = bytearray()
        self.full = full

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        self.taken += data[:999]
        return None if self.full else min(999, len(data))


@BOTH
async def test_a_file_that_takes_a_little_at_a_time(way: str) -> None:
    async with ScriptedUpstream(Served(CONTENT)) as upstream, fetching(way, upstream) as fetch:
        sips = Sips()
        await fetch.download(sips)
        assert sips.taken == CONTENT
        with pytest.raises(BlockingIOError):
            await fetch.download(Sips(full=True))


async def test_up_and_down_again(way: str, tmp_path: Path, folder: Path) -> None:
    """Against the embedded provider, which sends parts and strong ETags."""
    with hosted(tmp_path / "provider") as provider:
        options: dict[str, Any] = {"api_base": provider.url, "api_key": "a-key-of-the-test"}
        container_id = provider.container()
        async with calling(way, **options) as call:
            made = await call("create_container_file", container_id, file=("a.bin", CONTENT))
            path = await adownload_container_file(container_id, made.id, to=folder, **options)
    assert path.name.endswith("a.bin")
    assert path.read_bytes() == CONTENT


@BOTH
async def test_files_that_cannot_be_written(way: str, tmp_path: Path) -> None:
    async with ScriptedUpstream(Served(CONTENT)) as upstream, fetching(way, upstream) as fetch:
        with pytest.raises(FileNotFoundError):
            await fetch.download(tmp_path / "missing" / "got")
        with pytest.raises(FileNotFoundError, match="folder"):
            await fetch.download(f"{tmp_path}/missing/")
        with pytest.raises(InvalidArgumentError, match="bytes"):
            await fetch.download(io.StringIO())
        with pytest.raises(InvalidArgumentError, match="path"):
            await fetch.download(17)
        assert not upstream.requests
        with pytest.raises(OSError, match="space"):
            await fetch.download("/dev/full")


@BOTH
async def test_a_device_stays_one(way: str, tmp_path: Path) -> None:
    link = tmp_path / "nothing"
    link.symlink_to("/dev/null")
    async with ScriptedUpstream(Served(CONTENT)) as upstream, fetching(way, upstream) as fetch:
        await fetch.download(link)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(tmp_path) == ["nothing"]


@BOTH
async def test_a_link_stays_one_and_permissions_are_kept(way: str, tmp_path: Path, folder: Path) -> None:
    (folder / "real").write_bytes(b"old")
    (folder / "real").chmod(0o640)
    (tmp_path / "link").symlink_to(folder / "real")
    async with ScriptedUpstream(Served(CONTENT)) as upstream, fetching(way, upstream) as fetch:
        assert await fetch.download(str(tmp_path / "link")) == tmp_path / "link"
        await fetch.download(folder / "new")
    (folder / "any").touch()
    assert (tmp_path / "link").is_symlink()
    assert (folder / "real").read_bytes() == CONTENT
    assert stat.S_IMODE((folder / "real").stat().st_mode) == 0o640
    assert (folder / "new").stat().st_mode == (folder / "any").stat().st_mode


def naming(path: str) -> Any:
    """A script: what is known of the file, and its content."""
    told = {"id": FILE, "container_id": CONTAINER, "created_at": 1, "path": path, "bytes": 3, "source": "user"}
    return answers(reply(200, json.dumps(told).encode(), JSON), reply(200, b"abc"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/mnt/data/a.txt", "a.txt"),
        ("/mnt/data/..", FILE),
        ("/mnt/data/..\\..\\evil.txt", "evil.txt"),
        ("/mnt/data/C:\\", FILE),
        ("/mnt/data/a\nb\0c", "abc"),
        ("", FILE),
        ("/mnt/data/" + "x" * 300 + ".txt", "x" * 251 + ".txt"),
        ("/mnt/data/" + "ä" * 200 + ".txt", "ä" * 125 + ".txt"),
    ],
)
async def test_in_a_folder_a_file_gets_the_last_part_of_its_own_name(folder: Path, path: str, name: str) -> None:
    async with ScriptedUpstream(naming(path)) as upstream, fetching("async functions", upstream) as fetch:
        assert await fetch.download(folder) == folder / name
    assert os.listdir(folder) == [name]
    assert (folder / name).read_bytes() == b"abc"


async def test_a_folder_in_every_way(way: str, folder: Path) -> None:
    async with ScriptedUpstream(naming("/mnt/data/a.txt")) as upstream, fetching(way, upstream) as fetch:
        assert await fetch.download(f"{folder}/") == folder / "a.txt"
    assert (folder / "a.txt").read_bytes() == b"abc"


async def test_an_empty_file(way: str, folder: Path) -> None:
    async with ScriptedUpstream(Served(b"")) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got")
        assert await fetch.stream() == []
    assert path.read_bytes() == b""


@BOTH
async def test_a_size_that_nobody_tells(way: str, folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    answer = head(200, (b"transfer-encoding", b"chunked")) + chunked(b"one", b"two")
    async with ScriptedUpstream(answers(answer)) as upstream, fetching(way, upstream) as fetch:
        path = await fetch.download(folder / "got", on_progress=lambda *each: seen.append(each))
    assert path.read_bytes() == b"onetwo"
    assert seen[-1] == (6, None)


async def test_a_part_that_nobody_asked_for_is_no_content(kept: Path) -> None:
    told = (b"content-range", b"bytes 5-9/10")
    async with (
        ScriptedUpstream(answers(reply(206, b"56789", told))) as upstream,
        fetching("async functions", upstream) as fetch,
    ):
        with pytest.raises(APIConnectionError, match="nobody asked for"):
            await fetch.download(kept)


async def test_a_chunk_has_bytes() -> None:
    async with ScriptedUpstream(Served(CONTENT)) as upstream, fetching("async functions", upstream) as fetch:
        with pytest.raises(QuaymasterError, match="at least 1"):
            await fetch.stream(chunk_size=0)
