"""Lists of containers: an owner's own, page by page, and an operator's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, func, or_, select, tuple_

from app.domain.containers import Access, Container, Ending
from app.domain.ports import ContainerFilter, ContainerQuery, ContainerRecord, UnknownCursor
from app.storage.column_types import UtcDateTime
from app.storage.container_rows import CONTAINER, NOT_ENDED, is_shared, to_container
from app.storage.dialects import among
from app.storage.tables import container_files, container_shares, containers

_c = containers.c
_NUMBERED: Final = select(_c.number, *CONTAINER)
_ORDER: Final = (_c.created_at, _c.number)

_CURSOR: Final = select(*_ORDER, _c.name, _c.deployment).where(
    _c.container_id == bindparam("after"), or_(_c.owner == bindparam("owner"), is_shared())
)
_BY_ID: Final = _NUMBERED.where(_c.container_id == bindparam("container_id"))
_SHARES: Final = select(container_shares).where(container_shares.c.number.in_(bindparam("numbers", expanding=True)))
_FILES: Final = (
    select(container_files.c.number, func.count(), func.coalesce(func.sum(container_files.c.bytes), 0))
    .where(container_files.c.number.in_(bindparam("numbers", expanding=True)))
    .group_by(container_files.c.number)
)


def page(connection: Connection, query: ContainerQuery) -> tuple[list[Container], bool]:
    """One page of what is an owner's or shared, and whether more follow. Raises UnknownCursor.

    The owner's own come in order from one index, and what is shared from another, so that it makes no difference how
    many others there are.
    """
    values: dict[str, Any] = {"owner": query.owner, "limit": query.limit + 1}
    if query.name is not None:
        values["name"] = query.name
    if query.deployments is not None:
        values["deployments"] = sorted(query.deployments)
    if query.after is not None:
        values["after_created_at"], values["after_number"] = _position(connection, query)
    shape = frozenset(values)
    rows = connection.execute(_own_page(shape, query.descending), values).mappings().all()
    if query.identities:
        values["identities"] = query.identities
        shared = (
            connection.execute(_shared_page(shape, query.descending, connection.dialect.name), values).mappings().all()
        )
        rows = sorted([*rows, *shared], key=_place, reverse=query.descending)
    return [to_container(row) for row in rows[: query.limit]], len(rows) > query.limit


def record(connection: Connection, container_id: str) -> ContainerRecord | None:
    """Everything about one container."""
    rows = connection.execute(_BY_ID, {"container_id": container_id}).mappings().all()
    return next(iter(_records(connection, rows)), None)


def records(
    connection: Connection, wanted: ContainerFilter, *, now: datetime, offset: int, limit: int
) -> tuple[list[ContainerRecord], int]:
    """One page of what an operator asks for, newest first, and how many there are in all."""
    where = list(_conditions(wanted, now))
    total = connection.execute(select(func.count()).select_from(containers).where(*where)).scalar_one()
    newest = _NUMBERED.where(*where).order_by(*(column.desc() for column in _ORDER)).offset(offset).limit(limit)
    return _records(connection, connection.execute(newest).mappings().all()), total


def _position(connection: Connection, query: ContainerQuery) -> tuple[datetime, int]:
    """Where the container stands after which the page begins; it may have ended. Raises UnknownCursor."""
    values = {"after": query.after, "owner": query.owner, "identities": query.identities}
    found = connection.execute(_CURSOR, values).one_or_none()
    if (
        found is None
        or query.name not in {None, found.name}
        or (query.deployments is not None and found.deployment not in query.deployments)
    ):
        raise UnknownCursor
    return found.created_at, found.number


@cache
def _own_page(shape: frozenset[str], descending: bool) -> Select[Any]:
    return _page(shape, descending).where(_c.owner == bindparam("owner"))


@cache
def _shared_page(shape: frozenset[str], descending: bool, dialect: str) -> Select[Any]:
    shares = container_shares.c
    held = select(shares.number).where(shares.identity.in_(bindparam("identities", expanding=True)))
    return _page(shape, descending).where(
        among(_c.number, held, dialect), _c.owner.is_distinct_from(bindparam("owner"))
    )


def _page(shape: frozenset[str], descending: bool) -> Select[Any]:
    """One page of all, for queries that have these parameters."""
    query = _NUMBERED.where(NOT_ENDED)
    if "name" in shape:
        query = query.where(_c.name == bindparam("name"))
    if "deployments" in shape:
        query = query.where(_c.deployment.in_(bindparam("deployments", expanding=True)))
    place = tuple_(*_ORDER)
    if "after_number" in shape:
        after = tuple_(
            bindparam("after_created_at", type_=UtcDateTime), bindparam("after_number", type_=_c.number.type)
        )
        query = query.where(place < after if descending else place > after)
    order = [column.desc() if descending else column.asc() for column in _ORDER]
    return query.order_by(*order).limit(bindparam("limit"))


def _place(row: RowMapping) -> tuple[datetime, int]:
    return row["created_at"], row["number"]


def _conditions(wanted: ContainerFilter, now: datetime) -> Iterator[ColumnElement[bool]]:
    if wanted.owner is not None:
        yield _c.owner == wanted.owner
    if wanted.unowned:
        yield _c.owner.is_(None)
    if wanted.deployment is not None:
        yield _c.deployment == wanted.deployment
    if wanted.status is not None:
        yield _has_status(wanted.status, now)
    if wanted.key_ids is not None:
        yield _c.key_id.in_(sorted(wanted.key_ids))
    if wanted.created_before is not None:
        yield _c.created_at < wanted.created_before
    if wanted.idle_since is not None:
        yield func.coalesce(_c.last_active_at, _c.created_at) < wanted.idle_since


def _has_status(status: str, now: datetime) -> ColumnElement[bool]:
    """`Container.status_at` in SQL. Each way to have it says NOT_ENDED, so that SQLite looks for each by an index."""
    said = and_(NOT_ENDED, _c.status == status)
    if status == "running":
        said = and_(said, or_(_c.expires_at.is_(None), _c.expires_at > now))
    elif status == "expired":
        said = or_(said, and_(NOT_ENDED, _c.status == "running", _c.expires_at <= now))
    return or_(said, _c.ending == Ending(status)) if status in set(Ending) else said


def _records(connection: Connection, rows: Sequence[RowMapping]) -> list[ContainerRecord]:
    """The records of containers, in the same order."""
    numbers = {"numbers": [row["number"] for row in rows]}
    if not rows:
        return []
    shares: dict[int, dict[str, Access]] = {}
    for number, identity, access in connection.execute(_SHARES, numbers):
        shares.setdefault(number, {})[identity] = access
    files = {number: (count, size) for number, count, size in connection.execute(_FILES, numbers)}
    return [
        ContainerRecord(
            container=to_container(row),
            shares=shares.get(row["number"], {}),
            files=files.get(row["number"], (0, 0))[0],
            bytes=int(files.get(row["number"], (0, 0))[1]),
        )
        for row in rows
    ]
