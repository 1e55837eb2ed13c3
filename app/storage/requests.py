"""The request log in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, select

from app.domain.requests import RequestRow
from app.storage.engine import Database
from app.storage.tables import requests

_COLUMNS: Final = ", ".join(RequestRow._fields)
_SQLITE: Final = (
    f"INSERT INTO requests ({_COLUMNS}) VALUES ({', '.join('?' * len(RequestRow._fields))}) "  # noqa: S608 - our names
    "ON CONFLICT (request_id) DO NOTHING"
)
_ARRAYS: Final = (
    {"at": "timestamp", "tags": "text", "attempts": "int", "status": "int"}
    | dict.fromkeys(("duration_ms", "overhead_ms", "upstream_ms"), "float8")
    | dict.fromkeys(("bytes_in", "bytes_out", "cost_nanousd"), "bigint")
)
_AS_KEPT: Final = {"at": "at AT TIME ZONE 'UTC'", "tags": "tags::json"}
_GIVEN: Final = ", ".join(f"%s::{_ARRAYS.get(name, 'text')}[]" for name in RequestRow._fields)
_POSTGRESQL: Final = (
    f"INSERT INTO requests ({_COLUMNS}) "  # noqa: S608 - our names
    f"SELECT {', '.join(_AS_KEPT.get(name, name) for name in RequestRow._fields)} "
    f"FROM unnest({_GIVEN}) AS fresh ({_COLUMNS}) ON CONFLICT (request_id) DO NOTHING"
)
"""Columns go as arrays: one statement, one round trip, and no plan for each number of rows."""


class SqlRequestStore:
    """A `RequestStore` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Sequence[RequestRow]) -> None:
        """Commit rows, past SQLAlchemy's own types: they cost more than the insert."""

        def work(connection: Connection) -> None:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql(_SQLITE, list(rows))
            else:
                connection.exec_driver_sql(_POSTGRESQL, tuple(list(column) for column in zip(*rows, strict=True)))

        if rows:
            self._database.write_blocking(work)

    async def purge(self, before: datetime, limit: int) -> int:
        """Forget the oldest first."""
        oldest = select(requests.c.number).where(requests.c.at < before).order_by(requests.c.at).limit(limit)
        statement = delete(requests).where(requests.c.number.in_(oldest))
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)
