"""What every `ContainerStore` does with one container or with all that died, over each of them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, insert

from app.domain.containers import Access, Container, Ending, Ownership
from app.domain.ports import ContainerStore, Observations, SeenFile
from app.storage import containers as sql
from app.storage import tables
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.spending import order


@pytest.fixture
async def store(database: Database) -> ContainerStore:
    await database.migrate()
    return SqlContainerStore(database)


async def added(store: ContainerStore, **fields: object) -> Container:
    made = container(**fields)
    await store.adopt(made)
    return made


async def found(store: ContainerStore, container: Container) -> Container:
    record = await store.record(container.container_id)
    assert record is not None
    return record.container


def file(container: Container, file_id: str, bytes: int | None = 1) -> SeenFile:
    return SeenFile(container_id=container.container_id, file_id=file_id, bytes=bytes)


FULL = container(
    container_id="Ünï 🗝 'quoted' \\%",
    owner=None,
    created_at=at(-1),
    seen_at=at(0.123456),
    key_id=None,
    name="",
    status="expired",
    last_active_at=None,
    expires_after_minutes=None,
    memory_limit=None,
    ended_at=at(2),
    ending=Ending.GONE,
    document=b"\x00\xff",
)


@pytest.mark.parametrize("made", [container(), FULL], ids=["usual", "unusual"])
async def test_a_container_comes_back_as_it_went_in(store: ContainerStore, made: Container) -> None:
    await store.adopt(made)
    back = await found(store, made)
    assert back == made
    assert [type(getattr(back, field.name)) for field in fields(Container)] == [
        type(getattr(made, field.name)) for field in fields(Container)
    ]


async def test_unknown_ids_are_nothing(store: ContainerStore) -> None:
    await added(store)
    for unknown in ("cntr_0", "", "\0", "x" * 1000, "\ud800"):
        assert await store.ownership(unknown) is None
        assert await store.accessible(unknown, "team:sea", ("team:sea",)) is None
        assert await store.record(unknown) is None
        assert await store.file_home(unknown) is None
        assert await store.registered([unknown]) == set()
        assert not await store.share(unknown, "user:ann", Access.READ)
        await store.end(unknown, Ending.DELETED, at(1))


async def test_ownership_says_whose_where_and_with_whom(store: ContainerStore) -> None:
    crate, other = await added(store), await added(store, owner=None, deployment="there")
    await store.share(crate.container_id, "user:ann", Access.READ)
    await store.share(crate.container_id, "key:bob", Access.WRITE)
    assert await store.ownership(crate.container_id) == Ownership(
        container_id=crate.container_id,
        owner="team:sea",
        deployment="here",
        shares={"user:ann": Access.READ, "key:bob": Access.WRITE},
    )
    assert await store.ownership(other.container_id) == Ownership(
        container_id=other.container_id, owner=None, deployment="there"
    )
    assert await store.ownership(crate.container_id.upper()) is None


async def test_only_a_deleted_container_says_so(store: ContainerStore) -> None:
    gone, deleted = await added(store), await added(store)
    await store.end(gone.container_id, Ending.GONE, at(1))
    await store.end(deleted.container_id, Ending.DELETED, at(1))
    owned = [await store.ownership(one.container_id) for one in (gone, deleted)]
    assert [one is not None and one.deleted for one in owned] == [False, True]


async def test_who_has_access(store: ContainerStore) -> None:
    crate, nobodys = await added(store), await added(store, owner=None)
    for one in (crate, nobodys):
        await store.share(one.container_id, "user:ann", Access.READ)
        await store.share(one.container_id, "user:bob", Access.READ)

    async def may(one: Container, owner: str, *identities: str) -> bool:
        accessible = await store.accessible(one.container_id, owner, identities)
        assert accessible in (None, await store.ownership(one.container_id))
        return accessible is not None

    assert await may(crate, "team:sea")
    assert await may(crate, "team:land", "key:1", "user:ann")
    assert await may(nobodys, "user:ann", "user:ann", "user:bob")
    assert not await may(crate, "team:land", "team:sea", "key:1")
    assert not await may(crate, "user:ann")
    assert not await may(nobodys, "", "")
    assert not await may(crate, "team:SEA", "user:Ann")


async def test_adopting_replaces_everything_but_the_place_in_lists(store: ContainerStore) -> None:
    crate = await added(store)
    await store.share(crate.container_id, "user:ann", Access.READ)
    await store.end(crate.container_id, Ending.DELETED, at(1))
    now = container(container_id=crate.container_id, owner="user:new", deployment="there", key_id=None, name="new")
    await store.adopt(now)
    assert await found(store, crate) == now
    owned = await store.ownership(crate.container_id)
    assert owned == Ownership(container_id=crate.container_id, owner="user:new", deployment="there")


async def test_many_who_adopt_at_once_leave_one_row(store: ContainerStore) -> None:
    crate = container()
    owners = [f"user:{number}" for number in range(10)]
    await asyncio.gather(*(store.adopt(replace(crate, owner=owner)) for owner in owners))
    assert (await found(store, crate)).owner in owners


async def test_sharing_and_not_sharing(store: ContainerStore) -> None:
    crate = await added(store)

    async def shares() -> dict[str, Access]:
        record = await store.record(crate.container_id)
        assert record is not None
        return dict(record.shares)

    assert await store.share(crate.container_id, "user:ann", Access.READ)
    assert await store.share(crate.container_id, "user:ann", Access.WRITE)
    assert await store.share(crate.container_id, "team:land", Access.READ)
    assert await shares() == {"user:ann": Access.WRITE, "team:land": Access.READ}
    assert await store.share(crate.container_id, "user:ann", None)
    assert not await store.share(crate.container_id, "user:ann", None)
    assert await shares() == {"team:land": Access.READ}


async def test_many_who_share_at_once_all_do(store: ContainerStore) -> None:
    crate = await added(store)
    names = [f"user:{number % 5}" for number in range(10)]
    assert all(await asyncio.gather(*(store.share(crate.container_id, name, Access.READ) for name in names)))
    owned = await store.ownership(crate.container_id)
    assert owned is not None
    assert owned.shares == dict.fromkeys(names, Access.READ)


async def test_changes_of_access_are_told(store: ContainerStore, database: Database) -> None:
    assert (await store.changed_ownerships(None))[0] == []
    creations, made = SqlCreationStore(database), [container() for _ in range(4)]
    for one in made:
        await creations.complete(creation().creation_id, one, ANSWER)
    _, since = await store.changed_ownerships(None)
    assert (await store.changed_ownerships(since))[0] == []
    await store.share(made[1].container_id, "user:ann", Access.READ)
    await store.share(made[1].container_id, "user:bob", Access.READ)
    await store.adopt(replace(made[2], owner="user:new"))
    adopted = await added(store)
    changed, next_since = await store.changed_ownerships(since)
    for told in (changed, (await store.changed_ownerships(next_since))[0]):
        assert sorted(one.container_id for one in told) == sorted(
            one.container_id for one in (made[1], made[2], adopted)
        )
    assert next_since >= since
    await store.share(made[1].container_id, "user:ann", None)
    for owned in (await store.changed_ownerships(next_since))[0]:
        assert owned == await store.ownership(owned.container_id)


async def test_a_change_is_told_again_for_as_long_as_a_transaction_may_take(store: ContainerStore) -> None:
    _, before = await store.changed_ownerships(None)
    crate = await added(store)
    _, after = await store.changed_ownerships(None)
    later = after + timedelta(seconds=sql.OVERLAP_SECONDS, milliseconds=1)  # after the database's time at that call
    assert timedelta(0) <= after - before < timedelta(seconds=10)
    assert [one.container_id for one in (await store.changed_ownerships(after))[0]] == [crate.container_id]
    assert (await store.changed_ownerships(later))[0] == []


async def test_what_others_are_just_changing_is_told_in_the_end(store: ContainerStore, database: Database) -> None:
    crate = container()
    await SqlCreationStore(database).complete("0" * 32, crate, ANSWER)
    loop, reached, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slowly(connection: Connection) -> None:
        connection.execute(sql._TOUCH, {"id": crate.container_id})
        loop.call_soon_threadsafe(reached.set)
        assert go_on.wait(10)

    changing = asyncio.create_task(database.write(slowly))
    await reached.wait()
    told, since = await store.changed_ownerships((await store.changed_ownerships(None))[1])
    assert told == []
    go_on.set()
    await changing
    assert [one.container_id for one in (await store.changed_ownerships(since))[0]] == [crate.container_id]


async def test_a_container_ends_once(store: ContainerStore) -> None:
    crate = await added(store)

    async def ending() -> tuple[object, object]:
        now = await found(store, crate)
        return now.ending, now.ended_at

    await store.end(crate.container_id, Ending.GONE, at(1))
    assert await ending() == (Ending.GONE, at(1))
    await store.end(crate.container_id, Ending.GONE, at(2))
    assert await ending() == (Ending.GONE, at(1))
    await store.end(crate.container_id, Ending.DELETED, at(3))
    assert await ending() == (Ending.DELETED, at(3))
    for later in Ending:
        await store.end(crate.container_id, later, at(4))
    assert await ending() == (Ending.DELETED, at(3))


async def test_what_was_seen_since_is_not_gone(store: ContainerStore) -> None:
    crate = await added(store, seen_at=at(2))
    await store.end(crate.container_id, Ending.GONE, at(1))
    assert (await found(store, crate)).ending is None
    await store.end(crate.container_id, Ending.DELETED, at(1))
    assert (await found(store, crate)).ending is Ending.DELETED


async def test_the_oldest_that_lives_somewhere(store: ContainerStore) -> None:
    assert await store.oldest_alive("here", at(0)) is None
    await added(store, created_at=at(-9), status="expired", expires_after_minutes=None)
    await added(store, created_at=at(-8), last_active_at=None, expires_after_minutes=8)
    await added(store, created_at=at(-7), deployment="there")
    ended = await added(store, created_at=at(-6))
    await store.end(ended.container_id, Ending.GONE, at(1))
    await added(store, created_at=at(-4), expires_after_minutes=None)
    await added(store, created_at=at(-5), last_active_at=at(0), expires_after_minutes=5)
    assert await store.oldest_alive("here", at(-1)) == at(-8)
    assert await store.oldest_alive("here", at(0)) == at(-5)
    assert await store.oldest_alive("here", at(5)) == at(-4)


async def test_what_a_sweep_did_not_see_is_gone(store: ContainerStore) -> None:
    early, late, seen = (
        await added(store, created_at=at(0)),
        await added(store, created_at=at(2)),
        await added(store, created_at=at(1), seen_at=at(5)),
    )
    outside = [
        await added(store, created_at=at(-0.01)),
        await added(store, created_at=at(2.01)),
        await added(store, created_at=at(1), deployment="there"),
    ]
    deleted = await added(store, created_at=at(1))
    await store.end(deleted.container_id, Ending.DELETED, at(1))
    assert await store.end_unseen("here", seen_before=at(5), created=(at(0), at(2))) == 2
    assert await store.end_unseen("here", seen_before=at(5), created=(at(0), at(2))) == 0
    assert [((await found(store, one)).ending, (await found(store, one)).ended_at) for one in (early, late)] == [
        (Ending.GONE, at(5))
    ] * 2
    assert [(await found(store, one)).ending for one in (seen, *outside)] == [None] * 4
    assert (await found(store, deleted)).ended_at == at(1)


async def test_one_of_many_takes_its_turn(store: ContainerStore) -> None:
    assert (await asyncio.gather(*(store.take_turn("sweep", 3600) for _ in range(10)))).count(True) == 1
    assert (await asyncio.gather(*(store.take_turn("sweep", 3600) for _ in range(10)))).count(True) == 0
    assert await store.take_turn("reap", 3600)
    assert await store.take_turn("sweep", 0)


async def test_a_turn_comes_again_when_its_time_is_over(store: ContainerStore, database: Database) -> None:
    _, overlap_ago = await store.changed_ownerships(None)
    now = overlap_ago + timedelta(seconds=sql.OVERLAP_SECONDS)
    for age_seconds, turns in ((3590, 0), (3610, 1)):
        taken = insert(tables.turns).values(name=f"{age_seconds}", taken_at=now - timedelta(seconds=age_seconds))
        await database.write(lambda connection, taken=taken: connection.execute(taken))  # type: ignore[misc]
        took = await asyncio.gather(*(store.take_turn(f"{age_seconds}", 3600) for _ in range(10)))
        assert took.count(True) == turns


async def test_the_dead_and_the_done_are_forgotten(store: ContainerStore, database: Database) -> None:
    creations = SqlCreationStore(database)
    dead = [await added(store, expires_after_minutes=1) for _ in range(3)]  # at(1)
    ended = await added(store, expires_after_minutes=None)
    await store.end(ended.container_id, Ending.DELETED, at(1))
    deleted_later = await added(store, expires_after_minutes=0)
    await store.end(deleted_later.container_id, Ending.GONE, at(2))
    alive = [await added(store, expires_after_minutes=2), await added(store, expires_after_minutes=None), deleted_later]
    await store.share(dead[0].container_id, "user:ann", Access.READ)
    await store.observe(Observations(files_seen=[file(dead[0], "f")]))
    begun = [creation(started_at=at(minutes)) for minutes in (0, 0, 1)]
    for one in begun:
        await creations.begin(one, order(), same_key_since=at(0))
    await creations.fail(begun[0].creation_id, ANSWER)
    await creations.fail(begun[2].creation_id, ANSWER)

    assert await store.purge(dead_before=at(1), begun_before=at(0)) == 0
    assert await store.purge(dead_before=at(1.5), begun_before=at(1)) == 5
    ids = [one.container_id for one in (*dead, ended, *alive)]
    assert await store.registered(ids) == {one.container_id for one in alive}
    assert await store.file_home("f") is None
    assert [await creations.get(one.creation_id) is None for one in begun] == [True, False, False]


async def test_much_is_forgotten_a_little_at_a_time(store: ContainerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_DEAD", tuple((find.limit(2), remove) for find, remove in sql._DEAD))
    for _ in range(5):
        await added(store)
    assert await store.purge(dead_before=at(99), begun_before=at(0)) == 5
    assert await store.purge(dead_before=at(99), begun_before=at(0)) == 0


async def test_which_ids_are_registered(store: ContainerStore) -> None:
    made = [await added(store) for _ in range(3)]
    await store.end(made[0].container_id, Ending.DELETED, at(1))
    ids = [one.container_id for one in made[:2]]
    assert await store.registered([*ids, *(f"cntr_{number}" for number in range(3000))]) == set(ids)
    assert await store.registered([]) == set()
