"""Files under /v1/files: put there to be copied into containers."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import Final

from app.local.blobs import Blob
from app.local.database import Cursor, Database, Page
from app.local.errors import file_not_found

_ALPHABET: Final = string.ascii_letters + string.digits
_COLUMNS: Final = "id, created_at, filename, purpose, bytes, blob, digest"
_BY_ID: Final = f"SELECT {_COLUMNS} FROM files WHERE id = ? AND deleted_at IS NULL"  # noqa: S608


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file under /v1/files."""

    id: str
    created_at: int
    filename: str
    purpose: str
    size_bytes: int
    blob_id: str
    digest: str

    def document(self) -> dict[str, object]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class UploadedFiles:
    """The files under /v1/files. All methods block, on the records' thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, blob: Blob, *, filename: str, purpose: str) -> UploadedFile:
        """Name a finished blob."""
        file_id = "file-" + "".join(secrets.choice(_ALPHABET) for _ in range(24))
        file = UploadedFile(file_id, self._database.now(), filename, purpose, blob.size_bytes, blob.id, blob.digest)
        with self._database.durable():
            self._database.execute(
                "INSERT INTO files (id, created_at, filename, purpose, bytes, blob, digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (file.id, file.created_at, filename, purpose, file.size_bytes, file.blob_id, file.digest),
            )
        return file

    def find(self, file_id: str) -> UploadedFile | None:
        """The file with this id."""
        row = self._database.execute(_BY_ID, (file_id,)).fetchone()
        return None if row is None else UploadedFile(*row)

    def get(self, file_id: str) -> UploadedFile:
        """The file with this id. Raises ApiError (404)."""
        file = self.find(file_id)
        if file is None:
            raise file_not_found(file_id)
        return file

    def page(self, cursor: Cursor, purpose: str | None) -> Page[UploadedFile]:
        """One page of the files, of one purpose where it is given."""
        rows = self._database.page("files", _COLUMNS, cursor, {} if purpose is None else {"purpose": purpose})
        return Page([UploadedFile(*row) for row in rows.items], rows.has_more)

    def delete(self, file_id: str) -> set[str]:
        """Delete a file; returns the blobs that are now nobody's. Raises ApiError (404)."""
        file = self.get(file_id)
        with self._database.durable():
            self._database.execute(
                "UPDATE files SET deleted_at = ?, blob = NULL WHERE id = ?", (self._database.now(), file_id)
            )
            return self._database.unnamed({file.blob_id})
