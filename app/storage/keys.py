"""Virtual keys in SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.identity import VirtualKey
from app.domain.ports import AliasTaken
from app.storage.engine import Database
from app.storage.tables import virtual_keys as keys

_FIELDS: Final = tuple(field.name for field in fields(VirtualKey))
_LISTS: Final = ("tags", "allowed_operations")


class SqlKeyStore:
    """A `KeyStore` in the table `virtual_keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: VirtualKey) -> None:
        """Keep a new key. Raises AliasTaken, StoreUnavailable."""
        async with self._writing() as connection:
            await connection.execute(insert(keys).values(_to_row(key)))

    async def get(self, key_id: str) -> VirtualKey | None:
        """The key with this id. Raises StoreUnavailable."""
        return await self._one(keys.c.key_id == key_id)

    async def find_by_alias(self, alias: str) -> VirtualKey | None:
        """The key with this alias. Raises StoreUnavailable."""
        return await self._one(keys.c.alias == alias)

    async def change(self, key_id: str, edit: Callable[[VirtualKey], VirtualKey]) -> VirtualKey | None:
        """Read, edit and write a key as one step. Raises AliasTaken, StoreUnavailable, and what `edit` raises."""
        query = select(keys).where(keys.c.key_id == key_id).with_for_update()
        async with self._writing() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            if row is None:
                return None
            key = edit(_from_row(row))
            await connection.execute(update(keys).where(keys.c.key_id == key_id).values(_to_row(key)))
        return key

    async def delete(self, key_ids: Sequence[str]) -> list[str]:
        """Remove keys; returns the ids that existed. Raises StoreUnavailable."""
        async with self._writing() as connection:
            result = await connection.execute(delete(keys).where(keys.c.key_id.in_(key_ids)).returning(keys.c.key_id))
            return list(result.scalars())

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
        newest = select(keys).where(*where).order_by(keys.c.created_at.desc(), keys.c.key_id.desc())
        async with self._database.reading() as connection:
            total = await connection.scalar(select(func.count()).select_from(keys).where(*where))
            rows = (await connection.execute(newest.offset(offset).limit(limit))).mappings()
            return [_from_row(row) for row in rows], total or 0

    async def _one(self, where: ColumnElement[bool]) -> VirtualKey | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(keys).where(where))).mappings().one_or_none()
        return None if row is None else _from_row(row)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.writing() as connection:
                yield connection
        except IntegrityError as error:
            if "alias" in str(error.orig):
                raise AliasTaken from None
            raise


def _to_row(key: VirtualKey) -> dict[str, Any]:
    row = {name: getattr(key, name) for name in _FIELDS}
    return row | {name: list(row[name]) for name in _LISTS}


def _from_row(row: RowMapping) -> VirtualKey:
    return VirtualKey(**dict(row) | {name: tuple(row[name]) for name in _LISTS})
