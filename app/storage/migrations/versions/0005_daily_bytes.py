"""What accounts moved on each day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table; nothing was counted before."""
    op.create_table(
        "daily_bytes",
        sa.Column("account", sa.String(264), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("uploaded", sa.BigInteger, nullable=False),
        sa.Column("downloaded", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "day", name="pk_daily_bytes"),
    )
    op.create_index("ix_daily_bytes_day", "daily_bytes", ["day"])


def downgrade() -> None:
    """Forget what was counted: quotas of today begin anew."""
    op.drop_table("daily_bytes")
