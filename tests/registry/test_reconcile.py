"""Looking for what creates left behind, over a real database and a real list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.containers import Answer, Container, Creation, CreationState
from app.domain.deployments import Deployment
from app.domain.ports import Timeouts
from app.registry import reconcile
from app.registry.reconcile import Reconciler
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.upstream.wire import WireUpstream
from tests.fakes.quay import Quay
from tests.fakes.scripted import ScriptedUpstream, accepts_only
from tests.logs import captured_log
from tests.storage.containers import creation
from tests.storage.spending import order

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Rig:
    """A reconciler of a quay called `here`. What it asks about began two minutes ago, unless told otherwise."""

    def __init__(self, database: Database, deployments: dict[str, Deployment], quay: Quay) -> None:
        self.containers = SqlContainerStore(database)
        self.creations = SqlCreationStore(database)
        self.quay = quay
        self.now = NOW
        self.reconciler = Reconciler(deployments, self.containers, self.creations, lambda: self.now)

    async def begin(self, **fields: Any) -> Creation:
        """An intent whose process has not answered for it for a minute."""
        intent = {
            "started_at": NOW - timedelta(minutes=2),
            "lease_until": NOW - timedelta(minutes=1),
            "memory_limit": "1g",
        }
        begun = creation(**intent | fields)
        assert await self.creations.begin(begun, order(), same_key_since=NOW - timedelta(days=1)) == ()
        return begun

    def make(self, seconds_ago: float = 119, name: str = "crate", **fields: Any) -> str:
        """A container of which the registry knows nothing."""
        made: str = self.quay.make(name, NOW.timestamp() - seconds_ago, **fields)["id"]
        return made

    async def owner_of(self, container_id: str) -> str | None:
        found = await self.containers.ownership(container_id)
        assert found is not None
        return found.owner

    async def reconcile(self) -> None:
        await self.reconciler.reconcile()


@asynccontextmanager
async def reconciling(database: Database, **others: Any) -> AsyncIterator[Rig]:
    quay = Quay()
    await database.migrate()
    async with ScriptedUpstream(others.get("script", quay)) as upstream:
        wire = WireUpstream(origin=upstream.origin, timeouts=Timeouts(), max_connections=4)
        here = Deployment(
            name="here", provider="openai", upstream=wire, base_path="/v1", query_suffix="", credential_headers=[]
        )
        try:
            yield Rig(database, {"here": here}, quay)
        finally:
            await wire.aclose()


@pytest.fixture
async def rig(database: Database) -> AsyncIterator[Rig]:
    async with reconciling(database) as rig:
        yield rig


async def test_what_was_made_is_given_to_its_owner(rig: Rig) -> None:
    begun = await rig.begin(owner="user:ann", key_id="k" * 16)
    made = rig.make()
    with captured_log() as log:
        await rig.reconcile()
        (event,) = log.events("container_reconciled")
    assert (event["container_id"], event["owner"], event["deployment"]) == (made, "user:ann", "here")
    record = await rig.containers.record(made)
    assert record is not None
    assert (record.container.owner, record.container.deployment, record.container.key_id) == (
        "user:ann",
        "here",
        "k" * 16,
    )
    ended = await rig.creations.get(begun.creation_id)
    assert ended is not None
    assert (ended.state, ended.container_id) == (CreationState.DONE, made)
    assert ended.answer == Answer(status=200, content_type="application/json", body=record.container.document)


async def test_what_was_not_made_is_closed(rig: Rig) -> None:
    begun = await rig.begin(idempotency_key="once")
    rig.make(name="another")
    with captured_log() as log:
        await rig.reconcile()
        assert [event["creation_id"] for event in log.events("creation_closed")] == [begun.creation_id]
    assert await rig.creations.get(begun.creation_id) is None


async def test_what_was_answered_stays_the_answer(rig: Rig) -> None:
    made, not_made = await rig.begin(), await rig.begin(name="box")
    said = Answer(status=500, content_type="text/plain", body=b"oh")
    for begun in (made, not_made):
        await rig.creations.give_up(begun.creation_id, begun.lease_until, said)
    rig.make()
    await rig.reconcile()
    ended = [await rig.creations.get(begun.creation_id) for begun in (made, not_made)]
    assert [(one.state, one.answer) for one in ended if one] == [
        (CreationState.DONE, said),
        (CreationState.FAILED, said),
    ]


async def test_what_somebody_ended_before_our_turn_is_not_looked_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = await rig.begin()
    take_turn = rig.containers.take_turn

    async def last(name: str, every_seconds: float) -> bool:
        await rig.creations.fail(begun.creation_id, None)
        return await take_turn(name, every_seconds)

    monkeypatch.setattr(rig.containers, "take_turn", last)
    await rig.reconcile()
    assert rig.quay.lists == 0


async def test_nothing_is_asked_while_nothing_is_left_behind(rig: Rig) -> None:
    await rig.begin(lease_until=NOW + timedelta(seconds=1))
    rig.make()
    await rig.reconcile()
    assert rig.quay.lists == 0
    assert await rig.containers.take_turn("reconcile", 100)


async def test_one_process_does_it(rig: Rig) -> None:
    await rig.begin()
    assert await rig.containers.take_turn("reconcile", 0)
    await rig.reconcile()
    assert rig.quay.lists == 0


async def test_one_look_at_the_list_serves_all(rig: Rig) -> None:
    for number in range(5):
        await rig.begin(name=f"crate {number}", owner=f"user:{number}")
    made = [rig.make(name=f"crate {number}") for number in range(5)]
    await rig.reconcile()
    assert [await rig.owner_of(one) for one in made] == [f"user:{number}" for number in range(5)]
    assert rig.quay.lists == 1


async def test_the_list_is_read_as_far_back_as_the_oldest(rig: Rig) -> None:
    await rig.begin()
    made = rig.make(124)
    for _ in range(150):
        rig.make(10, name="others")
    for _ in range(250):
        rig.make(300)
    await rig.reconcile()
    assert await rig.owner_of(made) == "team:sea"
    assert rig.quay.lists == 2


async def test_a_list_that_always_shows_the_same_page_ends(database: Database) -> None:
    class Stuck(Quay):
        def _page(self, request: Any) -> bytes:
            return b'{"data":[{"id":"cntr_1","name":"x"}],"has_more":true}'

    stuck = Stuck()
    async with reconciling(database, script=stuck) as rig:
        await rig.begin()
        async with asyncio.timeout(10):
            await rig.reconcile()
    assert stuck.lists == 2


async def test_what_is_registered_is_nobody_elses(rig: Rig) -> None:
    begun = await rig.begin(owner="user:ann")
    made = rig.make()
    known = Container(container_id=made, owner="user:bob", deployment="here", created_at=NOW, seen_at=NOW)
    await rig.containers.adopt(known)
    await rig.reconcile()
    assert await rig.owner_of(made) == "user:bob"
    assert await rig.creations.get(begun.creation_id) is None


async def test_what_could_be_of_two_owners_is_nobodys(rig: Rig) -> None:
    begun = [await rig.begin(owner=owner) for owner in ("user:ann", "user:bob")]
    made = rig.make()
    with captured_log() as log:
        await rig.reconcile()
        (event,) = log.events("container_unowned")
        assert len(log.events("creation_closed")) == 2
    assert (event["level"], event["container_id"], event["deployment"]) == ("warning", made, "here")
    assert await rig.owner_of(made) is None
    assert [await rig.creations.get(one.creation_id) for one in begun] == [None, None]


@pytest.mark.parametrize("elsewhere", ["here", "there"])
async def test_what_a_living_process_may_be_making_waits(rig: Rig, elsewhere: str) -> None:
    """Also where that is sent by way of another deployment: two may lead to the same project."""
    await rig.begin()
    await rig.begin(owner="user:ann", lease_until=NOW + timedelta(seconds=30), deployment=elsewhere)
    made = rig.make()
    await rig.reconcile()
    assert await rig.containers.ownership(made) is None
    assert len(await rig.creations.pending()) == 2


async def test_one_that_is_begun_while_the_list_is_read_counts(rig: Rig) -> None:
    """A container in the list that is not registered yet may be that one's."""
    await rig.begin()
    made: list[str] = []

    async def meanwhile() -> None:
        await rig.begin(owner="user:ann", lease_until=NOW + timedelta(seconds=30))
        made.append(rig.make())

    rig.quay.before_list = meanwhile
    await rig.reconcile()
    assert await rig.containers.ownership(made[0]) is None


async def test_where_the_list_cannot_be_read_all_stays_as_it_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_TURN_SECONDS", 0)
    lost, elsewhere = await rig.begin(), await rig.begin(deployment="taken out")
    made = rig.make()
    rig.quay.list_status = 500
    with captured_log() as log:
        for _ in range(3):
            await rig.reconcile()
        events = log.events("creations_not_reconciled")
    assert sorted(event["deployment"] for event in events) == ["here", "taken out"]
    assert {one.creation_id for one in await rig.creations.pending()} == {lost.creation_id, elsewhere.creation_id}
    rig.quay.list_status = 200
    await rig.reconcile()
    assert await rig.owner_of(made) == "team:sea"
    assert [one.creation_id for one in await rig.creations.pending()] == [elsewhere.creation_id]


async def test_a_list_that_takes_for_ever_is_left(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "LIST_SECONDS", 0.2)
    async with reconciling(database, script=accepts_only) as rig:
        begun = await rig.begin()
        async with asyncio.timeout(10):
            await rig.reconcile()
        assert await rig.creations.pending() == [begun]
