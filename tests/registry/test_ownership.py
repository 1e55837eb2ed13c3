"""What is remembered of who may use what: asked once, never older than it may be, never more than there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.domain.containers import Access, Ending, Ownership
from app.domain.identity import ALL_OPERATIONS, Principal
from app.domain.ports import StoreUnavailable
from app.registry.ownership import Ownerships
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from tests.storage.containers import at, container

OURS, THEIRS, UNKNOWN = ("cntr_" + letter * 48 for letter in "abc")
SEA = Principal(
    key_id="1" * 16, owner="team:sea", is_master=False, allowed_operations=ALL_OPERATIONS, identities=("team:sea",)
)


class WatchedStore(SqlContainerStore):
    """The real store. Its readings are noted, and can be held back after they were made, or cut off."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[str] = []
        self.down = False
        self.made = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()

    async def ownership(self, container_id: str) -> Ownership | None:
        return await self._watched(container_id, super().ownership(container_id))

    async def accessible(self, container_id: str, owner: str, identities: Sequence[str]) -> Ownership | None:
        return await self._watched(container_id, super().accessible(container_id, owner, identities))

    async def changed_ownerships(self, since: datetime | None) -> tuple[list[Ownership], datetime]:
        if self.down:
            raise StoreUnavailable("the database did not answer (on purpose)")
        return await super().changed_ownerships(since)

    async def _watched(self, container_id: str, reading: Any) -> Ownership | None:
        self.asked.append(container_id)
        found: Ownership | None = await reading
        self.made.set()
        await self.released.wait()
        return found


class Replica:
    """One process's ownerships over a registry that others change too."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.now = 1000.0
        self.store = WatchedStore(database)
        self.elsewhere = SqlContainerStore(database)
        self.ownerships = Ownerships(self.store, lambda: self.now, **options)

    @property
    def asked(self) -> list[str]:
        """The ids that were asked for since the last time somebody looked."""
        asked, self.store.asked = self.store.asked, []
        return asked

    async def owner(self, container_id: str = OURS) -> str | None:
        found = await self.ownerships.any(container_id)
        return None if found is None else found.owner


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path}/registry.db")
    await database.migrate()
    store = SqlContainerStore(database)
    await store.adopt(container(container_id=OURS, owner="team:sea"))
    await store.adopt(container(container_id=THEIRS, owner="team:land"))
    yield database
    await database.close()


@pytest.fixture
async def replica(opened: Database) -> Replica:
    replica = Replica(opened)
    await replica.ownerships.follow()
    return replica


async def test_what_was_asked_for_once_is_known(replica: Replica) -> None:
    assert replica.ownerships.cached(OURS) is None
    assert await replica.owner() == "team:sea"
    assert replica.asked == [OURS]
    for _ in range(5):
        known = replica.ownerships.cached(OURS)
        assert known is not None
        assert (known.owner, known.deployment, known.deleted) == ("team:sea", "here", False)
        assert await replica.owner() == "team:sea"
    assert replica.asked == []


async def test_before_the_first_follow_nothing_is_certain(opened: Database) -> None:
    replica = Replica(opened)
    for _ in range(2):
        assert await replica.owner() == "team:sea"
        assert replica.ownerships.cached(OURS) is None
    assert replica.asked == [OURS, OURS]


async def test_what_a_principal_may_use_is_asked_for_every_time_and_remembered(replica: Replica) -> None:
    for container_id in (OURS, THEIRS, UNKNOWN) * 2:
        found = await replica.ownerships.accessible(SEA, container_id)
        assert (found is not None) == (container_id == OURS)
    assert replica.asked == [OURS, THEIRS, UNKNOWN] * 2
    assert replica.ownerships.cached(OURS) is not None
    assert replica.ownerships.cached(THEIRS) is None


async def test_what_this_process_wrote_down_need_not_be_asked_for(replica: Replica) -> None:
    assert await replica.owner(UNKNOWN) is None
    replica.ownerships.remember(Ownership(container_id=UNKNOWN, owner="team:sea", deployment="here"))
    assert replica.asked == [UNKNOWN]
    assert await replica.owner(UNKNOWN) == "team:sea"
    replica.ownerships.deleted(UNKNOWN)
    known = replica.ownerships.cached(UNKNOWN)
    assert known is not None
    assert known.deleted
    replica.ownerships.deleted(THEIRS)  # of which nothing is known
    assert replica.ownerships.cached(THEIRS) is None
    assert replica.asked == []


async def test_what_is_forgotten_is_asked_for_anew(replica: Replica) -> None:
    assert await replica.owner() == "team:sea"
    await replica.store.adopt(container(container_id=OURS, owner="team:air"))
    assert await replica.owner() == "team:sea"
    replica.ownerships.forget(OURS)
    assert await replica.owner() == "team:air"


@pytest.mark.parametrize("change", ["share", "unshare", "adopt"])
async def test_a_change_by_another_process_counts_after_follow(replica: Replica, change: str) -> None:
    if change == "unshare":
        await replica.elsewhere.share(OURS, "team:air", Access.READ)
        await replica.ownerships.follow()
    before = await replica.ownerships.any(OURS)
    if change == "adopt":
        await replica.elsewhere.adopt(container(container_id=OURS, owner="team:air"))
    else:
        await replica.elsewhere.share(OURS, "team:air", Access.WRITE if change == "share" else None)
    assert replica.ownerships.cached(OURS) == before
    await replica.ownerships.follow()
    assert replica.ownerships.cached(OURS) is None
    assert await replica.ownerships.any(OURS) == await replica.elsewhere.ownership(OURS) != before


async def test_what_changed_and_is_known_as_it_is_stays_known(replica: Replica) -> None:
    """Changes are told for a while after they were made; that must not cost a question every second."""
    await replica.elsewhere.share(OURS, "team:air", Access.READ)
    await replica.ownerships.follow()
    await replica.owner()
    for _ in range(3):
        await replica.ownerships.follow()
        await replica.owner()
    assert replica.asked == [OURS]


async def test_where_the_database_is_silent_memory_is_good_for_a_minute(replica: Replica) -> None:
    await replica.owner()
    replica.store.down = True
    replica.now += 59.9
    with pytest.raises(StoreUnavailable):
        await replica.ownerships.follow()
    assert replica.ownerships.cached(OURS) is not None
    assert replica.asked == [OURS]
    replica.now += 0.1
    assert replica.ownerships.cached(OURS) is None
    await replica.owner()
    assert replica.asked == [OURS]


async def test_after_too_long_a_silence_nothing_from_before_it_is_believed(opened: Database) -> None:
    replica = Replica(opened, max_stale_seconds=10.0)
    await replica.ownerships.follow()
    await replica.owner()
    replica.now += 10
    await replica.ownerships.follow()
    assert replica.ownerships.cached(OURS) is None
    await replica.owner()
    replica.now += 9.9
    await replica.ownerships.follow()
    assert replica.ownerships.cached(OURS) is not None


async def test_an_unknown_id_is_asked_for_again_after_a_while(opened: Database) -> None:
    replica = Replica(opened, unknown_seconds=2.0)
    await replica.ownerships.follow()
    assert await replica.owner(UNKNOWN) is None
    replica.now += 1.9
    assert await replica.owner(UNKNOWN) is None
    assert replica.asked == [UNKNOWN]
    await replica.elsewhere.adopt(container(container_id=UNKNOWN, owner="team:air"))
    replica.now += 0.1
    assert await replica.owner(UNKNOWN) == "team:air"
    assert replica.asked == [UNKNOWN]


async def test_an_unknown_id_that_this_process_registers_is_known_at_once(replica: Replica) -> None:
    assert await replica.owner(UNKNOWN) is None
    await replica.store.adopt(container(container_id=UNKNOWN, owner="team:air"))
    replica.ownerships.forget(UNKNOWN)
    assert await replica.owner(UNKNOWN) == "team:air"


async def test_of_too_many_the_least_used_are_forgotten(opened: Database) -> None:
    replica = Replica(opened, capacity=2)
    await replica.ownerships.follow()
    await replica.owner(OURS)
    await replica.owner(THEIRS)
    assert replica.ownerships.cached(OURS) is not None  # used last
    replica.ownerships.remember(Ownership(container_id=UNKNOWN, owner="team:sea", deployment="here"))
    assert replica.ownerships.cached(OURS) is not None
    assert replica.ownerships.cached(THEIRS) is None


async def test_of_too_many_unknown_ids_the_oldest_are_forgotten(opened: Database) -> None:
    replica = Replica(opened, capacity=2)
    await replica.ownerships.follow()
    for number in range(5):
        await replica.owner(f"cntr_{number}")
    assert len(replica.asked) == 5
    await replica.owner("cntr_4")
    await replica.owner("cntr_3")
    assert replica.asked == []
    await replica.owner("cntr_2")
    assert replica.asked == ["cntr_2"]


@pytest.mark.parametrize("by", ["forget", "follow"])
@pytest.mark.parametrize("way", ["any", "accessible"])
@pytest.mark.parametrize("known_before", [False, True])
async def test_a_reading_under_way_when_a_change_arrives_is_not_remembered(
    replica: Replica, by: str, way: str, known_before: bool
) -> None:
    if known_before:
        await replica.owner()
        replica.now += 60  # it is asked for once more
    replica.store.made.clear()
    replica.store.released.clear()
    asking = replica.ownerships.any(OURS) if way == "any" else replica.ownerships.accessible(SEA, OURS)
    reading = asyncio.create_task(asking)
    await replica.store.made.wait()
    await replica.elsewhere.adopt(container(container_id=OURS, owner="team:air"))
    if by == "follow":
        await replica.ownerships.follow()
    else:
        replica.ownerships.forget(OURS)
    replica.store.released.set()
    late = await reading
    assert late is not None
    assert late.owner == "team:sea"
    known = replica.ownerships.cached(OURS)
    assert known is None or known.owner == "team:air"


async def test_what_is_registered_while_it_is_read_is_not_remembered_as_unknown(replica: Replica) -> None:
    replica.store.released.clear()
    reading = asyncio.create_task(replica.ownerships.any(UNKNOWN))
    await replica.store.made.wait()
    await replica.store.adopt(container(container_id=UNKNOWN, owner="team:air"))
    replica.ownerships.forget(UNKNOWN)
    replica.store.released.set()
    assert await reading is None
    assert await replica.owner(UNKNOWN) == "team:air"


async def test_a_deletion_while_it_is_read_is_not_undone(replica: Replica) -> None:
    replica.store.released.clear()
    reading = asyncio.create_task(replica.ownerships.any(OURS))
    await replica.store.made.wait()
    await replica.store.end(OURS, Ending.DELETED, at(1))
    replica.ownerships.deleted(OURS)
    replica.store.released.set()
    await reading
    known = replica.ownerships.cached(OURS)
    assert known is None or known.deleted
