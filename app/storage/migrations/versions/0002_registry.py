"""The registry of containers, and which containers and deployments a key may use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the registry's tables; keys that exist see their own containers and choose no deployment."""
    _add_to_keys()
    _make_containers()
    _make_shares_and_files()
    _make_creations_and_turns()


def downgrade() -> None:
    """Forget the registry. Keys stay, without their scopes."""
    for table in ("turns", "creations", "container_files", "container_shares", "containers"):
        op.drop_table(table)
    with op.batch_alter_table("virtual_keys") as keys:
        keys.drop_column("allowed_deployments")
        keys.drop_column("container_scope")


def _add_to_keys() -> None:
    op.add_column("virtual_keys", sa.Column("container_scope", sa.String(8)))
    op.add_column("virtual_keys", sa.Column("allowed_deployments", sa.JSON))
    keys = sa.table("virtual_keys", sa.column("container_scope"), sa.column("allowed_deployments", sa.JSON))
    op.execute(keys.update().values(container_scope="own", allowed_deployments=[]))
    with op.batch_alter_table("virtual_keys") as batch:
        batch.alter_column("container_scope", existing_type=sa.String(8), nullable=False)
        batch.alter_column("allowed_deployments", existing_type=sa.JSON, nullable=False)


def _make_containers() -> None:
    op.create_table(
        "containers",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("container_id", sa.String(256), nullable=False),
        sa.Column("owner", sa.String(264)),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("key_id", sa.String(16)),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("status", sa.String(256), nullable=False),
        sa.Column("last_active_at", _TIME),
        sa.Column("expires_after_minutes", sa.Integer),
        sa.Column("memory_limit", sa.String(256)),
        sa.Column("ended_at", _TIME),
        sa.Column("ending", sa.String(8)),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("access_changed_at", _TIME),
        sa.PrimaryKeyConstraint("number", name="pk_containers"),
        sa.UniqueConstraint("container_id", name="uq_containers_container_id"),
    )
    for columns in (
        ["created_at", "number"],
        ["owner", "created_at", "number"],
        ["deployment", "created_at", "number"],
        ["key_id"],
        ["ending", "ended_at"],
    ):
        op.create_index(f"ix_containers_{'_'.join(columns)}", "containers", columns)
    for name, columns, where in (
        ("listed", ["owner", "created_at", "number"], "ending IS NULL"),
        ("expiring", ["expires_at"], "ending IS NULL"),
        ("status", ["status"], "ending IS NULL"),
        ("access_changed_at", ["access_changed_at"], "access_changed_at IS NOT NULL"),
    ):
        some = sa.text(where)
        op.create_index(f"ix_containers_{name}", "containers", columns, sqlite_where=some, postgresql_where=some)


def _make_shares_and_files() -> None:
    op.create_table(
        "container_shares",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("identity", sa.String(264), nullable=False),
        sa.Column("access", sa.String(8), nullable=False),
        sa.PrimaryKeyConstraint("number", "identity", name="pk_container_shares"),
        sa.ForeignKeyConstraint(
            ["number"], ["containers.number"], name="fk_container_shares_number", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_container_shares_identity", "container_shares", ["identity"])
    op.create_table(
        "container_files",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("file_id", sa.String(256), nullable=False),
        sa.Column("bytes", sa.BigInteger),
        sa.PrimaryKeyConstraint("number", "file_id", name="pk_container_files"),
        sa.ForeignKeyConstraint(
            ["number"], ["containers.number"], name="fk_container_files_number", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_container_files_file_id", "container_files", ["file_id"])


def _make_creations_and_turns() -> None:
    op.create_table(
        "creations",
        sa.Column("creation_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(264), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("lease_until", _TIME, nullable=False),
        sa.Column("memory_limit", sa.String(256)),
        sa.Column("idempotency_key", sa.String(256)),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("lost", sa.Boolean, nullable=False),
        sa.Column("container_id", sa.String(256)),
        sa.Column("answer_status", sa.Integer),
        sa.Column("answer_type", sa.String(256)),
        sa.Column("answer_body", sa.LargeBinary),
        sa.PrimaryKeyConstraint("creation_id", name="pk_creations"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_creations_owner_idempotency_key"),
    )
    for columns in (["key_id", "fingerprint", "started_at"], ["state", "started_at"]):
        op.create_index(f"ix_creations_{'_'.join(columns)}", "creations", columns)
    op.create_table(
        "turns",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("taken_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_turns"),
    )
