"""A file's content while it comes: what `stream` gives, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress

import httpx

from quaymaster.errors import APIConnectionError, APIStatusError, InvalidArgumentError
from quaymaster.exchange import Exchange
from quaymaster.passage import Passage


class _Content:
    """What a content's answer says before its body is read."""

    def __init__(self, first: httpx.Response, exchange: Exchange, passage: Passage) -> None:
        self._first = self._response = first
        self._exchange = exchange
        self._passage = passage
        passage.begin(first.status_code, first.headers)

    @property
    def status_code(self) -> int:
        """200, or 206 where a range was asked for and is what comes."""
        return self._first.status_code

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, names in lower case."""
        return dict(self._first.headers.items())

    @property
    def total_bytes(self) -> int | None:
        """How many bytes come; None where the server does not say."""
        return self._passage.total

    @property
    def received_bytes(self) -> int:
        """How many bytes have come."""
        return self._passage.received

    @property
    def restarts(self) -> int:
        """How often what comes began again from the start; only while `download` reads it."""
        return self._passage.restarts

    def _wait_seconds(self, cut: APIConnectionError) -> float:
        """How many seconds to wait before what is missing is asked for. Raises the cut where that is no use."""
        if self._passage.advanced():
            self._exchange.renew()
        headers = self._passage.next_headers(cut)
        wait_seconds = None if headers is None else self._exchange.wait_seconds(cut)
        if headers is None or wait_seconds is None:
            raise cut
        self._exchange.also_send(headers)
        return wait_seconds


class ContentStream(_Content):
    """A file's content as it comes; it can be read once."""

    def __init__(
        self, first: httpx.Response, exchange: Exchange, passage: Passage, send: Callable[[], httpx.Response]
    ) -> None:
        super().__init__(first, exchange, passage)
        self._send = send

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The content, in pieces of `chunk_size` bytes, or as they come.

        Where it is cut off or stops, the rest is asked for, if the server can send parts. Raises APIConnectionError
        where that fails too, or the file has changed meanwhile, and APITimeoutError where it stops again and again.
        """
        chunks = _Chunks(chunk_size)
        for piece in self._pieces():
            yield from chunks.add(piece)
        yield from chunks.rest()

    def read(self) -> bytes:
        """The whole content, in memory. Raises what `iter_bytes` raises."""
        return b"".join(self.iter_bytes())

    def close(self) -> None:
        """Let its connection go."""
        self._response.close()

    def _pieces(self) -> Generator[bytes]:
        cut: APIConnectionError | None = None
        while True:
            try:
                if cut is not None:
                    self._passage.go_on(self._response.status_code, self._response.headers)
                with self._exchange.translated():
                    for piece in self._response.iter_bytes():
                        if fresh := self._passage.take(piece):
                            yield fresh
                self._passage.check_end()
                return
            except APIConnectionError as error:
                cut = error
            if not self._sent_again(cut):
                return

    def _sent_again(self, cut: APIConnectionError) -> bool:
        """Ask for what is missing; False where nothing is."""
        while True:
            self._response.close()
            time.sleep(self._wait_seconds(cut))
            try:
                self._response = self._send()
                return True
            except APIStatusError as refusal:
                if self._passage.is_whole(refusal.status_code, refusal.headers):
                    return False
                cut = self._passage.refused(refusal)


class AsyncContentStream(_Content):
    """A file's content as it comes; it can be read once."""

    def __init__(
        self, first: httpx.Response, exchange: Exchange, passage: Passage, send: Callable[[], Awaitable[httpx.Response]]
    ) -> None:
        super().__init__(first, exchange, passage)
        self._send = send
        self._reading: AsyncGenerator[bytes] | None = None

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes]:
        """The content, in pieces of `chunk_size` bytes, or as they come.

        Where it is cut off or stops, the rest is asked for, if the server can send parts. Raises APIConnectionError
        where that fails too, or the file has changed meanwhile, and APITimeoutError where it stops again and again.
        """
        self._reading = self._chunks(_Chunks(chunk_size))
        return self._reading

    async def aread(self) -> bytes:
        """The whole content, in memory. Raises what `aiter_bytes` raises."""
        return b"".join([piece async for piece in self.aiter_bytes()])

    async def aclose(self) -> None:
        """Let its connection go, and end what reads from it."""
        if self._reading is not None:
            await self._reading.aclose()
        await self._response.aclose()

    async def _chunks(self, chunks: _Chunks) -> AsyncGenerator[bytes]:
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                for chunk in chunks.add(piece):
                    yield chunk
        for chunk in chunks.rest():
            yield chunk

    async def _pieces(self) -> AsyncGenerator[bytes]:
        cut: APIConnectionError | None = None
        while True:
            try:
                if cut is not None:
                    self._passage.go_on(self._response.status_code, self._response.headers)
                with self._exchange.translated():
                    async with _to_the_end(self._response) as pieces:
                        async for piece in pieces:
                            if fresh := self._passage.take(piece):
                                yield fresh
                self._passage.check_end()
                return
            except APIConnectionError as error:
                cut = error
            if not await self._sent_again(cut):
                return

    async def _sent_again(self, cut: APIConnectionError) -> bool:
        """Ask for what is missing; False where nothing is."""
        while True:
            await self._response.aclose()
            await asyncio.sleep(self._wait_seconds(cut))
            try:
                self._response = await self._send()
                return True
            except APIStatusError as refusal:
                if self._passage.is_whole(refusal.status_code, refusal.headers):
                    return False
                cut = self._passage.refused(refusal)


@asynccontextmanager
async def _to_the_end(response: httpx.Response) -> AsyncGenerator[AsyncIterator[bytes]]:
    """What comes of an answer. A reader may leave at any time.

    Then httpx's generators, one inside the other, are brought to their ends here: they fail when they find the
    connection closed. Else the garbage collector would end them, in tasks of its own.
    """
    pieces = response.aiter_bytes()
    try:
        yield pieces
    finally:
        await response.aclose()
        if response.http_version.startswith("HTTP/1"):
            with suppress(httpx.HTTPError, httpx.StreamError):
                async for _ in pieces:
                    pass


class _Chunks:
    """Pieces of any size made into chunks of one size; with None they are left as they are."""

    def __init__(self, size: int | None) -> None:
        if size is not None and size < 1:
            raise InvalidArgumentError(f"chunk_size is in bytes, at least 1, and is {size!r}.")
        self._size = size
        self._kept = bytearray()

    def add(self, piece: bytes) -> Iterator[bytes]:
        """The chunks that are full with this piece."""
        if self._size is None:
            yield piece
            return
        self._kept += piece
        while len(self._kept) >= self._size:
            yield bytes(self._kept[: self._size])
            del self._kept[: self._size]

    def rest(self) -> Iterator[bytes]:
        """The last chunk, if it is not full."""
        if self._kept:
            yield bytes(self._kept)
