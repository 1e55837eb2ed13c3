"""Containers and their owners as rows, and how a row is added or locked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, RowMapping, bindparam, delete, select, update

from app.domain.containers import Container, Ending, Ownership
from app.storage.bulk import INSERT, Bulk
from app.storage.dialects import NOW, insert_new
from app.storage.prepared import Prepared
from app.storage.tables import container_files, container_shares, containers

_c = containers.c
_FIELDS: Final = tuple(field.name for field in fields(Container))

CONTAINER: Final = tuple(_c[name] for name in _FIELDS)
"""The columns that `to_container` reads."""

NOT_ENDED: Final = _c.ending.is_(None)

OWNERSHIP: Final = select(
    _c.container_id, _c.owner, _c.deployment, _c.ending, container_shares.c.identity, container_shares.c.access
).select_from(containers.outerjoin(container_shares))
"""A row for each share, or one for a container that has none. The rows of a container have to stand together."""

_SAID: Final = (*_FIELDS, "expires_at")
_replace = update(containers).where(_c.number == bindparam("id"))

_ADD: Final = Prepared(
    lambda dialect: insert_new(containers, dialect, "container_id").returning(_c.container_id), *_SAID
)
_ADD_ALL: Final = Bulk(INSERT, containers, *_SAID)
_LOCK: Final = Prepared(
    select(_c.number, _c.owner, _c.deployment, _c.ending)
    .where(_c.container_id == bindparam("container_id"))
    .with_for_update()
)
_REPLACE: Final = Prepared(_replace, *_SAID)
_REPLACE_ACCESS: Final = Prepared(_replace.values(access_changed_at=NOW), *_SAID)
_UNSHARE: Final = delete(container_shares).where(container_shares.c.number == bindparam("id"))
_EMPTY: Final = delete(container_files).where(container_files.c.number == bindparam("id"))


class Registered(NamedTuple):
    """A container's row, which is locked."""

    number: int
    owner: str | None
    deployment: str
    ending: Ending | None


def to_row(container: Container) -> dict[str, Any]:
    """The columns that a container says: all but its number and `access_changed_at`."""
    return {name: getattr(container, name) for name in _FIELDS} | {"expires_at": container.expires_at}


def to_container(row: RowMapping) -> Container:
    """The container in a row that has the columns of `CONTAINER`."""
    return Container(**{name: row[name] for name in _FIELDS})


def to_ownerships(rows: Iterable[Row[Any]]) -> list[Ownership]:
    """What rows of `OWNERSHIP` say."""
    ownerships = []
    for _, group in groupby(rows, key=lambda row: row.container_id):
        first, *others = group
        ownerships.append(
            Ownership(
                container_id=first.container_id,
                owner=first.owner,
                deployment=first.deployment,
                shares={row.identity: row.access for row in (first, *others) if row.identity is not None},
                deleted=first.ending is Ending.DELETED,
            )
        )
    return ownerships


def is_shared() -> ColumnElement[bool]:
    """Whether a container is shared with one of the parameter `identities`."""
    shares = container_shares.c
    held = select(1).where(shares.number == _c.number, shares.identity.in_(bindparam("identities", expanding=True)))
    return held.correlate(containers).exists()


def add_or_lock(connection: Connection, container: Container) -> Registered | None:
    """Register a container, or lock the row that has its id."""
    row = to_row(container)
    while not _ADD.rows(connection, row):
        found = _LOCK.row(connection, row)
        if found is not None:  # else it was forgotten in between
            return Registered(**found)
    return None


def add_together(connection: Connection, added: Sequence[Container]) -> None:
    """Register containers whose ids are new. Raises IntegrityError, perhaps later, where one is not."""
    _ADD_ALL.post(connection, [to_row(container) for container in added])


def replace_row(connection: Connection, number: int, container: Container) -> None:
    """Write over a container whose row is locked. Its shares and files stay."""
    _REPLACE.post(connection, {"id": number, **to_row(container)})


def give_away(connection: Connection, number: int, container: Container, *, emptied: bool) -> None:
    """Write over a container that gets another owner, and have it told. Its shares go; if `emptied` its files too."""
    connection.execute(_UNSHARE, {"id": number})
    if emptied:
        connection.execute(_EMPTY, {"id": number})
    _REPLACE_ACCESS.post(connection, {"id": number, **to_row(container)})
