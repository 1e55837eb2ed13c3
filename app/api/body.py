"""The body of a client's request, as it arrives."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from starlette.types import Receive

from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.ports import RawHeaders

AHEAD_BYTES: Final = 256 * 1024
"""How much of a body may have arrived unread before no more of it is taken from the client."""
_SMALL_BYTES: Final = 4 * 1024
"""Smaller pieces are joined as they come: of two bytes each they would take thirty times their size."""


class NoBody:
    """`app.domain.exchange.IncomingBody` of a request that has none."""

    declared_bytes: int | None = 0
    bytes_read = 0
    ended = True
    meter: Callable[[int], None] | None = None

    async def read(self) -> bytes:
        """Its end."""
        return b""

    def allow(self, max_bytes: int) -> None:
        """Nothing is never too large."""


class Body(ABC):
    """`app.domain.exchange.IncomingBody` of a request that has one, whatever brings it.

    Nothing is asked for before the first `read`, so a client that waits for `100 Continue` sends no byte of a body to a
    request that is refused by its head.
    """

    __slots__ = ("_coding", "_max_bytes", "bytes_read", "declared_bytes", "ended", "meter")

    def __init__(self, headers: RawHeaders) -> None:
        self.declared_bytes: int | None = None
        self.bytes_read = 0
        self.ended = True
        self.meter: Callable[[int], None] | None = None
        self._max_bytes = 0
        self._coding = b"chunked"
        for name, value in headers:
            if name == b"content-length":
                self.declared_bytes = int(value)  # the HTTP parser has let only digits through
                self.ended = self.declared_bytes == 0
            elif name == b"transfer-encoding":
                self.ended = False
                self._coding = value.strip().lower()

    def allow(self, max_bytes: int) -> None:
        """Set how large the whole body may be."""
        self._max_bytes = max_bytes
        if self._coding != b"chunked":
            raise GatewayError(ErrorCode.INVALID_REQUEST, "The only transfer encoding read here is chunked.")
        if self.declared_bytes is not None and self.declared_bytes > max_bytes:
            raise self._too_large()

    async def read(self) -> bytes:
        """The next piece, b"" at the end."""
        while not self.ended:
            piece = await self._next()
            self.bytes_read += len(piece)
            if self.bytes_read > self._max_bytes:
                raise self._too_large()
            if piece:
                if self.meter is not None:
                    self.meter(len(piece))
                return piece
        return b""

    @abstractmethod
    async def _next(self) -> bytes:
        """A piece, perhaps empty; sets `ended` with the last. Raises ClientGone."""

    def _too_large(self) -> GatewayError:
        return GatewayError(
            ErrorCode.REQUEST_TOO_LARGE,
            f"The request body is larger than this gateway takes ({self._max_bytes} bytes).",
        )


class AsgiBody(Body):
    """A body that comes over an ASGI receive channel."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive, headers: RawHeaders) -> None:
        super().__init__(headers)
        self._receive = receive

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


class ArrivingBody(Body):
    """A body that a connection brings, piece by piece: it is told of `feed`, `finish` and `disconnect`.

    `ask` is called before the first wait for a client that was asked to wait, `pause` and `resume` bound what arrives.
    """

    __slots__ = ("_arrived_bytes", "_ask", "_gone", "_pause", "_pieces", "_resume", "_waiter", "_whole")

    def __init__(
        self,
        headers: RawHeaders,
        *,
        ask: Callable[[], None] | None,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        super().__init__(headers)
        self._ask = ask
        self._pause = pause
        self._resume = resume
        self._pieces: list[bytes | bytearray] = []
        self._arrived_bytes = 0
        self._whole = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, piece: bytes) -> None:
        """A piece has arrived."""
        last = self._pieces[-1] if self._pieces else None
        if len(piece) >= _SMALL_BYTES:
            self._pieces.append(piece)
        elif isinstance(last, bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))
        self._arrived_bytes += len(piece)
        if self._arrived_bytes > AHEAD_BYTES:
            self._pause()
        self._wake()

    def finish(self) -> None:
        """All of it has arrived."""
        self._whole = True
        self._wake()

    def disconnect(self) -> None:
        """The client is gone, or has been answered: what has arrived is of no use, and no more is asked for."""
        self._gone = True
        self._ask = None
        self._pieces.clear()
        self._wake()

    async def _next(self) -> bytes:
        if self._ask is not None and not self._pieces:
            self._ask()
        self._ask = None
        while not (self._pieces or self._whole or self._gone):
            self._resume()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._gone:
            raise ClientGone
        piece = b"".join(self._pieces)
        self._pieces.clear()
        self._arrived_bytes = 0
        self.ended = self._whole
        return piece

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
