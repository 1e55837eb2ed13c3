"""The database: SQLite in a file by default, PostgreSQL where several processes serve.

Drivers block, so whatever has to do with the database runs on threads of its own: one hop there and back for each
transaction, however many statements are in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from math import inf
from time import monotonic
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from app.domain.ports import StoreUnavailable
from app.storage import migrations
from app.storage.backend import Backend
from app.storage.commits import Commits, Job, tell, too_late
from app.storage.errors import UnsupportedDatabase, outages
from app.storage.sqlite import SqliteFile

T = TypeVar("T")

ANSWER_SECONDS: Final = 20.0
"""How long whoever asks waits: longer than one attempt to connect and one statement may take."""

CLOSE_SECONDS: Final = 5.0
"""How long work that waits for its turn may still begin once the database is being closed."""


class Database:
    """One database and the threads that work with it. `open` it, `migrate` it, `close` it.

    Work is a function of a connection. It runs in one transaction on a thread, so it touches nothing of the event
    loop's. Whatever keeps the database from answering is StoreUnavailable, with a reason and without an address.

    Work once handed over goes on when its caller is cancelled: it commits or rolls back as a whole. The caller of a
    write who gets StoreUnavailable cannot know whether it was done.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._closes_at = inf
        self._commits = Commits(backend, lambda: self._closes_at)

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
        migration = asyncio.wrap_future(self._backend.writers.submit(self._migrate))
        await asyncio.wait([migration])  # which does not stop it
        return migration.result()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a transaction that only reads. Raises StoreUnavailable, and what `work` raises."""
        answer, job = self._asked(work)
        self._backend.readers.submit(self._read, job)
        return await _answered(answer)

    async def write(self, work: Callable[[Connection], T], group: Hashable = None) -> T:
        """What `work` returns, once it is committed; what it raises rolls back. Raises StoreUnavailable.

        It may be committed together with others: on SQLite with any, else with those of the same `group`, which lock
        the same rows. What it does to the database is undone, and it sees what others before it have done, though
        they may yet fail: then all that was seen by it fails as well. Work that is `Shared` may be done with its like.
        """
        answer, job = self._asked(work)
        self._commits.submit(job, self._group(job, group))
        return await _answered(answer)

    def write_blocking(self, work: Callable[[Connection], T]) -> T:
        """`write`, for a thread: it blocks until the work is committed. Never for the event loop."""
        answer: Future[T] = Future()
        job = Job(work, monotonic() + ANSWER_SECONDS, answer)
        try:
            self._commits.submit(job, self._group(job, None))
            return answer.result(ANSWER_SECONDS)
        except TimeoutError:
            raise too_late() from None
        except RuntimeError:  # the threads have ended
            raise StoreUnavailable("the database is closed") from None

    async def close(self) -> None:
        """Let the work that was handed over end, end the threads, and close every connection."""
        self._closes_at = monotonic() + CLOSE_SECONDS
        await asyncio.to_thread(self._backend.close)

    def _asked(self, work: Callable[[Connection], T]) -> tuple[asyncio.Future[T], Job[T]]:
        """A job, and the future of what comes of it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        return answer, Job(work, monotonic() + ANSWER_SECONDS, answer, loop)

    def _group(self, job: Job[Any], group: Hashable) -> Hashable:
        """What a job is committed with: everything where only one may write, else its group, or nothing but itself."""
        if self._backend.one_writer:
            return None
        return job if group is None else group

    def _read(self, job: Job[Any]) -> None:
        """One transaction for one job, on a thread."""
        try:
            if monotonic() > min(job.expires_at, self._closes_at):
                raise too_late()
            with outages(), self._backend.reading() as connection:
                job.do(connection)
        except BaseException as error:
            job.fail(error)
        tell([job])

    def _migrate(self) -> None:
        with outages():
            self._backend.create()
            with self._backend.reading() as connection:
                if migrations.is_current(connection):
                    return
            try:
                with self._backend.migrating() as connection:
                    migrations.upgrade(connection)
            except migrations.UnknownRevision as error:
                raise UnsupportedDatabase(str(error)) from None


async def _answered(answer: asyncio.Future[T]) -> T:
    """What comes of a job, or StoreUnavailable after ANSWER_SECONDS; never stops the job."""
    timer = answer.get_loop().call_later(ANSWER_SECONDS, _give_up, answer)
    try:
        return await answer
    finally:
        timer.cancel()


def _give_up(answer: asyncio.Future[T]) -> None:
    if not answer.done():
        answer.set_exception(too_late())
