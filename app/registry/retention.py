"""Forgetting what is long over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from app.domain.ports import ContainerStore
from app.domain.requests import RequestStore

PURGE_SECONDS: Final = 3600.0
"""How often one of all processes forgets."""
LOOK_SECONDS: Final = 300.0
"""How often a process looks whether it is its turn."""
CREATIONS_LAST: Final = timedelta(hours=24)
"""As long as an idempotency key stands for its first answer."""


REQUESTS_LOOK_SECONDS: Final = 60.0
REQUESTS_AT_ONCE: Final = 1000
"""How many rows of the request log go in one transaction: nobody waits long behind it."""
MOST_BATCHES: Final = 1000


class RequestRetention:
    """Keeps the rows of the request log for `retain_days`. `clock` gives unix seconds."""

    def __init__(
        self,
        store: RequestStore,
        turns: ContainerStore,
        *,
        retain_days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._turns = turns
        self._retain = timedelta(days=retain_days)
        self._clock = clock

    async def scheduled(self) -> None:
        """Forget in small batches, where it is this process's turn. Raises StoreUnavailable."""
        if not await self._turns.take_turn("purge requests", REQUESTS_LOOK_SECONDS):
            return
        before = datetime.fromtimestamp(self._clock(), UTC) - self._retain
        for _ in range(MOST_BATCHES):
            if await self._store.purge(before, REQUESTS_AT_ONCE) < REQUESTS_AT_ONCE:
                return


class Retention:
    """Keeps containers for `retain_days` after they have died. `clock` gives unix seconds."""

    def __init__(self, store: ContainerStore, *, retain_days: float, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._retain = timedelta(days=retain_days)
        self._clock = clock
        self._log = structlog.get_logger()

    async def scheduled(self) -> None:
        """Forget, where it is this process's turn. Raises StoreUnavailable."""
        if not await self._store.take_turn("purge", PURGE_SECONDS):
            return
        now = datetime.fromtimestamp(self._clock(), UTC)
        rows = await self._store.purge(dead_before=now - self._retain, begun_before=now - CREATIONS_LAST)
        if rows:
            self._log.info("registry_purged", rows=rows)
