"""The records: one SQLite file, used by one thread.

Everything a client was told is committed with a full sync, so it survives a power cut; only the refreshing of
`last_active_at`, which every read does, is left to the next sync. A deleted row stays as a tombstone for a day, so that
a client which deletes while it pages can go on from the id it has just deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from app.local.errors import cursor_not_found

T = TypeVar("T")
Row = tuple[Any, ...]

SCHEMA_VERSION: Final = 1
TOMBSTONE_SECONDS: Final = 24 * 60 * 60
TABLES: Final = ("containers", "container_files", "files")

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE containers (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, created_at INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL, minutes INTEGER NOT NULL, expires_at INTEGER NOT NULL, memory_limit TEXT NOT NULL,
    network_policy TEXT NOT NULL, emptied INTEGER NOT NULL DEFAULT 0, deleted_at INTEGER
);
CREATE INDEX containers_by_age ON containers (created_at, seq) WHERE deleted_at IS NULL;
CREATE INDEX containers_by_name ON containers (name, created_at, seq) WHERE deleted_at IS NULL;
CREATE INDEX containers_to_empty ON containers (expires_at) WHERE emptied = 0 AND deleted_at IS NULL;
CREATE TABLE container_files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, container_id TEXT NOT NULL,
    created_at INTEGER NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL, blob TEXT, digest TEXT NOT NULL,
    deleted_at INTEGER
);
CREATE INDEX container_files_by_age ON container_files (container_id, created_at, seq);
CREATE INDEX container_files_by_blob ON container_files (blob);
CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL,
    filename TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL, blob TEXT, digest TEXT NOT NULL,
    deleted_at INTEGER
);
CREATE INDEX files_by_age ON files (created_at, seq) WHERE deleted_at IS NULL;
CREATE INDEX files_by_blob ON files (blob);
CREATE INDEX containers_tombs ON containers (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX container_files_tombs ON container_files (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX files_tombs ON files (deleted_at) WHERE deleted_at IS NOT NULL;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class UnknownSchema(Exception):
    """The data folder was written by another version of the embedded provider."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Which page of a list: at most `limit` items, those beyond the item `after` in this order."""

    limit: int = 20
    descending: bool = True
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, and whether there is more beyond it."""

    items: list[T]
    has_more: bool


class Database:
    """The connection. Not for two threads at once; all methods block. `now` is in whole unix seconds."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")
        version = self.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(_SCHEMA)
        elif version != SCHEMA_VERSION:
            raise UnknownSchema(f"the data folder has schema {version}, this version reads {SCHEMA_VERSION}")

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self._connection.close()

    def now(self) -> int:
        """The time, in unix seconds."""
        return int(self._clock())

    def execute(self, statement: str, values: Mapping[str, object] | tuple[object, ...] = ()) -> sqlite3.Cursor:
        """One statement; outside `durable` it is its own transaction, and may be lost in a power cut."""
        return self._connection.execute(statement, values)

    @contextmanager
    def durable(self) -> Iterator[None]:
        """One transaction, which is on disk when it ends, or leaves no trace where it raises."""
        self.execute("PRAGMA synchronous = FULL")
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise
        finally:
            self.execute("PRAGMA synchronous = NORMAL")

    def page(self, table: str, columns: str, cursor: Cursor, where: Mapping[str, str]) -> Page[Row]:
        """One page of the rows that are not deleted, where each column of `where` has its value.

        Ordered by age; those of one second, as they were inserted. Raises ApiError (400) where `after` was never there.
        `table`, `columns` and the keys of `where` are words of ours; values are bound.
        """
        conditions = ["deleted_at IS NULL", *(f"{column} = ?" for column in where)]
        values: list[object] = [*where.values()]
        if cursor.after is not None:
            conditions.append(f"(created_at, seq) {'<' if cursor.descending else '>'} (?, ?)")
            values += self._position(table, cursor.after, where.get("container_id"))
        order = "DESC" if cursor.descending else "ASC"
        statement = (
            f"SELECT {columns} FROM {table} WHERE {' AND '.join(conditions)} "  # noqa: S608
            f"ORDER BY created_at {order}, seq {order} LIMIT ?"
        )
        rows = self.execute(statement, (*values, cursor.limit + 1)).fetchall()
        return Page(rows[: cursor.limit], has_more=len(rows) > cursor.limit)

    def _position(self, table: str, after: str, container_id: str | None) -> Row:
        """Where in the order an item is, or was before it was deleted."""
        statement = f"SELECT created_at, seq FROM {table} WHERE id = ?"  # noqa: S608
        values: tuple[str, ...] = (after,)
        if container_id is not None:
            statement, values = f"{statement} AND container_id = ?", (after, container_id)
        row: Row | None = self.execute(statement, values).fetchone()
        if row is None:
            raise cursor_not_found(after)
        return row

    def blobs(self) -> set[str]:
        """Every blob that a record names."""
        rows = self.execute("SELECT blob FROM container_files UNION SELECT blob FROM files")
        return {blob for (blob,) in rows if blob is not None}

    def unnamed(self, blobs: set[str]) -> set[str]:
        """Those of these blobs that no record names any more."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM container_files WHERE blob = ?1)"
            " OR EXISTS (SELECT 1 FROM files WHERE blob = ?1)"
        )
        return {blob for blob in blobs if not self.execute(query, (blob,)).fetchone()[0]}

    def bury_tombstones(self) -> None:
        """Forget what was deleted more than a day ago. Inside a transaction."""
        for table in TABLES:
            self.execute(f"DELETE FROM {table} WHERE deleted_at < ?", (self.now() - TOMBSTONE_SECONDS,))  # noqa: S608
