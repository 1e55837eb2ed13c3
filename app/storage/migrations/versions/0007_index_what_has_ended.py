"""The index of how containers ended holds only those that did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_COLUMNS = ["ending", "ended_at"]


def upgrade() -> None:
    """SQLite, which is told no figures, takes `ending IS NULL` for rare and lists by that index: all that is alive."""
    op.drop_index("ix_containers_ending_ended_at", "containers")
    some = sa.text("ending IS NOT NULL")
    op.create_index("ix_containers_ended", "containers", _COLUMNS, sqlite_where=some, postgresql_where=some)


def downgrade() -> None:
    """Make it of all again."""
    op.drop_index("ix_containers_ended", "containers")
    op.create_index("ix_containers_ending_ended_at", "containers", _COLUMNS)
