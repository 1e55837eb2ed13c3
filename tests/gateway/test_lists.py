"""An owner's list: whose containers are on it, what it says of each, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from sqlalchemy import event

from app.domain.containers import Access, Container, Ending, Sighting
from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import ALL_OPERATIONS, MASTER, Principal
from app.domain.ports import ContainerQuery, StoreUnavailable
from app.gateway.forward import Forwarder
from app.gateway.lists import Lists, document_at, own_page
from app.gateway.place import HEADER, Placer
from app.hooks.runner import HookRunner
from app.registry.sweep import Sweeps
from app.routing.selection import Policy, Selector
from app.routing.track import Track
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.tasks import Tasks
from app.telemetry.metrics import Metrics
from tests.exchanges import opened_exchange
from tests.fakes.listing import Listing
from tests.storage.containers import at, container

SEA = Principal("1" * 16, "team:sea", False, ALL_OPERATIONS, identities=("team:sea", "user:zoë"))


class Port:
    """Lists over a real database, of the deployments here and there (openai) and far (azure)."""

    def __init__(self, database: Database) -> None:
        self.store = SqlContainerStore(database)
        self.tasks = Tasks()
        self.listings = {name: Listing() for name in ("here", "there", "far")}
        here, there, far = (listing.deployment(name) for name, listing in self.listings.items())
        tracks = {name: Track(name) for name in self.listings}
        random = Random(1)
        hooks = HookRunner([], Metrics(version="test"), timeout_seconds=1)
        self.lists = Lists(
            Placer({"openai": [here, there], "azure": [far]}, tracks, Selector(Policy.LEAST_BUSY, random)),
            Forwarder(tracks, hooks, deadline_seconds=0, random=random),
            self.store,
            Sweeps(self.store, (here, there, far), self.tasks, refresh_seconds=15),
        )
        self.statements: list[str] = []
        event.listen(database._backend.engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    async def made(self, **fields: Any) -> str:
        document = orjson.dumps({"id": "?", "object": "container", "status": "running"})
        one = container(**({"document": document} | fields))
        await self.store.adopt(one)
        return one.container_id

    async def ask(
        self, query: str = "", principal: Principal = SEA, *, provider: str | None = None, deployment: str | None = None
    ) -> dict[str, Any]:
        exchange = opened_exchange("/v1/containers")
        exchange.upstream_query, exchange.provider_is_named = query, provider is not None
        if deployment is not None:
            exchange.headers = [(HEADER, deployment.encode())]
        reply = await self.lists.page(exchange, principal, provider or "openai")
        assert (reply.status, exchange.response_json) == (200, reply.whole)
        assert reply.whole is not None
        await reply.aclose()
        page: dict[str, Any] = orjson.loads(reply.whole)
        return page | {"deployment": exchange.deployment and exchange.deployment.name}

    async def ids(self, query: str = "", principal: Principal = SEA, **how: Any) -> list[str]:
        """The ids on a page: of an owner's, what follows the last one says so."""
        page = await self.ask(query, principal, **how)
        return [item["id"] for item in page["data"]]


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    database = Database.open(f"sqlite:///{tmp_path}/quaymaster.db")
    await database.migrate()
    port = Port(database)
    yield port
    await port.tasks.drain(10)
    await database.close()


def document(**fields: Any) -> dict[str, Any]:
    """What a list says, ten minutes after noon, of a container that was made at noon."""
    said: dict[str, Any] = orjson.loads(document_at(container(**fields), at(10)))
    return said


async def test_a_page_has_what_openais_have(port: Port) -> None:
    made = [await port.made(document=b"", created_at=at(minute)) for minute in range(3)]
    page = await port.ask("limit=2")
    assert [item["id"] for item in page["data"]] == made[:0:-1]
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", made[2], made[1])
    assert (page["has_more"], page["deployment"]) == (True, None)
    last = await port.ask(f"limit=2&after={page['last_id']}")
    assert ([item["id"] for item in last["data"]], last["has_more"]) == (made[:1], False)
    assert (await port.ask(f"after={made[0]}"))["first_id"] is None


async def test_ones_own_and_what_is_shared_are_on_it_wherever_they_live(port: Port) -> None:
    here, far, shared, theirs, gone = [
        await port.made(document=b"", created_at=at(minute), **fields)
        for minute, fields in enumerate(
            [{}, {"deployment": "far"}, {"owner": "team:land"}, {"owner": "team:land"}, {}],
        )
    ]
    await port.store.share(shared, "user:zoë", Access.READ)
    await port.store.end(gone, Ending.GONE, at(9))
    assert await port.ids() == [shared, far, here]
    assert await port.ids(provider="openai") == [shared, here]
    assert await port.ids(provider="azure") == [far]
    assert await port.ids("order=asc") == [here, far, shared]
    assert theirs not in await port.ids("limit=100")


async def test_a_name_is_matched_as_it_is_kept(port: Port) -> None:
    long = "ü" * 300
    made = await port.made(document=b"", name=long[:256])
    await port.made(document=b"", name="other")
    assert await port.ids(f"name={long}") == [made]
    assert await port.ids("name=ot%00her&limit=1") != []
    assert await port.ids("name=") == []


@pytest.mark.parametrize("after", ["cntr_unknown", "theirs", "a%00b", "x" * 5000])
async def test_what_is_not_on_the_list_is_no_cursor(port: Port, after: str) -> None:
    theirs = await port.made(owner="team:land")
    with pytest.raises(GatewayError) as refused:
        await port.ask(f"after={theirs if after == 'theirs' else after}")
    error = refused.value
    assert (error.code, error.param) == (ErrorCode.INVALID_VALUE, "after")
    assert error.message.startswith("Invalid 'after': no item with id '")


async def test_a_database_that_does_not_answer_is_said_to(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(query: ContainerQuery) -> tuple[list[Container], bool]:
        raise StoreUnavailable("the database did not answer (on purpose)")

    monkeypatch.setattr(port.store, "page", page)
    with pytest.raises(GatewayError) as refused:
        await port.ask()
    assert (refused.value.code, refused.value.retry_after_seconds) == (ErrorCode.STORE_UNAVAILABLE, 1)


async def test_a_list_starts_a_sweep_of_what_it_shows_and_does_not_wait_for_it(port: Port) -> None:
    for deployment in ("here", "far"):
        now = datetime.now(UTC)
        await port.made(deployment=deployment, created_at=now.replace(microsecond=0), last_active_at=now)
        port.listings[deployment].released.clear()
    far = port.listings["far"]
    await port.ids(provider="azure")
    await asyncio.wait_for(far.was_asked.wait(), 10)
    assert len(port.tasks) == 1  # of what was not shown, there is none
    for _ in range(50):
        await port.ids()
    assert len(port.tasks) <= 3
    for listing in port.listings.values():
        listing.released.set()
    await port.tasks.drain(10)
    assert {name: len(listing.asked) for name, listing in port.listings.items()} == {"here": 1, "there": 0, "far": 1}


async def test_what_a_list_costs_does_not_depend_on_how_many_others_there_are(port: Port) -> None:
    for _ in range(20):
        await port.made()
    await port.ids()
    await port.tasks.drain(10)
    port.statements.clear()
    await port.ids()
    alone = len(port.statements)
    foreign = [replace(container(owner="team:land"), created_at=at(minute)) for minute in range(300)]
    for one in foreign:
        await port.store.adopt(one)
    await port.tasks.drain(10)
    asked = sum(len(listing.asked) for listing in port.listings.values())
    port.statements.clear()
    await port.ids()
    assert len(port.statements) == alone <= 3  # to begin, for its own, and for what is shared with it
    assert sum(len(listing.asked) for listing in port.listings.values()) == asked


async def test_one_that_sees_all_gets_what_the_deployments_list(port: Port) -> None:
    [here] = port.listings["here"].add(created_at=1)
    [there] = port.listings["there"].add(created_at=2)
    [far] = port.listings["far"].add(created_at=3)
    await port.made()
    assert await port.ids("", MASTER) == [there, here]
    assert await port.ids("", MASTER, deployment="here") == [here]
    assert await port.ids("", MASTER, provider="azure") == [far]
    assert (await port.ask("", MASTER, deployment="there"))["deployment"] == "there"
    assert port.listings["far"].asked == ["GET /v1/containers"]


async def test_a_deployment_that_does_not_exist_cannot_be_named(port: Port) -> None:
    with pytest.raises(GatewayError) as refused:
        await port.ask("", MASTER, deployment="nowhere")
    assert refused.value.code is ErrorCode.INVALID_VALUE


def test_a_container_is_shown_as_its_upstream_wrote_it() -> None:
    said = b'{"z":1,"id":"x","status":"running","last_active_at":1763726400,"a":[1.5,"\xc3\xa9",null],"expires_at":7}'
    active_at = datetime.fromtimestamp(1763726400, UTC)
    assert document_at(container(document=said, last_active_at=active_at, expires_after_minutes=None), at(0)) == said


def test_what_is_known_better_is_brought_up_to_date_where_it_stands() -> None:
    said = b'{"last_active_at":5,"status":"running","name":"n"}'
    noon = int(at(0).timestamp())
    shown = document_at(container(document=said), at(30))
    assert shown == b'{"last_active_at":%d,"status":"expired","name":"n","expires_at":%d}' % (noon, noon + 1200)


@pytest.mark.parametrize(
    ("fields", "said", "shown"),
    [
        ({}, {"last_active_at": 2**40}, {"last_active_at": 2**40}),
        ({}, {}, {"last_active_at": int(at(0).timestamp())}),
        ({}, {"last_active_at": None}, {"last_active_at": int(at(0).timestamp())}),
        ({}, {"last_active_at": 5.5}, {"last_active_at": int(at(0).timestamp())}),
        ({"last_active_at": at(5.51)}, {}, {"last_active_at": int(at(5.5).timestamp())}),
        ({"last_active_at": None}, {}, {"last_active_at": "absent", "expires_at": int(at(20).timestamp())}),
        ({"expires_after_minutes": None}, {}, {"expires_at": "absent"}),
        ({}, {"expires_at": None}, {"expires_at": None}),
        ({"status": ""}, {}, {"status": "absent"}),
        ({"status": "odd"}, {"status": "odd"}, {"status": "odd"}),
        ({"last_active_at": at(-30)}, {"status": "running"}, {"status": "expired"}),
    ],
)
def test_what_is_known_of_a_container(fields: dict[str, Any], said: dict[str, Any], shown: dict[str, Any]) -> None:
    is_shown = document(document=orjson.dumps({"id": "cntr_1"} | said), **fields)
    assert {name: is_shown.get(name, "absent") for name in shown} == shown


def test_one_of_which_no_document_is_kept_has_what_matters() -> None:
    one = container(document=b"", container_id="cntr_1")
    noon = int(at(0).timestamp())
    assert orjson.loads(document_at(one, at(10))) == {
        "id": "cntr_1",
        "object": "container",
        "name": "crate",
        "created_at": noon,
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "memory_limit": "1g",
        "last_active_at": noon,
        "expires_at": noon + 1200,
    }
    bare = replace(one, expires_after_minutes=None, memory_limit=None, last_active_at=None)
    assert list(orjson.loads(document_at(bare, at(10)))) == ["id", "object", "name", "created_at", "status"]


async def test_documents_that_are_large_are_written_too(port: Port) -> None:
    large = orjson.dumps({"id": "large", "network_policy": {"allowed_domains": ["x" * 100] * 500}})
    for _ in range(3):
        await port.made(document=large)
    page = await port.ask()
    assert [len(item["network_policy"]["allowed_domains"]) for item in page["data"]] == [500] * 3


def test_a_page_takes_a_fraction_of_a_millisecond() -> None:
    said = next(iter(_said().values()))
    sighting = Sighting.of(said, at(1))
    assert sighting is not None
    page = [Container.of(sighting, owner="team:sea", deployment="here")] * 20
    best = 1e9
    for _ in range(20):
        start = time.perf_counter()
        own_page(page, True, at(10))
        best = min(best, time.perf_counter() - start)
    print(f"a page of 20 containers of {len(sighting.document)} bytes is written in {best * 1e6:.0f} µs")
    assert best < 1e-3


def _said() -> dict[str, dict[str, Any]]:
    listing = Listing()
    listing.add(network_policy={"type": "allowlist", "allowed_domains": ["example.com", "example.org"]})
    return listing.containers
