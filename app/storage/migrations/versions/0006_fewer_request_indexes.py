"""The request log keeps the indexes that grow at their end, and no others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_COLUMNS = ("key_id", "container_id", "user_id", "team_id")


def upgrade() -> None:
    """Drop what costs each request more than its row: docs/logging.md says how to have one back."""
    for column in _COLUMNS:
        op.drop_index(_name(column), "requests")


def downgrade() -> None:
    """Make them again."""
    for column in _COLUMNS:
        has_one = sa.text(f"{column} IS NOT NULL") if column in ("user_id", "team_id") else None
        op.create_index(_name(column), "requests", [column, "number"], sqlite_where=has_one, postgresql_where=has_one)


def _name(column: str) -> str:
    return f"ix_requests_{column}" if column in ("user_id", "team_id") else f"ix_requests_{column}_number"
