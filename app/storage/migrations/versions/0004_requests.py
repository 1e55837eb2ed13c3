"""The request log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "requests",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("operation", sa.String),
        sa.Column("method", sa.String, nullable=False),
        *_texts("path", "key_id", "key_alias", "owner", "user_id", "team_id"),
        sa.Column("tags", sa.JSON, nullable=False),
        *_texts("container_id", "file_id", "provider", "deployment"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        *_texts("error_code", "error_detail", "outcome"),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("overhead_ms", sa.Double, nullable=False),
        sa.Column("upstream_ms", sa.Double, nullable=False),
        sa.Column("bytes_in", sa.BigInteger, nullable=False),
        sa.Column("bytes_out", sa.BigInteger, nullable=False),
        sa.Column("cost_nanousd", sa.BigInteger, nullable=False),
        *_texts("upstream_request_id", "request", "response"),
        sa.PrimaryKeyConstraint("number", name="pk_requests"),
        sa.UniqueConstraint("request_id", name="uq_requests_request_id"),
    )
    for first in ("at", "key_id", "container_id"):
        op.create_index(f"ix_requests_{first}_number", "requests", [first, "number"])
    for column in ("user_id", "team_id"):
        has_one = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_requests_{column}",
            "requests",
            [column, "number"],
            sqlite_where=has_one,
            postgresql_where=has_one,
        )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("requests")


def _texts(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.String) for name in names)
