"""A client that sends whatever bytes a test wants, and reads answers strictly."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.e2e.gateway import MASTER_KEY

AUTHORIZATION = b"Authorization: Bearer " + MASTER_KEY.encode() + b"\r\n"


def head(method: str, target: str, *lines: bytes, authorization: bytes = AUTHORIZATION) -> bytes:
    """The head of a request, with the master key unless told otherwise."""
    start = f"{method} {target} HTTP/1.1\r\nHost: gateway\r\n".encode()
    return b"".join((start, authorization, *(line + b"\r\n" for line in lines), b"\r\n"))


@dataclass
class RawAnswer:
    """An answer that was whole by its own framing. `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error_code(self) -> str | None:
        """`error.code`, of an answer that has OpenAI's shape and nothing beside it."""
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"].startswith("req_")
        error = self.json().pop("error")
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        code: str | None = error["code"]
        return code


class RawConnection:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def port(self) -> int:
        """Its own end's."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    async def send(self, data: bytes) -> None:
        """Send, and wait until all but 64 KiB are on their way. Raises ConnectionError where nobody takes them."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer_head(self) -> RawAnswer:
        """Wait for an answer's head; the body stays to be read."""
        raw = await self._reader.readuntil(b"\r\n\r\n")
        start, *lines = raw[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return RawAnswer(int(start.split(" ")[1]), headers, b"")

    async def answer(self, *, has_body: bool = True) -> RawAnswer:
        """Wait for a whole answer. Raises IncompleteReadError or ConnectionError where it breaks off."""
        answer = await self.answer_head()
        if not has_body:
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                answer.body += await self._reader.readexactly(size)
                assert await self._reader.readexactly(2) == b"\r\n"
            assert await self._reader.readexactly(2) == b"\r\n"
        elif answer.status >= 200 and answer.status not in (204, 304):
            answer.body = await self._reader.readexactly(int(answer.headers["content-length"]))
        return answer

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        return await self._reader.readexactly(size)

    async def closed(self) -> bytes:
        """Wait until the gateway closes; returns what it still sent."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    def leave(self) -> None:
        """Close, without a word."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Close with RST."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@asynccontextmanager
async def raw_connection(port: int) -> AsyncIterator[RawConnection]:
    """A connection of a test's own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ask(port: int, request: bytes) -> RawAnswer | None:
    """One request on a connection of its own; None where the gateway closes without an answer."""
    async with raw_connection(port) as connection, asyncio.timeout(20):
        with suppress(ConnectionError):  # it may well have answered before all was sent
            await connection.send(request)
        try:
            return await connection.answer(has_body=not request.startswith(b"HEAD"))
        except asyncio.IncompleteReadError as nothing:
            if nothing.partial:
                raise
            return None
        except ConnectionError:
            return None
