"""Settling what containers have cost that expired. Their upstreams are not asked: asking keeps containers alive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from app.domain.spending import Ledger

CLOSE_SECONDS: Final = 5.0
"""How often to look for holds whose containers have expired."""
_AT_ONCE: Final = 500

log = structlog.get_logger()


class Closing:
    """Closes holds. Several processes may do so at the same time: no two take the same ones."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._ledger = ledger
        self._clock = clock

    async def close(self) -> None:
        """Close those that are over; without any, that costs one question. Raises StoreUnavailable."""
        closed, count = 0, _AT_ONCE
        while count == _AT_ONCE:
            count = await self._ledger.close_expired(self._clock(), _AT_ONCE)
            closed += count
        if closed:
            log.info("holds_closed", holds=closed)
