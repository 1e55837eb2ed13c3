"""What the registry knows: whose a container is, where it lives, and how it is doing.

Times are aware datetimes in UTC. An owner is a name with its kind in front: "team:…", "user:…", "key:…", or "master".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

import orjson

MAX_DOCUMENT_BYTES: Final = 64 * 1024
"""An upstream's description of a container that is larger is kept in its main features only."""

MAX_UNIX_SECONDS: Final = 2**34
"""The year 2514."""
MAX_MINUTES: Final = 2**31
"""Four thousand years: no time that is kept is out of a datetime's reach when it is added."""

_FEATURES: Final = ("id", "object", "name", "created_at", "status", "last_active_at", "expires_after", "memory_limit")
_MAX_TEXT: Final = 256


class Access(StrEnum):
    """What a share lets its holder do."""

    READ = "read"
    """Whatever a GET does: retrieve it, list, retrieve and download its files."""
    WRITE = "write"
    """Everything its owner may do."""


class Ending(StrEnum):
    """How a container came to be no more. One that expired has no ending: it is still there, and says so."""

    DELETED = "deleted"
    """Through this gateway. Final, whatever an upstream's list still shows."""
    GONE = "gone"
    """Its upstream does not know it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who may use a container, and where it lives: all that a request for it needs to know."""

    container_id: str
    owner: str | None
    """None is nobody's, not everybody's."""
    deployment: str
    """The deployment's name; it may have been taken out of the configuration since."""
    shares: Mapping[str, Access] = field(default_factory=dict)
    """By whom it is shared with."""
    deleted: bool = False

    def access_of(self, identities: tuple[str, ...], owner: str) -> Access | None:
        """What a principal may do: its owner's name, and every name that a share may have been given to."""
        if owner == self.owner:
            return Access.WRITE
        held = [self.shares[name] for name in identities if name in self.shares]
        return max(held, key=lambda access: access is Access.WRITE) if held else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What an upstream said of a container, and when."""

    container_id: str
    seen_at: datetime
    name: str
    status: str
    created_at: datetime
    last_active_at: datetime | None
    expires_after_minutes: int | None
    memory_limit: str | None
    document: bytes
    """The container as JSON, as the upstream wrote it, less what may be a secret."""

    @classmethod
    def of(cls, said: Any, seen_at: datetime) -> Self | None:
        """From a container object out of an upstream's answer; None where it is none."""
        if not isinstance(said, dict) or not isinstance(said.get("id"), str) or not 0 < len(said["id"]) <= _MAX_TEXT:
            return None
        created_at = _time(said.get("created_at"))
        after = said.get("expires_after")
        minutes = after.get("minutes") if isinstance(after, dict) and after.get("anchor") == "last_active_at" else None
        return cls(
            container_id=said["id"],
            seen_at=seen_at,
            name=kept_text(said.get("name")) or "",
            status=kept_text(said.get("status")) or "",
            created_at=created_at or seen_at.replace(microsecond=0),
            last_active_at=_time(said.get("last_active_at")),
            expires_after_minutes=minutes if type(minutes) is int and 0 <= minutes < MAX_MINUTES else None,
            memory_limit=kept_text(said.get("memory_limit")),
            document=_document(said),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One row of the registry."""

    container_id: str
    owner: str | None
    deployment: str
    created_at: datetime
    """As the upstream said it, to the second."""
    seen_at: datetime
    """When its upstream last spoke of it."""
    key_id: str | None = None
    """The virtual key that made it ("master" for the master key); None where it was adopted."""
    name: str = ""
    status: str = "running"
    """As the upstream last said it; `status_at` knows better."""
    last_active_at: datetime | None = None
    """The later of what the upstream said and when a request for it last succeeded here."""
    expires_after_minutes: int | None = None
    memory_limit: str | None = None
    ended_at: datetime | None = None
    ending: Ending | None = None
    document: bytes = b""

    @classmethod
    def of(cls, sighting: Sighting, *, owner: str | None, deployment: str, key_id: str | None = None) -> Self:
        """A container that was just seen, made or adopted."""
        return cls(
            container_id=sighting.container_id,
            owner=owner,
            deployment=deployment,
            created_at=sighting.created_at,
            seen_at=sighting.seen_at,
            key_id=key_id,
            name=sighting.name,
            status=sighting.status,
            last_active_at=sighting.last_active_at,
            expires_after_minutes=sighting.expires_after_minutes,
            memory_limit=sighting.memory_limit,
            document=sighting.document,
        )

    @property
    def expires_at(self) -> datetime | None:
        """When it expires unless it is used before; None where the upstream did not say."""
        if self.expires_after_minutes is None:
            return None
        return (self.last_active_at or self.created_at) + timedelta(minutes=self.expires_after_minutes)

    def status_at(self, now: datetime) -> str:
        """Its status, which an upstream need not have told us: "deleted", "gone", "expired", or what it last said."""
        if self.ending is not None:
            return self.ending.value
        expires_at = self.expires_at
        if self.status == "running" and expires_at is not None and expires_at <= now:
            return "expired"
        return self.status


class CreationState(StrEnum):
    """How far the making of a container has come."""

    PENDING = "pending"
    """Written down before the upstream hears of it. With a lease that ran out, nobody knows whether it was made."""
    DONE = "done"
    """The upstream made it, and it is registered."""
    FAILED = "failed"
    """It was not made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a create was answered, kept for whoever asks the same again."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """The intent to make a container: a row that is committed before the request goes upstream."""

    creation_id: str
    """32 hex digits."""
    owner: str
    key_id: str
    deployment: str
    """Where it was sent; of several tries, the last."""
    name: str
    fingerprint: bytes
    """SHA-256 of what was asked for: the same request again has the same one."""
    started_at: datetime
    lease_until: datetime
    """Until then its process answers for it; a process that lives moves it on."""
    memory_limit: str | None = None
    idempotency_key: str | None = None
    state: CreationState = CreationState.PENDING
    lost: bool = False
    """Whether its client did not get the answer."""
    container_id: str | None = None
    answer: Answer | None = None


def _time(said: object) -> datetime | None:
    """Unix seconds as a time; None for what is none, or too far off to reckon with."""
    if not isinstance(said, int | float) or isinstance(said, bool) or not 0 <= said < MAX_UNIX_SECONDS:
        return None
    return datetime.fromtimestamp(said, UTC)


def kept_text(said: object) -> str | None:
    """What is kept of a name, a status and the like: a short text that any database takes. None for no text at all."""
    if not isinstance(said, str):
        return None
    return said.replace("\0", "").encode("utf-8", "replace").decode()[:_MAX_TEXT]


def _document(said: dict[str, Any]) -> bytes:
    policy = said.get("network_policy")
    if isinstance(policy, dict) and "domain_secrets" in policy:  # never echoed by OpenAI; others might
        policy = {name: value for name, value in policy.items() if name != "domain_secrets"}
        said = {**said, "network_policy": policy}
    document = orjson.dumps(said)
    if len(document) <= MAX_DOCUMENT_BYTES:
        return document
    document = orjson.dumps({name: said[name] for name in _FEATURES if name in said})
    return document if len(document) <= MAX_DOCUMENT_BYTES else orjson.dumps({"id": said["id"], "object": "container"})
