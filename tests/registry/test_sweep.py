"""What the registry knows is renewed from the upstreams' lists, and only from those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from app.domain.containers import Container, Ending, Sighting
from app.domain.ports import ContainerQuery, StoreUnavailable
from app.registry.sweep import LAG_SECONDS, LOOK_BACK_SECONDS, Sweeps
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.tasks import Tasks
from tests.fakes.listing import NOW, Listing

OWNER = "team:sea"
HOUR = 3600.0


class Harbour:
    """Sweeps of one fake deployment into a real database, and a clock that only the test moves."""

    def __init__(self, database: Database) -> None:
        self.now = float(NOW)
        self.listing = Listing(lambda: self.now)
        self.store = SqlContainerStore(database)
        self.tasks = Tasks()
        self.sweeps = self.process(refresh_seconds=0.0)

    def process(self, *, refresh_seconds: float) -> Sweeps:
        """The sweeps of one more process."""
        here = [self.listing.deployment("here")]
        return Sweeps(self.store, here, self.tasks, refresh_seconds=refresh_seconds, clock=lambda: self.now)

    async def own(self, count: int = 1, *, age_seconds: float = HOUR, **fields: Any) -> list[str]:
        """Containers that the upstream has, and the registry from the time when they were made."""
        fields = {"expires_after": {"anchor": "last_active_at", "minutes": 600}} | fields
        made = self.listing.add(count, created_at=int(self.now - age_seconds), **fields)
        for container_id in made:
            said = self.listing.containers[container_id]
            sighting = Sighting.of(said, datetime.fromtimestamp(said["created_at"], UTC))
            assert sighting is not None
            await self.store.adopt(Container.of(sighting, owner=OWNER, deployment="here"))
        return made

    async def sweep(self) -> None:
        """Sweep, and wait for the end of it."""
        self.now += 1
        self.sweeps.start()
        await self.tasks.drain(10)

    async def container(self, container_id: str) -> Container:
        record = await self.store.record(container_id)
        assert record is not None
        return record.container

    async def status(self, container_id: str) -> str:
        return (await self.container(container_id)).status_at(datetime.fromtimestamp(self.now, UTC))

    async def listed(self) -> list[str]:
        containers, _ = await self.store.page(ContainerQuery(owner=OWNER, limit=100, descending=False))
        return [container.container_id for container in containers]


@pytest.fixture
async def harbour(tmp_path: Path) -> AsyncIterator[Harbour]:
    database = Database.open(f"sqlite:///{tmp_path}/quaymaster.db")
    await database.migrate()
    yield Harbour(database)
    await database.close()


async def test_what_an_upstream_says_in_its_list_is_known_after_a_sweep(harbour: Harbour) -> None:
    [container_id] = await harbour.own()
    harbour.listing.containers[container_id] |= {"status": "odd", "last_active_at": NOW - 5, "extra": [1]}
    await harbour.sweep()
    container = await harbour.container(container_id)
    assert (container.status, container.last_active_at) == ("odd", datetime.fromtimestamp(NOW - 5, UTC))
    assert container.document.endswith(b'"extra":[1]}')


async def test_no_container_is_asked_for_by_itself(harbour: Harbour) -> None:
    await harbour.own(3)
    await harbour.sweep()
    assert harbour.listing.asked == ["GET /v1/containers?limit=100&order=desc"]


async def test_what_others_deleted_disappears(harbour: Harbour) -> None:
    kept, deleted = await harbour.own(2)
    harbour.listing.remove([deleted])
    await harbour.sweep()
    assert await harbour.listed() == [kept]
    assert (await harbour.container(deleted)).ending is Ending.GONE


async def test_what_was_deleted_here_does_not_linger_while_the_upstream_still_lists_it(harbour: Harbour) -> None:
    kept, deleted = await harbour.own(2)
    await harbour.store.end(deleted, Ending.DELETED, datetime.fromtimestamp(harbour.now, UTC))
    await harbour.sweep()
    assert await harbour.listed() == [kept]
    assert await harbour.status(deleted) == "deleted"


async def test_one_that_is_too_new_for_the_upstreams_list_stays(harbour: Harbour) -> None:
    [old] = await harbour.own()
    [new] = await harbour.own(age_seconds=LAG_SECONDS - 10)
    harbour.listing.hidden.add(new)
    await harbour.sweep()
    assert await harbour.listed() == [old, new]
    harbour.now += 60
    await harbour.sweep()
    assert await harbour.listed() == [old]


async def test_what_comes_back_is_back(harbour: Harbour) -> None:
    kept, lost = await harbour.own(2)
    harbour.listing.hidden.add(lost)
    await harbour.sweep()
    harbour.listing.hidden.clear()
    await harbour.sweep()
    assert await harbour.listed() == [kept, lost]


async def test_a_sweep_goes_back_as_far_as_anything_may_be_alive(harbour: Harbour) -> None:
    await harbour.own(100, age_seconds=3 * HOUR, status="expired")
    [alive] = await harbour.own(age_seconds=2 * HOUR)
    harbour.listing.add(150, created_at=NOW - int(HOUR))
    await harbour.sweep()
    assert len(harbour.listing.asked) == 2
    assert (await harbour.container(alive)).seen_at > datetime.fromtimestamp(NOW, UTC)


async def test_of_what_lies_further_back_nothing_is_ended(harbour: Harbour) -> None:
    [expired] = await harbour.own(age_seconds=3 * HOUR, status="expired")
    harbour.listing.add(1, created_at=NOW - int(4 * HOUR))
    harbour.listing.add(100, created_at=NOW - int(2.5 * HOUR))
    await harbour.own(age_seconds=2 * HOUR)
    harbour.listing.add(99, created_at=NOW - int(HOUR))
    harbour.listing.hidden.add(expired)
    await harbour.sweep()
    assert await harbour.status(expired) == "expired"
    assert len(harbour.listing.asked) == 2


async def test_where_nothing_is_alive_nothing_is_asked(harbour: Harbour) -> None:
    await harbour.own(status="expired")
    harbour.listing.add(1)
    await harbour.sweep()
    assert harbour.listing.asked == []


async def test_one_that_others_kept_alive_is_not_taken_for_expired(harbour: Harbour) -> None:
    [container_id] = await harbour.own(age_seconds=60, expires_after={"anchor": "last_active_at", "minutes": 20})
    harbour.now += LOOK_BACK_SECONDS - HOUR
    assert await harbour.status(container_id) == "expired"
    harbour.listing.containers[container_id]["last_active_at"] = int(harbour.now)
    await harbour.sweep()
    assert await harbour.status(container_id) == "running"
    harbour.now += 2 * LOOK_BACK_SECONDS  # from now on it is known when the last sweep was
    harbour.listing.containers[container_id]["last_active_at"] = int(harbour.now)
    await harbour.sweep()
    assert await harbour.status(container_id) == "running"


async def test_what_nobody_uses_expires_without_anybody_saying_so(harbour: Harbour) -> None:
    [container_id] = await harbour.own(age_seconds=60, expires_after={"anchor": "last_active_at", "minutes": 20})
    assert await harbour.status(container_id) == "running"
    harbour.now += 1200
    assert await harbour.status(container_id) == "expired"


@pytest.mark.parametrize("failing_page", [1, 2])
async def test_a_sweep_that_fails_ends_nothing(harbour: Harbour, failing_page: int) -> None:
    made = await harbour.own(150)
    harbour.listing.remove(made[:1] + made[-1:])
    harbour.listing.failing = lambda target: b"{}" if ("after=" in target) is (failing_page == 2) else None
    await harbour.sweep()
    assert len(harbour.listing.asked) == failing_page
    assert (await harbour.container(made[0])).ending is None
    assert (await harbour.container(made[-1])).ending is None


async def test_of_failures_in_a_row_the_first_is_logged(harbour: Harbour) -> None:
    await harbour.own()
    harbour.listing.failing = lambda target: b"no"
    with capture_logs() as logs:
        await harbour.sweep()
        await harbour.sweep()
        harbour.listing.failing = lambda target: None
        await harbour.sweep()
        harbour.listing.failing = lambda target: b"no"
        await harbour.sweep()
    assert [(log["event"], log["trouble"]) for log in logs] == [("sweep_failed", "its list answered 500")] * 2


async def test_a_database_that_is_down_is_logged_too(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take_turn(name: str, every_seconds: float) -> bool:
        raise StoreUnavailable("the database did not answer (on purpose)")

    monkeypatch.setattr(harbour.store, "take_turn", take_turn)
    with capture_logs() as logs:
        await harbour.sweep()
        await harbour.sweep()
    assert [(log["event"], log["deployment"]) for log in logs] == [("sweep_failed", "here")]


@pytest.mark.parametrize("body", [b'{"object":"list"}', b'{"data":[null],"has_more":true}', b"[]", b"{"])
async def test_a_list_that_is_none_ends_nothing_and_comes_to_an_end(harbour: Harbour, body: bytes) -> None:
    [container_id] = await harbour.own()
    harbour.listing.page = lambda query: (200, body)
    await harbour.sweep()
    assert len(harbour.listing.asked) == 1
    assert (await harbour.container(container_id)).ending is None


async def test_a_list_that_goes_round_in_circles_ends_nothing(harbour: Harbour) -> None:
    made = await harbour.own(120)
    harbour.listing.remove(made[:1])
    page = harbour.listing.page
    harbour.listing.page = lambda query: page({name: it for name, it in query.items() if name != "after"})
    await harbour.sweep()
    assert len(harbour.listing.asked) == 2
    assert (await harbour.container(made[0])).ending is None


async def test_where_the_order_is_broken_the_walk_goes_on(harbour: Harbour) -> None:
    [own] = await harbour.own(age_seconds=2 * HOUR)
    ages = [*([HOUR] * 98), 5 * HOUR, 4 * HOUR]
    first = [harbour.listing.add(created_at=NOW - int(age))[0] for age in ages]
    shown = [harbour.listing.containers[it] for it in (*first, own)]
    harbour.listing.page = lambda query: (
        200,
        orjson.dumps({"data": shown[100:] if "after" in query else shown[:100], "has_more": "after" not in query}),
    )
    await harbour.sweep()
    assert await harbour.listed() == [own]
    assert len(harbour.listing.asked) == 2


async def test_an_order_that_cannot_be_relied_on_ends_only_what_a_whole_list_lacks(harbour: Harbour) -> None:
    first, second = await harbour.own(1), await harbour.own(1, age_seconds=2 * HOUR)
    harbour.listing.add(200, created_at=NOW - 100)
    harbour.listing.hidden |= {*first, *second}
    page = harbour.listing.page
    harbour.listing.page = lambda query: page(query | {"order": "asc"})
    harbour.listing.add(1, created_at=NOW - int(3 * HOUR))
    await harbour.sweep()
    assert await harbour.listed() == []
    assert len(harbour.listing.asked) == 3


async def test_a_full_page_that_does_not_say_whether_more_follow_is_not_the_last(harbour: Harbour) -> None:
    made = await harbour.own(120)
    harbour.listing.page = lambda query: (200, page(query)[1].replace(b'"has_more"', b'"more"'))
    page = harbour.listing._page
    await harbour.sweep()
    assert len(await harbour.listed()) == 100
    assert len(harbour.listing.asked) == 2
    assert (await harbour.container(made[0])).ending is None


async def test_however_many_ask_there_is_one_sweep(harbour: Harbour) -> None:
    await harbour.own()
    here, there = harbour.process(refresh_seconds=15), harbour.process(refresh_seconds=15)
    harbour.listing.released.clear()
    for _ in range(50):
        here.start()
        there.start()
        await asyncio.sleep(0)
    assert len(harbour.tasks) == 2
    harbour.listing.released.set()
    await harbour.tasks.drain(10)
    harbour.now += 0.9
    here.start()
    there.start()
    assert len(harbour.tasks) == 0
    harbour.now += 14
    here.start()
    there.start()
    await harbour.tasks.drain(10)
    assert len(harbour.listing.asked) == 1


async def test_only_the_deployments_that_are_asked_for_are_swept(harbour: Harbour) -> None:
    await harbour.own()
    harbour.sweeps.start(frozenset({"there"}))
    assert len(harbour.tasks) == 0
    harbour.sweeps.start(frozenset({"here"}))
    assert len(harbour.tasks) == 1
    await harbour.tasks.drain(10)


async def test_a_sweep_of_many_pages_does_not_undo_what_passes_by_meanwhile(harbour: Harbour) -> None:
    [container_id] = await harbour.own()
    harbour.listing.released.clear()
    harbour.sweeps.start()
    await harbour.listing.was_asked.wait()
    said = harbour.listing.containers[container_id] | {"status": "newer"}
    sighting = Sighting.of(said, datetime.fromtimestamp(harbour.now + 1, UTC))
    assert sighting is not None
    await harbour.store.adopt(Container.of(sighting, owner=OWNER, deployment="here"))
    harbour.now += 2
    harbour.listing.released.set()
    await harbour.tasks.drain(10)
    assert await harbour.status(container_id) == "newer"
    assert (await harbour.container(container_id)).seen_at == sighting.seen_at


async def test_every_reply_is_let_go(harbour: Harbour) -> None:
    await harbour.own(150)
    await harbour.sweep()
    assert len(harbour.listing.replies) == 2
    assert all(reply.closed for reply in harbour.listing.replies)
