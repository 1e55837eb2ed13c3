"""One statement for many rows, run past Core as `Prepared` is.

SQLite is given the rows as values. PostgreSQL is given them all as one JSON text, of which its driver has one value to
convert rather than twenty a row. `docs/adr/0019-group-commit.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import JSON, Column, Connection, Dialect, LargeBinary, Table

from app.storage import prepared
from app.storage.prepared import Asked, Converts, Row, Sql, found_columns

AT_ONCE: Final = 64
"""Rows in one statement for SQLite. It gets one for each power of two up to that: so few that its driver keeps them."""

INSERT: Final = "INSERT INTO {table} ({columns}) SELECT {columns} FROM given"
"""Add the rows."""
UPDATE: Final = "UPDATE {table} SET {changes} FROM given WHERE {table}.{key} = given.{key}{few}"
"""Of those with the same first column, change the other columns."""
LOCK: Final = "SELECT {found} FROM given, {table} WHERE {table}.{key} = given.{key}{few}"
"""Find those with the same first column, whole and in any order, and let nobody else change them."""


class Bulk:
    """What is done (INSERT, UPDATE, LOCK) with rows of a table that have these columns.

    Methods raise what Core raises; where statements are only sent, perhaps later.
    """

    def __init__(self, deed: str, table: Table, *columns: str) -> None:
        self._deed = deed
        self._table = table
        self._names = tuple(map(str, columns))  # those of Core are of a class of its own
        self._converts: dict[str, Converts] = {}
        self._sqls: dict[tuple[str, int], Sql] = {}

    def post(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do it with all of these, which may have more columns, and do not look back."""
        for sql, parameters in self._statements(connection.dialect, rows):
            prepared.execute(connection, sql.text, parameters)

    def rows(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Do it with all of these; what that finds."""
        found: list[Row] = []
        for sql, parameters in self._statements(connection.dialect, rows):
            found += Asked(connection, prepared.execute(connection, sql.text, parameters), sql).rows()
        return found

    def _statements(self, dialect: Dialect, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Sql, tuple[Any, ...]]]:
        """Statements that are given all of the rows between them, and their parameters."""
        names = self._names
        converts = self._converts.get(dialect.name)
        if converts is None:
            made = [(name, _convert(self._table.c[name], dialect)) for name in names]
            converts = self._converts[dialect.name] = tuple((name, convert) for name, convert in made if convert)
        if dialect.name != "sqlite" and rows:
            given = [{name: row[name] for name in names} for row in rows]
            for name, convert in converts:
                for row in given:
                    row[name] = convert(row[name])
            yield self._sql(dialect, 0), (orjson.dumps(given, _hexadecimal).decode(),)
            rows = ()
        while rows:
            count = min(AT_ONCE, 1 << (len(rows).bit_length() - 1))
            values = [row[name] for row in rows[:count] for name in names]
            for name, convert in converts:
                column = slice(names.index(name), None, len(names))
                values[column] = map(convert, values[column])
            yield self._sql(dialect, count), tuple(values)
            rows = rows[count:]

    def _sql(self, dialect: Dialect, count: int) -> Sql:
        """The statement for so many rows, or for any number where that makes no difference."""
        sql = self._sqls.get((dialect.name, count))
        if sql is None:
            columns = found_columns(self._table.c, dialect)
            sql = Sql(self._text(dialect, count), columns)
            self._sqls[dialect.name, count] = sql
        return sql

    def _text(self, dialect: Dialect, count: int) -> str:
        table, names = self._table.name, self._names
        key, columns, few, locking = names[0], ", ".join(names), "", ""
        if dialect.name == "sqlite":
            given = "VALUES " + ", ".join([f"({', '.join('?' * len(names))})"] * count)
        else:
            types = ", ".join(f"{name} {self._table.c[name].type.compile(dialect)}" for name in names)
            given = f"SELECT * FROM json_to_recordset(%s::json) AS rows({types})"  # noqa: S608 (names of our own)
            # It takes rows out of JSON for a hundred and might read a whole table; those in an array it takes for ten.
            few = f" AND {table}.{key} = ANY(ARRAY(SELECT {key} FROM given))"  # noqa: S608
            locking = f" FOR UPDATE OF {table}" if self._deed is LOCK else ""
        deed = self._deed.format(
            table=table,
            columns=columns,
            key=key,
            changes=", ".join(f"{name} = given.{name}" for name in names[1:]),
            found=", ".join(f"{table}.{column.name}" for column in self._table.c),
            few=few,
        )
        return f"WITH given({columns}) AS ({given}) {deed}{locking}"


def _convert(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What makes a value one of the driver's. In PostgreSQL's JSON text, JSON stays, and bytes are hexadecimal."""
    if dialect.name != "sqlite" and isinstance(column.type, JSON | LargeBinary):
        return None
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _hexadecimal(value: object) -> str:
    """Bytes as PostgreSQL reads them from a text. Raises TypeError for anything else."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError
