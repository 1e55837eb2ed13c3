"""Containers, sightings and creations to store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, insert, select

from app.domain.containers import Access, Answer, Container, Creation, Sighting
from app.storage import tables
from app.storage.container_rows import to_row
from app.storage.engine import Database
from tests.storage.keys import NOON

ANSWER = Answer(status=200, content_type="application/json", body=b'{"object":"container"}')


def container(**fields: Any) -> Container:
    """A container of the team sea that was made at noon, seen then, and lives on the deployment `here`."""
    made = Container(
        container_id=f"cntr_{uuid4().hex}",
        owner="team:sea",
        deployment="here",
        created_at=at(0),
        seen_at=at(0),
        key_id="0123456789abcdef",
        name="crate",
        last_active_at=at(0),
        expires_after_minutes=20,
        memory_limit="1g",
        document=b'{"object":"container"}',
    )
    return replace(made, **fields)


def sighting(container: Container, **fields: Any) -> Sighting:
    """What its upstream says of a container: by default what is known, a minute after it was last seen."""
    said = Sighting(
        container_id=container.container_id,
        seen_at=container.seen_at + timedelta(minutes=1),
        name=container.name,
        status=container.status,
        created_at=container.created_at,
        last_active_at=container.last_active_at,
        expires_after_minutes=container.expires_after_minutes,
        memory_limit=container.memory_limit,
        document=container.document,
    )
    return replace(said, **fields)


def creation(**fields: Any) -> Creation:
    """The intent of a key of the team sea, written down at noon."""
    made = Creation(
        creation_id=uuid4().hex,
        owner="team:sea",
        key_id="0123456789abcdef",
        deployment="here",
        name="crate",
        fingerprint=b"\x00\xff" * 16,
        started_at=at(0),
        lease_until=at(1),
    )
    return replace(made, **fields)


def at(minutes: float) -> datetime:
    """So many minutes after noon, to the second or finer."""
    return NOON.replace(microsecond=0) + timedelta(minutes=minutes)


async def register(database: Database, made: Sequence[Container], shares: Iterable[tuple[int, str]] = ()) -> None:
    """Write many containers down at once. `shares` says, by its place among them, whom one is shared with."""

    def work(connection: Connection) -> None:
        connection.execute(insert(tables.containers), [to_row(one) for one in made])
        ids = {one.container_id for one in made}
        rows = connection.execute(select(tables.containers.c.container_id, tables.containers.c.number))
        numbers = {container_id: number for container_id, number in rows if container_id in ids}
        shared = [
            {"number": numbers[made[place].container_id], "identity": identity, "access": Access.READ}
            for place, identity in set(shares)
        ]
        if shared:
            connection.execute(insert(tables.container_shares), shared)

    await database.write(work)
