"""Containers, sightings and creations to store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from app.domain.containers import Answer, Container, Creation, Sighting
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
