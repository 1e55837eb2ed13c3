"""What every `ContainerStore` makes of what upstreams say, over each of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import pytest

from app.domain.containers import Container, Ending, Sighting
from app.domain.ports import ContainerRecord, ContainerStore, Observations, SeenFile
from app.storage import observations
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from tests.storage.containers import at, container, sighting


@pytest.fixture
async def store(database: Database) -> ContainerStore:
    await database.migrate()
    return SqlContainerStore(database)


@pytest.fixture
async def crate(store: ContainerStore) -> Container:
    crate = container()
    await store.adopt(crate)
    return crate


async def record(store: ContainerStore, container: Container) -> ContainerRecord:
    record = await store.record(container.container_id)
    assert record is not None
    return record


async def after(store: ContainerStore, container: Container, *sightings: Sighting) -> Container:
    await store.observe(Observations(sightings=sightings))
    return (await record(store, container)).container


def file(container: Container, file_id: str, bytes: int | None = 1) -> SeenFile:
    return SeenFile(container_id=container.container_id, file_id=file_id, bytes=bytes)


async def test_a_sighting_is_written_down(store: ContainerStore, crate: Container) -> None:
    said = sighting(
        crate,
        name="renamed",
        status="expired",
        last_active_at=at(0.5),
        expires_after_minutes=5,
        memory_limit="4g",
        document=b'{"new":true}',
    )
    now = await after(store, crate, said)
    assert now == Container.of(said, owner=crate.owner, deployment=crate.deployment, key_id=crate.key_id)
    assert (now.last_active_at, now.expires_at) == (at(0.5), at(5.5))


async def test_old_news_is_no_news(store: ContainerStore, crate: Container) -> None:
    new, old = sighting(crate, name="new", seen_at=at(2)), sighting(crate, name="old", seen_at=at(1))
    now = await after(store, crate, new, old)
    assert (now.name, now.seen_at) == ("new", at(2))
    assert await after(store, crate, old) == now


@pytest.mark.parametrize("theirs", [at(1), at(5), None], ids=["earlier", "later", "unsaid"])
async def test_activity_never_moves_back(store: ContainerStore, crate: Container, theirs: datetime | None) -> None:
    await store.observe(Observations(active={crate.container_id: at(3)}))
    now = await after(store, crate, sighting(crate, last_active_at=theirs, seen_at=at(9)))
    assert now.last_active_at == max(at(3), theirs or at(3))
    await store.observe(Observations(active={crate.container_id: at(2)}))
    assert (await record(store, crate)).container == now


async def test_activity_moves_the_expiry(store: ContainerStore, crate: Container) -> None:
    assert await store.oldest_alive("here", at(20)) is None
    await store.observe(Observations(active={crate.container_id: at(3)}))
    assert await store.oldest_alive("here", at(22.9)) == crate.created_at
    assert await store.oldest_alive("here", at(23)) is None
    now = (await record(store, crate)).container
    assert now == replace(crate, last_active_at=at(3))
    await store.observe(
        Observations(sightings=[sighting(crate, expires_after_minutes=1)], active={crate.container_id: at(30)})
    )
    assert await store.oldest_alive("here", at(30.9)) == crate.created_at
    assert await store.oldest_alive("here", at(31)) is None


async def test_what_an_upstream_leaves_out_stays_known(store: ContainerStore, crate: Container) -> None:
    bare = sighting(crate, created_at=at(1), last_active_at=None, expires_after_minutes=None, memory_limit=None)
    assert await after(store, crate, bare) == replace(crate, seen_at=bare.seen_at)


async def test_a_sighting_brings_back_what_was_gone(store: ContainerStore, crate: Container) -> None:
    await store.end(crate.container_id, Ending.GONE, at(2))
    before = (await record(store, crate)).container
    assert await after(store, crate, sighting(crate, seen_at=at(1))) == before
    now = await after(store, crate, sighting(crate, seen_at=at(3)))
    assert (now.ending, now.ended_at) == (None, None)


async def test_nothing_brings_back_what_was_deleted(store: ContainerStore, crate: Container) -> None:
    await store.end(crate.container_id, Ending.DELETED, at(2))
    before = (await record(store, crate)).container
    assert await after(store, crate, sighting(crate, seen_at=at(3))) == before
    await store.observe(Observations(active={crate.container_id: at(4)}))
    assert (await record(store, crate)).container == before


async def test_whatever_is_not_registered_is_passed_over(store: ContainerStore, crate: Container) -> None:
    unknown = container()
    await store.observe(
        Observations(
            sightings=[sighting(unknown), sighting(crate, name="seen")],
            active={unknown.container_id: at(1)},
            files_seen=[file(unknown, "f")],
            files_removed=[(unknown.container_id, "f")],
            files_listed={unknown.container_id: [file(unknown, "g")]},
        )
    )
    assert await store.registered([unknown.container_id]) == set()
    assert await store.file_home("f") is None
    assert (await record(store, crate)).container.name == "seen"


async def test_files_come_and_go(store: ContainerStore, crate: Container) -> None:
    async def count(**seen: object) -> tuple[int, int]:
        await store.observe(Observations(**seen))  # type: ignore[arg-type]
        now = await record(store, crate)
        return now.files, now.bytes

    assert await count(files_seen=[file(crate, "a", 10), file(crate, "b", None), file(crate, "a", 10)]) == (2, 10)
    assert await count(files_seen=[file(crate, "b", 5), file(crate, "a", None)]) == (2, 15)
    assert await store.file_home("b") == crate.container_id
    assert await count(files_removed=[(crate.container_id, "a"), (crate.container_id, "z")]) == (1, 5)
    assert await store.file_home("a") is None
    assert await count(files_listed={crate.container_id: [file(crate, "c", 2**62), file(crate, "b", 6)]}) == (
        2,
        2**62 + 6,
    )
    assert await count(
        files_listed={crate.container_id: []},
        files_seen=[file(crate, "d"), file(crate, "e")],
        files_removed=[(crate.container_id, "e")],
    ) == (1, 1)
    assert await store.file_home("b") is None


async def test_what_no_database_keeps_is_left_out(store: ContainerStore, crate: Container) -> None:
    await store.observe(
        Observations(files_seen=[file(crate, "x" * 257), file(crate, "big", 2**63), file(crate, "less", -1)])
    )
    now = await record(store, crate)
    assert (now.files, now.bytes) == (2, 0)


async def test_a_file_is_where_it_was_registered_last(store: ContainerStore, crate: Container) -> None:
    other = container()
    await store.adopt(other)
    await store.observe(Observations(files_seen=[file(crate, "f"), file(other, "f")]))
    assert await store.file_home("f") == other.container_id


async def test_much_at_once(store: ContainerStore) -> None:
    many = [container() for _ in range(10)]
    for one in many:
        await store.adopt(one)
    unknown = [sighting(container()) for _ in range(observations.ROWS_AT_ONCE)]
    await store.observe(Observations(sightings=[*unknown, *(sighting(one, name="seen") for one in many)]))
    assert {(await record(store, one)).container.name for one in many} == {"seen"}


async def test_many_who_write_down_the_same_at_once(store: ContainerStore) -> None:
    many = [container() for _ in range(5)]
    for one in many:
        await store.adopt(one)

    def told(by: int) -> Observations:
        order = many if by % 2 else list(reversed(many))
        return Observations(
            sightings=[sighting(one, seen_at=at(by), name=str(by)) for one in order],
            active={one.container_id: at(by) for one in order},
            files_seen=[file(one, f"{one.container_id}-{n}") for one in order for n in range(3)],
        )

    await asyncio.gather(*(store.observe(told(by)) for by in range(1, 11)))
    records = [await record(store, one) for one in many]
    assert {(one.container.name, one.container.last_active_at, one.files) for one in records} == {("10", at(10), 3)}
