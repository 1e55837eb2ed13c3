"""The client's request body, as ASGI delivers it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive

from app.domain.errors import ClientGone, ErrorCode, GatewayError
from app.domain.ports import RawHeaders


class AsgiBody:
    """`app.domain.exchange.IncomingBody` over an ASGI receive channel.

    Nothing is asked of the server before the first `read`, so a client that waits for `100 Continue` sends no byte of a
    body to a request that is refused by its head.
    """

    __slots__ = ("_coding", "_max_bytes", "_receive", "bytes_read", "declared_bytes", "ended", "meter")

    def __init__(self, receive: Receive, headers: RawHeaders) -> None:
        self.declared_bytes: int | None = None
        self.bytes_read = 0
        self.ended = True
        self.meter: Callable[[int], None] | None = None
        self._receive = receive
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
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.ended = not message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            self.bytes_read += len(piece)
            if self.bytes_read > self._max_bytes:
                raise self._too_large()
            if piece:
                if self.meter is not None:
                    self.meter(len(piece))
                return piece
        return b""

    def _too_large(self) -> GatewayError:
        return GatewayError(
            ErrorCode.REQUEST_TOO_LARGE,
            f"The request body is larger than this gateway takes ({self._max_bytes} bytes).",
        )
