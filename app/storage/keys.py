"""Virtual keys in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.domain.identity import Holder, Team, User, VirtualKey
from app.domain.stores import AliasTaken, Deed
from app.storage.audit import add_deed, as_json
from app.storage.engine import Database, T
from app.storage.tables import teams, users
from app.storage.tables import virtual_keys as keys

_FIELDS: Final = tuple(field.name for field in fields(VirtualKey))
_LISTS: Final = ("tags", "allowed_operations", "allowed_deployments", "allowed_ips")

# Built once: a statement costs 15 µs then, and 86 if SQLAlchemy has to put it together each time.
_ADD: Final = insert(keys)
_BY_ID: Final = select(keys).where(keys.c.key_id == bindparam("key_id"))
_BY_ALIAS: Final = select(keys).where(keys.c.alias == bindparam("alias"))
_LOCK: Final = _BY_ID.with_for_update()
_CHANGE: Final = update(keys).where(keys.c.key_id == bindparam("id"))

_KEY, _USER, _TEAM = tuple(keys.c), tuple(users.c), tuple(teams.c)
_HOLDER: Final = (
    select(*_KEY, *_USER, *_TEAM)
    .select_from(
        keys.outerjoin(users, users.c.user_id == keys.c.user_id).outerjoin(teams, teams.c.team_id == keys.c.team_id)
    )
    .where(keys.c.key_id == bindparam("key_id"))
)


class SqlKeyStore:
    """A `KeyStore` in the table `virtual_keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: VirtualKey, deed: Deed) -> None:
        """Keep a new key. Raises AliasTaken, StoreUnavailable."""

        def work(connection: Connection) -> None:
            connection.execute(_ADD, _to_row(key))
            add_deed(connection, deed, f"key:{key.key_id}", None, as_json(key))

        await self._write(work)

    async def holder(self, key_id: str) -> Holder | None:
        """The key with this id, its user and its team, in one query. Raises StoreUnavailable."""

        def work(connection: Connection) -> Holder | None:
            row = connection.execute(_HOLDER, {"key_id": key_id}).one_or_none()
            return None if row is None else _to_holder(tuple(row))

        return await self._database.read(work)

    async def get(self, key_id: str) -> VirtualKey | None:
        """The key with this id. Raises StoreUnavailable."""
        return await self._database.read(lambda connection: _one(connection, _BY_ID, key_id=key_id))

    async def find_by_alias(self, alias: str) -> VirtualKey | None:
        """The key with this alias. Raises StoreUnavailable."""
        return await self._database.read(lambda connection: _one(connection, _BY_ALIAS, alias=alias))

    async def change(self, key_id: str, edit: Callable[[VirtualKey], VirtualKey], deed: Deed) -> VirtualKey | None:
        """Read, edit and write a key as one step. Raises AliasTaken, StoreUnavailable, and what `edit` raises."""

        def work(connection: Connection) -> VirtualKey | None:
            before = _one(connection, _LOCK, key_id=key_id)
            if before is None:
                return None
            after = edit(before)
            connection.execute(_CHANGE, {"id": key_id, **_to_row(after)})
            add_deed(connection, deed, f"key:{key_id}", as_json(before), as_json(after))
            return after

        return await self._write(work)

    async def delete(self, key_ids: Sequence[str], deed: Deed) -> list[str]:
        """Remove keys; returns the ids that existed. Raises StoreUnavailable."""

        def work(connection: Connection) -> list[str]:
            return delete_keys(connection, keys.c.key_id.in_(key_ids), deed)

        return await self._write(work) if key_ids else []

    async def page(
        self,
        *,
        offset: int,
        limit: int,
        user_id: str | None = None,
        team_id: str | None = None,
        alias: str | None = None,
    ) -> tuple[list[VirtualKey], int]:
        """One page of keys, newest first, and how many there are in all. Raises StoreUnavailable."""
        wanted = {keys.c.user_id: user_id, keys.c.team_id: team_id, keys.c.alias: alias}
        where = [column == value for column, value in wanted.items() if value is not None]
        count = select(func.count()).select_from(keys).where(*where)
        newest = select(keys).where(*where).order_by(keys.c.created_at.desc(), keys.c.key_id.desc())

        def work(connection: Connection) -> tuple[list[VirtualKey], int]:
            total = connection.execute(count).scalar_one()
            rows = connection.execute(newest.offset(offset).limit(limit)).mappings()
            return [_from_row(row) for row in rows], total

        return await self._database.read(work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except IntegrityError as error:
            if "alias" in str(error.orig).partition("\n")[0]:  # the column or its constraint; values come below
                raise AliasTaken from None
            raise


def delete_keys(connection: Connection, which: ColumnElement[bool], deed: Deed) -> list[str]:
    """Remove these keys and write that down, within a transaction; returns their ids."""
    rows = connection.execute(select(keys).where(which).order_by(keys.c.key_id).with_for_update()).mappings().all()
    gone = [_from_row(row) for row in rows]
    key_ids = [key.key_id for key in gone]
    connection.execute(delete(keys).where(keys.c.key_id.in_(key_ids)))
    for key in gone:
        add_deed(connection, deed, f"key:{key.key_id}", as_json(key), None)
    return key_ids


def _one(connection: Connection, query: Select[Any], **values: str) -> VirtualKey | None:
    row = connection.execute(query, values).mappings().one_or_none()
    return None if row is None else _from_row(row)


def _to_holder(row: tuple[Any, ...]) -> Holder:
    """From the columns of a key, a user and a team, the latter two of which may all be null."""
    of_key, rest = row[: len(_KEY)], row[len(_KEY) :]
    of_user, of_team = rest[: len(_USER)], rest[len(_USER) :]
    user = dict(zip((column.name for column in _USER), of_user, strict=True))
    team = dict(zip((column.name for column in _TEAM), of_team, strict=True))
    return Holder(
        key=_from_row(dict(zip((column.name for column in _KEY), of_key, strict=True))),
        user=None if user["user_id"] is None else User(**user | {"tags": tuple(user["tags"])}),
        team=None if team["team_id"] is None else Team(**team | {"tags": tuple(team["tags"])}),
    )


def _to_row(key: VirtualKey) -> dict[str, Any]:
    row = {name: getattr(key, name) for name in _FIELDS}
    return row | {name: list(row[name]) for name in _LISTS}


def _from_row(row: RowMapping | dict[str, Any]) -> VirtualKey:
    return VirtualKey(**dict(row) | {name: tuple(row[name]) for name in _LISTS})
