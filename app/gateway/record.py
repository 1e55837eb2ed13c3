"""Phase 7: what an answer tells the registry."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

from app.domain.containers import Ending
from app.domain.exchange import Exchange
from app.domain.ports import ContainerStore, StoreUnavailable
from app.registry.coverage import Coverage
from app.registry.notes import Notes
from app.registry.ownership import Ownerships
from quaymaster.operations import CONTAINERS_DELETE, CONTAINERS_RETRIEVE, Operation

_NOT_FOUND: Final = 404
_NOT_MODIFIED: Final = 304


class Recorder:
    """Notes what passes by. What costs something is committed before its answer goes down: a deletion, and a use after
    which a container lives longer than is held for. All else is written down soon."""

    def __init__(self, store: ContainerStore, ownerships: Ownerships, notes: Notes, coverage: Coverage) -> None:
        self._store = store
        self._ownerships = ownerships
        self._notes = notes
        self._coverage = coverage

    def record(self, exchange: Exchange, operation: Operation, status: int) -> Awaitable[None] | None:
        """Take in an upstream's answer about a registered container.

        Returns what is to be awaited before the answer goes down, None where nothing is. Neither raises.
        """
        ownership = exchange.ownership
        if ownership is None:
            return None
        container_id = ownership.container_id
        if operation is CONTAINERS_DELETE and (status < 300 or status == _NOT_FOUND):
            return self._deleted(exchange, container_id, Ending.GONE if status == _NOT_FOUND else Ending.DELETED)
        self._notes.answered(exchange, operation, status)
        if status >= 300 and status != _NOT_MODIFIED:
            return None
        now = time.time()
        if self._coverage.is_free(container_id, now) or not _is_alive(exchange, operation):
            return None
        return self._coverage.used(container_id, now)

    def unanswered(self, exchange: Exchange, operation: Operation) -> None:
        """There is no answer, or nobody waited for it: its upstream may have taken the request for a use all the same,
        unless no byte of it went out or it was refused."""
        ownership = exchange.ownership
        if ownership is None or operation is CONTAINERS_DELETE:
            return
        if all(attempt.unsent or (attempt.status or 0) >= 300 for attempt in exchange.attempts):
            return
        now = time.time()
        if not self._coverage.is_free(ownership.container_id, now):
            self._coverage.note(ownership.container_id, now)

    async def _deleted(self, exchange: Exchange, container_id: str, ending: Ending) -> None:
        """A deletion was asked for, and the container is no more: since now, or since the first time."""
        now, request_id = datetime.now(UTC), exchange.request_id
        try:
            exchange.cost_nanousd = await self._store.end(container_id, ending, now, request_id, asked=True)
        except StoreUnavailable:  # it is no more, whatever the database says: write it down later
            self._notes.ended(container_id, ending, now)
        finally:  # not before: others could read it as it was, and remember that
            if ending is Ending.DELETED:
                self._ownerships.deleted(container_id)
            self._coverage.forget(container_id)


def _is_alive(exchange: Exchange, operation: Operation) -> bool:
    """Whether a good answer tells of a container that lives: one that has expired may still be retrieved."""
    said = exchange.response_object
    return operation is not CONTAINERS_RETRIEVE or said is None or said.get("status") != "expired"
