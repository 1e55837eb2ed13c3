"""A file's content, served by a network that cuts, and ways to fetch it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import quaymaster
from quaymaster import AsyncQuaymaster, Quaymaster
from tests.fakes.scripted import Peer, Received, ScriptedUpstream, head, reply

CONTAINER = "cntr_" + "ab" * 24
FILE = "cfile_" + "cd" * 16
ETAG = (b"etag", b'"one"')


def pattern(size: int, seed: bytes = b"") -> bytes:
    """Bytes no two stretches of which are alike."""
    return hashlib.shake_256(b"content" + seed).digest(size)


@dataclass
class Served:
    """A script: `content` in answer to any GET. `cuts` says how many bytes each answer brings before its connection is
    closed; after these, answers are whole. `validators` are headers of every answer; with `ranges`, parts are sent.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    validators: tuple[tuple[bytes, bytes], ...] = (ETAG,)
    ranges: bool = True
    chunked: bool = False

    async def __call__(self, peer: Peer) -> None:
        while True:
            start, answer = self.answer(await peer.request())
            body = self.content[start:]
            if self.cuts:
                cut = self.cuts.pop(0)
                await peer.send(answer + self.framed(body[:cut]))
                return
            await peer.send(answer + self.framed(body) + (b"0\r\n\r\n" if self.chunked else b""))

    def framed(self, body: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(body), body) if self.chunked and body else body

    def answer(self, request: Received) -> tuple[int, bytes]:
        """Where the body starts, and the head."""
        size = len(self.content)
        asked = re.fullmatch(rb"bytes=(\d+)-", request.header(b"range") or b"")
        condition = request.header(b"if-range")
        framing = [(b"transfer-encoding", b"chunked")] if self.chunked else []
        if not self.ranges or asked is None or condition not in {None, dict(self.validators).get(b"etag")}:
            return 0, head(200, *self.validators, *framing, length=None if self.chunked else size)
        start = int(asked[1])
        if start >= size:
            return size, reply(416, b"", (b"content-range", b"bytes */%d" % size))
        told = (b"content-range", b"bytes %d-%d/%d" % (start, size - 1, size))
        return start, head(206, *self.validators, told, *framing, length=None if self.chunked else size - start)


@dataclass
class Fetching:
    """Downloads and streams in one of the four ways. Blocking ones run in a thread."""

    way: str
    destination: dict[str, Any]
    client: Any = None

    async def download(self, to: Any, **options: Any) -> Any:
        if self.client is not None:
            return await self._called(
                self.client.containers.files.download, to, FILE, container_id=CONTAINER, **options
            )
        name = "adownload_container_file" if "async" in self.way else "download_container_file"
        return await self._called(getattr(quaymaster, name), to, CONTAINER, FILE, **self.destination, **options)

    async def _called(self, function: Any, to: Any, *args: Any, **options: Any) -> Any:
        if "async" in self.way:
            return await function(*args, to=to, **options)
        return await asyncio.to_thread(function, *args, to=to, **options)

    async def stream(self, chunk_size: int | None = None, **options: Any) -> list[bytes]:
        """The pieces of the content."""
        if self.client is not None:
            content = self.client.containers.files.stream(FILE, container_id=CONTAINER, **options)
        elif "async" in self.way:
            content = quaymaster.astream_container_file_content(CONTAINER, FILE, **self.destination, **options)
        else:
            content = quaymaster.stream_container_file_content(CONTAINER, FILE, **self.destination, **options)
        if "async" in self.way:
            async with content as opened:
                return [piece async for piece in opened.aiter_bytes(chunk_size)]

        def read() -> list[bytes]:
            with content as opened:
                return list(opened.iter_bytes(chunk_size))

        return await asyncio.to_thread(read)


@asynccontextmanager
async def fetching(way: str, upstream: ScriptedUpstream) -> AsyncIterator[Fetching]:
    """Fetch from this upstream in this way."""
    destination: dict[str, Any] = {"api_base": f"{upstream.origin}/v1", "api_key": "a-key-of-the-test"}
    if way == "client":
        with Quaymaster(**destination) as client:
            yield Fetching(way, destination, client)
    elif way == "async client":
        async with AsyncQuaymaster(**destination) as async_client:
            yield Fetching(way, destination, async_client)
    else:
        yield Fetching(way, destination)
