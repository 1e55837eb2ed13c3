"""Containers and the files in them: what is known, and when it dies.

A container expires `minutes` after it was last used. Every operation on it counts as use, a retrieve too; listing
containers does not. An expired container is still listed and retrieved, but its files are gone: their bytes are given
back at the next create or start.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.local.blobs import Blob
from app.local.creation import ContainerSpec
from app.local.database import Cursor, Database, Page
from app.local.errors import container_expired, container_file_not_found, container_not_found, file_not_usable
from app.local.files import UploadedFile, UploadedFiles

SECONDS_PER_MINUTE: Final = 60
SWEEP_LIMIT: Final = 100
"""How many expired containers one create empties at most, so that no client waits for a long sweep."""

_COLUMNS: Final = "id, name, created_at, last_active_at, minutes, memory_limit, network_policy, emptied, expires_at"
_BY_ID: Final = f"SELECT {_COLUMNS} FROM containers WHERE id = ? AND deleted_at IS NULL"  # noqa: S608
_FILE_COLUMNS: Final = "id, container_id, created_at, path, bytes, blob, digest"
_FILE_BY_ID: Final = (
    f"SELECT {_FILE_COLUMNS} FROM container_files WHERE id = ? AND container_id = ? AND deleted_at IS NULL"  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was not deleted."""

    id: str
    name: str
    created_at: int
    last_active_at: int
    minutes: int
    memory_limit: str
    network_policy: str
    """JSON, without secrets."""
    expired: bool

    def document(self) -> dict[str, object]:
        """OpenAI's container object."""
        return {
            "id": self.id,
            "object": "container",
            "name": self.name,
            "created_at": self.created_at,
            "status": "expired" if self.expired else "running",
            "last_active_at": self.last_active_at,
            "expires_after": {"anchor": "last_active_at", "minutes": self.minutes},
            "memory_limit": self.memory_limit,
            "network_policy": orjson.Fragment(self.network_policy),
        }


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A file in a container."""

    id: str
    container_id: str
    created_at: int
    path: str
    size_bytes: int
    blob_id: str
    digest: str

    @property
    def filename(self) -> str:
        """The last segment of its path."""
        return self.path.rpartition("/")[2]

    def document(self) -> dict[str, object]:
        """OpenAI's container file object."""
        return {
            "id": self.id,
            "object": "container.file",
            "created_at": self.created_at,
            "bytes": self.size_bytes,
            "container_id": self.container_id,
            "path": self.path,
            "source": "user",
        }


class Containers:
    """Every container and its files. All methods block, on the records' thread."""

    def __init__(self, database: Database, uploaded: UploadedFiles) -> None:
        self._database = database
        self._uploaded = uploaded

    def create(self, spec: ContainerSpec) -> tuple[Container, set[str]]:
        """Make a container with copies of the files that `spec` names. Raises ApiError (400) where one is unknown.

        The same transaction sweeps a little: the second value is the blobs that are now nobody's.
        """
        copies = [self._copyable(file_id, f"file_ids[{place}]") for place, file_id in enumerate(spec.file_ids)]
        now = self._database.now()
        container_id = "cntr_" + secrets.token_hex(24)
        with self._database.durable():
            self._database.execute(
                "INSERT INTO containers"
                " (id, name, created_at, last_active_at, minutes, expires_at, memory_limit, network_policy)"
                " VALUES (:id, :name, :now, :now, :minutes, :expires_at, :memory_limit, :network_policy)",
                {
                    "id": container_id,
                    "name": spec.name,
                    "now": now,
                    "minutes": spec.minutes,
                    "expires_at": now + spec.minutes * SECONDS_PER_MINUTE,
                    "memory_limit": spec.memory_limit,
                    "network_policy": spec.network_policy,
                },
            )
            for file in copies:
                self._insert_file(container_id, file.filename, file.size_bytes, file.blob_id, file.digest)
            freed = self._sweep(SWEEP_LIMIT)
        container = Container(
            container_id, spec.name, now, now, spec.minutes, spec.memory_limit, spec.network_policy, expired=False
        )
        return container, freed

    def page(self, cursor: Cursor, name: str | None) -> Page[Container]:
        """One page of the containers, of one name where it is given."""
        rows = self._database.page("containers", _COLUMNS, cursor, {} if name is None else {"name": name})
        now = self._database.now()
        return Page([_container(row, now) for row in rows.items], rows.has_more)

    def retrieve(self, container_id: str) -> Container:
        """A container, used by this unless it is expired. Raises ApiError (404)."""
        now = self._database.now()
        row = self._database.execute(_BY_ID, (container_id,)).fetchone()
        if row is None:
            raise container_not_found(container_id)
        container = _container(row, now)
        if container.expired or container.last_active_at >= now:
            return container
        self._database.execute(
            "UPDATE containers SET last_active_at = :now, expires_at = :now + minutes * 60 WHERE id = :id",
            {"now": now, "id": container_id},
        )
        return _container((*row[:3], now, *row[4:]), now)

    def use(self, container_id: str) -> None:
        """Use a container for something. Raises ApiError where it is unknown (404) or expired (400)."""
        if self.retrieve(container_id).expired:
            raise container_expired()

    def delete(self, container_id: str) -> set[str]:
        """Delete a container, expired or not; returns the blobs that are now nobody's. Raises ApiError (404)."""
        self.retrieve(container_id)
        with self._database.durable():
            self._database.execute(
                "UPDATE containers SET deleted_at = ? WHERE id = ?", (self._database.now(), container_id)
            )
            return self._empty(container_id)

    def add_file(self, container_id: str, blob: Blob, name: str) -> ContainerFile:
        """Name a finished blob as a file of a container. Raises as `use`."""
        self.use(container_id)
        with self._database.durable():
            return self._insert_file(container_id, name, blob.size_bytes, blob.id, blob.digest)

    def copy_file(self, container_id: str, file_id: str) -> ContainerFile:
        """Copy a file of /v1/files into a container. Raises as `use`, and ApiError (400) where it is unknown."""
        self.use(container_id)
        file = self._copyable(file_id, "file_id")
        with self._database.durable():
            return self._insert_file(container_id, file.filename, file.size_bytes, file.blob_id, file.digest)

    def file(self, container_id: str, file_id: str) -> ContainerFile:
        """A file of a container. Raises as `use`, and ApiError (404) where it is unknown."""
        self.use(container_id)
        row = self._database.execute(_FILE_BY_ID, (file_id, container_id)).fetchone()
        if row is None:
            raise container_file_not_found(container_id, file_id)
        return ContainerFile(*row)

    def file_page(self, container_id: str, cursor: Cursor) -> Page[ContainerFile]:
        """One page of a container's files. Raises as `use`."""
        self.use(container_id)
        rows = self._database.page("container_files", _FILE_COLUMNS, cursor, {"container_id": container_id})
        return Page([ContainerFile(*row) for row in rows.items], rows.has_more)

    def delete_file(self, container_id: str, file_id: str) -> set[str]:
        """Delete a file; returns the blobs that are now nobody's. Raises as `file`."""
        file = self.file(container_id, file_id)
        with self._database.durable():
            self._database.execute(
                "UPDATE container_files SET deleted_at = ?, blob = NULL WHERE id = ?", (self._database.now(), file_id)
            )
            return self._database.unnamed({file.blob_id})

    def sweep(self) -> set[str]:
        """Empty every container that has expired; returns the blobs that are now nobody's."""
        with self._database.durable():
            return self._sweep(-1)

    def _sweep(self, limit: int) -> set[str]:
        rows = self._database.execute(
            "SELECT id FROM containers WHERE emptied = 0 AND deleted_at IS NULL AND expires_at <= ? LIMIT ?",
            (self._database.now(), limit),
        ).fetchall()
        freed: set[str] = set()
        for (container_id,) in rows:
            self._database.execute("UPDATE containers SET emptied = 1 WHERE id = ?", (container_id,))
            freed |= self._empty(container_id)
        self._database.bury_tombstones()
        return freed

    def _empty(self, container_id: str) -> set[str]:
        rows = self._database.execute(
            "DELETE FROM container_files WHERE container_id = ? RETURNING blob", (container_id,)
        ).fetchall()
        return self._database.unnamed({blob for (blob,) in rows if blob is not None})

    def _copyable(self, file_id: str, param: str) -> UploadedFile:
        file = self._uploaded.find(file_id)
        if file is None:
            raise file_not_usable(file_id, param)
        return file

    def _insert_file(self, container_id: str, name: str, size_bytes: int, blob_id: str, digest: str) -> ContainerFile:
        path = f"/mnt/data/{secrets.token_hex(16)}-{name}"
        file = ContainerFile(
            "cfile_" + secrets.token_hex(16), container_id, self._database.now(), path, size_bytes, blob_id, digest
        )
        self._database.execute(
            "INSERT INTO container_files (id, container_id, created_at, path, bytes, blob, digest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (file.id, container_id, file.created_at, path, size_bytes, blob_id, digest),
        )
        return file


def _container(row: Sequence[Any], now: int) -> Container:
    """A row of `_COLUMNS`."""
    container_id, name, created_at, last_active_at, minutes, memory_limit, network_policy, emptied, expires_at = row
    expired = bool(emptied) or expires_at <= now
    return Container(container_id, name, created_at, last_active_at, minutes, memory_limit, network_policy, expired)
