"""What accounts uploaded and downloaded on each day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Final

from sqlalchemy import Connection, Executable, bindparam, delete, select

from app.domain.limiting import Moved
from app.storage.dialects import conflicting_insert
from app.storage.engine import Database
from app.storage.tables import daily_bytes

_ACCOUNTS_AT_ONCE: Final = 500
_d = daily_bytes.c
_READ: Final = select(daily_bytes).where(
    _d.day == bindparam("of"), _d.account.in_(bindparam("accounts", expanding=True))
)


class SqlDailyBytes:
    """`app.domain.limiting.ByteBook` in SQL. Raises StoreUnavailable as it says."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, day: date, moved: Mapping[str, Moved]) -> dict[str, Moved]:
        """Add what was moved, and read what that makes."""
        # Everybody locks rows in the order of their names, so that no two wait for each other.
        rows = [
            {"account": account, "day": day, "uploaded": each.uploaded, "downloaded": each.downloaded}
            for account, each in sorted(moved.items())
            if each.uploaded or each.downloaded
        ]
        accounts = sorted(moved)

        def work(connection: Connection) -> dict[str, Moved]:
            if rows:
                connection.execute(_adding(connection.dialect.name), rows)
            found = dict.fromkeys(accounts, Moved())
            for start in range(0, len(accounts), _ACCOUNTS_AT_ONCE):
                some = accounts[start : start + _ACCOUNTS_AT_ONCE]
                for row in connection.execute(_READ, {"of": day, "accounts": some}):
                    if row.account in found:
                        found[row.account] = Moved(row.uploaded, row.downloaded)
            return found

        return await (self._database.write(work) if rows else self._database.read(work))

    async def forget(self, before: date) -> None:
        """Remove the days before this one."""
        await self._database.write(lambda connection: connection.execute(delete(daily_bytes).where(_d.day < before)))


@cache
def _adding(dialect: str) -> Executable:
    add = conflicting_insert(daily_bytes, dialect)
    return add.on_conflict_do_update(
        index_elements=["account", "day"],
        set_={
            "uploaded": _d.uploaded + add.excluded.uploaded,
            "downloaded": _d.downloaded + add.excluded.downloaded,
        },
    )
