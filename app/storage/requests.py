"""The request log in the database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from math import nan
from typing import Any, Final

import orjson
from sqlalchemy import Connection, delete, select

from app.domain.requests import RequestRow
from app.storage.engine import Database
from app.storage.prepared import execute
from app.storage.tables import requests

_COLUMNS: Final = ", ".join(RequestRow._fields)
CALM_ROWS: Final = 20
BUSY_ROWS: Final = 100
"""How many rows go into one statement. sqlite3 lets the interpreter lock go around each, and so around each row of an
`executemany`: beside a busy event loop that is a wait for it, each time. To bind a hundred takes 0.15 ms with the lock,
to insert them 0.5 ms without."""
REST_SECONDS: Final = 0.0001
CALM_SECONDS: Final = 0.0005
"""On a core that both share, the kernel may let an insert run for milliseconds before the event loop has a turn. After
a few rows the thread rests; where that takes longer than this, requests wait for one another anyway, and rows for rests
would pile up."""
_TYPES: Final = (
    {"at": "timestamp", "attempts": "int", "status": "int"}
    | dict.fromkeys(("duration_ms", "overhead_ms", "upstream_ms"), "float8")
    | dict.fromkeys(("bytes_in", "bytes_out", "cost_nanousd"), "bigint")
)
_AS_KEPT: Final = {"at": "at AT TIME ZONE 'UTC'", "tags": "tags::json"}
_POSTGRESQL: Final = (
    f"INSERT INTO requests ({_COLUMNS}) "  # noqa: S608 - our names
    f"SELECT {', '.join(_AS_KEPT.get(name, name) for name in RequestRow._fields)} FROM json_to_recordset(%s::json) "
    f"AS fresh ({', '.join(name + ' ' + _TYPES.get(name, 'text') for name in RequestRow._fields)}) "
    "ON CONFLICT (request_id) DO NOTHING"
)
"""All rows go as one JSON text: one statement, one round trip, and no plan for each number of rows. Spelled by psycopg,
as an array for each column, a row takes 55 µs."""


class SqlRequestStore:
    """A `RequestStore` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Sequence[RequestRow]) -> None:
        """Commit rows, past SQLAlchemy's own types: they cost more than the insert."""
        if rows:
            self._database.write_blocking(lambda connection: _insert(connection, rows))

    async def purge(self, before: datetime, limit: int) -> int:
        """Forget the oldest first."""
        oldest = select(requests.c.number).where(requests.c.at < before).order_by(requests.c.at).limit(limit)
        statement = delete(requests).where(requests.c.number.in_(oldest))
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _insert(connection: Connection, rows: Sequence[RequestRow]) -> None:
    if connection.dialect.name != "sqlite":
        said = [dict(zip(RequestRow._fields, row, strict=True)) for row in rows]
        execute(connection, _POSTGRESQL, (orjson.dumps(said).decode(),))
        return
    start, calm = 0, True
    while start < len(rows):
        size = CALM_ROWS if calm else BUSY_ROWS
        some = rows[start : start + size]
        if len(some) == size:
            execute(connection, _sqlite(size), _bound(some))
        else:
            execute(connection, _sqlite(1), [_bound([row]) for row in some], many=True)
        start += size
        calm = calm and _rested()


def _rested() -> bool:
    """Rest; whether that took no longer than it should."""
    began_at = time.monotonic()
    time.sleep(REST_SECONDS)
    return time.monotonic() - began_at < CALM_SECONDS


@cache
def _sqlite(rows: int) -> str:
    values = f"({', '.join('?' * len(RequestRow._fields))})"
    return (
        f"INSERT INTO requests ({_COLUMNS}) VALUES {', '.join([values] * rows)} "  # noqa: S608 - our names
        "ON CONFLICT (request_id) DO NOTHING"
    )


def _bound(rows: Sequence[RequestRow]) -> tuple[Any, ...]:
    """Rows as the parameters of one statement, with NaN for None, which SQLite keeps as NULL.

    sqlite3 looks for an adapter each time it binds a None: 0.3 µs, and a row has seven. Of a float it asks nothing.
    """
    return tuple([nan if value is None else value for value in chain.from_iterable(rows)])
