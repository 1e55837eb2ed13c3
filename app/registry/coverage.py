"""Until when containers may be used without costing more: what the ledger last said, so that it is rarely asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from math import inf
from typing import Final

import structlog

from app.domain.ports import StoreUnavailable
from app.domain.spending import Ledger
from app.tasks import Tasks

MAX_CONTAINERS: Final = 50_000
"""Of how many it is remembered: 10 MB. Of one more, the oldest is forgotten."""
WAIT_SECONDS: Final = 2.0
"""How long an answer waits for the ledger. It may not be lost for that: the use is written down later."""
AGAIN_SECONDS: Final = 5.0
"""How long the ledger is not asked after it did not answer."""
RETRY_SECONDS: Final = 2.0
"""How often uses that wait for the ledger are tried again."""
UNKNOWN_SECONDS: Final = 300.0
"""How long it is remembered that nothing is held for a container: it was adopted, or is older than the ledger."""

log = structlog.get_logger()


class Coverage:
    """Has the ledger extend what is held for containers that are used: once a minute for each. Times are unix seconds.

    `retry` is to be called every 2 seconds.
    """

    def __init__(self, ledger: Ledger, tasks: Tasks) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self._free_until: dict[str, float] = {}
        self._extending: dict[str, asyncio.Task[None]] = {}
        self._late: dict[str, float] = {}

    def is_free(self, container_id: str, used_at: float) -> bool:
        """Whether this use costs nothing more, as far as is remembered."""
        return used_at <= self._free_until.get(container_id, -inf)

    async def used(self, container_id: str, used_at: float) -> None:
        """Commit that a container was used, before its answer goes down. Never raises."""
        extending = self.note(container_id, used_at)
        await asyncio.wait([extending], timeout=WAIT_SECONDS)
        if not extending.done():
            self._put_off(container_id, used_at)

    def note(self, container_id: str, used_at: float) -> asyncio.Task[None]:
        """The same where nobody waits for the answer: begin to commit it; the task never raises."""
        extending = self._extending.get(container_id)
        if extending is None:
            extending = self._tasks.spawn(self._extend(container_id, used_at), f"extend {container_id}")
            self._extending[container_id] = extending
        return extending

    async def retry(self) -> None:
        """Write down the uses that the ledger did not take. Raises StoreUnavailable; then they wait on."""
        while self._late:
            container_id, used_at = next(iter(self._late.items()))
            await self._commit(container_id, used_at)
            if self._late.get(container_id) == used_at:
                del self._late[container_id]

    async def aclose(self) -> None:
        """Write down what can be written down."""
        try:
            await self.retry()
        except StoreUnavailable as outage:
            log.warning("uses_lost", containers=len(self._late), trouble=str(outage))

    def forget(self, container_id: str) -> None:
        """It is no more."""
        self._free_until.pop(container_id, None)
        self._late.pop(container_id, None)

    async def _extend(self, container_id: str, used_at: float) -> None:
        try:
            await self._commit(container_id, used_at)
        except StoreUnavailable as outage:
            if not self._late:
                log.warning("use_not_recorded", container_id=container_id, trouble=str(outage))
            self._put_off(container_id, used_at)
        finally:
            del self._extending[container_id]

    async def _commit(self, container_id: str, used_at: float) -> None:
        extension = await self._ledger.extend(container_id, datetime.fromtimestamp(used_at, UTC))
        free_until = used_at + UNKNOWN_SECONDS if extension is None else extension.free_until.timestamp()
        self._remember(container_id, free_until)

    def _put_off(self, container_id: str, used_at: float) -> None:
        until = used_at + AGAIN_SECONDS  # what it is used until then, nobody asks about
        self._late[container_id] = max(until, self._late.get(container_id, until))
        self._remember(container_id, until)

    def _remember(self, container_id: str, free_until: float) -> None:
        known = self._free_until
        if container_id not in known and len(known) >= MAX_CONTAINERS:
            del known[next(iter(known))]
        known[container_id] = free_until
