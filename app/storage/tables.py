"""The tables, as SQLAlchemy Core sees them. `migrations/` is how a database gets from one shape to the next."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from app.domain.containers import Access, CreationState, Ending
from app.domain.identity import ContainerScope, Role
from app.domain.spending import EntryKind
from app.storage.column_types import Text, UtcDateTime
from app.storage.limits_json import LimitsJson


def _word(words: type[StrEnum]) -> Enum:
    """One of a few words, kept as the word itself; the database does not check it, so a new one needs no migration."""
    return Enum(
        words, values_callable=lambda kind: [word.value for word in kind], native_enum=False, length=8, name=None
    )


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index of some rows only. `prepare_for_postgresql` says so to PostgreSQL."""
    return Index(name, *columns, sqlite_where=text(where))


metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
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
    Column("container_scope", _word(ContainerScope), nullable=False),
    Column("allowed_deployments", JSON, nullable=False),
    Column("previous_secret_hash", LargeBinary(32)),
    Column("previous_expires_at", UtcDateTime),
    Column("role", _word(Role), nullable=False),
    Column("allowed_ips", JSON, nullable=False),
    Column("limits", LimitsJson, nullable=False),
    Index(None, "created_at", "key_id"),
    Index(None, "user_id"),
    Index(None, "team_id"),
)

teams: Final = Table(
    "teams",
    metadata,
    Column("team_id", Text(256), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("alias", Text(256), unique=True),
    Column("blocked", Boolean, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("limits", LimitsJson, nullable=False),
    Index(None, "created_at", "team_id"),
)
"""`limits`, here and elsewhere, holds the fields of `Limits` that are set."""

users: Final = Table(
    "users",
    metadata,
    Column("user_id", Text(256), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("alias", Text(256), unique=True),
    Column("email", Text(256)),
    Column("blocked", Boolean, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("limits", LimitsJson, nullable=False),
    Index(None, "created_at", "user_id"),
)

_number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only where they are INTEGER

containers: Final = Table(
    "containers",
    metadata,
    Column("number", _number, primary_key=True),
    Column("container_id", Text(256), nullable=False, unique=True),
    Column("owner", Text(264)),
    Column("deployment", Text(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("key_id", String(16)),
    Column("name", Text(256), nullable=False),
    Column("status", Text(256), nullable=False),
    Column("last_active_at", UtcDateTime),
    Column("expires_after_minutes", Integer),
    Column("memory_limit", Text(256)),
    Column("ended_at", UtcDateTime),
    Column("ending", _word(Ending)),
    Column("document", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("access_changed_at", UtcDateTime),
    Index(None, "created_at", "number"),
    Index(None, "owner", "created_at", "number"),
    Index(None, "deployment", "created_at", "number"),
    Index(None, "key_id"),
    _partial("ix_containers_listed", "owner", "created_at", "number", where="ending IS NULL"),
    _partial("ix_containers_expiring", "expires_at", where="ending IS NULL"),
    _partial("ix_containers_status", "status", where="ending IS NULL"),
    _partial("ix_containers_ended", "ending", "ended_at", where="ending IS NOT NULL"),
    _partial("ix_containers_access_changed_at", "access_changed_at", where="access_changed_at IS NOT NULL"),
)
"""The registry. Numbers are given in the order of registration. What a sweep writes every few seconds (`seen_at`) is
in no index, which keeps it cheap on PostgreSQL. None can be searched for `ending IS NULL` alone: SQLite, which nobody
tells how common that is, would take it for rare, and read all that is alive to list one owner's."""

container_shares: Final = Table(
    "container_shares",
    metadata,
    Column("number", _number, ForeignKey("containers.number", ondelete="CASCADE"), primary_key=True),
    Column("identity", Text(264), primary_key=True),
    Column("access", _word(Access), nullable=False),
    Index(None, "identity"),
)

container_files: Final = Table(
    "container_files",
    metadata,
    Column("number", _number, ForeignKey("containers.number", ondelete="CASCADE"), primary_key=True),
    Column("file_id", Text(256), primary_key=True),
    Column("bytes", BigInteger),
    Index(None, "file_id"),
)

creations: Final = Table(
    "creations",
    metadata,
    Column("creation_id", String(32), primary_key=True),
    Column("owner", Text(264), nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("deployment", Text(64), nullable=False),
    Column("name", Text(256), nullable=False),
    Column("fingerprint", LargeBinary(32), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("memory_limit", Text(256)),
    Column("idempotency_key", Text(256)),
    Column("state", _word(CreationState), nullable=False),
    Column("lost", Boolean, nullable=False),
    Column("container_id", Text(256)),
    Column("answer_status", Integer),
    Column("answer_type", Text(256)),
    Column("answer_body", LargeBinary),
    UniqueConstraint("owner", "idempotency_key"),
    _partial("ix_creations_lost", "key_id", "fingerprint", "started_at", where="lost"),
    Index(None, "state", "started_at"),
)

balances: Final = Table(
    "balances",
    metadata,
    Column("account", Text(264), primary_key=True),
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("spent_before_nanousd", BigInteger, nullable=False),
    Column("reserved_nanousd", BigInteger, nullable=False),
    Column("containers", Integer, nullable=False),
    Column("memory_gb", BigInteger, nullable=False),
    Column("reset_at", UtcDateTime),
)
"""Where each account stands: the sums of its entries, kept so that one UPDATE can look and take. What was spent in the
window under way is `spent_nanousd`, all that ever was, less `spent_before_nanousd`, what it was when the window began.
A window that is over (`reset_at`) counts for nothing, and whoever writes next moves on: `spent_before_nanousd` becomes
`spent_nanousd`. `containers` and `memory_gb` are those of the holds that are open."""

holds: Final = Table(
    "holds",
    metadata,
    Column("hold_id", String(32), primary_key=True),
    Column("container_id", Text(256), unique=True),
    Column("key_id", String(16), nullable=False),
    Column("user_id", Text(256)),
    Column("team_id", Text(256)),
    Column("tags", JSON, nullable=False),
    Column("provider", Text(64), nullable=False),
    Column("deployment", Text(64), nullable=False),
    Column("memory_limit", Text(256), nullable=False),
    Column("memory_gb", Integer, nullable=False),
    Column("nanousd_per_unit", BigInteger, nullable=False),
    Column("unit_minutes", Integer),
    Column("minimum_minutes", Integer, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("covered_until", UtcDateTime, nullable=False),
    Column("reserved_nanousd", BigInteger, nullable=False),
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("request_id", Text(64)),
    _partial("ix_holds_open", "covered_until", where="closed_at IS NULL"),
)
"""What is held for each container, under the id of its creation, for as long as `closed_at` is null. Its price is that
of the moment when it was made."""

entries: Final = Table(
    "ledger_entries",
    metadata,
    Column("number", _number, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", _word(EntryKind), nullable=False),
    Column("hold_id", String(32), nullable=False),
    Column("container_id", Text(256)),
    Column("key_id", String(16), nullable=False),
    Column("user_id", Text(256)),
    Column("team_id", Text(256)),
    Column("tags", JSON, nullable=False),
    Column("provider", Text(64), nullable=False),
    Column("deployment", Text(64), nullable=False),
    Column("memory_limit", Text(256), nullable=False),
    Column("reserved_nanousd", BigInteger, nullable=False),
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("request_id", Text(64)),
    Index(None, "at", "number"),
    Index(None, "key_id", "number"),
    _partial("ix_ledger_entries_user", "user_id", "number", where="user_id IS NOT NULL"),
    _partial("ix_ledger_entries_team", "team_id", "number", where="team_id IS NOT NULL"),
    Index(None, "hold_id"),
    _partial("ix_ledger_entries_container", "container_id", where="container_id IS NOT NULL"),
)
"""The ledger: rows are only ever added."""

audit: Final = Table(
    "audit",
    metadata,
    Column("number", _number, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text(272), nullable=False),
    Column("before", JSON),
    Column("after", JSON),
    Column("request_id", Text(64)),
    Column("previous_hash", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Index(None, "subject", "number"),
)
"""What operators did. Each row's hash is of all that is in it, the hash before it included."""

requests: Final = Table(
    "requests",
    metadata,
    Column("number", _number, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("request_id", String, nullable=False, unique=True),
    Column("operation", String),
    Column("method", String, nullable=False),
    Column("path", String),
    Column("key_id", String),
    Column("key_alias", String),
    Column("owner", String),
    Column("user_id", String),
    Column("team_id", String),
    Column("tags", JSON, nullable=False),
    Column("container_id", String),
    Column("file_id", String),
    Column("provider", String),
    Column("deployment", String),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer),
    Column("error_code", String),
    Column("error_detail", String),
    Column("outcome", String),
    Column("duration_ms", Double, nullable=False),
    Column("overhead_ms", Double, nullable=False),
    Column("upstream_ms", Double, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("cost_nanousd", BigInteger, nullable=False),
    Column("upstream_request_id", String),
    Column("request", String),
    Column("response", String),
    Index(None, "at", "number"),
)
"""The request log: `app.domain.requests.RequestRow` says what is in it. Nothing else depends on it.

Both indexes grow at their end, because request ids grow with time. One whose values come in any order costs each row a
page of its own, to be written twice: 8 µs, as much as all else.
"""

daily_bytes: Final = Table(
    "daily_bytes",
    metadata,
    Column("account", Text(264), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("uploaded", BigInteger, nullable=False),
    Column("downloaded", BigInteger, nullable=False),
    Index(None, "day"),
)
"""What the accounts that have a quota of it moved on each day of UTC."""

turns: Final = Table(
    "turns",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("taken_at", UtcDateTime, nullable=False),
)
"""When a chore that one process does for all was last begun."""

revision: Final = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))
"""Alembic's own table: one row, the revision that the other tables are at."""


def prepare_for_postgresql() -> None:
    """Make the partial indexes partial there too. To name PostgreSQL in a table loads its dialect, which is 2 MB."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if (where := index.dialect_options["sqlite"]["where"]) is not None:
                index.dialect_options["postgresql"]["where"] = where
