"""Taking in a file: from a request's body to a blob that only needs a record to name it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.local.blobs import Blob, BlobFolder, BlobWriter
from app.local.creation import read_file_id
from app.local.http import Request
from app.local.threads import Threads
from app.local.uploads import MultipartUpload, boundary_of

T = TypeVar("T")

PIECE_BYTES: Final = 512 * 1024
"""How much of a body is gathered before a thread is asked to parse, hash and write it."""
MULTIPART_OVERHEAD_BYTES: Final = 1024 * 1024
MAX_REFERENCE_BYTES: Final = 64 * 1024


class Upload:
    """What a request brought: a file (`filename` is not None), or only fields."""

    def __init__(self, writer: BlobWriter) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._writer = writer
        self._blob: Blob | None = None

    def take(self, form: MultipartUpload) -> None:
        """A whole form was read: make its file durable. Blocks."""
        form.finish()
        self.fields, self.filename = form.fields, form.filename
        if self.filename is not None:
            self._blob = self._writer.finish()

    def commit(self, record: Callable[[Blob, str], T]) -> T:
        """Have the blob recorded under its filename; it is kept if `record` returns. Blocks."""
        if self._blob is None or self.filename is None:
            raise ValueError("the request brought no file")
        recorded = record(self._blob, self.filename)
        self._writer.keep()
        return recorded


class Intake:
    """Reads uploads of at most `max_file_bytes` into a folder of blobs."""

    def __init__(self, folder: BlobFolder, threads: Threads, *, max_file_bytes: int) -> None:
        self._folder = folder
        self._threads = threads
        self._max_file_bytes = max_file_bytes

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Upload]:
        """Read a whole body, multipart or JSON. Unless it is committed by then, the blob is gone when the block ends.

        Raises ApiError (400, 413), or ClientGone.
        """
        writer = BlobWriter(self._folder, max_bytes=self._max_file_bytes)
        upload = Upload(writer)
        boundary = boundary_of(request.header(b"content-type") or "")
        if boundary is None:
            file_id = read_file_id(await request.body(max_bytes=MAX_REFERENCE_BYTES))
            upload.fields = {} if file_id is None else {"file_id": file_id}
            yield upload
            return
        form = MultipartUpload(boundary, writer)
        try:
            async for piece in request.pieces(PIECE_BYTES, max_bytes=self._max_file_bytes + MULTIPART_OVERHEAD_BYTES):
                await self._threads.bytes(form.feed, piece)
            await self._threads.bytes(upload.take, form)
            yield upload
        finally:
            await self._threads.bytes(writer.discard)
