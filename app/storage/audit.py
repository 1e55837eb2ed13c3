"""The audit log in SQL: rows that are only ever added, each with the hash of the one before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Integer, bindparam, func, insert, literal, select

from app.domain.accounts import NO_LIMITS, Limits
from app.domain.stores import AuditRow, AuditVerdict, Deed
from app.storage.column_types import kept
from app.storage.engine import Database
from app.storage.tables import audit

START: Final = bytes(32)
"""What stands in the place of the hash before the first."""
ROWS_AT_ONCE: Final = 1000

_TURN: Final = 0x71755F61756469  # "qu_audi": any number that nothing else locks
_SECRETS: Final = frozenset({"secret_hash", "previous_secret_hash"})
_CONTENT: Final = ("number", "at", "actor", "action", "subject", "before", "after", "request_id")

_LOCK: Final = select(func.pg_advisory_xact_lock(literal(_TURN, BigInteger)))
_HEAD: Final = select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
_ADD: Final = insert(audit)
_NEXT: Final = (
    select(audit)
    .where(audit.c.number > bindparam("number", type_=Integer))
    .order_by(audit.c.number)
    .limit(bindparam("rows", type_=Integer))
)
_NEWEST: Final = select(audit).order_by(audit.c.number.desc())
_COUNT: Final = select(func.count()).select_from(audit)


class SqlAuditLog:
    """An `AuditLog` in the table `audit`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self, deed: Deed, subject: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        """Write down a deed that no other store writes down. Raises StoreUnavailable."""
        await self._database.write(lambda connection: add_deed(connection, deed, subject, before, after))

    async def page(self, *, offset: int, limit: int, subject: str | None = None) -> tuple[list[AuditRow], int]:
        """One page of rows, newest first, and how many there are in all. Raises StoreUnavailable."""
        where = [] if subject is None else [audit.c.subject == subject]
        newest = _NEWEST.where(*where).offset(offset).limit(limit)

        def work(connection: Connection) -> tuple[list[AuditRow], int]:
            total = connection.execute(_COUNT.where(*where)).scalar_one()
            return [AuditRow(**row) for row in connection.execute(newest).mappings()], total

        return await self._database.read(work)

    async def verify(self) -> AuditVerdict:
        """Go along the whole chain, some rows at a time; what is added meanwhile is looked at too.

        Raises StoreUnavailable.
        """
        rows, hash_ = 0, START
        while True:
            found = await self._database.read(partial(_after, rows))
            for row in found:
                if not _follows(row, rows + 1, hash_):
                    return AuditVerdict(rows=rows, broken_at=row["number"])
                rows, hash_ = row["number"], row["hash"]
            if len(found) < ROWS_AT_ONCE:
                return AuditVerdict(rows=rows, head=hash_.hex() if rows else None)


def add_deed(
    connection: Connection,
    deed: Deed,
    subject: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """Add a row within a transaction that does what the row says.

    It is the last thing a transaction locks: until its end no other process can add a row.
    """
    if connection.dialect.name != "sqlite":  # where there is only one writer anyway
        connection.execute(_LOCK)
    head = connection.execute(_HEAD).one_or_none()
    number, previous_hash = (0, START) if head is None else head
    row: dict[str, Any] = {
        "number": number + 1,
        "at": datetime.now(UTC),
        "actor": deed.actor,
        "action": deed.action,
        "subject": kept(subject),
        "before": before,
        "after": after,
        "request_id": None if deed.request_id is None else kept(deed.request_id),
        "previous_hash": previous_hash,
    }
    connection.execute(_ADD, row | {"hash": row_hash(row)})


def row_hash(row: Mapping[str, Any]) -> bytes:
    """SHA-256 of a row as one JSON object: names sorted, no spaces, letters beyond ASCII escaped, hashes in hex."""
    content = {name: row[name] for name in _CONTENT}
    content["at"] = row["at"].astimezone(UTC).isoformat(timespec="microseconds")
    content["previous_hash"] = row["previous_hash"].hex()
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def as_json(thing: Any) -> Any:
    """A dataclass as plain JSON for an audit row: no hashes of secrets, and of limits those that are set."""
    if isinstance(thing, Limits):
        set_ = {field.name: getattr(thing, field.name) for field in fields(Limits)}
        return {name: as_json(value) for name, value in set_.items() if value != getattr(NO_LIMITS, name)}
    if is_dataclass(thing):
        return {
            field.name: as_json(getattr(thing, field.name)) for field in fields(thing) if field.name not in _SECRETS
        }
    if isinstance(thing, datetime):
        return thing.isoformat()
    return list(thing) if isinstance(thing, tuple) else thing


def _after(number: int, connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(_NEXT, {"number": number, "rows": ROWS_AT_ONCE}).mappings()]


def _follows(row: Mapping[str, Any], number: int, previous_hash: bytes) -> bool:
    """Whether a row is as it was written, and comes right after the one with this hash."""
    return (row["number"], row["previous_hash"], row["hash"]) == (number, previous_hash, row_hash(row))
