"""SQLite: one file on this machine's disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, QueuePool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from app.storage.errors import UnsupportedDatabase, unavailable
from app.storage.prepared import execute

BUSY_SECONDS: Final = 5.0
"""How long to wait while another process writes."""

READER_CACHE_KIB: Final = 512
WRITER_CACHE_KIB: Final = 2048
"""Pages that a connection keeps. 64 clients create with 7 % less CPU where the one that writes keeps 2 MiB rather than
512 KiB, and with 4 MiB no less than that. Readers gain nothing: each write voids what they keep."""

LOG_PAGES: Final = 4000
"""So many pages of 4 KiB are written to SQLite's write-ahead log before they are copied to the database, each once
however often it was written. With SQLite's own 1000 pages creates and retrieves take 2 % more CPU."""

READERS: Final = 2
"""Not for speed, one is as fast: so that nobody waits for his key behind a long report."""


class SqliteFile:
    """A database in a file. One thread writes, so that writers never wait for each other's lock.

    Raises UnsupportedDatabase where the URL names no file.
    """

    one_writer: Final = True

    def __init__(self, url: str) -> None:
        self._url = _file_url(url)
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="storage-read")
        self.writers = ThreadPoolExecutor(1, thread_name_prefix="storage-write")
        # With no isolation level the driver leaves transactions to us: BEGIN IMMEDIATE, and DDL that rolls back.
        # A connection has no thread of its own, but the pool never lends it to two at once.
        settings: dict[str, Any] = {"isolation_level": None, "timeout": BUSY_SECONDS, "check_same_thread": False}
        self.engine = create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=READERS + 1,
            max_overflow=0,
            hide_parameters=True,
            connect_args=settings,
        )
        event.listen(self.engine, "connect", _prepare)
        event.listen(self.engine, "begin", _begin)
        self._writer: Connection | None = None

    def create(self) -> None:
        """Make the file and its folder, where missing, so that only we may read them. Raises StoreUnavailable."""
        path = Path(self._url.database or "")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise unavailable(error) from None

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""
        return self.engine.begin()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes, always on the same connection.

        A connection cannot know what another one has written: it throws away every page that it remembers. Three of
        them, by turns, read 95 pages anew for each create; and to take one from the pool costs 28 µs.
        """
        writer = self._writer
        if writer is None:
            writer = self._writer = self.engine.execution_options(write=True).connect()
            execute(writer, f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
        try:
            with writer.begin():
                yield writer
        except BaseException:
            writer.connection.rollback()  # a commit that fails leaves its transaction open
            raise

    def close(self) -> None:
        """End the threads, when they have done what they were given, and close every connection."""
        self.readers.shutdown()
        self.writers.shutdown()
        if self._writer is not None:
            self._writer.close()
        self.engine.dispose()

    def sending(self, _connection: Connection) -> AbstractContextManager[None]:
        """Nothing: nobody has to wait for an answer."""
        return nullcontext()

    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction, while no other process writes."""
        return self.writing()


def _file_url(url: str) -> URL:
    if url.startswith("sqlite:///"):  # with two slashes it would name a host
        parsed = make_url(url)
        if parsed.database not in {"", ":memory:"} and "mode" not in parsed.query:
            return parsed
    raise UnsupportedDatabase("A SQLite database needs a file: sqlite:///path, or sqlite:////absolute/path.")


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"wal_autocheckpoint={LOG_PAGES}",
        f"cache_size=-{READER_CACHE_KIB}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Take the write lock before the first read: a transaction that reads first may not be allowed to write later."""
    write = connection.get_execution_options().get("write", False)
    execute(connection, "BEGIN IMMEDIATE" if write else "BEGIN")
