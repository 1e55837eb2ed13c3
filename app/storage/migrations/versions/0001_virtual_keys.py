"""Virtual keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table of keys."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "virtual_keys",
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("alias", sa.String(256)),
        sa.Column("expires_at", time),
        sa.Column("blocked", sa.Boolean, nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("team_id", sa.String(256)),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("allowed_operations", sa.JSON, nullable=False),
        sa.Column("previous_secret_hash", sa.LargeBinary(32)),
        sa.Column("previous_expires_at", time),
        sa.PrimaryKeyConstraint("key_id", name="pk_virtual_keys"),
        sa.UniqueConstraint("alias", name="uq_virtual_keys_alias"),
    )
    op.create_index("ix_virtual_keys_created_at_key_id", "virtual_keys", ["created_at", "key_id"])
    op.create_index("ix_virtual_keys_user_id", "virtual_keys", ["user_id"])
    op.create_index("ix_virtual_keys_team_id", "virtual_keys", ["team_id"])


def downgrade() -> None:
    """Forget every key."""
    op.drop_table("virtual_keys")
