"""Teams, users, limits, the ledger and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables. Keys that exist are members without limits; containers that exist cost nothing."""
    _add_to_keys()
    _make_groups()
    _make_balances_and_holds()
    _make_entries()
    _make_audit()


def downgrade() -> None:
    """Forget what was spent and by whom. Keys stay, without their roles and limits."""
    for table in ("audit", "ledger_entries", "holds", "balances", "users", "teams"):
        op.drop_table(table)
    with op.batch_alter_table("virtual_keys") as keys:
        for column in ("limits", "allowed_ips", "role"):
            keys.drop_column(column)


def _add_to_keys() -> None:
    op.add_column("virtual_keys", sa.Column("role", sa.String(8)))
    op.add_column("virtual_keys", sa.Column("allowed_ips", sa.JSON))
    op.add_column("virtual_keys", sa.Column("limits", sa.JSON))
    keys = sa.table("virtual_keys", sa.column("role"), sa.column("allowed_ips", sa.JSON), sa.column("limits", sa.JSON))
    op.execute(keys.update().values(role="member", allowed_ips=[], limits={}))
    with op.batch_alter_table("virtual_keys") as batch:
        batch.alter_column("role", existing_type=sa.String(8), nullable=False)
        batch.alter_column("allowed_ips", existing_type=sa.JSON, nullable=False)
        batch.alter_column("limits", existing_type=sa.JSON, nullable=False)


def _make_groups() -> None:
    for table, name, more in (("teams", "team_id", ()), ("users", "user_id", (sa.Column("email", sa.String(256)),))):
        op.create_table(
            table,
            sa.Column(name, sa.String(256), nullable=False),
            sa.Column("created_at", _TIME, nullable=False),
            sa.Column("updated_at", _TIME, nullable=False),
            sa.Column("alias", sa.String(256)),
            *more,
            sa.Column("blocked", sa.Boolean, nullable=False),
            sa.Column("tags", sa.JSON, nullable=False),
            sa.Column("metadata", sa.JSON, nullable=False),
            sa.Column("limits", sa.JSON, nullable=False),
            sa.PrimaryKeyConstraint(name, name=f"pk_{table}"),
            sa.UniqueConstraint("alias", name=f"uq_{table}_alias"),
        )
        op.create_index(f"ix_{table}_created_at_{name}", table, ["created_at", name])


def _make_balances_and_holds() -> None:
    op.create_table(
        "balances",
        sa.Column("account", sa.String(264), nullable=False),
        sa.Column("spent_nanousd", sa.BigInteger, nullable=False),
        sa.Column("spent_before_nanousd", sa.BigInteger, nullable=False),
        sa.Column("reserved_nanousd", sa.BigInteger, nullable=False),
        sa.Column("containers", sa.Integer, nullable=False),
        sa.Column("memory_gb", sa.BigInteger, nullable=False),
        sa.Column("reset_at", _TIME),
        sa.PrimaryKeyConstraint("account", name="pk_balances"),
    )
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.String(32), nullable=False),
        sa.Column("container_id", sa.String(256)),
        *_who(),
        sa.Column("memory_gb", sa.Integer, nullable=False),
        sa.Column("nanousd_per_unit", sa.BigInteger, nullable=False),
        sa.Column("unit_minutes", sa.Integer),
        sa.Column("minimum_minutes", sa.Integer, nullable=False),
        sa.Column("minutes", sa.Integer, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("covered_until", _TIME, nullable=False),
        sa.Column("reserved_nanousd", sa.BigInteger, nullable=False),
        sa.Column("spent_nanousd", sa.BigInteger, nullable=False),
        sa.Column("closed_at", _TIME),
        sa.Column("request_id", sa.String(64)),
        sa.PrimaryKeyConstraint("hold_id", name="pk_holds"),
        sa.UniqueConstraint("container_id", name="uq_holds_container_id"),
    )
    is_open = sa.text("closed_at IS NULL")
    op.create_index("ix_holds_open", "holds", ["covered_until"], sqlite_where=is_open, postgresql_where=is_open)


def _make_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("hold_id", sa.String(32), nullable=False),
        sa.Column("container_id", sa.String(256)),
        *_who(),
        sa.Column("reserved_nanousd", sa.BigInteger, nullable=False),
        sa.Column("spent_nanousd", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.PrimaryKeyConstraint("number", name="pk_ledger_entries"),
    )
    for first in ("at", "key_id", "user_id", "team_id"):
        op.create_index(f"ix_ledger_entries_{first}_number", "ledger_entries", [first, "number"])
    for column in ("hold_id", "container_id"):
        op.create_index(f"ix_ledger_entries_{column}", "ledger_entries", [column])


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(272), nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("request_id", sa.String(64)),
        sa.Column("previous_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
        sa.UniqueConstraint("hash", name="uq_audit_hash"),
    )
    op.create_index("ix_audit_subject_number", "audit", ["subject", "number"])


def _who() -> tuple[sa.Column[object], ...]:
    """Who pays for what, as holds and entries say it."""
    return (
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("team_id", sa.String(256)),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("memory_limit", sa.String(256), nullable=False),
    )
