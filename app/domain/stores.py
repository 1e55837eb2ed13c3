"""The stores of what operators change: keys, teams, users, and the audit log of all that. Adapters are named in
`app/main.py` only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from app.domain.identity import Holder, Team, User, VirtualKey

Group = TypeVar("Group", Team, User)


@dataclass(frozen=True, slots=True)
class Deed:
    """Who changes something, and in which request: what its audit row says beside the thing before and after."""

    actor: str
    """The key id, "master" for the master key, or "gateway" for what is done on a schedule."""
    action: str
    """Such as "key.update": the noun and the verb of the route."""
    request_id: str | None = None


class KeyStore(Protocol):
    """Where virtual keys live. Every method may raise StoreUnavailable. Every change writes its audit rows with it."""

    async def add(self, key: VirtualKey, deed: Deed) -> None:
        """Keep a new key. Raises AliasTaken where another key has its alias."""
        ...

    async def holder(self, key_id: str) -> Holder | None:
        """The key with this id, and its user and team, where they were made."""
        ...

    async def get(self, key_id: str) -> VirtualKey | None:
        """The key with this id."""
        ...

    async def find_by_alias(self, alias: str) -> VirtualKey | None:
        """The key with this alias (aliases are unique)."""
        ...

    async def change(self, key_id: str, edit: Callable[[VirtualKey], VirtualKey], deed: Deed) -> VirtualKey | None:
        """Read a key, edit it and write it as one step that no other change can come between.

        Returns the key as it is now, or None where it does not exist. `edit` leaves `key_id` as it is, and may run on
        another thread; what it raises comes through, and nothing is written. Raises AliasTaken where another key has
        the new alias.
        """
        ...

    async def delete(self, key_ids: Sequence[str], deed: Deed) -> list[str]:
        """Remove keys; returns the ids that existed."""
        ...

    async def page(
        self,
        *,
        offset: int,
        limit: int,
        user_id: str | None = None,
        team_id: str | None = None,
        alias: str | None = None,
    ) -> tuple[list[VirtualKey], int]:
        """One page of keys, newest first, and how many there are in all."""
        ...


class GroupStore(Protocol, Generic[Group]):
    """Where teams live, or users. Every method may raise StoreUnavailable. Each change writes its audit row with it."""

    async def add(self, group: Group, deed: Deed) -> None:
        """Keep a new one. Raises NameTaken where there is one of this id, AliasTaken where another has its alias."""
        ...

    async def get(self, group_id: str) -> Group | None:
        """The one with this id."""
        ...

    async def change(self, group_id: str, edit: Callable[[Group], Group], deed: Deed) -> Group | None:
        """Read, edit and write one as one step, as `KeyStore.change` does. Raises AliasTaken."""
        ...

    async def delete(self, group_ids: Sequence[str], deed: Deed) -> list[str]:
        """Remove some, and the keys that name them; returns the ids that existed. What they spent stays on the books.

        A key that stayed would be without their limits.
        """
        ...

    async def page(self, *, offset: int, limit: int, alias: str | None = None) -> tuple[list[Group], int]:
        """One page, newest first, and how many there are in all."""
        ...


TeamStore = GroupStore[Team]
UserStore = GroupStore[User]


class AuditLog(Protocol):
    """What operators did, in a chain of hashes. Every method may raise StoreUnavailable."""

    async def append(
        self, deed: Deed, subject: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        """Write down a deed that no other store writes down. `subject` is what was changed: "container:…", say."""
        ...

    async def page(self, *, offset: int, limit: int, subject: str | None = None) -> tuple[list[AuditRow], int]:
        """One page of rows, newest first, and how many there are in all."""
        ...

    async def verify(self) -> AuditVerdict:
        """Go along the whole chain."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """What one deed did. `number` counts from 1 without gaps."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    request_id: str | None
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What going along the chain has found."""

    rows: int
    """How many are whole, from the first on."""
    broken_at: int | None = None
    """The number of the first row that was changed, or whose predecessor is missing; None where all is whole."""
    head: str | None = None
    """The last row's hash, in hex. A chain cannot tell that its last rows were removed: who kept this can."""


class NameTaken(Exception):
    """There is a team or user of this id."""


class AliasTaken(Exception):
    """Another key, team or user has this alias."""
