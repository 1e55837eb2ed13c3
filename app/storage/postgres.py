"""PostgreSQL, through psycopg and the libpq within it: a URL means what it means to every client of PostgreSQL."""

from __future__ import annotations

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DisconnectionError

from app.storage.errors import UnsupportedDatabase
from app.storage.prepared import SENDING, as_of_core
from app.storage.tables import prepare_for_postgresql

THREADS: Final = 8
"""As many connections: no thread waits for one."""
CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 15.0
CANCEL_SECONDS: Final = 1.0

_DEFAULTS: Final = {
    "fallback_application_name": "quaymaster",
    "connect_timeout": CONNECT_SECONDS,
    "tcp_user_timeout": 1000 * CONNECT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""What the URL leaves open. A host that vanished is noticed within 5 seconds by whoever sends to it, and else in 45."""

_MIGRATION_LOCK: Final = 0x71756179
"""The advisory lock for migrations: any number that nobody else in the database uses ("quay")."""


class PostgresServer:
    """A database on a server. Reads and writes share the threads. Raises UnsupportedDatabase."""

    one_writer: Final = False

    def __init__(self, url: str) -> None:
        try:
            self._settings: dict[str, Any] = _DEFAULTS | conninfo_to_dict(url)
        except psycopg.Error:
            raise UnsupportedDatabase("PostgreSQL's client does not understand the database URL.") from None
        prepare_for_postgresql()
        self.engine = self._open(STATEMENT_SECONDS, pool_size=THREADS, max_overflow=0)
        self.readers = self.writers = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")

    def create(self) -> None:
        """Nothing: creating databases is their operator's."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction."""
        return self.engine.begin()

    writing = reading

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction that takes its time, while no other process migrates."""
        with self._open(None, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            yield connection

    @contextmanager
    def sending(self, connection: Connection) -> Iterator[None]:
        """Send statements without waiting for what becomes of those before: psycopg's pipeline."""
        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        connection.info[SENDING] = True
        try:
            with driver.pipeline() as pipeline:
                try:
                    yield
                except BaseException:
                    with suppress(psycopg.Error):
                        pipeline.sync()  # what is left to fail would be logged, with the address
                    raise
        except psycopg.Error as error:
            raise as_of_core(error, connection, "pipeline") from error
        finally:
            connection.info.pop(SENDING, None)

    def close(self) -> None:
        """End the threads, when they have done what they were given, and close every connection."""
        self.readers.shutdown()
        self.engine.dispose()

    def _open(self, statement_seconds: float | None, **pool: Any) -> Engine:
        def connect() -> _Connection:
            try:
                connection = _Connection.connect(**self._settings)
            except UnicodeError:  # no such name can be looked up
                raise psycopg.OperationalError("the host has no valid name") from None
            connection.statement_seconds = statement_seconds
            return connection

        engine = create_engine(
            "postgresql+psycopg://", creator=connect, hide_parameters=True, use_native_hstore=False, **pool
        )
        event.listen(engine, "checkout", _refuse_the_dead)
        return engine


class _Connection(psycopg.Connection[Any]):
    """A connection that waits `statement_seconds` for a statement, then has it cancelled, and closes.

    The limit is kept here because a server that hangs keeps none, and some poolers pass no `statement_timeout` on.
    """

    statement_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Go through with one exchange with the server: psycopg calls this for each."""
        try:
            return super().wait(gen, interval, self.statement_seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.info.transaction_status is not TransactionStatus.ACTIVE:
                raise
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_SECONDS)
            self.close()
            raise QueryCanceled("the server took too long") from None


def _refuse_the_dead(connection: psycopg.Connection[Any], _record: object, _proxy: object) -> None:
    """Have a connection replaced when there is something to read that nobody asked for: the server's good-bye.

    Takes 2 µs, where asking the server (SQLAlchemy's pre-ping) takes 200.
    """
    poll = select.poll()
    if not connection.closed:
        poll.register(connection.fileno(), select.POLLIN)
    if connection.closed or poll.poll(0):
        raise DisconnectionError
