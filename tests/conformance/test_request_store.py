"""What every `RequestStore` does, over each of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import RowMapping, select

from app.domain.requests import RequestRow
from app.storage.engine import Database
from app.storage.requests import SqlRequestStore
from app.storage.tables import requests

BARE = RequestRow(
    at="2026-11-21 15:24:36.123456",
    request_id="req_1",
    operation=None,
    method="GET",
    path="/nowhere",
    key_id=None,
    key_alias=None,
    owner=None,
    user_id=None,
    team_id=None,
    tags="[]",
    container_id=None,
    file_id=None,
    provider=None,
    deployment=None,
    attempts=0,
    status=None,
    error_code=None,
    error_detail=None,
    outcome=None,
    duration_ms=0.0,
    overhead_ms=0.0,
    upstream_ms=0.0,
    bytes_in=0,
    bytes_out=0,
    cost_nanousd=0,
    upstream_request_id=None,
    request=None,
    response=None,
)
FULL = BARE._replace(
    request_id="req_2",
    operation="containers.create",
    path=None,
    key_id="0123456789abcdef",
    key_alias="Zoë's key 🗝",
    owner="team:t",
    user_id="u",
    team_id="t",
    tags='["a","ü"]',
    container_id="cntr_1",
    file_id="cfile_1",
    provider="openai",
    deployment="main",
    attempts=2,
    status=200,
    error_code="code",
    error_detail="detail",
    outcome="answered",
    duration_ms=12.5,
    overhead_ms=0.125,
    upstream_ms=12.375,
    bytes_in=2**40,
    bytes_out=3,
    cost_nanousd=30_000_000,
    upstream_request_id="req_u",
    request='{"name":"\\u0000ü"}',
    response="{}",
)
AT = datetime(2026, 11, 21, 15, 24, 36, 123456, UTC)


@pytest.fixture
async def store(database: Database) -> SqlRequestStore:
    await database.migrate()
    return SqlRequestStore(database)


async def kept(database: Database) -> list[RowMapping]:
    query = select(requests).order_by(requests.c.number)
    return await database.read(lambda connection: list(connection.execute(query).mappings()))


async def add(store: SqlRequestStore, *rows: RequestRow) -> None:
    await asyncio.to_thread(store.add, rows)


async def test_rows_come_back_as_they_went_in(store: SqlRequestStore, database: Database) -> None:
    await add(store)
    await add(store, BARE, FULL)
    bare, full = (dict(row) for row in await kept(database))
    assert (bare.pop("number"), full.pop("number")) == (1, 2)
    assert bare == BARE._asdict() | {"at": AT, "tags": []}
    assert full == FULL._asdict() | {"at": AT, "tags": ["a", "ü"]}


async def test_what_is_added_twice_is_there_once(store: SqlRequestStore, database: Database) -> None:
    await add(store, BARE)
    await add(store, BARE._replace(status=500), FULL)
    assert [(row["request_id"], row["status"]) for row in await kept(database)] == [("req_1", None), ("req_2", 200)]


async def test_a_large_batch_is_kept_whole_and_in_order(store: SqlRequestStore, database: Database) -> None:
    rows = [
        (BARE, FULL)[n % 2]._replace(request_id=f"req_{n:03}", at=f"2026-11-21 15:24:36.{n:06}") for n in range(250)
    ]
    await add(store, *rows, *rows[:5])
    await add(store, *rows[100:])
    found = await kept(database)
    assert [row["request_id"] for row in found] == [row.request_id for row in rows]
    for row, given in zip(found, rows, strict=True):
        same = set(given._fields) - {"at", "tags"}
        assert {name: row[name] for name in same} == {name: getattr(given, name) for name in same}


async def test_the_oldest_go_first_and_only_so_many_at_once(store: SqlRequestStore, database: Database) -> None:
    times = ("2026-11-03", "2026-11-01", "2026-11-02", "2026-11-04")
    await add(store, *(BARE._replace(request_id=day, at=f"{day} 00:00:00.000000") for day in times))
    limit = datetime(2026, 11, 4, tzinfo=UTC)
    assert await store.purge(limit, 2) == 2
    assert [row["request_id"] for row in await kept(database)] == ["2026-11-03", "2026-11-04"]
    assert [await store.purge(limit, 2), await store.purge(limit, 2)] == [1, 0]
    assert await store.purge(limit + timedelta(microseconds=1), 2) == 1
