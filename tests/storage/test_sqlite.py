from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from app.domain.ports import StoreUnavailable
from app.storage import sqlite
from app.storage.engine import Database
from app.storage.errors import UnsupportedDatabase


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite://data/q.db", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_a_database_needs_a_file(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="needs a file"):
        Database.open(url)


def test_nothing_is_made_before_it_is_asked_for(tmp_path: Path) -> None:
    Database.open(f"sqlite:///{tmp_path}/q.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_new_file_and_its_folder_are_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "q.db"
    database = Database.open(f"sqlite:///{path}")
    await database.migrate()
    await database.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_every_connection_is_durable_and_lets_readers_read(tmp_path: Path) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    assert await database.read(pragmas) == ["wal", 2, 1, 5000, sqlite.LOG_PAGES]
    assert await database.write(pragmas) == ["wal", 2, 1, 5000, sqlite.LOG_PAGES]
    await database.close()
    assert os.listdir(tmp_path) == ["q.db"]


async def test_one_connection_writes_whoever_reads_meanwhile(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()

    def driver(connection: Connection) -> object:
        return connection.connection.dbapi_connection

    def fail(_: Connection) -> None:
        raise LookupError

    seen = []
    for _ in range(4):
        seen.append(await database.write(driver))
        assert await database.read(driver) is not seen[0]
        with pytest.raises(LookupError):
            await database.write(fail)
    assert seen == [seen[0]] * 4
    await database.close()


async def test_a_commit_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()

    def share_what_is_not_there(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")  # until the commit
        connection.exec_driver_sql("INSERT INTO container_shares VALUES (1, 'team:a', 'read')")

    def shares(connection: Connection) -> object:
        return connection.exec_driver_sql("SELECT count(*) FROM container_shares").scalar_one()

    with pytest.raises(IntegrityError):
        await database.write(share_what_is_not_there)
    assert await database.write(shares) == 0
    await database.close()


async def test_a_full_disk_is_an_outage_until_there_is_room(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()

    def pages(most: int) -> Callable[[Connection], object]:
        return lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={most}").scalar_one()

    def take_a_mebibyte(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE taken (bytes BLOB)")
        connection.exec_driver_sql("INSERT INTO taken VALUES (zeroblob(1048576))")

    await database.write(pages(1))  # no less than there are: where one connection writes, for all that is written
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
            await database.write(take_a_mebibyte)
    await database.write(pages(10_000))
    await database.write(take_a_mebibyte)
    await database.close()


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


async def test_what_others_hold_locked_is_an_outage_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    ours, theirs = Database.open(f"sqlite:///{tmp_path}/q.db"), Database.open(f"sqlite:///{tmp_path}/q.db")
    await ours.migrate()

    with theirs._backend.migrating():
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            await ours.write(lambda _: None)
        await ours.read(lambda _: None)
    await ours.write(lambda _: None)
    await ours.close()
    await theirs.close()


async def test_a_transaction_reads_one_state(tmp_path: Path) -> None:
    ours, theirs = Database.open(f"sqlite:///{tmp_path}/q.db"), Database.open(f"sqlite:///{tmp_path}/q.db")
    await ours.migrate()

    def tables(connection: Connection) -> int:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        return count

    def before_and_after(connection: Connection) -> tuple[int, int]:
        before = tables(connection)
        with theirs._backend.migrating() as other:
            other.exec_driver_sql("CREATE TABLE new (x)")
        return before, tables(connection)

    before, after = await ours.read(before_and_after)
    assert after == before
    assert await ours.read(tables) == before + 1
    await ours.close()
    await theirs.close()
