"""Request bodies that come in pieces, for both adapters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from app.domain.ports import OutgoingBody


async def measured(stream: AsyncIterator[bytes], length: int | None) -> AsyncGenerator[bytes, None]:
    """The pieces of a stream, without empty ones. Raises ValueError where they are not `length` bytes (None: any).

    A piece that goes past the length is not handed out.
    """
    sent_bytes = 0
    async for piece in stream:
        sent_bytes += len(piece)
        if length is not None and sent_bytes > length:
            raise ValueError("the body is longer than its content-length")
        if piece:
            yield piece
    if length is not None and sent_bytes < length:
        raise ValueError("the body is shorter than its content-length")


async def close_stream(body: OutgoingBody) -> None:
    """Close the iterator behind a body, if there is one that can be closed. May be called again."""
    aclose = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()
