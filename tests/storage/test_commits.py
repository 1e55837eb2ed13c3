"""Writes that are committed together, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import inf
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, column, event, insert, table, text, update

from app.domain.accounts import AccountKind
from app.domain.ports import StoreUnavailable
from app.storage import commits
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import SqlLedger
from app.storage.prepared import Prepared
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.spending import BY_THE_MINUTE, account, order
from tests.storage.test_engine import Gate, note, notes

GROUP = "all of this test"
NOTES = table("notes", column("note"))
ADD = Prepared(insert(NOTES), "note")
CHANGE = Prepared(update(NOTES).where(NOTES.c.note == bindparam("old")).values(note=bindparam("new")))


@pytest.fixture
async def migrated(database: Database) -> Database:
    await database.migrate()
    await database.write(lambda connection: connection.execute(text("CREATE TABLE notes (note TEXT UNIQUE)")))
    return database


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, nothing here is a long work."""
    monkeypatch.setattr(commits, "GROUP_SECONDS", 60.0)


@contextmanager
def counting(database: Database) -> Iterator[list[object]]:
    """The commits meanwhile."""
    seen: list[object] = []

    def note_it(connection: Connection) -> None:
        seen.append(connection)

    event.listen(database._backend.engine, "commit", note_it)
    yield seen
    event.remove(database._backend.engine, "commit", note_it)


async def after(database: Database, gate: Gate, *works: Callable[[Connection], Any]) -> list[Any]:
    """What comes of works that all wait while another one is held up."""
    first = asyncio.create_task(database.write(note("first", gate), GROUP))
    await gate.reached.wait()
    rest = [asyncio.create_task(database.write(work, GROUP)) for work in works]
    await asyncio.sleep(0)
    gate.open.set()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


def add(word: str) -> Callable[[Connection], str]:
    """Work that is only sent."""

    def work(connection: Connection) -> str:
        ADD.post(connection, {"note": word})
        return word

    return work


async def test_what_waits_is_committed_together(migrated: Database) -> None:
    with counting(migrated) as seen:
        assert await after(migrated, Gate(), *(add(f"{number:02}") for number in range(20))) == [
            f"{number:02}" for number in range(20)
        ]
    assert len(seen) == 2
    assert await notes(migrated) == [*(f"{number:02}" for number in range(20)), "first"]


async def test_nobody_is_answered_before_all_is_committed(migrated: Database) -> None:
    first, last = Gate(), Gate()
    held = asyncio.create_task(migrated.write(note("a", first), GROUP))
    await first.reached.wait()
    done = asyncio.create_task(migrated.write(add("b"), GROUP))
    slow = asyncio.create_task(migrated.write(note("c", last), GROUP))
    await asyncio.sleep(0)
    first.open.set()
    await last.reached.wait()
    assert held.done()
    assert not done.done()
    assert await notes(migrated) == ["a"]
    last.open.set()
    await asyncio.gather(done, slow)
    assert await notes(migrated) == ["a", "b", "c"]


async def test_what_one_raises_undoes_nothing_of_the_others(migrated: Database) -> None:
    mine = LookupError("mine")
    found = await after(migrated, Gate(), add("b"), note("lost", fail=mine), add("c"))
    assert found == ["b", mine, "c"]
    assert await notes(migrated) == ["b", "c", "first"]


async def test_what_the_database_refuses_of_one_undoes_nothing_of_the_others(migrated: Database) -> None:
    found = await after(migrated, Gate(), add("b"), add("first"), add("c"))
    assert (found[0], type(found[1]).__name__, found[2]) == ("b", "IntegrityError", "c")
    assert await notes(migrated) == ["b", "c", "first"]


async def test_a_commit_that_one_makes_fail_fails_for_that_one_alone(migrated: Database) -> None:
    def doubtful(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        else:
            connection.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")
        connection.execute(text("INSERT INTO parts VALUES (1)"))

    def prepare(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE wholes (number INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE parts (number INTEGER REFERENCES wholes DEFERRABLE)"))

    await migrated.write(prepare)
    found = await after(migrated, Gate(), add("b"), doubtful, add("c"))
    assert (found[0], type(found[1]).__name__, found[2]) == ("b", "IntegrityError", "c")
    assert await notes(migrated) == ["b", "c", "first"]


@pytest.mark.service
async def test_an_outage_in_the_middle_is_one_for_all_and_nothing_is_written(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    await database.migrate()
    await database.write(lambda connection: connection.execute(text("CREATE TABLE notes (note TEXT UNIQUE)")))
    die = text("SELECT pg_terminate_backend(pg_backend_pid())")
    found = await after(database, Gate(), add("b"), lambda connection: connection.execute(die), add("c"))
    assert [type(one) for one in found[:2]] == [StoreUnavailable] * 2
    assert await notes(database) == (["first"] if isinstance(found[2], Exception) else ["c", "first"])
    await database.close()


async def test_a_long_work_is_the_last_of_its_group(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "GROUP_SECONDS", 0.0)
    with counting(migrated) as seen:
        await after(migrated, Gate(), add("b"), add("c"), add("d"))
    assert len(seen) == 4


async def test_a_group_has_an_end(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "GROUP_WORKS", 2)
    with counting(migrated) as seen:
        await after(migrated, Gate(), *(add(f"{number}") for number in range(4)))
    assert len(seen) == 3


async def test_rows_are_counted_also_where_statements_are_only_sent(migrated: Database) -> None:
    """On PostgreSQL the work is done once more, alone."""

    def change(connection: Connection) -> int:
        return CHANGE.run(connection, {"old": "nothing", "new": "something"})

    assert await after(migrated, Gate(), add("b"), change, add("c")) == ["b", 0, "c"]
    assert await notes(migrated) == ["b", "c", "first"]


@pytest.mark.service
async def test_groups_do_not_wait_for_each_other_on_a_server(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    await database.migrate()
    await database.write(lambda connection: connection.execute(text("CREATE TABLE notes (note TEXT UNIQUE)")))
    gate = Gate()
    held = asyncio.create_task(database.write(note("held", gate), "one"))
    await gate.reached.wait()
    assert await database.write(add("b"), "another") == "b"
    assert await database.write(add("c")) == "c"
    gate.open.set()
    await held
    await database.close()


async def test_creates_of_one_key_and_its_team_are_committed_together(migrated: Database) -> None:
    store = SqlCreationStore(migrated, lambda: at(1))
    ordered = order(account(max_budget_nanousd=10**12), account(AccountKind.TEAM, "sea", max_containers=100))

    async def begin(number: int) -> str:
        intent = creation(creation_id=f"{number:032x}")
        assert await store.begin(intent, ordered, same_key_since=at(-1)) == ()
        return intent.creation_id

    async def complete(creation_id: str) -> None:
        assert await store.complete(creation_id, container(), ANSWER) > 0

    await begin(0)  # which makes the balances' rows
    gate, payers = Gate(), tuple(account.name for account in ordered.accounts)
    with counting(migrated) as seen:
        held = asyncio.create_task(migrated.write(note("held", gate), payers))
        await gate.reached.wait()
        begun = [asyncio.create_task(begin(number)) for number in range(1, 21)]
        await asyncio.sleep(0)
        gate.open.set()
        ids = await asyncio.gather(*begun)
        assert len(seen) == 2
        gate.reached.clear()
        gate.open.clear()
        held = asyncio.create_task(migrated.write(note("held again", gate), payers))
        await gate.reached.wait()
        made = [asyncio.create_task(complete(creation_id)) for creation_id in ids]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(held, *made)
        assert len(seen) == 4
    ledger = SqlLedger(migrated)
    standing = (await ledger.balances(payers, at(1))).values()
    assert [(one.containers, one.spent_nanousd) for one in standing] == [(21, 20 * BY_THE_MINUTE.cost(0))] * 2
    assert await ledger.verify() == []


async def test_what_joins_one_that_comes_too_late_to_be_done_is_told_so(migrated: Database) -> None:
    loop = asyncio.get_running_loop()
    joining: asyncio.Future[str] = loop.create_future()

    class Ended(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Any:
            doomed.submit(commits.Job(add("b"), inf, joining, loop), GROUP)
            raise RuntimeError("the threads have ended")

    backend = migrated._backend
    backend.writers.shutdown()
    backend.writers = Ended()
    doomed = commits.Commits(backend, lambda: inf)
    with pytest.raises(RuntimeError, match="have ended"):
        doomed.submit(commits.Job(add("a"), inf, loop.create_future(), loop), GROUP)
    with pytest.raises(StoreUnavailable, match="closed"):
        await asyncio.wait_for(joining, 5)
