"""Bytes on disk: one immutable file for each blob, named by a random id of ours.

A blob exists for readers only once a record names it, so a half-written one is never seen, and needs no renaming: what
no record names is a leftover, and is removed when the data folder is opened.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.local.errors import too_large

BLOB_ID_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class Blob:
    """A finished blob. `digest` is 32 hex digits of its SHA-256: equal digests are equal bytes."""

    id: str
    size_bytes: int
    digest: str


class BlobFolder:
    """The folder that holds every blob. All methods block."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        self._path = path

    def path(self, blob_id: str) -> Path:
        """Where a blob lies. The id is always one of ours."""
        return self._path / blob_id

    def remove(self, blob_ids: Iterable[str]) -> None:
        """Remove blobs; a reader who has one open reads on to its end."""
        for blob_id in blob_ids:
            self.path(blob_id).unlink(missing_ok=True)

    def keep_only(self, named: set[str]) -> None:
        """Remove every file that no record names: what a crash left behind."""
        self.remove(entry.name for entry in list(os.scandir(self._path)) if entry.name not in named)

    def sync(self) -> None:
        """Make the folder's own entries durable."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class BlobWriter:
    """A blob being written. All methods block; `discard` must follow, and does nothing once `keep` was called."""

    def __init__(self, folder: BlobFolder, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._id = secrets.token_hex(BLOB_ID_CHARS // 2)
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._descriptor: int | None = None
        self._kept = False

    def write(self, data: memoryview) -> None:
        """Append. Raises ApiError (413) past `max_bytes`, OSError where the disk fails."""
        self._size_bytes += len(data)
        if self._size_bytes > self._max_bytes:
            raise too_large("The file", self._max_bytes)
        descriptor = self._open()
        self._hash.update(data)
        while data:
            data = data[os.write(descriptor, data) :]

    def finish(self) -> Blob:
        """Make the bytes durable. The blob is still to be named by a record, and then kept."""
        os.fsync(self._open())
        self._close()
        self._folder.sync()
        return Blob(self._id, self._size_bytes, self._hash.hexdigest()[:32])

    def keep(self) -> None:
        """A committed record names the blob: it is no longer the writer's to remove."""
        self._kept = True

    def discard(self) -> None:
        """Close, and remove the file unless it is kept."""
        self._close()
        if not self._kept:
            self._folder.remove([self._id])

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._folder.path(self._id), flags, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class BlobReader:
    """A blob being read. All methods block; `close` must follow."""

    def __init__(self, folder: BlobFolder, blob_id: str) -> None:
        self._path = folder.path(blob_id)
        self._descriptor: int | None = None

    def open(self) -> None:
        """Raises FileNotFoundError where the blob was removed since its record was read."""
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes at `offset`. Raises EOFError where there are none."""
        if self._descriptor is None:
            raise ValueError("the blob is not open")
        data = os.pread(self._descriptor, size_bytes, offset)
        if not data:
            raise EOFError(f"a blob ends at {offset}, before its recorded size")
        return data

    def close(self) -> None:
        """May be called twice, and without `open`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
