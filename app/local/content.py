"""Sending a blob: whole, a range of it, or nothing where the client already has it (RFC 9110)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from app.local.blobs import BlobFolder, BlobReader
from app.local.errors import ApiError
from app.local.http import Headers, Reply, Request, Send
from app.local.threads import Threads

PIECE_BYTES: Final = 512 * 1024
"""How much is read at once, and so about what a download holds in memory, twice."""

_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_UNSAFE: Final = re.compile(r"[^ !#-\[\]-~]")


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes, and what a client may know of them. `created_at` is in unix seconds."""

    blob_id: str
    size_bytes: int
    digest: str
    filename: str
    created_at: int

    @property
    def etag(self) -> str:
        """Strong: the same tag is the same bytes."""
        return f'"{self.digest}"'

    @property
    def last_modified(self) -> str:
        """Files never change, so this is when it was made."""
        return formatdate(self.created_at, usegmt=True)


class BlobBody:
    """A stretch of a blob as a reply's body, with bounded memory; reading stops when the client goes away."""

    def __init__(self, blob: BlobReader, stretch: range, threads: Threads) -> None:
        self._blob = blob
        self._stretch = stretch
        self._threads = threads

    async def send(self, request: Request, send: Send) -> None:
        """Send it. Raises OSError or EOFError where the disk fails, which must break the connection."""
        position, end = self._stretch.start, self._stretch.stop
        gone = asyncio.create_task(request.disconnected())
        try:
            while position < end and not gone.done():
                data = await self._threads.bytes(self._blob.read, position, min(PIECE_BYTES, end - position))
                position += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": position < end})
        finally:
            gone.cancel()
            await asyncio.wait([gone])

    async def aclose(self) -> None:
        """Close the blob."""
        await self._threads.bytes(self._blob.close)


async def content_reply(request: Request, content: Content, folder: BlobFolder, threads: Threads) -> Reply:
    """The answer to a GET of `content`. Raises FileNotFoundError where the blob is gone, ApiError (416)."""
    validators = [(b"etag", content.etag.encode()), (b"last-modified", content.last_modified.encode())]
    if _matches(request.header(b"if-none-match"), content.etag):
        return Reply(304, validators)
    stretch = asked_range(request, content)
    headers: Headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % len(stretch or range(content.size_bytes))),
        (b"content-disposition", content_disposition(content.filename)),
        (b"accept-ranges", b"bytes"),
        *validators,
    ]
    if stretch is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (stretch.start, stretch.stop - 1, content.size_bytes)))
    if not content.size_bytes:
        return Reply(200, headers)
    blob = BlobReader(folder, content.blob_id)
    try:
        await threads.bytes(blob.open)
    except asyncio.CancelledError:
        await threads.bytes(blob.close)
        raise
    body = BlobBody(blob, stretch or range(content.size_bytes), threads)
    return Reply(200 if stretch is None else 206, headers, body)


def asked_range(request: Request, content: Content) -> range | None:
    """The one range a request asks for, or None for everything.

    Several ranges, units we don't know and malformed ones are ignored, as is a range whose If-Range no longer holds.
    Raises ApiError (416) where the range lies outside the content.
    """
    asked = _RANGE.fullmatch(request.header(b"range") or "")
    condition = request.header(b"if-range")
    if asked is None or condition not in (None, content.etag, content.last_modified):
        return None
    first, last = asked.groups()
    size = content.size_bytes
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, stop = max(size - int(last), 0), size
    else:
        return None
    if start >= stop:
        raise ApiError(
            416,
            f"The requested range lies outside the file's {size} bytes.",
            code="invalid_value",
            param="range",
            headers=[(b"content-range", b"bytes */%d" % size)],
        )
    return range(start, stop)


def content_disposition(filename: str) -> bytes:
    """An attachment of this name: plain ASCII for everyone, and `filename*` where that is not the whole truth."""
    plain = _UNSAFE.sub("_", filename)
    value = f'attachment; filename="{plain}"'
    if plain != filename:
        value += f"; filename*=UTF-8''{quote(filename, safe='')}"
    return value.encode("ascii")


def _matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names this tag (weakly compared, as it should be)."""
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return etag in tags or tags == ["*"]
