"""A network that fails: a TCP relay in front of a server on this machine."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

PIECE_BYTES = 65536


class Relay:
    """Passes bytes both ways, until it is told otherwise.

    `swallow` is how many more answers get lost: what the server sends on such a connection is thrown away, and then
    both ends find it closed. `cut` closes everything and lets nobody in any more.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.swallow = 0
        self.lost = 0
        """How many answers were swallowed."""
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Close every connection, and refuse further ones."""
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        try:
            ways = [
                asyncio.ensure_future(self._pass(reader, far_writer, answers=False)),
                asyncio.ensure_future(self._pass(far_reader, writer, answers=True)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for each in (writer, far_writer):
                self._writers.discard(each)
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(PIECE_BYTES):
                if answers and self.swallow:
                    self.swallow -= 1
                    self.lost += 1
                    return
                writer.write(data)
                await writer.drain()
