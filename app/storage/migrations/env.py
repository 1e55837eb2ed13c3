"""Alembic runs this for each of its commands: on our connection, inside our transaction."""

from __future__ import annotations

from alembic import context

from app.storage import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.metadata)
context.run_migrations()
