"""What SQLite and PostgreSQL spell differently."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import ColumnElement, Select, Table, any_, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.storage.column_types import UtcDateTime

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as ConflictingInsert

_SQLITE_TIME: Final = "%Y-%m-%d %H:%M:%f000"
"""As SQLAlchemy writes a time. SQLite's clock knows milliseconds."""


@cache
def insert_new(table: Table, dialect: str, *unique: str) -> ConflictingInsert:
    """INSERT a row, or none (`rowcount` is 0) where another row has the same values in these unique columns.

    Waits for a transaction that is just inserting such a row.
    """
    insert = conflicting_insert(table, dialect).on_conflict_do_nothing(index_elements=unique)
    return insert.execution_options(preserve_rowcount=True)


def conflicting_insert(table: Table, dialect: str) -> ConflictingInsert:
    """An INSERT that can be told what to do on a conflict: SQLite's own, which is written alike, or PostgreSQL's."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return cast("ConflictingInsert", sqlite.insert(table))
    from sqlalchemy.dialects import postgresql  # 20 ms that whoever has SQLite need not pay

    return postgresql.insert(table)


def among(column: ColumnElement[int], found: Select[Any], dialect: str) -> ColumnElement[bool]:
    """Whether a column has one of the few values that a query finds.

    They are found first and then looked up one by one. PostgreSQL is not sure that they are few, and would rather read
    the whole table; in an array it takes them for ten.
    """
    if dialect == "sqlite":
        return column.in_(found)
    return column == any_(func.array(found.scalar_subquery()))


class SecondsAgo(FunctionElement[Any]):
    """A time by the database's own clock: so many seconds before now."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: ColumnElement[float]) -> None:
        super().__init__(seconds)


NOW: Final = SecondsAgo(literal(0.0))


@compiles(SecondsAgo, "sqlite")
def _sqlite(element: SecondsAgo, compiler: Any, **options: Any) -> str:
    return f"strftime('{_SQLITE_TIME}', 'now', (0.0 - {compiler.process(element.clauses, **options)}) || ' seconds')"


@compiles(SecondsAgo, "postgresql")
def _postgresql(element: SecondsAgo, compiler: Any, **options: Any) -> str:
    return f"clock_timestamp() - make_interval(secs => {compiler.process(element.clauses, **options)})"
