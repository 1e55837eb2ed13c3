"""From one shape of the tables to the next, with Alembic.

Alembic costs 10 MB and a tenth of a second, so it is imported only where there is something to migrate: a database
at `HEAD` is left alone, and an empty one gets today's tables at once. A test holds that both ways lead to the same
schema, and that `HEAD` is Alembic's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, insert, inspect, select

from app.storage import tables

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0008"


class UnknownRevision(Exception):
    """The database is at a revision that this version has never heard of."""


def is_current(connection: Connection) -> bool:
    """Whether there is nothing to do."""
    return _revision(connection) == HEAD


def upgrade(connection: Connection) -> None:
    """Bring the tables to `HEAD` within the connection's transaction, which must hold the writers' lock.

    Raises UnknownRevision.
    """
    revision = _revision(connection)
    if revision == HEAD:
        return
    if revision is not None:
        _alembic_upgrade(connection, revision)
        return
    tables.metadata.create_all(connection, checkfirst=False)
    tables.revision.create(connection, checkfirst=True)
    connection.execute(insert(tables.revision).values(version_num=HEAD))


def config(connection: Connection) -> Config:
    """Alembic's configuration for its own commands on this connection."""
    from alembic.config import Config

    settings = Config(attributes={"connection": connection})
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return settings


def _alembic_upgrade(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    settings = config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if revision not in known:
        raise UnknownRevision(
            f"The database is at revision {revision!r}, which a newer version made; this one knows up to {HEAD!r}."
        )
    command.upgrade(settings, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(tables.revision.name):
        return None
    revision: str | None = connection.execute(select(tables.revision.c.version_num)).scalar_one_or_none()
    return revision
