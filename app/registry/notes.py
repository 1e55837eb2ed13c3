"""What answers on their way down tell about containers, written down behind them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from app.domain.containers import Ending, Sighting
from app.domain.exchange import Exchange
from app.domain.ports import ContainerStore, Observations
from quaymaster.operations import Operation, Payload


class Notes:
    """Collects, and writes down together. `clock` gives unix seconds."""

    def __init__(self, store: ContainerStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._active: dict[str, float] = {}
        self._said: dict[str, tuple[dict[str, object], float]] = {}
        self._ended: dict[str, tuple[Ending, datetime]] = {}

    def answered(self, exchange: Exchange, operation: Operation, status: int) -> None:
        """Take in an upstream's answer about a registered container."""
        container_id = exchange.container_id
        if container_id is None or status >= 300:
            return
        now = self._clock()
        self._active[container_id] = now
        if operation.response is Payload.CONTAINER and exchange.response_object is not None:
            self._said[container_id] = (exchange.response_object, now)

    def ended(self, container_id: str, ending: Ending, at: datetime) -> None:
        """Write this down later."""
        self._ended[container_id] = (ending, at)

    async def flush(self) -> None:
        """Write down what there is. Raises StoreUnavailable."""
        said, self._said = self._said, {}
        active, self._active = self._active, {}
        ended, self._ended = self._ended, {}
        sightings = [Sighting.of(it, datetime.fromtimestamp(at, UTC)) for it, at in said.values()]
        for container_id, (ending, at) in ended.items():
            await self._store.end(container_id, ending, at)
        if said or active:
            await self._store.observe(
                Observations(
                    sightings=[sighting for sighting in sightings if sighting is not None],
                    active={name: datetime.fromtimestamp(at, UTC) for name, at in active.items()},
                )
            )
