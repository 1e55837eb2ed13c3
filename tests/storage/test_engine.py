from __future__ import annotations

import asyncio
import socket
import stat
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text

from app.domain.ports import StoreUnavailable
from app.storage import engine
from app.storage.engine import Database, UnsupportedDatabase
from app.storage.keys import SqlKeyStore
from tests.services import free_port
from tests.storage.keys import virtual_key


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///./data/quaymaster.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////var/lib/q.db", "sqlite+aiosqlite"),
        ("postgres://u:p@h/db", "postgresql+asyncpg"),
        ("postgresql://u:p@h:5433/db", "postgresql+asyncpg"),
        ("postgresql+asyncpg://u:p@h/db", "postgresql+asyncpg"),
    ],
)
def test_urls_get_their_driver(url: str, driver: str) -> None:
    assert engine._driver_url(url).drivername == driver


def test_sslmode_is_spelled_as_asyncpg_spells_it() -> None:
    url = engine._driver_url("postgresql://u:p@h/db?sslmode=require&target_session_attrs=read-write")
    assert dict(url.query) == {"ssl": "require", "target_session_attrs": "read-write"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://u:secret@h/db",
        "postgresql+psycopg://u:secret@h/db",
        "postgresql://u:secret@h:port/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_what_cannot_be_used_is_refused_without_the_url(url: str) -> None:
    with pytest.raises(UnsupportedDatabase) as refused:
        Database.open(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(UnsupportedDatabase, match=r"pip install 'quaymaster\[postgres\]'"):
        Database.open("postgresql://u:p@h/db")


async def test_a_new_file_and_its_folder_are_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "q.db"
    database = Database.open(f"sqlite:///{path}")
    await database.migrate()
    await database.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_sqlite_is_durable_and_lets_readers_read(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    async with database.reading() as connection:
        pragmas = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    await database.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def test_a_folder_that_cannot_be_made_is_an_outage_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database.open(f"sqlite:///{tmp_path}/file/q.db")
    with pytest.raises(StoreUnavailable) as outage:
        await database.migrate()
    await database.close()
    assert str(tmp_path) not in str(outage.value)


async def test_a_file_that_is_no_database_is_an_outage_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "q.db").write_bytes(b"something else entirely" * 100)
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    with pytest.raises(StoreUnavailable, match="SQLITE_NOTADB"):
        await database.migrate()
    await database.close()


async def test_a_locked_file_is_an_outage_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.05)
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    async with database.writing():
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            async with database.writing():
                pass
    await database.close()


async def test_a_cancelled_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    store = SqlKeyStore(database)
    for _ in range(20):
        task = asyncio.create_task(store.add(virtual_key()))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(store.add(virtual_key()), 2)
    await database.close()


async def test_a_closed_port_is_an_outage_without_address_or_password() -> None:
    port = free_port()
    await _is_silent_about(f"postgresql://quay:s3cret@127.0.0.1:{port}/quay", "s3cret", str(port), "127.0.0.1")


async def test_a_host_without_an_address_is_an_outage() -> None:
    await _is_silent_about("postgresql://quay:s3cret@no-such-host.invalid/quay", "s3cret", "no-such-host")


async def test_a_server_that_never_answers_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        await _is_silent_about(f"postgresql://quay:s3cret@127.0.0.1:{silent.getsockname()[1]}/quay", "s3cret")


@pytest.mark.service
async def test_a_wrong_password_and_a_missing_database_are_outages(postgres: str) -> None:
    address = postgres.split("@")[1]
    await _is_silent_about(f"postgresql://quay:s3cret@{address}/postgres", "s3cret", address)
    await _is_silent_about(f"{postgres}/nobody-made-this", "nobody-made-this")


@pytest.mark.service
async def test_connections_that_died_are_replaced(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    await database.migrate()
    async with database.reading() as connection:
        mine = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    other = Database.open(postgres_url)
    async with other.writing() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
    assert await SqlKeyStore(database).get("0" * 16) is None
    await other.close()
    await database.close()


@pytest.mark.service
async def test_a_connection_that_dies_under_a_statement_is_an_outage(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    with pytest.raises(StoreUnavailable):
        async with database.reading() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await database.close()


async def test_naive_times_are_refused(database: Database) -> None:
    await database.migrate()
    naive = virtual_key(created_at=datetime(2026, 1, 1))
    with pytest.raises(Exception, match="time zone"):
        await SqlKeyStore(database).add(naive)


async def test_times_come_back_in_utc(database: Database) -> None:
    await database.migrate()
    there = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    key = virtual_key(created_at=there, expires_at=there)
    await SqlKeyStore(database).add(key)
    found = await SqlKeyStore(database).get(key.key_id)
    assert found is not None
    assert found.expires_at == there
    assert found.expires_at.tzinfo is UTC


async def _is_silent_about(url: str, *secrets: str) -> None:
    database = Database.open(url)
    with pytest.raises(StoreUnavailable) as outage:
        await database.migrate()
    await database.close()
    assert not [secret for secret in secrets if secret in str(outage.value)]
    assert outage.value.__cause__ is None
    assert outage.value.__suppress_context__
