"""A gateway that makes containers until it is killed, over and over, in front of an upstream that lives on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from tests.e2e.gateway import RunningGateway, forwarding_to, running_gateway
from tests.e2e.rows import containers
from tests.fakes.quay import Quay
from tests.fakes.scripted import Peer, ScriptedUpstream

OWNERS = ("team:sea", "user:ann", "user:bob")
CREATORS = 4
"""How many create for each owner at once."""
MAX_CREATES = 40
"""The kill comes after one to so many creates."""
MAX_UPSTREAM_SECONDS = 0.03


class Creating:
    """One gateway's folder, its upstream, and what owners were told. Each calls its containers by its own name."""

    def __init__(self, folder: Path, quay: Quay, origin: str, seed: int) -> None:
        self.folder = folder
        self.quay = quay
        self.told: dict[str, str] = {}
        """By the id of a container that was answered, whose it is."""
        self.keys: dict[str, str] = {}
        self._config = forwarding_to(origin)
        self._random = random.Random(seed)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[RunningGateway]:
        """The gateway, started again in its folder."""
        running = running_gateway(self.folder, self._config)
        gateway = await asyncio.to_thread(running.__enter__)
        try:
            if not self.keys:
                for owner in OWNERS:
                    kind, _, name = owner.partition(":")
                    self.keys[owner] = await asyncio.to_thread(gateway.make_key, **{f"{kind}_id": name})
            yield gateway
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)

    async def until_killed(self, gateway: RunningGateway) -> None:
        """Create, and kill -9 the gateway at some moment while creates are on their way."""
        enough = len(self.quay.made) + self._random.randint(1, MAX_CREATES)
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            creators = [asyncio.create_task(self._create(client, owner)) for owner in OWNERS for _ in range(CREATORS)]
            while len(self.quay.made) < enough:
                self.quay.creating.clear()
                await self.quay.creating.wait()
            await asyncio.sleep(self._random.uniform(0, MAX_UPSTREAM_SECONDS))
            gateway.process.kill()
            await asyncio.gather(*creators)

    def unowned(self) -> list[str]:
        """The ids of containers that are not their owners'."""
        owners = {row["container_id"]: row["owner"] for row in containers(self.folder)}
        return [one["id"] for one in self.quay.made if owners.get(one["id"]) != one["name"]]

    def check(self) -> None:
        """Every container is its owner's, once; what an owner was told is true. Raises AssertionError."""
        rows = containers(self.folder)
        assert not self.unowned()
        assert len(rows) == len(self.quay.made)
        made = {one["id"]: one["name"] for one in self.quay.made}
        assert all(made[container_id] == owner for container_id, owner in self.told.items())

    async def _create(self, client: httpx.AsyncClient, owner: str) -> None:
        bearer = {"Authorization": f"Bearer {self.keys[owner]}"}
        with suppress(httpx.TransportError):
            while True:
                answer = await client.post("/v1/containers", json={"name": owner}, headers=bearer)
                assert answer.status_code == 200, answer.text
                self.told[answer.json()["id"]] = owner


class SlowQuay(Quay):
    """A quay that takes its time after it has made a container, so that a kill finds some on their way."""

    async def _create(self, peer: Peer, *args: object) -> None:
        self.instead.append(_late)
        await super()._create(peer, *args)  # type: ignore[arg-type]


async def _late(peer: Peer, answer: bytes) -> None:
    await asyncio.sleep(random.uniform(0, MAX_UPSTREAM_SECONDS))
    await peer.send(answer)


@asynccontextmanager
async def creating(folder: Path, seed: int = 0) -> AsyncIterator[Creating]:
    """An upstream, and a gateway in this folder that is yet to be started."""
    quay = SlowQuay()
    async with ScriptedUpstream(quay) as upstream:
        yield Creating(folder, quay, upstream.origin, seed)
