"""An upstream that does as it is told, on a real socket.

A test gives one script per connection, in the order the connections come; the last serves every further connection.
A script is a coroutine function over a `Peer`, the fake's end of the connection; when it returns, the fake closes:

    async def slow(peer: Peer) -> None:
        request = await peer.request()              # waits for a whole request
        await peer.send(head(200, length=5))        # any bytes will do
        await may_go_on.wait()                      # a pause is an event of the test's
        await peer.send(b"hello")

    async with ScriptedUpstream(slow) as upstream:
        client = SomeClient(upstream.origin)
        ...
    assert upstream.requests[0].target == b"/v1/containers"

For a fake that only answers, there is `answers`: `ScriptedUpstream(answers(reply(200, b"{}")))`.

A peer can also `reset` (RST), `half_close`, wait until the client is `gone`, and stop reading: just call nothing that
reads, then at most 128 KiB are taken beside what the kernel holds. A client that closes in the middle of a script ends
that script quietly, by `ClientLeft`. Anything else a script raises, an AssertionError too, is raised again where the
`async with` ends; scripts that have not finished there are cancelled.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

Headers = Sequence[tuple[bytes, bytes]]


class ClientLeft(Exception):
    """The client closed its connection while the script waited for bytes or sent some."""


@dataclass
class Received:
    """A request as it came. `raw_head` ends with the empty line; names in `headers` are as they were sent.

    `body` grows while it is read; `whole` says that it has come to the end that its framing gives.
    """

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    raw_head: bytes
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Peer:
    """The fake's end of one connection. What reads or sends raises ClientLeft when the client is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[Received]) -> None:
        self._reader = reader
        self._writer = writer
        self._requests = requests

    async def head(self) -> Received:
        """Wait for the head of a request."""
        raw = await self._read(self._reader.readuntil(b"\r\n\r\n"))
        start, *lines = raw[:-4].split(b"\r\n")
        method, target, _ = start.split(b" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        received = Received(method, target, headers, raw)
        self._requests.append(received)
        return received

    async def body(self, received: Received) -> None:
        """Read the rest of a request whose head was read."""
        if received.header(b"transfer-encoding") is not None:
            while size := int(await self._read(self._reader.readuntil(b"\r\n")), 16):
                received.body += await self._read(self._reader.readexactly(size))
                await self._read(self._reader.readexactly(2))
            await self._read(self._reader.readexactly(2))
        else:
            rest = int(received.header(b"content-length") or 0) - len(received.body)
            while rest:
                piece = await self.receive(rest)
                received.body += piece
                rest -= len(piece)
        received.whole = True

    async def request(self) -> Received:
        """Wait for a whole request."""
        received = await self.head()
        await self.body(received)
        return received

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Raw bytes, at least one."""
        data = await self._read(self._reader.read(max_bytes))
        if not data:
            raise ClientLeft
        return data

    async def send(self, data: bytes) -> None:
        """Send bytes; returns when the kernel has all but 64 KiB of them."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            raise ClientLeft from None

    async def gone(self) -> bytes:
        """Wait until the client closes; returns what it still sent."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    def half_close(self) -> None:
        """Say that no more will come, and go on reading (not over TLS)."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Close with RST. What was sent and not yet received is lost to the client."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close, after everything was sent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            return

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    @staticmethod
    async def _read(reading: Awaitable[bytes]) -> bytes:
        try:
            return await reading
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            raise ClientLeft from None


Script = Callable[[Peer], Awaitable[None]]


class ScriptedUpstream:
    """See the module. With `tls` it serves https; `hostname` is how `origin` calls this machine."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, hostname: str = "127.0.0.1") -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.origin = ""
        self._scripts = scripts
        self._tls = tls
        self._hostname = hostname
        self._running: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []

    async def __aenter__(self) -> ScriptedUpstream:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.origin = f"{'https' if self._tls else 'http'}://{self._hostname}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for script in self._running:
            script.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()
        if self._failed and error is None:
            raise self._failed[0]

    def stop_listening(self) -> None:
        """Refuse further connections; those there are go on."""
        self._server.close()

    async def idle(self) -> None:
        """Wait until every connection so far has been served and closed."""
        while self._running:
            await asyncio.wait(tuple(self._running))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(script, Peer(reader, writer, self.requests)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, script: Script, peer: Peer) -> None:
        try:
            await script(peer)
            await peer.close()
        except ClientLeft:
            pass
        except Exception as error:
            self._failed.append(error)
        finally:
            peer.abort()


def head(status: int, *headers: tuple[bytes, bytes], length: int | None = None) -> bytes:
    """The head of a response, with a Content-Length if one is given."""
    lines = [b"HTTP/1.1 %d Whatever" % status, *(b"%b: %b" % header for header in headers)]
    if length is not None:
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join([*lines, b"", b""])


def reply(status: int = 200, body: bytes = b"", *headers: tuple[bytes, bytes]) -> bytes:
    """A whole response of a stated length."""
    return head(status, *headers, length=len(body)) + body


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def answers(*responses: bytes) -> Script:
    """A script: each request gets the next response, and the last one again; the connection stays open."""

    async def script(peer: Peer) -> None:
        for response in responses:
            await peer.request()
            await peer.send(response)
        while True:
            await peer.request()
            await peer.send(responses[-1])

    return script


def answers_once(response: bytes) -> Script:
    """A script: one request gets this response, then the connection is closed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    return script


async def accepts_only(peer: Peer) -> None:
    """A script that takes the connection, and does nothing until the client leaves."""
    await peer.gone()
