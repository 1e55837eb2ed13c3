"""What every `ContainerStore` lists, for owners and for operators, over each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.containers import Access, Container, Ending
from app.domain.ports import ContainerFilter, ContainerQuery, ContainerStore, Observations, SeenFile, UnknownCursor
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from tests.storage.containers import at, container, register
from tests.storage.keys import NOON

OURS = ContainerQuery(owner="team:sea")


@pytest.fixture
async def store(database: Database) -> ContainerStore:
    await database.migrate()
    return SqlContainerStore(database)


async def added(store: ContainerStore, **fields: Any) -> Container:
    made = container(**fields)
    await store.adopt(made)
    return made


async def listed(store: ContainerStore, query: ContainerQuery) -> list[Container]:
    return (await store.page(query))[0]


async def test_newest_first_or_oldest_first_and_ties_as_they_were_registered(store: ContainerStore) -> None:
    made = [await added(store, created_at=at(minutes)) for minutes in (1, 0, 1, 2)]
    newest_first = [made[number] for number in (3, 2, 0, 1)]
    assert await store.page(OURS) == (newest_first, False)
    assert await store.page(replace(OURS, limit=4)) == (newest_first, False)
    assert await store.page(replace(OURS, limit=3)) == (newest_first[:3], True)
    assert await store.page(replace(OURS, descending=False)) == (newest_first[::-1], False)
    after = replace(OURS, after=made[2].container_id)
    assert await store.page(after) == (newest_first[2:], False)
    assert await store.page(replace(after, descending=False)) == ([made[3]], False)
    assert await store.page(replace(OURS, after=made[1].container_id)) == ([], False)


async def test_others_and_the_dead_are_not_listed(store: ContainerStore) -> None:
    ours, expired = await added(store), await added(store, status="expired", created_at=at(-9000))
    await added(store, owner=None)
    await added(store, owner="team:SEA")
    for ending in Ending:
        await store.end((await added(store)).container_id, ending, at(1))
    assert await listed(store, OURS) == [ours, expired]
    assert await listed(store, replace(OURS, owner="")) == []


async def test_what_is_shared_is_listed_once(store: ContainerStore) -> None:
    ours, theirs, nobodys = await added(store), await added(store, owner="team:land"), await added(store, owner=None)
    for one in (ours, theirs, nobodys):
        for identity in ("team:sea", "user:ann"):
            await store.share(one.container_id, identity, Access.READ)
    ann = replace(OURS, identities=("team:sea", "user:ann"))
    assert await store.page(ann) == ([nobodys, theirs, ours], False)
    assert await store.page(replace(ann, limit=2)) == ([nobodys, theirs], True)
    assert await store.page(replace(ann, limit=1, after=nobodys.container_id)) == ([theirs], True)
    assert await listed(store, replace(ann, identities=("user:bob",))) == [ours]
    await store.share(theirs.container_id, "user:ann", None)
    assert await listed(store, replace(ann, identities=("user:ann",))) == [nobodys, ours]


async def test_one_name_and_some_deployments(store: ContainerStore) -> None:
    box, here = await added(store, name="box"), await added(store, name="Box")
    there = await added(store, name="box", deployment="there")
    assert await listed(store, replace(OURS, name="box")) == [there, box]
    assert await listed(store, replace(OURS, name="bo%")) == []
    assert await listed(store, replace(OURS, name="\0")) == []
    assert await listed(store, replace(OURS, deployments=frozenset({"here", "nowhere"}))) == [here, box]
    assert await listed(store, replace(OURS, deployments=frozenset({"there"}), name="box")) == [there]
    assert await listed(store, replace(OURS, deployments=frozenset())) == []


async def test_a_cursor_may_have_ended(store: ContainerStore) -> None:
    made = [await added(store, created_at=at(minutes)) for minutes in range(3)]
    for ending in Ending:
        await store.end(made[1].container_id, ending, at(3))
        assert await listed(store, replace(OURS, after=made[1].container_id)) == [made[0]]


async def test_a_cursor_of_another_list_is_unknown(store: ContainerStore) -> None:
    ours, theirs = await added(store), await added(store, owner="team:land")
    await store.share(theirs.container_id, "user:ann", Access.READ)
    assert await listed(store, replace(OURS, identities=("user:ann",), after=theirs.container_id)) == [ours]
    for query in (
        replace(OURS, after=theirs.container_id),
        replace(OURS, after=theirs.container_id, identities=("user:bob",)),
        replace(OURS, after="cntr_0"),
        replace(OURS, after=""),
        replace(OURS, after="\0"),
        replace(OURS, after=ours.container_id, name="other"),
        replace(OURS, after=ours.container_id, deployments=frozenset({"there"})),
    ):
        with pytest.raises(UnknownCursor):
            await store.page(query)


@dataclass(frozen=True)
class Row:
    """A container of the model: whose it is, by which names it is shared, and when it was made."""

    owner: int
    shares: frozenset[int]
    minute: int
    ending: Ending | None
    deployment: str
    name: str


ROWS = st.lists(
    st.builds(
        Row,
        owner=st.integers(0, 1),
        shares=st.frozensets(st.integers(0, 3), max_size=3),
        minute=st.integers(0, 4),
        ending=st.sampled_from([None, None, None, *Ending]),
        deployment=st.sampled_from(["here", "there"]),
        name=st.sampled_from(["box", "crate"]),
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    identities=st.frozensets(st.integers(0, 3)),
    limit=st.integers(1, 4),
    descending=st.booleans(),
    name=st.sampled_from([None, None, "box"]),
    deployments=st.sampled_from([None, None, frozenset({"here"})]),
    end_cursors=st.booleans(),
)
async def test_pages_together_are_the_whole_list(
    database: Database,
    rows: list[Row],
    identities: frozenset[int],
    limit: int,
    descending: bool,
    name: str | None,
    deployments: frozenset[str] | None,
    end_cursors: bool,
) -> None:
    await database.migrate()
    store, world = SqlContainerStore(database), uuid4().hex  # earlier examples are other worlds' containers
    made = [
        container(
            owner=f"{world}:{row.owner}",
            created_at=at(row.minute),
            ending=row.ending,
            name=row.name,
            deployment=row.deployment,
        )
        for row in rows
    ]
    shares = [(place, f"{world}:{name}") for place, row in enumerate(rows) for name in row.shares]
    if made:
        await register(database, made, shares)
    wanted = [
        (row.minute, place)
        for place, row in enumerate(rows)
        if (row.owner == 0 or row.shares & identities)
        and row.ending is None
        and (name is None or row.name == name)
        and (deployments is None or row.deployment in deployments)
    ]
    query = ContainerQuery(
        owner=f"{world}:0",
        identities=tuple(f"{world}:{name}" for name in identities),
        name=name,
        deployments=deployments,
        limit=limit,
        descending=descending,
    )
    walked: list[Container] = []
    more = True
    while more:
        page, more = await store.page(query)
        assert len(page) == limit or not more
        walked += page
        assert len(walked) <= len(made)
        if more:
            query = replace(query, after=page[-1].container_id)
            if end_cursors:
                await store.end(page[-1].container_id, Ending.DELETED, at(9))
    assert walked == [made[place] for _, place in sorted(wanted, reverse=descending)]


async def records(
    store: ContainerStore, *, now: datetime = NOON, offset: int = 0, limit: int = 100, **wanted: Any
) -> tuple[list[Container], int]:
    found, total = await store.records(ContainerFilter(**wanted), now=now, offset=offset, limit=limit)
    return [record.container for record in found], total


async def test_operators_see_everything_newest_first(store: ContainerStore) -> None:
    made = [
        await added(store, created_at=at(minutes), owner=owner) for minutes, owner in ((0, "a"), (2, None), (1, "b"))
    ]
    assert await records(store) == ([made[1], made[2], made[0]], 3)
    assert await records(store, offset=1, limit=1) == ([made[2]], 3)
    assert await records(store, offset=3) == ([], 3)


async def test_a_record_counts_files_and_names_shares(store: ContainerStore) -> None:
    bare, full = await added(store), await added(store)
    await store.share(full.container_id, "user:ann", Access.READ)
    await store.share(full.container_id, "user:bob", Access.WRITE)
    files = [SeenFile(container_id=full.container_id, file_id=f"{size}", bytes=size) for size in (None, 3, 4)]
    await store.observe(Observations(files_seen=files))
    found, _ = await store.records(ContainerFilter(), now=at(0), offset=0, limit=9)
    assert [(one.container, one.shares, one.files, one.bytes) for one in found] == [
        (full, {"user:ann": Access.READ, "user:bob": Access.WRITE}, 3, 7),
        (bare, {}, 0, 0),
    ]
    assert [await store.record(one.container_id) for one in (full, bare)] == found


async def test_operators_ask_for_some(store: ContainerStore) -> None:
    old = await added(store, created_at=at(-9), last_active_at=None, key_id="a", deployment="there")
    used = await added(store, created_at=at(-5), last_active_at=at(5), key_id="b", owner=None)
    new = await added(store, created_at=at(1), last_active_at=at(1), key_id=None, owner="user:ann")
    assert await records(store, owner="user:ann") == ([new], 1)
    assert await records(store, unowned=True) == ([used], 1)
    assert await records(store, deployment="there") == ([old], 1)
    assert await records(store, key_ids=frozenset({"a", "b", "c"})) == ([used, old], 2)
    assert await records(store, key_ids=frozenset()) == ([], 0)
    assert await records(store, created_before=at(1)) == ([used, old], 2)
    assert await records(store, idle_since=at(5)) == ([new, old], 2)
    assert await records(store, idle_since=at(1)) == ([old], 1)
    assert await records(store, deployment="there", key_ids=frozenset({"b"})) == ([], 0)
    assert await records(store, owner="user:ann", unowned=True) == ([], 0)


@pytest.mark.parametrize("minutes", [0, 1, 19, 20, 21, 9000])
async def test_operators_ask_by_status_as_containers_say_it(
    store: ContainerStore, database: Database, minutes: int
) -> None:
    made = [
        container(
            status=status,
            ending=ending,
            ended_at=ending and at(1),
            expires_after_minutes=after,
            last_active_at=active,
        )
        for status in ("running", "expired", "starting", "deleted")
        for ending in (None, *Ending)
        for after in (None, 0, 20)
        for active in (None, at(1))
    ]
    await register(database, made)
    now = at(minutes)
    for status in ("running", "expired", "starting", "deleted", "gone", "never heard of"):
        expected = [one for one in reversed(made) if one.status_at(now) == status]
        assert await records(store, status=status, now=now) == (expected, len(expected))
