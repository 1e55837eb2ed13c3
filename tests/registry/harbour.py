"""A registry over a real database, two deployments on real sockets, and what cleans them up. The time is noon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.domain.containers import Container
from app.domain.deployments import Deployment
from app.domain.ports import Timeouts
from app.registry.notes import Notes
from app.registry.ownership import Ownerships
from app.registry.reap import Reaper
from app.storage.audit import SqlAuditLog
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from app.upstream.wire import WireUpstream
from tests.fakes.yard import Yard
from tests.gateway.gate import Clock
from tests.storage.containers import container
from tests.storage.keys import DEED, NOON, virtual_key

HERE, THERE = "here", "there"


@dataclass
class Harbour:
    """Everything there is, and ways to put more there."""

    database: Database
    containers: SqlContainerStore
    creations: SqlCreationStore
    keys: SqlKeyStore
    yards: dict[str, Yard]
    deployments: dict[str, Deployment]
    ownerships: Ownerships
    notes: Notes
    reaper: Reaper
    clock: Clock

    @property
    def here(self) -> Yard:
        """The yard of the deployment `here`."""
        return self.yards[HERE]

    async def add(self, name: str, *, hours_old: float = 1.0, listed: bool = True, **fields: Any) -> Container:
        """A container that is registered, and is in its deployment's list unless it is said otherwise.

        It is so many hours old, was not used since, and does not expire.
        """
        made_at = NOON.replace(microsecond=0) - timedelta(hours=hours_old)
        made = {"created_at": made_at, "seen_at": made_at, "last_active_at": made_at, "expires_after_minutes": None}
        added = container(container_id=name, **(made | fields))
        await self.containers.adopt(added)
        if listed and added.deployment in self.yards:
            self.yards[added.deployment].put(name, added.created_at.timestamp())
        return added

    async def add_key(self, **fields: Any) -> str:
        """A virtual key; its id."""
        key = virtual_key(**fields)
        await self.keys.add(key, DEED)
        return key.key_id

    async def status(self, name: str) -> str | None:
        """What the registry says of a container."""
        record = await self.containers.record(name)
        return None if record is None else record.container.status_at(NOON)

    async def rename_table(self, name: str, to: str) -> None:
        """A database that lacks a table is as silent as one that is away."""
        rename = f"ALTER TABLE {name} RENAME TO {to}"
        await self.database.write(lambda connection: connection.exec_driver_sql(rename))


def deployment(name: str, origin: str) -> Deployment:
    """A deployment at an origin."""
    upstream = WireUpstream(origin=origin, timeouts=Timeouts(connect_seconds=2, read_seconds=5), max_connections=8)
    return Deployment(
        name=name,
        provider="openai",
        upstream=upstream,
        base_path="/v1",
        query_suffix="",
        credential_headers=[(b"authorization", b"Bearer sk-upstream-secret")],
    )


@asynccontextmanager
async def opened_harbour(folder: Path) -> AsyncIterator[Harbour]:
    """Open everything, and close it."""
    async with AsyncExitStack() as stack:
        database = Database.open(f"sqlite:///{folder}/q.db")
        stack.push_async_callback(database.close)
        await database.migrate()
        yards = {name: await stack.enter_async_context(Yard()) for name in (HERE, THERE)}
        deployments = {name: deployment(name, yard.origin) for name, yard in yards.items()}
        for each in deployments.values():
            stack.push_async_callback(each.upstream.aclose)
        containers, creations, keys = SqlContainerStore(database), SqlCreationStore(database), SqlKeyStore(database)
        ownerships, notes, clock = Ownerships(containers), Notes(containers), Clock()
        await ownerships.follow()
        reaper = Reaper(
            containers,
            creations,
            keys,
            deployments=deployments,
            ownerships=ownerships,
            notes=notes,
            audit=SqlAuditLog(database),
            clock=clock,
        )
        yield Harbour(database, containers, creations, keys, yards, deployments, ownerships, notes, reaper, clock)
