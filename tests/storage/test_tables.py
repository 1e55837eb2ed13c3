from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from tests.storage.containers import container
from tests.storage.keys import DEED, virtual_key


async def test_naive_times_are_refused(database: Database) -> None:
    await database.migrate()
    naive = virtual_key(created_at=datetime(2026, 1, 1))
    with pytest.raises(Exception, match="time zone"):
        await SqlKeyStore(database).add(naive, DEED)


async def test_times_come_back_in_utc(database: Database) -> None:
    await database.migrate()
    there = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    key = virtual_key(created_at=there, expires_at=there)
    await SqlKeyStore(database).add(key, DEED)
    found = await SqlKeyStore(database).get(key.key_id)
    assert found is not None
    assert found.expires_at == there
    assert found.expires_at.tzinfo is UTC


async def test_texts_that_postgresql_cannot_keep_are_replaced(database: Database) -> None:
    await database.migrate()
    crate = container(name="a\0b\ud800c ü 🗝")
    await SqlContainerStore(database).adopt(crate)
    record = await SqlContainerStore(database).record(crate.container_id)
    assert record is not None
    assert record.container.name == "a\ufffdb\ufffdc ü 🗝"
