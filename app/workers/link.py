"""A worker's end of the socket that ties it to its supervisor. One JSON object a line, both ways.

From the worker: `{"ready": true}`, `{"failed": "why"}`, `{"ask": true}` for the metrics of all, and
`{"snapshot": …}`, its own, when the supervisor says `{"tell": true}`. The supervisor answers an ask with
`{"snapshots": […]}`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import orjson

from app.telemetry.gathering import Snapshot

MAX_LINE_BYTES: Final = 64 * 2**20


def encoded(message: dict[str, Any]) -> bytes:
    """A message as it goes over the socket."""
    return orjson.dumps(message) + b"\n"


class Link:
    """What a worker tells its supervisor, and learns from it. When the supervisor is gone, the worker ends as well."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._snapshot: Callable[[], Snapshot] = list
        self._asked: deque[asyncio.Future[list[Snapshot]]] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen to the supervisor, in the running event loop."""
        reader, self._writer = await asyncio.open_connection(sock=self._end.dup(), limit=MAX_LINE_BYTES)
        self._reading = asyncio.create_task(self._listen(reader), name="supervisor")

    async def aclose(self) -> None:
        """Stop listening."""
        if self._reading is not None and self._writer is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._writer.close()

    def ready(self) -> None:
        """Say that this worker serves."""
        self._say({"ready": True})

    def failed(self, why: str) -> None:
        """Say why this worker cannot start. Outside of an event loop."""
        self._end.setblocking(True)
        self._end.sendall(encoded({"failed": why}))

    def publish(self, snapshot: Callable[[], Snapshot]) -> None:
        """How the others learn of this process's metrics."""
        self._snapshot = snapshot

    async def snapshots(self) -> list[Snapshot]:
        """The metrics of every process that serves this address, and of those that did and are no more."""
        answer: asyncio.Future[list[Snapshot]] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._say({"ask": True})
        return await answer

    def _say(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(encoded(message))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(orjson.loads(line))
        except ConnectionError:
            pass
        signal.raise_signal(signal.SIGTERM)

    def _take(self, message: dict[str, Any]) -> None:
        if "tell" in message:
            self._say({"snapshot": self._snapshot()})
        elif not (answer := self._asked.popleft()).done():
            answer.set_result(message["snapshots"])
