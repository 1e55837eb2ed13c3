"""Four indexes hold only the rows that somebody asks them for: a create writes four pages of forty less."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_NARROWED: Final = (
    ("ledger_entries", "ix_ledger_entries_user_id_number", "ix_ledger_entries_user", ["user_id", "number"]),
    ("ledger_entries", "ix_ledger_entries_team_id_number", "ix_ledger_entries_team", ["team_id", "number"]),
    ("ledger_entries", "ix_ledger_entries_container_id", "ix_ledger_entries_container", ["container_id"]),
    (
        "creations",
        "ix_creations_key_id_fingerprint_started_at",
        "ix_creations_lost",
        ["key_id", "fingerprint", "started_at"],
    ),
)
"""Each table, its index of all rows, that of some, and their columns."""


def upgrade() -> None:
    """Nobody looks for entries of no user, no team or no container, nor for creates whose answer arrived."""
    for table, of_all, of_some, columns in _NARROWED:
        some = sa.text("lost" if table == "creations" else f"{columns[0]} IS NOT NULL")
        op.drop_index(of_all, table)
        op.create_index(of_some, table, columns, sqlite_where=some, postgresql_where=some)


def downgrade() -> None:
    """Make them of all again."""
    for table, of_all, of_some, columns in _NARROWED:
        op.drop_index(of_some, table)
        op.create_index(of_all, table, columns)
