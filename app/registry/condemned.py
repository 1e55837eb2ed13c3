"""Which containers are to be deleted, and why. Pure: the clock and what is known of keys are passed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.containers import Container
from app.domain.identity import Holder
from app.domain.ports import ContainerFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What a running container has to be to be deleted: everything that is said here."""

    owner: str | None = None
    key_id: str | None = None
    """Made by this virtual key, or by "master"."""
    older_than: timedelta | None = None
    idle_for: timedelta | None = None
    revoked_keys: bool = False
    """Made by a virtual key that is deleted, blocked or expired by now."""
    unknown: bool = False
    """Running at a deployment without the registry ever having heard of it."""
    deployment: str | None = None
    """Only narrows: by itself it condemns nothing."""

    @property
    def says_something(self) -> bool:
        """Whether there is a criterion at all."""
        named = self.owner or self.key_id or self.older_than or self.idle_for
        return bool(named or self.revoked_keys or self.unknown)

    @property
    def contradicts_itself(self) -> bool:
        """Whether it asks for containers that the registry never heard of by what only the registry knows."""
        return self.unknown and bool(self.owner or self.key_id or self.revoked_keys)

    def as_filter(self, now: datetime) -> ContainerFilter:
        """As much of it as the registry can be asked for."""
        return ContainerFilter(
            owner=self.owner,
            deployment=self.deployment,
            status="running",
            key_ids=None if self.key_id is None else frozenset({self.key_id}),
            created_before=None if self.older_than is None else now - self.older_than,
            idle_since=None if self.idle_for is None else now - self.idle_for,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Condemned:
    """A container that is to be deleted, and why."""

    container: Container
    reason: str


def condemn(
    container: Container, wanted: Criteria, now: datetime, revoked: Mapping[str, str] | None = None
) -> Condemned | None:
    """Judge a container; None where it is to live. `revoked` says of keys by their id what became of them.

    Whether the registry knows it is the caller's to say, by asking for `unknown` or not.
    """
    if container.status_at(now) != "running" or wanted.deployment not in {None, container.deployment}:
        return None
    reasons = list(_reasons(container, wanted, now, revoked or {}))
    if not reasons or None in reasons:
        return None
    return Condemned(container=container, reason=", ".join(filter(None, reasons)))


def _reasons(container: Container, wanted: Criteria, now: datetime, revoked: Mapping[str, str]) -> Iterator[str | None]:
    """For each criterion, how the container fits it; None where it does not."""
    age = now - container.created_at
    idle = now - (container.last_active_at or container.created_at)
    if wanted.unknown:
        yield "the registry never heard of it"
    if wanted.owner is not None:
        yield f"it is {wanted.owner}'s" if container.owner == wanted.owner else None
    if wanted.key_id is not None:
        yield f"made by the key {wanted.key_id}" if container.key_id == wanted.key_id else None
    if wanted.revoked_keys:
        became = revoked.get(container.key_id or "")
        yield None if became is None else f"made by a key that {became}"
    if wanted.older_than is not None:
        yield f"made {spoken(age)} ago" if age > wanted.older_than else None
    if wanted.idle_for is not None:
        yield f"idle for {spoken(idle)}" if idle > wanted.idle_for else None


def why_revoked(holder: Holder | None, now: datetime) -> str | None:
    """What became of a virtual key; None for one that works. It is blocked with its user and its team."""
    if holder is None:
        return "was deleted"
    if holder.is_blocked:
        return "is blocked"
    expires_at = holder.key.expires_at
    return "has expired" if expires_at is not None and expires_at <= now else None


def spoken(duration: timedelta) -> str:
    """A duration in its two largest units: "2d 3h", "45m", "20s"."""
    seconds = max(0, int(duration.total_seconds()))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts)) or "0s"
