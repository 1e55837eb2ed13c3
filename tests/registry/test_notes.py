"""What answers tell is written down behind them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from app.domain.containers import Answer, Container, Ending
from app.domain.exchange import Exchange
from app.domain.ports import ContainerRecord, Observations, StoreUnavailable
from app.registry import notes as module
from app.registry.notes import Notes
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import SqlLedger
from quaymaster.operations import (
    BY_NAME,
    CONTAINERS_DELETE,
    CONTAINERS_RETRIEVE,
    FILES_CONTENT,
    FILES_CREATE,
    FILES_DELETE,
    FILES_LIST,
    FILES_RETRIEVE,
    OPERATIONS,
    Operation,
)
from tests.exchanges import answered_exchange
from tests.storage.containers import at, container, creation
from tests.storage.spending import BY_THE_MINUTE, order


class WatchedStore(SqlContainerStore):
    """A real store that keeps what it is told to observe, and can be down."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.observed: list[Observations] = []
        self.down = False
        self.released = asyncio.Event()
        self.released.set()

    async def observe(self, seen: Observations) -> None:
        await self.released.wait()
        if self.down:
            raise StoreUnavailable("the database did not answer (on purpose)")
        self.observed.append(seen)
        await super().observe(seen)


class Desk:
    """Notes over a real database, and a clock that only the test moves (noon, and minutes after it)."""

    def __init__(self, store: WatchedStore, database: Database) -> None:
        self.store = store
        self.database = database
        self.minutes = 0.0
        self.notes = Notes(store, lambda: at(self.minutes).timestamp())

    async def known(self, **fields: Any) -> str:
        made = container(**fields)
        await self.store.adopt(made)
        return made.container_id

    def answered(
        self,
        container_id: str,
        operation: Operation = CONTAINERS_RETRIEVE,
        status: int = 200,
        *,
        said: dict[str, Any] | None = None,
        file_id: str | None = None,
        query: str = "",
        took_seconds: float = 0.1,
    ) -> Exchange:
        """Let an answer pass by."""
        exchange = answered_exchange()
        exchange.container_id, exchange.file_id = container_id, file_id
        exchange.operation, exchange.upstream_query = operation, query
        exchange.started_at_unix = at(self.minutes).timestamp() - took_seconds
        exchange.response_json = orjson.dumps(said)
        exchange.response_object = said if operation is not FILES_LIST else None
        self.notes.answered(exchange, operation, status)
        return exchange

    def retrieved(self, container_id: str, **said: Any) -> None:
        """Let a container object pass by."""
        document = {"id": container_id, "object": "container", "name": "crate", "status": "running"}
        self.answered(container_id, said=document | {"created_at": int(at(0).timestamp())} | said)

    def listed_files(self, container_id: str, *file_ids: str, has_more: bool = False, **how: Any) -> None:
        data = [{"id": file_id, "object": "container.file", "bytes": 7} for file_id in file_ids]
        self.answered(container_id, FILES_LIST, said={"object": "list", "data": data, "has_more": has_more}, **how)

    async def container(self, container_id: str) -> Container:
        return (await self.record(container_id)).container

    async def record(self, container_id: str) -> ContainerRecord:
        record = await self.store.record(container_id)
        assert record is not None
        return record


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.open(f"sqlite:///{tmp_path}/quaymaster.db")
    await database.migrate()
    yield Desk(WatchedStore(database), database)
    await database.close()


IN_IT = [it for it in OPERATIONS if "{container_id}" in it.path and it is not CONTAINERS_DELETE]


@pytest.mark.parametrize("operation", IN_IT, ids=lambda operation: operation.name)
async def test_whatever_succeeds_shows_that_a_container_is_in_use(desk: Desk, operation: Operation) -> None:
    container_id = await desk.known()
    desk.minutes = 3
    desk.answered(container_id, operation)
    await desk.notes.flush()
    assert (await desk.container(container_id)).last_active_at == at(3)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500, 302])
async def test_what_does_not_succeed_is_no_use(desk: Desk, status: int) -> None:
    container_id = await desk.known()
    desk.minutes = 3
    desk.answered(container_id, FILES_CONTENT, status)
    await desk.notes.flush()
    found = await desk.container(container_id)
    assert (found.last_active_at, found.ending) == (at(0), None)


async def test_what_an_upstream_says_of_a_container_is_kept_as_it_said_it(desk: Desk) -> None:
    container_id = await desk.known()
    desk.minutes = 1
    desk.retrieved(container_id, status="odd", more={"z": 1, "a": 2})
    await desk.notes.flush()
    found = await desk.container(container_id)
    assert (found.status, found.seen_at) == ("odd", at(1))
    assert found.document.endswith(b'"more":{"z":1,"a":2}}')


async def test_what_is_said_of_another_container_is_not(desk: Desk) -> None:
    container_id, other = await desk.known(), await desk.known()
    desk.answered(container_id, said={"id": other, "status": "odd"})
    await desk.notes.flush()
    assert (await desk.container(other)).status == "running"


async def test_a_container_that_its_upstream_does_not_know_is_gone(desk: Desk) -> None:
    retrieved, deleted, file_missing = await desk.known(), await desk.known(), await desk.known()
    desk.minutes = 1
    desk.answered(retrieved, CONTAINERS_RETRIEVE, 404)
    desk.answered(deleted, CONTAINERS_DELETE, 404)
    desk.answered(file_missing, FILES_RETRIEVE, 404)
    await desk.notes.flush()
    endings = [(await desk.container(it)).ending for it in (retrieved, deleted, file_missing)]
    assert endings == [Ending.GONE, Ending.GONE, None]
    assert (await desk.container(retrieved)).ended_at == at(1)


@pytest.mark.parametrize("fields", [{}, {"status": "expired"}])
async def test_one_that_merely_expired_is_still_listed_as_expired(desk: Desk, fields: dict[str, Any]) -> None:
    container_id = await desk.known(**fields)
    desk.minutes = 20 if not fields else 1
    desk.answered(container_id, CONTAINERS_RETRIEVE, 404)
    await desk.notes.flush()
    found = await desk.container(container_id)
    assert (found.ending, found.status_at(at(desk.minutes))) == (None, "expired")


async def test_the_last_word_counts(desk: Desk) -> None:
    back, used, away = await desk.known(), await desk.known(), await desk.known()
    desk.minutes = 1
    desk.answered(back, CONTAINERS_RETRIEVE, 404)
    desk.answered(used, CONTAINERS_RETRIEVE, 404)
    desk.retrieved(away)
    desk.minutes = 2
    desk.retrieved(back)
    desk.answered(used, FILES_CONTENT)
    desk.answered(away, CONTAINERS_RETRIEVE, 404)
    await desk.notes.flush()
    assert (await desk.container(back)).ending is None
    assert (await desk.container(used)).ending is None
    assert (await desk.container(away)).ending is Ending.GONE


@pytest.mark.parametrize("ending", list(Ending))
async def test_a_deletion_that_could_not_be_written_is_settled_later(desk: Desk, ending: Ending) -> None:
    """What it would have cost at once, and not the whole life of the container."""
    creations, made, crate = SqlCreationStore(desk.database), creation(), container()
    await creations.begin(made, order(), same_key_since=at(-60))
    await creations.complete(made.creation_id, crate, Answer(status=200, content_type="", body=b""))
    desk.notes.ended(crate.container_id, ending, at(1))
    await desk.notes.flush()
    (balance,) = (await SqlLedger(desk.database).balances(["key:0123456789abcdef"], at(1))).values()
    assert (balance.reserved_nanousd, balance.total_spent_nanousd) == (0, BY_THE_MINUTE.cost(0))


async def test_an_ending_that_could_not_be_written_is_written_later(desk: Desk) -> None:
    container_id = await desk.known()
    desk.notes.ended(container_id, Ending.DELETED, at(1))
    await desk.notes.flush()
    found = await desk.container(container_id)
    assert (found.ending, found.ended_at) == (Ending.DELETED, at(1))


async def test_files_are_counted_as_they_pass_by(desk: Desk) -> None:
    container_id = await desk.known()
    desk.answered(container_id, FILES_CREATE, said={"id": "cfile_1", "bytes": 5}, file_id="cfile_1")
    desk.answered(container_id, FILES_RETRIEVE, said={"id": "cfile_2", "bytes": None}, file_id="cfile_2")
    desk.answered(container_id, FILES_RETRIEVE, said={"id": "cfile_3", "bytes": "many"}, file_id="cfile_3")
    desk.answered(container_id, FILES_CONTENT, file_id="cfile_4")
    await desk.notes.flush()
    record = await desk.record(container_id)
    assert (record.files, record.bytes) == (3, 5)
    assert await desk.store.file_home("cfile_2") == container_id
    desk.answered(container_id, FILES_DELETE, said={"deleted": True}, file_id="cfile_1")
    await desk.notes.flush()
    record = await desk.record(container_id)
    assert (record.files, record.bytes) == (2, 0)


async def test_a_complete_list_of_files_is_all_there_are(desk: Desk) -> None:
    container_id = await desk.known()
    desk.answered(container_id, FILES_CREATE, said={"id": "cfile_1", "bytes": 5}, file_id="cfile_1")
    await desk.notes.flush()
    desk.minutes = 1
    desk.listed_files(container_id, "cfile_2", "cfile_3")
    await desk.notes.flush()
    record = await desk.record(container_id)
    assert (record.files, record.bytes) == (2, 14)
    assert await desk.store.file_home("cfile_1") is None
    desk.listed_files(container_id)
    await desk.notes.flush()
    assert (await desk.record(container_id)).files == 0


@pytest.mark.parametrize(
    "how",
    [
        {"has_more": True},
        {"query": "after=cfile_0"},
        {"query": "limit=2&%61fter=cfile_0"},
        {"took_seconds": 1.5},
    ],
)
async def test_any_other_list_of_files_tells_nothing(desk: Desk, how: dict[str, Any]) -> None:
    container_id = await desk.known()
    desk.answered(container_id, FILES_CREATE, said={"id": "cfile_1", "bytes": 5}, file_id="cfile_1")
    await desk.notes.flush()
    desk.listed_files(container_id, "cfile_2", **how)
    await desk.notes.flush()
    assert (await desk.record(container_id)).bytes == 5


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"data":[]}', b'{"data":{},"has_more":false}', None])
async def test_what_is_no_list_tells_nothing(desk: Desk, text: bytes | None) -> None:
    container_id = await desk.known()
    desk.answered(container_id, FILES_CREATE, said={"id": "cfile_1", "bytes": 5}, file_id="cfile_1")
    await desk.notes.flush()
    exchange = answered_exchange()
    exchange.container_id, exchange.response_json = container_id, text
    desk.notes.answered(exchange, FILES_LIST, 200)
    await desk.notes.flush()
    assert (await desk.record(container_id)).files == 1


async def test_what_happened_while_a_list_of_files_was_made_is_not_lost(desk: Desk) -> None:
    container_id = await desk.known()
    for name in ("cfile_old", "cfile_dropped"):
        desk.answered(container_id, FILES_CREATE, said={"id": name, "bytes": 5}, file_id=name)
    desk.minutes = 0.01
    desk.answered(container_id, FILES_CREATE, said={"id": "cfile_new", "bytes": 1}, file_id="cfile_new")
    desk.answered(container_id, FILES_DELETE, said={}, file_id="cfile_dropped")
    desk.listed_files(container_id, "cfile_listed", "cfile_dropped", took_seconds=0.5)
    await desk.notes.flush()
    homes = [await desk.store.file_home(name) for name in ("cfile_old", "cfile_dropped", "cfile_new", "cfile_listed")]
    assert homes == [None, None, container_id, container_id]


async def test_that_a_container_is_in_use_is_written_every_five_seconds(desk: Desk) -> None:
    container_id = await desk.known()
    for second in range(12):
        desk.minutes = second / 60
        desk.retrieved(container_id)
        await desk.notes.flush()
    written = [seen.active[container_id] for seen in desk.store.observed if seen.active]
    assert written == [at(0), at(5 / 60), at(10 / 60)]
    assert [len(seen.sightings) for seen in desk.store.observed] == [1, 1, 1]
    await desk.notes.flush(final=True)
    assert (await desk.container(container_id)).last_active_at == at(11 / 60)


async def test_that_it_is_in_another_state_is_written_at_once(desk: Desk) -> None:
    container_id = await desk.known()
    desk.retrieved(container_id)
    await desk.notes.flush()
    desk.minutes = 1 / 60
    desk.retrieved(container_id, status="expired")
    await desk.notes.flush()
    assert (await desk.container(container_id)).status == "expired"


async def test_where_there_is_nothing_to_write_nobody_is_asked(desk: Desk) -> None:
    await desk.notes.flush()
    assert desk.store.observed == []


async def test_while_the_database_is_down_notes_wait(desk: Desk) -> None:
    used, ended, missing = await desk.known(), await desk.known(), await desk.known()
    desk.store.down = True
    desk.minutes = 1
    desk.retrieved(used, status="older")
    desk.answered(used, FILES_CREATE, said={"id": "cfile_1", "bytes": 5}, file_id="cfile_1")
    desk.answered(missing, CONTAINERS_RETRIEVE, 404)
    desk.notes.ended(ended, Ending.DELETED, at(1))
    with pytest.raises(StoreUnavailable):
        await desk.notes.flush()
    desk.minutes = 2
    desk.retrieved(used, status="newer")
    with pytest.raises(StoreUnavailable):
        await desk.notes.flush()
    desk.store.down = False
    await desk.notes.flush()
    found = await desk.record(used)
    assert (found.container.status, found.container.last_active_at, found.files) == ("newer", at(2), 1)
    assert (await desk.container(ended)).ending is Ending.DELETED
    assert (await desk.container(missing)).ending is Ending.GONE


async def test_what_comes_while_a_flush_fails_is_newer_than_what_it_puts_back(desk: Desk) -> None:
    container_id = await desk.known()
    desk.minutes = 1
    desk.retrieved(container_id, status="older")
    desk.store.released.clear()
    flushing = asyncio.create_task(desk.notes.flush())
    await asyncio.sleep(0)
    desk.minutes = 2
    desk.retrieved(container_id, status="newer")
    desk.store.down = True
    desk.store.released.set()
    with pytest.raises(StoreUnavailable):
        await flushing
    desk.store.down = False
    await desk.notes.flush()
    found = await desk.container(container_id)
    assert (found.status, found.last_active_at) == ("newer", at(2))


async def test_a_flush_that_is_cancelled_loses_nothing(desk: Desk) -> None:
    container_id = await desk.known()
    desk.minutes = 1
    desk.answered(container_id)
    desk.store.released.clear()
    flushing = asyncio.create_task(desk.notes.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    desk.store.released.set()
    await desk.notes.flush()
    assert (await desk.container(container_id)).last_active_at == at(1)


async def test_the_last_flush_says_what_is_lost(desk: Desk) -> None:
    desk.answered(await desk.known())
    desk.store.down = True
    with capture_logs() as logs:
        await desk.notes.flush(final=True)
    assert [(log["event"], log["containers"]) for log in logs] == [("notes_lost", 1)]


async def test_more_notes_than_there_is_room_for_push_the_oldest_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_NOTES", 3)
    made = [await desk.known() for _ in range(5)]
    desk.store.down = True
    desk.minutes = 1
    for container_id in made[:2]:
        desk.answered(container_id)
    with pytest.raises(StoreUnavailable):
        await desk.notes.flush()
    for container_id in (*made[1:4], made[1]):
        desk.answered(container_id)
    with capture_logs() as logs:
        with pytest.raises(StoreUnavailable):
            await desk.notes.flush()
        desk.answered(made[4])
        desk.store.down = False
        await desk.notes.flush()
    active = [(await desk.container(it)).last_active_at == at(1) for it in made]
    assert active == [False, False, True, True, True]
    assert [(log["event"], log["notes"]) for log in logs] == [("notes_dropped", 1), ("notes_dropped", 1)]


async def test_what_answers_say_is_bounded_in_bytes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 500)
    first, second, huge = await desk.known(), await desk.known(), await desk.known()
    desk.minutes = 1
    desk.retrieved(first, status="odd", padding="x" * 200)
    desk.retrieved(second, status="odd", padding="x" * 200)
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 2**30)
    desk.retrieved(huge, status="odd", padding="x" * module.MAX_TEXT_BYTES)
    await desk.notes.flush()
    assert [(await desk.container(it)).status for it in (first, second, huge)] == ["odd", "running", "running"]
    assert (await desk.container(huge)).last_active_at == at(1)


async def test_many_are_written_in_batches_and_prepared_off_the_loop(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 20)
    made = [await desk.known() for _ in range(45)]
    desk.minutes = 1
    for container_id in made:
        desk.retrieved(container_id, status="odd")
    await desk.notes.flush()
    assert [len(seen.sightings) for seen in desk.store.observed] == [20, 20, 5]
    assert {(await desk.container(it)).status for it in made} == {"odd"}


async def test_taking_in_an_answer_takes_about_a_microsecond(desk: Desk) -> None:
    container_id = await desk.known()
    said = {"id": container_id, "object": "container", "status": "running"}
    exchange = desk.answered(container_id, said=said)
    answered: Callable[[Exchange, Operation, int], None] = Notes(desk.store).answered
    operation = BY_NAME["containers.retrieve"]
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(2000):
            answered(exchange, operation, 200)
        best = min(best, (time.perf_counter() - start) / 2000)
    print(f"an answer is taken in in {best * 1e6:.2f} µs")
    assert best < 10e-6
