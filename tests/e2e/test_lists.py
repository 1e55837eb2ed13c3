"""Lists as clients see them: the real SDK, real sockets, real databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sqlalchemy import Engine, event, insert

from app.storage.container_rows import to_row
from app.storage.engine import Database
from app.storage.tables import containers
from tests.e2e.gateway import forwarding_to
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.listing import Listing
from tests.fakes.scripted import ScriptedUpstream
from tests.storage.containers import container

FOREIGN = 5_000
OWN = 45
AN_HOUR_AGO = timedelta(hours=1)


@dataclass
class Quay:
    """A gateway in front of one deployment, and the folder it keeps its database in."""

    gateway: ServingGateway
    listing: Listing
    folder: Path

    async def crowd(self) -> None:
        """Make containers that are other people's: some registered, all of them listed upstream."""
        made_at = datetime.now(UTC).replace(microsecond=0) - AN_HOUR_AGO
        ids = self.listing.add(FOREIGN, created_at=int(made_at.timestamp()))
        rows = [to_row(replace(container(owner="team:land"), container_id=it, created_at=made_at)) for it in ids]
        database = Database.open(f"sqlite:///{self.folder}/data/quaymaster.db")
        await database.write(lambda connection: connection.execute(insert(containers), rows))
        await database.close()

    @asynccontextmanager
    async def client(self, key: str) -> AsyncIterator[tuple[AsyncOpenAI, list[str]]]:
        """The SDK, and the requests that it makes."""
        requests: list[str] = []

        async def note(request: Any) -> None:
            requests.append(f"{request.method} {request.url}")

        http = DefaultAsyncHttpxClient(event_hooks={"request": [note]})
        async with AsyncOpenAI(base_url=self.gateway.url, api_key=key, http_client=http, max_retries=0) as client:
            yield client, requests

    async def ids(self, key: str, query: str = "") -> list[str]:
        answer = await self.gateway.client.get(f"/v1/containers?{query}", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["data"]]


@asynccontextmanager
async def quay(folder: Path, **settings: Any) -> AsyncIterator[Quay]:
    listing = Listing(time.time)
    async with (
        ScriptedUpstream(listing.serve) as upstream,
        serving_gateway(folder, forwarding_to(upstream.origin, **settings)) as gateway,
    ):
        yield Quay(gateway, listing, folder)


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Every SQL statement of this process."""
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    yield statements
    event.remove(Engine, "before_cursor_execute", count)


async def walk(client: AsyncOpenAI) -> tuple[list[str], float]:
    """Every container that the SDK finds, and how many seconds that took."""
    start = time.perf_counter()
    found = [one.id async for one in client.containers.list(limit=20)]
    return found, time.perf_counter() - start


async def test_among_five_thousand_others_the_sdk_finds_exactly_ones_own(tmp_path: Path) -> None:
    async with quay(tmp_path) as it, it.client(await it.gateway.make_key(team_id="sea")) as (client, requests):
        made = [(await client.containers.create(name=f"crate {number}")).id for number in range(OWN)]
        await walk(client)
        requests.clear()
        found, alone_seconds = await walk(client)
        assert found == made[::-1]
        await it.crowd()
        requests.clear()
        asked = len(it.listing.asked)
        with counted_statements() as statements:
            found, seconds = await walk(client)
        assert found == made[::-1]
        assert len(requests) == 3
        assert len([one for one in statements if "FROM containers" in one and "LIMIT" in one]) <= 2 * 3
        assert len(it.listing.asked) == asked  # the sweep of a moment ago serves this one too
        print(f"45 containers in pages of 20: {alone_seconds * 1e3:.1f} ms alone, {seconds * 1e3:.1f} ms among 5,000")


async def test_many_lists_at_once_start_one_sweep(tmp_path: Path) -> None:
    async with quay(tmp_path) as it:
        key = await it.gateway.make_key()
        async with it.client(key) as (client, _):
            await client.containers.create(name="crate")
            it.listing.asked.clear()
            it.listing.released.clear()  # no list of the upstream's comes back
            answers = await asyncio.gather(*(it.ids(key) for _ in range(50)))
            assert {len(ids) for ids in answers} == {1}
            assert len(it.listing.asked) <= 1
            it.listing.released.set()
            await it.ids(key)
            await it.listing.was_asked.wait()
        assert it.listing.asked == ["GET /v1/containers?limit=100&order=desc"]


async def test_what_others_delete_disappears_by_itself(tmp_path: Path) -> None:
    async with quay(tmp_path, registry={"refresh_seconds": 0.05}) as it:
        key = await it.gateway.make_key()
        it.listing.made_seconds_ago = 3600
        async with it.client(key) as (client, _):
            kept, deleted = [(await client.containers.create(name="crate")).id for _ in range(2)]
        it.listing.remove([deleted])
        for _ in range(500):
            if await it.ids(key) == [kept]:
                break
            await asyncio.sleep(0.02)
        assert await it.ids(key) == [kept]
        assert not [target for target in it.listing.asked if "cntr_" in target]


async def test_what_is_deleted_here_is_gone_at_once_though_the_upstream_goes_on_listing_it(tmp_path: Path) -> None:
    async with quay(tmp_path, registry={"refresh_seconds": 0.05}) as it:
        key = await it.gateway.make_key()
        async with it.client(key) as (client, _):
            kept, deleted = [(await client.containers.create(name="crate")).id for _ in range(2)]
            said = it.listing.containers[deleted]
            await client.containers.delete(deleted)
            it.listing.containers[deleted] = said
            it.listing.asked.clear()
            async with asyncio.timeout(10):
                while len(it.listing.asked) < 3:
                    assert await it.ids(key) == [kept]
                    await asyncio.sleep(0.02)


async def test_somebody_elses_container_is_as_unknown_as_none_at_all(tmp_path: Path) -> None:
    async with quay(tmp_path) as it:
        ours, theirs = await it.gateway.make_key(), await it.gateway.make_key()
        async with it.client(theirs) as (client, _):
            foreign = (await client.containers.create(name="crate")).id
        answers = [
            await it.gateway.client.get(f"/v1/containers?after={after}", headers={"Authorization": f"Bearer {ours}"})
            for after in (foreign, "cntr_" + "0" * len(foreign[5:]))
        ]
        assert [answer.status_code for answer in answers] == [400, 400]
        texts = [answer.text.replace(foreign, "cntr_" + "0" * len(foreign[5:])) for answer in answers]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "order=up", "after=cntr_unknown"])
async def test_a_wrong_query_is_refused_as_the_provider_refuses_it(tmp_path: Path, query: str) -> None:
    async with serving_gateway(tmp_path) as gateway:
        key = await gateway.make_key()
        provider = await gateway.client.get(f"/v1/containers?{query}")
        registry = await gateway.client.get(f"/v1/containers?{query}", headers={"Authorization": f"Bearer {key}"})
        assert "x-quaymaster-deployment" in provider.headers
        assert "x-quaymaster-deployment" not in registry.headers
        assert (provider.status_code, provider.json()) == (registry.status_code, registry.json())


async def test_the_embedded_providers_containers_are_listed_as_it_lists_them(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        key = {"Authorization": f"Bearer {await gateway.make_key()}"}
        for name in ("one", "two", "three"):
            made = await gateway.client.post("/v1/containers", json={"name": name}, headers=key)
            assert made.status_code == 200, made.text
        everybodys = await gateway.client.get("/v1/containers?limit=2")
        own = await gateway.client.get("/v1/containers?limit=2", headers=key)
        assert own.json() == everybodys.json()
        assert own.headers["content-type"] == everybodys.headers["content-type"]


async def test_several_deployments_are_one_list_to_one_that_sees_all(tmp_path: Path) -> None:
    berths = Listing(), Listing()
    async with (
        ScriptedUpstream(berths[0].serve) as here,
        ScriptedUpstream(berths[1].serve) as there,
    ):
        other = {"name": "there", "provider": "openai", "api_base": f"{there.origin}/v1", "api_key": "sk-there"}
        async with serving_gateway(tmp_path, forwarding_to(here.origin, others=[other])) as gateway:
            made = [berths[number % 2].add(created_at=1000 + number)[0] for number in range(50)]
            it = Quay(gateway, berths[0], tmp_path)
            async with it.client(gateway.client.headers["Authorization"].removeprefix("Bearer ")) as (client, requests):
                found, _ = await walk(client)
                assert found == made[::-1]
                assert len(requests) == 3
                named = {"x-quaymaster-deployment": "there"}
                only = [one.id async for one in client.containers.list(extra_headers=named)]
                assert only == made[:0:-2]
            there.stop_listening()
            berths[1].page = lambda query: (403, b'{"error":{"message":"no","type":"x","param":null,"code":null}}')
            answer = await gateway.client.get("/v1/containers")
            assert (answer.status_code, answer.json()["error"]["message"]) == (403, "no")
            assert answer.headers["x-quaymaster-deployment"] == "there"


async def test_one_deployments_list_passes_through_byte_for_byte(tmp_path: Path) -> None:
    text = b'{ "data":[{"id" : "cntr_1", "n":1e2}],"x":1, "has_more" :false }\n'
    async with quay(tmp_path) as it:
        it.listing.page = lambda query: (200, text)
        answer = await it.gateway.client.get("/v1/containers?limit=0&before=x")
        assert answer.content == text
        assert it.listing.asked == ["GET /v1/containers?limit=0&before=x"]
