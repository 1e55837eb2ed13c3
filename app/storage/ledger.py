"""The book of holds, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from app.domain.spending import Balance, Extension
from app.storage import balances, books, holds
from app.storage.commits import Shared
from app.storage.engine import Database

GRACE: Final = timedelta(seconds=90)
"""How long after a container must have expired its hold stays open: for uses that are still being written down, for
creates that took their time, and for clocks that differ."""
ABANDONED: Final = timedelta(hours=24)
"""How long what may have been made is held for where nobody can find out: its deployment is gone, say."""

USES: Final = "uses"
"""What extensions are committed with: one another. They are of any accounts, and small."""


class SqlLedger:
    """A `Ledger` in the tables `balances`, `holds` and `ledger_entries`."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    async def extend(self, container_id: str, used_at: datetime) -> Extension | None:
        """Commit that a container was used and lives longer. Raises StoreUnavailable."""

        def alone(connection: Connection) -> Extension | None:
            return holds.extend(connection, container_id, used_at)

        return await self._database.write(Shared(alone, holds.extend_together, (container_id, used_at)), USES)

    async def close_expired(self, now: datetime, limit: int = 500) -> int:
        """Settle up to so many holds whose containers have expired. Raises StoreUnavailable."""

        def work(connection: Connection) -> int:
            closed = holds.close_expired(connection, now - GRACE, now, limit)
            return closed or holds.release_abandoned(connection, now - ABANDONED, now, limit)

        return await self._database.write(work)

    async def balances(self, accounts: Sequence[str], now: datetime) -> dict[str, Balance]:
        """By account name, where each stands. Raises StoreUnavailable."""
        return await self._database.read(lambda connection: balances.standing(connection, accounts, now))

    async def set_window(self, account: str, reset_at: datetime | None, *, afresh: bool = False) -> None:
        """Let an account's window end at this time, or never. Raises StoreUnavailable."""
        now = self._clock()
        await self._database.write(
            lambda connection: balances.set_window(connection, account, reset_at, afresh=afresh, now=now)
        )

    async def verify(self) -> list[str]:
        """What does not agree, a line for each. Raises StoreUnavailable."""
        return await self._database.read(books.verify)
