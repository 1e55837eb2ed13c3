"""Statements that run often: written in SQLAlchemy Core, put into SQL once for each database, run by its driver.

Core does much again for each execution that is the same every time. Without that the thirteen statements of a create
take 280 µs on SQLite rather than 870, of which SQLite itself needs 84.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError

Statement = Select[Any] | Insert | Update | Delete
Row = dict[str, Any]
"""A row, by the names of its columns."""

_Convert = Callable[[Any], Any] | None


class Prepared:
    """A statement, or what gives it for a dialect's name. `sets` are the columns that an INSERT or UPDATE is given.

    Values are by name, those of the columns and of `bindparam`s; more than the statement needs may be given. Types
    convert them both ways, as in Core. There is no `expanding` parameter, and nobody listens to engine events.

    Methods raise what Core raises: a `DBAPIError`, whose text has no values.
    """

    def __init__(self, statement: Statement | Callable[[str], Statement], *sets: str) -> None:
        self._statement = statement
        self._sets = sets
        self._by_dialect: dict[str, _Sql] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it; how many rows it wrote."""
        sql = self._sql(connection.dialect)
        count: int = execute(connection, sql.text, sql.bind(values)).rowcount
        return count

    def run_each(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it once for each of these; together, so that a server is not waited for after each."""
        sql = self._sql(connection.dialect)
        given = [sql.bind(values) for values in rows]
        if len(given) == 1:
            execute(connection, sql.text, given[0])
        elif given:
            execute(connection, sql.text, given, many=True)

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[Row]:
        """Run it; what it found or returns."""
        sql = self._sql(connection.dialect)
        return [sql.found(row) for row in execute(connection, sql.text, sql.bind(values)).fetchall()]

    def row(self, connection: Connection, values: Mapping[str, Any]) -> Row | None:
        """The one row that it finds, if any."""
        found = self.rows(connection, values)
        return found[0] if found else None

    def _sql(self, dialect: Dialect) -> _Sql:
        sql = self._by_dialect.get(dialect.name)
        if sql is None:
            statement = self._statement(dialect.name) if callable(self._statement) else self._statement
            sql = self._by_dialect[dialect.name] = _compiled(statement, self._sets, dialect)
        return sql


def execute(connection: Connection, text: str, parameters: Any = (), *, many: bool = False) -> Any:
    """Have the driver run a statement; its cursor. Raises what Core raises."""
    cursor: Any = connection.connection.cursor()
    try:
        if many:
            cursor.executemany(text, parameters)
        else:
            cursor.execute(text, parameters)
    except Exception as error:
        dialect = connection.dialect
        driver = dialect.loaded_dbapi.Error
        raise DBAPIError.instance(text, None, error, driver, hide_parameters=True, dialect=dialect) from error
    return cursor


class _Sql(NamedTuple):
    """A statement in one database's SQL."""

    text: str
    constants: dict[str, Any]
    """Parameters that the statement itself gives values to, as the driver takes them."""
    binds: tuple[tuple[str, _Convert], ...]
    is_positional: bool
    columns: tuple[tuple[str, _Convert], ...]

    def bind(self, values: Mapping[str, Any]) -> Any:
        """The parameters as the driver takes them."""
        constants = self.constants
        if self.is_positional:
            return tuple(
                [
                    constants[name] if name in constants else values[name] if convert is None else convert(values[name])
                    for name, convert in self.binds
                ]
            )
        return constants | {
            name: values[name] if convert is None else convert(values[name]) for name, convert in self.binds
        }

    def found(self, row: tuple[Any, ...]) -> Row:
        """A row of the driver's as Core would give it."""
        return {
            name: value if convert is None else convert(value)
            for (name, convert), value in zip(self.columns, row, strict=True)
        }


def _compiled(statement: Statement, sets: tuple[str, ...], dialect: Dialect) -> _Sql:
    if isinstance(statement, Insert):
        statement = statement.inline()  # nobody asks for the new row's number
    compiled = statement.compile(dialect=dialect, column_keys=list(sets) if sets else None)
    converts, constants = {}, {}
    for parameter, name in compiled.bind_names.items():
        convert = converts[name] = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if not parameter.required:
            value = parameter.effective_value
            constants[name] = value if convert is None else convert(value)
    names = compiled.positiontup if compiled.positional else [name for name in converts if name not in constants]
    return _Sql(
        text=str(compiled),
        constants=constants,
        binds=tuple((name, converts[name]) for name in names or ()),
        is_positional=compiled.positional,
        columns=tuple(
            (str(column.key), column.type.dialect_impl(dialect).result_processor(dialect, None))
            for column in statement.exported_columns
        ),
    )
