"""The tables, as SQLAlchemy Core sees them. `migrations/` is how a database gets from one shape to the next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, to the microsecond, on either database (SQLite itself keeps no time zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: nobody knows when they are. Raises ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the time back with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

virtual_keys: Final = Table(
    "virtual_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("alias", String(256), unique=True),
    Column("expires_at", UtcDateTime),
    Column("blocked", Boolean, nullable=False),
    Column("user_id", String(256)),
    Column("team_id", String(256)),
    Column("tags", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("allowed_operations", JSON, nullable=False),
    Column("previous_secret_hash", LargeBinary(32)),
    Column("previous_expires_at", UtcDateTime),
    Index(None, "created_at", "key_id"),
    Index(None, "user_id"),
    Index(None, "team_id"),
)

revision: Final = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))
"""Alembic's own table: one row, the revision that the other tables are at."""
