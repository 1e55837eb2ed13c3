"""The database: SQLite in a file by default, PostgreSQL where several processes serve."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, NullPool, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.domain.ports import StoreUnavailable
from app.storage import migrations

CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 15.0

_OUR_MISTAKES: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a driver raises because of the statement, not because of the database."""

_MIGRATION_LOCK: Final = 0x71756179
"""PostgreSQL's advisory lock for migrations: any number that nobody else in the database uses ("quay")."""


class UnsupportedDatabase(Exception):
    """This database URL, or this database, cannot be used; the message says why and never holds the URL."""


class Database:
    """A small pool of connections to one database. `open` it, `migrate` it, `close` it.

    Whatever keeps the database from answering is StoreUnavailable, with a reason and without an address.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine = _engine(url, pool_size=4, max_overflow=4, pool_timeout=CONNECT_SECONDS)

    @classmethod
    def open(cls, url: str) -> Database:
        """Get ready to use `sqlite:///path` or `postgresql://…`; nothing is connected or created yet.

        Raises UnsupportedDatabase.
        """
        return cls(_driver_url(url))

    async def migrate(self) -> None:
        """Bring the tables to the shape this version needs; a SQLite file and its folder are made if absent.

        Safe while other processes do the same. Raises StoreUnavailable, or UnsupportedDatabase where a newer version
        has already changed the tables.
        """
        sqlite = _is_sqlite(self._url)
        if sqlite:
            await asyncio.to_thread(_make_file, Path(self._url.database or ""))
        async with self.reading() as connection:
            if await connection.run_sync(migrations.is_current):
                return
        engine = _engine(self._url, poolclass=NullPool, statement_seconds=None)
        try:
            async with _transaction(engine, write=True) as connection:
                if not sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                await connection.run_sync(migrations.upgrade)
        except migrations.UnknownRevision as error:
            raise UnsupportedDatabase(str(error)) from None
        finally:
            await engine.dispose()

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads. Raises StoreUnavailable."""
        return _transaction(self._engine, write=False)

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that commits at its end and rolls back on an error. Raises StoreUnavailable."""
        return _transaction(self._engine, write=True)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _driver_url(url: str) -> URL:
    """The URL with the asyncio driver's name in it, and libpq's `sslmode` as asyncpg spells it."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UnsupportedDatabase(
            "The database URL is not a URL: expected sqlite:///path or postgresql://..."
        ) from None
    scheme = parsed.drivername
    if scheme in {"sqlite", "sqlite+aiosqlite"}:
        if parsed.database in {None, "", ":memory:"} or "mode" in parsed.query:
            raise UnsupportedDatabase("A SQLite database needs a file: sqlite:///path, or sqlite:////absolute/path.")
        return parsed.set(drivername="sqlite+aiosqlite")
    if scheme in {"postgres", "postgresql", "postgresql+asyncpg"}:
        if find_spec("asyncpg") is None:
            raise UnsupportedDatabase("PostgreSQL needs its driver: pip install 'quaymaster[postgres]'")
        query = dict(parsed.query)
        if "sslmode" in query:
            query["ssl"] = query.pop("sslmode")
        return parsed.set(drivername="postgresql+asyncpg", query=query)
    raise UnsupportedDatabase("This database is not supported: expected sqlite:///path or postgresql://...")


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _make_file(path: Path) -> None:
    """Create the file and its folder so that only we may read them. Raises StoreUnavailable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _unavailable(error) from None


def _engine(url: URL, *, statement_seconds: float | None = STATEMENT_SECONDS, **pool: Any) -> AsyncEngine:
    if _is_sqlite(url):
        # With no isolation level the driver leaves transactions to us: BEGIN IMMEDIATE, and DDL that rolls back.
        connect_args: dict[str, Any] = {"isolation_level": None, "timeout": CONNECT_SECONDS}
        engine = create_async_engine(url, hide_parameters=True, connect_args=connect_args, **pool)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    connect_args = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds,
        "server_settings": {"application_name": "quaymaster"},
    }
    return create_async_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=connect_args, **pool)


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock before the first read: a transaction that reads first may not be allowed to write later."""
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@asynccontextmanager
async def _transaction(engine: AsyncEngine, *, write: bool) -> AsyncIterator[AsyncConnection]:
    try:
        async with engine.connect() as connection:
            await connection.execution_options(write=write)
            async with connection.begin():
                yield connection
    except _OUR_MISTAKES:
        raise
    except (DBAPIError, PoolTimeout, OSError) as error:
        raise _unavailable(error) from None


def _unavailable(error: Exception) -> StoreUnavailable:
    """Say what happened in the driver's own short code: its text may hold addresses, names and values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    reason = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__
    return StoreUnavailable(f"the database did not answer ({reason})")
