"""Whether what the database has written down holds together: for commands, beside a running gateway or without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import make_url

from app.config.settings import Settings
from app.domain.ports import StoreUnavailable
from app.domain.stores import AuditVerdict
from app.storage import migrations
from app.storage.audit import SqlAuditLog
from app.storage.engine import Database
from app.storage.ledger import SqlLedger

T = TypeVar("T")


async def audit_verdict(settings: Settings) -> AuditVerdict:
    """Go along the whole audit log. Raises StoreUnavailable, UnsupportedDatabase."""
    return await asked(settings, lambda database: SqlAuditLog(database).verify())


async def ledger_discrepancies(settings: Settings) -> list[str]:
    """Whether balances and holds are the sums of the ledger's entries. Raises StoreUnavailable, UnsupportedDatabase."""
    return await asked(settings, lambda database: SqlLedger(database).verify())


async def asked(settings: Settings, question: Callable[[Database], Awaitable[T]]) -> T:
    """What the configured database answers. Nothing is changed in it.

    Raises UnsupportedDatabase, and StoreUnavailable, also where its tables are not those of this version.
    """
    url = settings.database_url.get_secret_value()
    database = Database.open(url)
    try:
        if _is_missing_file(url):  # which to look into would make
            raise StoreUnavailable("the database is not there yet; `quaymaster serve` makes it")
        if not await database.read(migrations.is_current):
            raise StoreUnavailable("the database is not at this version; `quaymaster serve` brings it there")
        return await question(database)
    finally:
        await database.close()


def _is_missing_file(url: str) -> bool:
    return url.startswith("sqlite:") and not Path(make_url(url).database or "").exists()
