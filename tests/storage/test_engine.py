from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import IntegrityError

from app.domain.ports import StoreUnavailable
from app.storage import engine, sqlite, tables
from app.storage.engine import Database
from app.storage.errors import UnsupportedDatabase

ROOT = Path(__file__).parents[2]


class Gate:
    """Holds up the database's thread in the middle of its work."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self.open.wait(10)


@pytest.fixture
async def migrated(database: Database) -> Database:
    await database.migrate()
    await database.write(lambda connection: connection.execute(text("CREATE TABLE notes (note TEXT)")))
    return database


def note(word: str, gate: Gate | None = None, fail: Exception | None = None) -> Callable[[Connection], str]:
    """Work that writes a word down, passes through a gate, and fails."""

    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO notes VALUES (:word)"), {"word": word})
        if gate is not None:
            gate.pass_through()
        if fail is not None:
            raise fail
        return word

    return work


async def notes_in_the_end(database: Database, url: str) -> list[str]:
    """The notes, when all the work with this database is over."""
    await database.close()
    reopened = Database.open(url)
    found = await notes(reopened)
    await reopened.close()
    return found


async def notes(database: Database) -> list[str]:
    query = text("SELECT note FROM notes ORDER BY note")
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://u:secret@h/db", "sqlite+aiosqlite:///q.db", "http:postgresql://h/db"]
)
def test_other_databases_are_refused_without_the_url(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="expected sqlite:///path or postgresql://") as refused:
        Database.open(url)
    assert "secret" not in str(refused.value)


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "app.storage.postgres", raising=False)
    with pytest.raises(UnsupportedDatabase, match=r"pip install 'quaymaster\[postgres\]'"):
        Database.open("postgresql://u:p@h/db")


def test_the_store_of_keys_needs_neither_an_orm_nor_another_loop() -> None:
    """They are 8 MB and 45 ms that every start would pay."""
    heavy = {"sqlalchemy.orm", "sqlalchemy.ext.asyncio", "greenlet", "aiosqlite", "alembic", "psycopg"}
    code = "import sys, app.storage.engine, app.storage.keys; print(*sorted(set(sys.argv[1:]) & set(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", code, *heavy]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


async def test_a_write_is_there_when_it_returns(migrated: Database) -> None:
    assert await migrated.write(note("kept")) == "kept"
    assert await notes(migrated) == ["kept"]


@pytest.mark.parametrize(
    "error", [LookupError("mine"), ConnectionError("mine")], ids=lambda error: type(error).__name__
)
async def test_what_work_raises_comes_through_and_nothing_is_written(migrated: Database, error: Exception) -> None:
    with pytest.raises(type(error), match="mine"):
        await migrated.write(note("lost", fail=error))
    assert await notes(migrated) == []


async def test_a_mistake_of_ours_is_no_outage(migrated: Database) -> None:
    broken = insert(tables.virtual_keys).values(key_id=None)
    with pytest.raises(IntegrityError):
        await migrated.write(lambda connection: connection.execute(broken))


async def test_a_write_goes_on_when_its_caller_is_cancelled(migrated: Database, database_url: str) -> None:
    gate = Gate()
    caller = asyncio.create_task(migrated.write(note("kept", gate)))
    await gate.reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await notes(migrated) == []
    gate.open.set()
    assert await notes_in_the_end(migrated, database_url) == ["kept"]


async def test_a_write_that_fails_when_its_caller_is_gone_fails_in_silence(migrated: Database) -> None:
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    gate = Gate()
    caller = asyncio.create_task(migrated.write(note("lost", gate, LookupError("unheard"))))
    await gate.reached.wait()
    caller.cancel()
    await asyncio.wait([caller])
    del caller
    gate.open.set()
    await migrated.close()
    gc.collect()
    assert reports == []


async def test_nobody_waits_for_ever(migrated: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.05)
    gate = Gate()
    with pytest.raises(StoreUnavailable, match="out of time"):
        await migrated.write(note("late", gate))
    monkeypatch.undo()
    gate.open.set()
    assert await notes_in_the_end(migrated, database_url) == ["late"]


async def test_work_whose_turn_comes_too_late_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await with_notes(tmp_path)
    gate = Gate()
    first = asyncio.create_task(database.write(note("first", gate)))
    await gate.reached.wait()
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.05)
    with pytest.raises(StoreUnavailable, match="out of time"):
        await database.write(note("second"))
    monkeypatch.undo()
    gate.open.set()
    await first
    await database.write(note("third"))
    assert await notes(database) == ["first", "third"]
    await database.close()


async def test_a_write_is_done_when_its_turn_comes_though_its_caller_is_gone(tmp_path: Path) -> None:
    database = await with_notes(tmp_path)
    gate = Gate()
    first = asyncio.create_task(database.write(note("first", gate)))
    await gate.reached.wait()
    second = asyncio.create_task(database.write(note("second")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    gate.open.set()
    await first
    await database.write(note("third"))
    assert await notes(database) == ["first", "second", "third"]
    await database.close()


async def test_reads_wait_neither_for_a_write_nor_for_a_long_read(migrated: Database) -> None:
    write, read = Gate(), Gate()
    held = [
        asyncio.create_task(migrated.write(note("new", write))),
        asyncio.create_task(migrated.read(lambda _: read.pass_through())),
    ]
    await asyncio.gather(write.reached.wait(), read.reached.wait())
    assert await asyncio.wait_for(notes(migrated), 5) == []
    write.open.set()
    read.open.set()
    await asyncio.gather(*held)


async def test_writes_come_one_after_the_other_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would fail if they met: none waits for another's lock."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.0)
    database = await with_notes(tmp_path)
    await asyncio.gather(*(database.write(note(f"{number:02}")) for number in range(30)))
    assert await notes(database) == [f"{number:02}" for number in range(30)]
    await database.close()


async def test_close_waits_for_the_work_under_way_and_ends_the_threads(database_url: str) -> None:
    before = set(threading.enumerate())
    database = Database.open(database_url)
    await database.migrate()
    gate = Gate()
    work = asyncio.create_task(database.read(lambda _: gate.pass_through()))
    await gate.reached.wait()
    ours = {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("storage")}
    assert ours
    closing = asyncio.create_task(database.close())
    assert not (await asyncio.wait([closing], timeout=0.05))[0]
    gate.open.set()
    await closing
    assert work.done()
    assert not [thread for thread in ours if thread.is_alive()]


async def test_close_does_not_begin_what_has_waited_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CLOSE_SECONDS", 0.0)
    database = await with_notes(tmp_path)
    gate = Gate()
    first = asyncio.create_task(database.write(note("first", gate)))
    await gate.reached.wait()
    second = asyncio.create_task(database.write(note("second")))
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0.01)
    gate.open.set()
    await closing
    assert await first == "first"
    with pytest.raises(StoreUnavailable, match="out of time"):
        await second


async def test_closing_twice_is_closing_once(database: Database) -> None:
    await database.migrate()
    await database.close()


async def with_notes(folder: Path) -> Database:
    database = Database.open(f"sqlite:///{folder}/q.db")
    await database.migrate()
    await database.write(lambda connection: connection.execute(text("CREATE TABLE notes (note TEXT)")))
    return database
