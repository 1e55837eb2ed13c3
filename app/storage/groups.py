"""Teams and users in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final, Generic

from sqlalchemy import Connection, RowMapping, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.domain.identity import Team, User
from app.domain.stores import AliasTaken, Deed, Group, NameTaken
from app.storage.audit import add_deed, as_json
from app.storage.engine import Database
from app.storage.keys import delete_keys
from app.storage.tables import teams, users
from app.storage.tables import virtual_keys as keys

_LISTS: Final = ("tags",)


class SqlGroupStore(Generic[Group]):
    """A `GroupStore` in one table. `sql_teams` and `sql_users` make the two that there are."""

    def __init__(self, database: Database, table: Table, kind: type[Group], noun: str) -> None:
        self._database = database
        self._table = table
        self._make: Callable[..., Group] = kind
        self._noun = noun
        self._id = table.c[f"{noun}_id"]
        self._fields = tuple(field.name for field in fields(kind))
        self._add = insert(table)
        self._by_id = select(table).where(self._id == bindparam("id"))
        self._lock = self._by_id.with_for_update()
        self._change = update(table).where(self._id == bindparam("id"))
        self._found = select(table).where(self._id.in_(bindparam("ids", expanding=True))).order_by(self._id)
        self._delete = delete(table).where(self._id.in_(bindparam("ids", expanding=True)))

    async def add(self, group: Group, deed: Deed) -> None:
        """Keep a new one. Raises NameTaken, AliasTaken, StoreUnavailable."""

        def work(connection: Connection) -> None:
            connection.execute(self._add, self._to_row(group))
            self._audit(connection, deed, None, group)

        with collisions():
            await self._database.write(work)

    async def get(self, group_id: str) -> Group | None:
        """The one with this id. Raises StoreUnavailable."""

        def work(connection: Connection) -> Group | None:
            row = connection.execute(self._by_id, {"id": group_id}).mappings().one_or_none()
            return None if row is None else self._from_row(row)

        return await self._database.read(work)

    async def change(self, group_id: str, edit: Callable[[Group], Group], deed: Deed) -> Group | None:
        """Read, edit and write one as one step. Raises AliasTaken, StoreUnavailable, and what `edit` raises."""

        def work(connection: Connection) -> Group | None:
            row = connection.execute(self._lock, {"id": group_id}).mappings().one_or_none()
            if row is None:
                return None
            before = self._from_row(row)
            after = edit(before)
            connection.execute(self._change, {"id": group_id, **self._to_row(after)})
            self._audit(connection, deed, before, after)
            return after

        with collisions():
            return await self._database.write(work)

    async def delete(self, group_ids: Sequence[str], deed: Deed) -> list[str]:
        """Remove some, and the keys that name them; returns the ids that existed. Raises StoreUnavailable."""

        def work(connection: Connection) -> list[str]:
            rows = connection.execute(self._found.with_for_update(), {"ids": group_ids}).mappings().all()
            gone = [self._from_row(row) for row in rows]
            names = [self._id_of(group) for group in gone]
            connection.execute(self._delete, {"ids": names})
            delete_keys(connection, keys.c[self._id.name].in_(names), deed)
            for group in gone:
                self._audit(connection, deed, group, None)
            return names

        return await self._database.write(work) if group_ids else []

    async def page(self, *, offset: int, limit: int, alias: str | None = None) -> tuple[list[Group], int]:
        """One page, newest first, and how many there are in all. Raises StoreUnavailable."""
        columns = self._table.c
        where = [] if alias is None else [columns.alias == alias]
        count = select(func.count()).select_from(self._table).where(*where)
        newest = select(self._table).where(*where).order_by(columns.created_at.desc(), self._id.desc())

        def work(connection: Connection) -> tuple[list[Group], int]:
            total = connection.execute(count).scalar_one()
            rows = connection.execute(newest.offset(offset).limit(limit)).mappings()
            return [self._from_row(row) for row in rows], total

        return await self._database.read(work)

    def _audit(self, connection: Connection, deed: Deed, before: Group | None, after: Group | None) -> None:
        subject = f"{self._noun}:{self._id_of(before or after)}"
        add_deed(connection, deed, subject, _shown(before), _shown(after))

    def _id_of(self, group: Group | None) -> str:
        name: str = getattr(group, self._id.name)
        return name

    def _to_row(self, group: Group) -> dict[str, Any]:
        row = {name: getattr(group, name) for name in self._fields}
        return row | {name: list(row[name]) for name in _LISTS}

    def _from_row(self, row: RowMapping) -> Group:
        return self._make(**dict(row) | {name: tuple(row[name]) for name in _LISTS})


def sql_teams(database: Database) -> SqlGroupStore[Team]:
    """The store of teams."""
    return SqlGroupStore(database, teams, Team, "team")


def sql_users(database: Database) -> SqlGroupStore[User]:
    """The store of users."""
    return SqlGroupStore(database, users, User, "user")


@contextmanager
def collisions() -> Iterator[None]:
    """Raises AliasTaken or NameTaken for what a unique column refuses."""
    try:
        yield
    except IntegrityError as error:
        which = str(error.orig).partition("\n")[0]  # the columns or the constraint; values come below
        if "alias" in which:
            raise AliasTaken from None
        if "_id" in which or "pk_" in which:
            raise NameTaken from None
        raise


def _shown(group: Team | User | None) -> Any:
    return None if group is None else as_json(group)
