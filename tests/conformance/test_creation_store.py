"""What every `CreationStore` does, over each of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from app.domain.containers import Access, Answer, Creation, CreationState, Ending
from app.domain.ports import ContainerStore, ContainerTaken, CreationStore, Observations, SeenFile
from app.storage import creations as sql
from app.storage import tables
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.spending import order

REFUSED = Answer(status=400, content_type="application/json", body=b'{"error":{}}')


@pytest.fixture
async def store(database: Database) -> CreationStore:
    await database.migrate()
    return SqlCreationStore(database)


@pytest.fixture
def registry(database: Database, store: CreationStore) -> ContainerStore:
    return SqlContainerStore(database)


def full_creation() -> Creation:
    return creation(
        owner="user:Zoë 🗝",
        name="a 'name'; with \\ everything ü",
        started_at=at(0.123456),
        memory_limit="64g",
        idempotency_key="once",
        state=CreationState.DONE,
        lost=True,
        container_id="cntr_1",
        answer=Answer(status=200, content_type="application/json", body=b"\x00\xff"),
    )


async def begin(
    store: CreationStore, creation: Creation, *, since: float = -60, lost: float | None = None
) -> Creation | None:
    lost_since = None if lost is None else at(lost)
    begun = await store.begin(creation, order(), same_key_since=at(since), lost_since=lost_since)
    return begun if isinstance(begun, Creation) else None


@pytest.mark.parametrize("made", [creation(), full_creation()], ids=["bare", "full"])
async def test_a_creation_comes_back_as_it_went_in(store: CreationStore, made: Creation) -> None:
    assert await begin(store, made) is None
    found = await store.get(made.creation_id)
    assert found == made
    assert type(found.state) is CreationState
    assert await store.get("0" * 32) is None


async def test_the_same_idempotency_key_finds_the_first(store: CreationStore) -> None:
    first = creation(idempotency_key="once")
    assert await begin(store, first) is None
    second = creation(idempotency_key="once", fingerprint=b"other" * 6)
    assert await begin(store, second) == first
    assert await store.get(second.creation_id) is None
    assert await begin(store, creation(idempotency_key="Once")) is None
    assert await begin(store, creation(idempotency_key="once", owner="user:sea")) is None


async def test_creations_without_an_idempotency_key_have_nothing_to_do_with_each_other(store: CreationStore) -> None:
    for _ in range(2):
        assert await begin(store, creation()) is None
    assert len(await store.pending()) == 2


async def test_an_idempotency_key_is_free_again_after_its_time(store: CreationStore) -> None:
    old = creation(idempotency_key="once", started_at=at(-60))
    await begin(store, old)
    assert await begin(store, creation(idempotency_key="once"), since=-60) == old
    new = creation(idempotency_key="once")
    assert await begin(store, new, since=-59) is None
    assert await begin(store, creation(idempotency_key="once"), since=-60) == new
    assert [one.creation_id for one in await store.pending()] == [old.creation_id, new.creation_id]


async def test_one_of_many_with_the_same_key_at_once_begins(store: CreationStore) -> None:
    many = [creation(idempotency_key="once") for _ in range(10)]
    answers = await asyncio.gather(*(begin(store, one) for one in many))
    (winner,) = [one for one, answer in zip(many, answers, strict=True) if answer is None]
    assert [answer for answer in answers if answer is not None] == [winner] * 9
    assert await store.pending() == [winner]


async def test_who_meets_another_in_the_middle_of_beginning_waits_and_finds_his(
    store: CreationStore, database: Database
) -> None:
    first, loop, written, go_on = creation(idempotency_key="once"), asyncio.get_running_loop(), asyncio.Event(), Event()

    def slowly(connection: Connection) -> None:
        connection.execute(insert(tables.creations), sql._to_row(first))
        loop.call_soon_threadsafe(written.set)
        assert go_on.wait(10)

    beginning = asyncio.create_task(database.write(slowly))
    await written.wait()
    second = asyncio.create_task(begin(store, creation(idempotency_key="once")))
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while database._backend.engine.dialect.name == "postgresql":  # SQLite has one writer at a time
        if await database.read(lambda connection: connection.execute(waiting).scalar_one()):
            break
    go_on.set()
    await beginning
    assert await second == first


async def test_a_lost_answer_is_found_once(store: CreationStore) -> None:
    lost = creation()
    await begin(store, lost)
    assert await begin(store, creation(), lost=-1) is None
    await store.set_lost(lost.creation_id)
    assert await begin(store, creation(), lost=None) is None
    retry = creation()
    assert await begin(store, retry, lost=0) == lost
    assert await store.get(lost.creation_id) == lost
    assert await store.get(retry.creation_id) is None
    assert await begin(store, retry, lost=0) is None


@pytest.mark.parametrize(
    "other",
    [
        {"key_id": "another"},
        {"fingerprint": b"another"},
        {"started_at": at(-2)},
        {"state": CreationState.FAILED},
        {"lost": False},
    ],
    ids=str,
)
async def test_what_is_no_lost_answer_to_the_same_request(store: CreationStore, other: dict[str, Any]) -> None:
    await begin(store, creation(**{"lost": True} | other))
    assert await begin(store, creation(), lost=-1) is None


async def test_the_oldest_lost_answer_comes_first(store: CreationStore) -> None:
    lost = [creation(lost=True, started_at=at(minutes)) for minutes in (2, 0, 1)]
    for one in lost:
        await begin(store, one)
    found = [await begin(store, creation(), lost=0) for _ in range(3)]
    assert [one and one.creation_id for one in found] == [lost[number].creation_id for number in (1, 2, 0)]


async def test_an_idempotency_key_goes_before_a_lost_answer(store: CreationStore) -> None:
    lost, same = creation(lost=True), creation(idempotency_key="once", fingerprint=b"other")
    await begin(store, lost)
    await begin(store, same)
    assert await begin(store, creation(idempotency_key="once"), lost=-1) == same
    found = await store.get(lost.creation_id)
    assert found is not None
    assert found.lost


async def test_lost_answers_are_shared_out_among_many_who_retry_at_once(store: CreationStore) -> None:
    lost = [creation(lost=True, started_at=at(number / 60)) for number in range(3)]
    for one in lost:
        await begin(store, one)
    retries = [creation(started_at=at(1)) for _ in range(10)]
    answers = await asyncio.gather(*(begin(store, one, lost=0) for one in retries))
    found = [answer.creation_id for answer in answers if answer is not None]
    assert sorted(found) == sorted(one.creation_id for one in lost)
    assert len(await store.pending()) == 10


async def test_a_creation_moves_while_it_is_pending(store: CreationStore) -> None:
    made = creation()
    await begin(store, made)
    await store.move(made.creation_id, "there")
    assert await store.get(made.creation_id) == replace(made, deployment="there")
    await store.fail(made.creation_id, REFUSED)
    await store.move(made.creation_id, "elsewhere")
    assert await store.pending("elsewhere") == []


async def test_what_failed_keeps_its_answer_or_is_forgotten(store: CreationStore) -> None:
    made = creation(idempotency_key="once")
    await begin(store, made)
    await store.fail(made.creation_id, REFUSED)
    failed = replace(made, state=CreationState.FAILED, answer=REFUSED)
    assert await store.get(made.creation_id) == failed
    assert await begin(store, creation(idempotency_key="once")) == failed
    await store.fail(made.creation_id, None)
    assert await store.get(made.creation_id) is None
    assert await begin(store, creation(idempotency_key="once")) is None


async def test_what_was_made_does_not_fail_later(store: CreationStore) -> None:
    made, crate = creation(), container()
    await begin(store, made)
    await store.complete(made.creation_id, crate, ANSWER)
    for answer in (REFUSED, None):
        await store.fail(made.creation_id, answer)
    found = await store.get(made.creation_id)
    assert found == replace(made, state=CreationState.DONE, container_id=crate.container_id, answer=ANSWER)


async def test_giving_up_ends_the_lease_and_keeps_the_answer(store: CreationStore) -> None:
    made = creation()
    await begin(store, made)
    await store.give_up(made.creation_id, at(0.5))
    assert await store.get(made.creation_id) == replace(made, lease_until=at(0.5))
    await store.give_up(made.creation_id, at(0.5), REFUSED)
    await store.give_up(made.creation_id, at(0.6))
    assert await store.pending() == [replace(made, lease_until=at(0.6), answer=REFUSED)]


async def test_only_what_is_pending_is_renewed(store: CreationStore) -> None:
    ours, theirs, done = creation(), creation(), creation(state=CreationState.DONE)
    for one in (ours, theirs, done):
        await begin(store, one)
    await store.renew([ours.creation_id, done.creation_id, "0" * 32], at(9))
    await store.renew([], at(9))
    assert await store.get(ours.creation_id) == replace(ours, lease_until=at(9))
    assert [await store.get(one.creation_id) for one in (theirs, done)] == [theirs, done]


async def test_pending_ones_come_oldest_first(store: CreationStore) -> None:
    made = [creation(started_at=at(minutes), deployment=where) for minutes, where in ((2, "b"), (1, "a"), (3, "a"))]
    for one in (*made, creation(state=CreationState.DONE), creation(state=CreationState.FAILED)):
        await begin(store, one)
    assert await store.pending() == [made[1], made[0], made[2]]
    assert await store.pending("a") == [made[1], made[2]]
    assert await store.pending("nowhere") == []


async def test_what_was_made_is_registered_with_its_answer(store: CreationStore, registry: ContainerStore) -> None:
    made, crate = creation(), container()
    await begin(store, made)
    await store.complete(made.creation_id, crate, ANSWER)
    assert await store.get(made.creation_id) == replace(
        made, state=CreationState.DONE, container_id=crate.container_id, answer=ANSWER
    )
    record = await registry.record(crate.container_id)
    assert record is not None
    assert (record.container, record.shares) == (crate, {})


@pytest.mark.parametrize("before", ["forgotten", "failed"])
async def test_a_container_is_registered_whatever_was_written_before(
    store: CreationStore, registry: ContainerStore, before: str
) -> None:
    made, crate = creation(), container()
    await begin(store, made)
    await store.fail(made.creation_id, REFUSED if before == "failed" else None)
    await store.complete(made.creation_id, crate, ANSWER)
    assert await registry.registered([crate.container_id]) == {crate.container_id}
    found = await store.get(made.creation_id)
    assert found is None if before == "forgotten" else found is not None and found.state is CreationState.DONE


async def test_completing_twice_keeps_shares_and_files(store: CreationStore, registry: ContainerStore) -> None:
    made, crate = creation(), container()
    await begin(store, made)
    await store.complete(made.creation_id, crate, ANSWER)
    await registry.share(crate.container_id, "user:ann", Access.READ)
    await registry.observe(Observations(files_seen=[SeenFile(container_id=crate.container_id, file_id="f", bytes=1)]))
    again = replace(crate, name="renamed", seen_at=at(1))
    await store.complete(made.creation_id, again, REFUSED)
    record = await registry.record(crate.container_id)
    assert record is not None
    assert (record.container, record.shares, record.files) == (again, {"user:ann": Access.READ}, 1)
    found = await store.get(made.creation_id)
    assert found is not None
    assert found.answer == REFUSED


async def test_completing_again_does_not_bring_back_what_was_deleted_since(
    store: CreationStore, registry: ContainerStore
) -> None:
    made, crate = creation(), container()
    await begin(store, made)
    await store.complete(made.creation_id, crate, ANSWER)
    await registry.end(crate.container_id, Ending.DELETED, at(1))
    await store.complete(made.creation_id, crate, ANSWER)
    owned = await registry.ownership(crate.container_id)
    assert owned is not None
    assert owned.deleted


@pytest.mark.parametrize("was", ["deleted", "gone", "nobody's"])
async def test_an_id_that_is_free_again_comes_without_shares_and_files(
    store: CreationStore, registry: ContainerStore, was: str
) -> None:
    old = container(owner=None if was == "nobody's" else "user:old", deployment="there")
    await registry.adopt(old)
    await registry.share(old.container_id, "user:ann", Access.WRITE)
    await registry.observe(Observations(files_seen=[SeenFile(container_id=old.container_id, file_id="f", bytes=1)]))
    if was != "nobody's":
        await registry.end(old.container_id, Ending(was), at(1))
    new = replace(container(), container_id=old.container_id)
    await store.complete("0" * 32, new, ANSWER)
    record = await registry.record(new.container_id)
    assert record is not None
    assert (record.container, record.shares, record.files) == (new, {}, 0)
    assert await registry.file_home("f") is None


@pytest.mark.parametrize("theirs", [{"owner": "user:other"}, {"deployment": "there"}], ids=str)
async def test_another_owners_living_container_is_not_taken(
    store: CreationStore, registry: ContainerStore, theirs: dict[str, str]
) -> None:
    made, crate = creation(), container(**theirs)
    await registry.adopt(crate)
    await begin(store, made)
    with pytest.raises(ContainerTaken):
        await store.complete(made.creation_id, replace(container(), container_id=crate.container_id), ANSWER)
    assert await store.get(made.creation_id) == made
    record = await registry.record(crate.container_id)
    assert record is not None
    assert record.container == crate


async def test_a_container_is_registered_once_by_many_at_once(store: CreationStore, registry: ContainerStore) -> None:
    crate = container()
    made = [creation() for _ in range(10)]
    for one in made:
        await begin(store, one)
    owners = ["team:sea"] * 5 + ["team:land"] * 5
    work = [
        store.complete(one.creation_id, replace(crate, owner=owner), ANSWER)
        for one, owner in zip(made, owners, strict=True)
    ]
    ends = await asyncio.gather(*work, return_exceptions=True)
    failures = [end for end in ends if isinstance(end, BaseException)]
    assert [type(failure) for failure in failures] == [ContainerTaken] * 5
    owned = await registry.ownership(crate.container_id)
    assert owned is not None
    assert len(await store.pending()) == 5


async def test_a_container_that_is_taken_over_is_told_to_others(store: CreationStore, registry: ContainerStore) -> None:
    crate = container()
    await store.complete("0" * 32, crate, ANSWER)
    await registry.end(crate.container_id, Ending.GONE, at(1))
    _, since = await registry.changed_ownerships(None)
    assert (await registry.changed_ownerships(since))[0] == []
    await store.complete("1" * 32, replace(crate, owner="user:new"), ANSWER)
    changed, _ = await registry.changed_ownerships(since)
    assert [(one.container_id, one.owner) for one in changed] == [(crate.container_id, "user:new")]
