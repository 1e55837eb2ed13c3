"""Phase 5: what an answer tells the registry."""

from __future__ import annotations

from datetime import UTC, datetime

from app.domain.containers import Ending
from app.domain.exchange import Exchange
from app.domain.ports import ContainerStore, StoreUnavailable
from app.registry.notes import Notes
from app.registry.ownership import Ownerships
from quaymaster.operations import CONTAINERS_DELETE, Operation


class Recorder:
    """Notes what passes by. A deletion is committed before its answer goes down; all else is written down soon."""

    def __init__(self, store: ContainerStore, ownerships: Ownerships, notes: Notes) -> None:
        self._store = store
        self._ownerships = ownerships
        self._notes = notes

    async def record(self, exchange: Exchange, operation: Operation, status: int) -> None:
        """Take in an upstream's answer about a registered container. Never raises."""
        ownership = exchange.ownership
        if ownership is None:
            return
        if operation is CONTAINERS_DELETE and status < 300:
            await self._deleted(ownership.container_id)
        else:
            self._notes.answered(exchange, operation, status)

    async def _deleted(self, container_id: str) -> None:
        now = datetime.now(UTC)
        try:
            await self._store.end(container_id, Ending.DELETED, now)
        except StoreUnavailable:  # it is deleted, whatever the database says: write it down later
            self._notes.ended(container_id, Ending.DELETED, now)
        finally:  # not before: others could read it as it was, and remember that
            self._ownerships.deleted(container_id)
