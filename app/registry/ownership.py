"""Who may use which container, from memory.

What the database said is used until it says otherwise: `follow` asks once a second which containers were adopted,
shared or unshared, by whichever process. Everything else about an ownership never changes, so nothing is ever asked on
the path of a request for a container that is known and may be used.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Final

from app.domain.containers import Ownership
from app.domain.identity import Principal
from app.domain.ports import ContainerStore

FOLLOW_SECONDS: Final = 1.0
"""How often changes are asked for. Another process's are seen within twice that."""


class Ownerships:
    """The ownerships that were asked for, at most `capacity` of them, and as many ids that turned out to be unknown.

    Where the database falls silent, what is remembered is used for `max_stale_seconds` and no longer. An unknown id is
    asked for again after `unknown_seconds`. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        store: ContainerStore,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_stale_seconds: float = 60.0,
        unknown_seconds: float = 1.5,
        capacity: int = 100_000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_stale = max_stale_seconds
        self._unknown_seconds = unknown_seconds
        self._capacity = capacity
        self._known: OrderedDict[str, Ownership] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._followed_until: datetime | None = None
        self._good_until = -inf
        self._changes = 0

    def cached(self, container_id: str) -> Ownership | None:
        """The ownership, where it can be told without waiting; None says nothing yet."""
        known = self._known.get(container_id)
        if known is None or self._clock() >= self._good_until:
            return None
        self._known.move_to_end(container_id)
        return known

    async def accessible(self, principal: Principal, container_id: str) -> Ownership | None:
        """Ask for the ownership of a container that this principal may use in any way.

        It is asked for however much is remembered, so that somebody else's container and one that does not exist take
        the same time. Raises StoreUnavailable.
        """
        before = self._changes
        found = await self._store.accessible(container_id, principal.owner, principal.identities)
        if found is not None and before == self._changes:
            self.remember(found)
        return found

    async def any(self, container_id: str) -> Ownership | None:
        """The ownership of a container, whoever asks; None for one that is not registered. Raises StoreUnavailable."""
        if (known := self.cached(container_id)) is not None:
            return known
        if self._clock() < self._unknown.get(container_id, -inf):
            return None
        before = self._changes
        found = await self._store.ownership(container_id)
        if before != self._changes:
            return found
        if found is None:
            self._unknown[container_id] = self._clock() + self._unknown_seconds
            self._trim(self._unknown)
        else:
            self.remember(found)
        return found

    def remember(self, ownership: Ownership) -> None:
        """Note what this process has just written down, or read."""
        self._unknown.pop(ownership.container_id, None)
        self._known[ownership.container_id] = ownership
        self._trim(self._known)

    def deleted(self, container_id: str) -> None:
        """Note that a container is no more, once that is written down."""
        self._changes += 1
        known = self._known.get(container_id)
        if known is not None:
            self._known[container_id] = replace(known, deleted=True)

    def forget(self, container_id: str) -> None:
        """Ask anew, as this process has changed something."""
        self._changes += 1
        self._known.pop(container_id, None)
        self._unknown.pop(container_id, None)

    async def follow(self) -> None:
        """Take in what changed since the last time. Raises StoreUnavailable.

        Readings that were under way meanwhile are used once and not remembered.
        """
        began_at = self._clock()
        changed, self._followed_until = await self._store.changed_ownerships(self._followed_until)
        if began_at >= self._good_until:  # too much may have been missed
            self._known.clear()
        for ownership in changed:
            if self._known.get(ownership.container_id) != ownership:
                self.forget(ownership.container_id)
        self._good_until = began_at + self._max_stale

    def _trim(self, remembered: OrderedDict[str, Ownership] | OrderedDict[str, float]) -> None:
        if len(remembered) > self._capacity:
            remembered.popitem(last=False)
