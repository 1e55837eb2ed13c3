"""Questions to the ledger, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, func, select, true

from app.domain.reports import EntryFilter, Grouping, ReportLine
from app.domain.spending import Entry
from app.storage.engine import Database
from app.storage.tables import entries

_c = entries.c
_FIELDS: Final = tuple(field.name for field in fields(Entry))
_COLUMNS: Final = {
    Grouping.KEY: _c.key_id,
    Grouping.USER: _c.user_id,
    Grouping.TEAM: _c.team_id,
    Grouping.TIER: _c.memory_limit,
    Grouping.DEPLOYMENT: _c.deployment,
}


class SqlSpendReports:
    """`SpendReports` over the table `ledger_entries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(
        self, wanted: EntryFilter, *, after: int | None, limit: int, descending: bool
    ) -> tuple[list[Entry], bool]:
        """One page of entries, and whether more follow. Raises StoreUnavailable."""

        def work(connection: Connection) -> tuple[list[Entry], bool]:
            query = select(entries).where(*_fitting(wanted, connection.dialect.name))
            if after is not None:
                query = query.where(_c.number < after if descending else _c.number > after)
            query = query.order_by(_c.number.desc() if descending else _c.number).limit(limit + 1)
            rows = connection.execute(query).mappings().all()
            found = [Entry(**{name: row[name] for name in _FIELDS} | {"tags": tuple(row["tags"])}) for row in rows]
            return found[:limit], len(found) > limit

        return await self._database.read(work)

    async def report(
        self, wanted: EntryFilter, groupings: Sequence[Grouping], *, limit: int
    ) -> tuple[list[ReportLine], bool]:
        """What was spent, a line for each group, and whether there are more. Raises StoreUnavailable."""

        def work(connection: Connection) -> tuple[list[ReportLine], bool]:
            rows = connection.execute(_grouped(wanted, groupings, limit, connection.dialect.name)).all()
            lines = [
                ReportLine(group=tuple(row[:-2]), spent_nanousd=int(row.spent), containers=row.containers)
                for row in rows
            ]
            return lines[:limit], len(lines) > limit

        return await self._database.read(work)


def _grouped(wanted: EntryFilter, groupings: Sequence[Grouping], limit: int, dialect: str) -> Select[Any]:
    tags = _tags(dialect)
    columns = [_column(grouping, tags, dialect).label(f"group_{place}") for place, grouping in enumerate(groupings)]
    spent = func.coalesce(func.sum(_c.spent_nanousd), 0).label("spent")
    containers = func.count(func.distinct(_c.container_id)).label("containers")
    source: FromClause = entries
    if Grouping.TAG in groupings:
        source = entries.outerjoin(tags, true())
    by_day = bool(groupings) and groupings[0] is Grouping.DAY
    return (
        select(*columns, spent, containers)
        .select_from(source)
        .where(*_fitting(wanted, dialect), _c.spent_nanousd != 0)
        .group_by(*columns)
        .order_by(*(columns if by_day else (spent.desc(), *columns)))
        .limit(limit + 1)
    )


def _column(grouping: Grouping, tags: Any, dialect: str) -> ColumnElement[Any]:
    match grouping:
        case Grouping.TAG:
            tag: ColumnElement[Any] = tags.c.value
            return tag
        case Grouping.DAY if dialect == "sqlite":
            return func.strftime("%Y-%m-%d", _c.at)
        case Grouping.DAY:
            return func.to_char(func.timezone("UTC", _c.at), "YYYY-MM-DD")
        case _:
            return _COLUMNS[grouping]


def _tags(dialect: str) -> Any:
    """An entry's tags as rows."""
    if dialect == "sqlite":
        return func.json_each(_c.tags).table_valued("value", name="tags")
    return func.json_array_elements_text(_c.tags).table_valued("value", name="tags").render_derived().lateral("tags")


def _fitting(wanted: EntryFilter, dialect: str) -> list[ColumnElement[bool]]:
    same = {
        _c.key_id: wanted.key_id,
        _c.user_id: wanted.user_id,
        _c.team_id: wanted.team_id,
        _c.container_id: wanted.container_id,
        _c.request_id: wanted.request_id,
    }
    where: list[ColumnElement[bool]] = [column == value for column, value in same.items() if value is not None]
    if wanted.since is not None:
        where.append(_c.at >= wanted.since)
    if wanted.until is not None:
        where.append(_c.at < wanted.until)
    if wanted.tag is not None:
        tags = _tags(dialect)
        where.append(select(1).select_from(tags).where(tags.c.value == wanted.tag).correlate(entries).exists())
    return where
