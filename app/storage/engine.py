"""The database: SQLite in a file by default, PostgreSQL where several processes serve.

Drivers block, so whatever has to do with the database runs on threads of its own: one hop there and back for each
transaction, however many statements are in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from math import inf
from time import monotonic
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from app.domain.ports import StoreUnavailable
from app.storage import migrations
from app.storage.errors import UnsupportedDatabase, outages
from app.storage.sqlite import SqliteFile

T = TypeVar("T")

ANSWER_SECONDS: Final = 20.0
"""How long whoever asks waits: longer than one attempt to connect and one statement may take."""

CLOSE_SECONDS: Final = 5.0
"""How long work that waits for its turn may still begin once the database is being closed."""


class Backend(Protocol):
    """What one kind of database is. Its methods block."""

    engine: Engine
    readers: ThreadPoolExecutor
    writers: ThreadPoolExecutor

    def create(self) -> None:
        """Make what is missing and can be made here. Raises StoreUnavailable."""
        ...

    def migrating(self) -> AbstractContextManager[Connection]:
        """A transaction that has the migrations' lock."""
        ...


class Database:
    """One database and the threads that work with it. `open` it, `migrate` it, `close` it.

    Work is a function of a connection. It runs in one transaction on a thread, so it touches nothing of the event
    loop's. Whatever keeps the database from answering is StoreUnavailable, with a reason and without an address.

    Work once handed over goes on when its caller is cancelled: it commits or rolls back as a whole. The caller of a
    write who gets StoreUnavailable cannot know whether it was done.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._reading = backend.engine
        self._writing = backend.engine.execution_options(write=True)
        self._closes_at = inf

    @classmethod
    def open(cls, url: str) -> Database:
        """Get ready to use `sqlite:///path` or `postgresql://…`; nothing is connected or created yet.

        Raises UnsupportedDatabase.
        """
        scheme = url.partition("://")[0]
        if scheme == "sqlite":
            return cls(SqliteFile(url))
        if scheme not in {"postgresql", "postgres"}:
            raise UnsupportedDatabase("This database is not supported: expected sqlite:///path or postgresql://…")
        try:
            from app.storage.postgres import PostgresServer  # its driver takes 10 MB
        except ImportError:
            raise UnsupportedDatabase("PostgreSQL needs its driver: pip install 'quaymaster[postgres]'") from None
        return cls(PostgresServer(url))

    async def migrate(self) -> None:
        """Bring the tables to the shape this version needs; a SQLite file and its folder are made if absent.

        Safe while other processes do the same, and takes the time it takes. Raises StoreUnavailable, or
        UnsupportedDatabase where a newer version has already changed the tables.
        """
        await _answer(self._backend.writers.submit(self._migrate), seconds=None)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a transaction that only reads. Raises StoreUnavailable, and what `work` raises."""
        return await self._transact(self._backend.readers, self._reading, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed; what it raises rolls back. Raises StoreUnavailable."""
        return await self._transact(self._backend.writers, self._writing, work)

    def write_blocking(self, work: Callable[[Connection], T]) -> T:
        """`write`, for a thread: it blocks until the work is committed. Never for the event loop."""
        try:
            return self._submit(self._backend.writers, self._writing, work).result(ANSWER_SECONDS)
        except TimeoutError:
            raise _too_late() from None
        except RuntimeError:  # the threads have ended
            raise StoreUnavailable("the database is closed") from None

    async def close(self) -> None:
        """Let the work that was handed over end, end the threads, and close every connection."""
        self._closes_at = monotonic() + CLOSE_SECONDS
        await asyncio.to_thread(self._close)

    async def _transact(self, threads: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]) -> T:
        return await _answer(self._submit(threads, engine, work), ANSWER_SECONDS)

    def _submit(self, threads: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]) -> Future[T]:
        expires_at = monotonic() + ANSWER_SECONDS

        def transaction() -> T:
            if monotonic() > min(expires_at, self._closes_at):
                raise _too_late()
            with outages(), engine.begin() as connection:
                return work(connection)

        return threads.submit(transaction)

    def _migrate(self) -> None:
        with outages():
            self._backend.create()
            with self._reading.begin() as connection:
                if migrations.is_current(connection):
                    return
            try:
                with self._backend.migrating() as connection:
                    migrations.upgrade(connection)
            except migrations.UnknownRevision as error:
                raise UnsupportedDatabase(str(error)) from None

    def _close(self) -> None:
        self._backend.readers.shutdown()
        self._backend.writers.shutdown()
        self._backend.engine.dispose()


async def _answer(job: Future[T], seconds: float | None) -> T:
    """What a job returns or raises, or StoreUnavailable after so many seconds; never stops the job."""
    answer = asyncio.wrap_future(job)
    answer.add_done_callback(_taken)
    done, _ = await asyncio.wait([answer], timeout=seconds)
    if not done:
        raise _too_late()
    return answer.result()


def _taken(answer: asyncio.Future[T]) -> None:
    """Take what a job raised, which asyncio would otherwise report where nobody waits any more."""
    if not answer.cancelled():
        answer.exception()


def _too_late() -> StoreUnavailable:
    return StoreUnavailable("the database did not answer (out of time)")
