"""Statements that run often: written in SQLAlchemy Core, put into SQL once for each database, run by its driver.

Core does much again for each execution that is the same every time. Without that the thirteen statements of a create
take 280 µs on SQLite rather than 870, of which SQLite itself needs 84.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError

Statement = Select[Any] | Insert | Update | Delete
Row = dict[str, Any]
"""A row, by the names of its columns."""

SENDING: Final = "sending"
"""The entry of a connection's `info` that says so."""
MANY: Final = 4
"""More rows than this are sent to a server in a pipeline of their own."""

Converts = tuple[tuple[str, Callable[[Any], Any]], ...]
"""By name, what makes a value one of the driver's, or the other way round. What is not named is left as it is."""


class Prepared:
    """A statement, or what gives it for a dialect's name. `sets` are the columns that an INSERT or UPDATE is given.

    Values are by name, those of the columns and of `bindparam`s; more than the statement needs may be given. Types
    convert them both ways, as in Core. There is no `expanding` parameter, and nobody listens to engine events.

    Methods raise what Core raises: a `DBAPIError`, whose text has no values.
    """

    def __init__(self, statement: Statement | Callable[[str], Statement], *sets: str) -> None:
        self._statement = statement
        self._sets = sets
        self._by_dialect: dict[str, Sql] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it; how many rows it wrote. NotTogether where statements are only sent: nobody knows it yet."""
        sql = self._sql(connection.dialect)
        count: int = execute(connection, sql.text, sql.bind(values)).rowcount
        if count < 0:
            raise NotTogether
        return count

    def post(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Run it, and do not look back: where statements are only sent, what it raises comes up later on."""
        sql = self._sql(connection.dialect)
        execute(connection, sql.text, sql.bind(values))

    def ask(self, connection: Connection, values: Mapping[str, Any]) -> Asked:
        """Run it; what it finds is for later, when others have been asked for too."""
        sql = self._sql(connection.dialect)
        asked = Asked(connection, execute(connection, sql.text, sql.bind(values)), sql)
        if connection.dialect.name == "sqlite":  # which would go on reading while others write
            asked.fetch()
        return asked

    def run_each(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it once for each of these; together, so that a server is not waited for after each."""
        sql = self._sql(connection.dialect)
        given = [sql.bind(values) for values in rows]
        if len(given) > MANY:
            execute(connection, sql.text, given, many=True)
        else:
            for parameters in given:
                execute(connection, sql.text, parameters)

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[Row]:
        """Run it; what it found or returns."""
        return self.ask(connection, values).rows()

    def row(self, connection: Connection, values: Mapping[str, Any]) -> Row | None:
        """The one row that it finds, if any."""
        return self.ask(connection, values).row()

    def _sql(self, dialect: Dialect) -> Sql:
        sql = self._by_dialect.get(dialect.name)
        if sql is None:
            statement = self._statement(dialect.name) if callable(self._statement) else self._statement
            sql = self._by_dialect[dialect.name] = _compiled(statement, self._sets, dialect)
        return sql


class NotTogether(Exception):
    """A work went another way than works usually go: it has to be done alone, one statement after the other."""


def is_sending(connection: Connection) -> bool:
    """Whether statements are only sent, so that it is cheap to ask for several things before looking at one."""
    return bool(connection.info.get(SENDING))


def execute(connection: Connection, text: str, parameters: Any = (), *, many: bool = False) -> Any:
    """Have the driver run a statement; its cursor. Raises what Core raises."""
    cursor: Any = connection.connection.cursor()
    try:
        if many:
            cursor.executemany(text, parameters)
        else:
            cursor.execute(text, parameters)
    except Exception as error:
        raise as_of_core(error, connection, text) from error
    return cursor


def as_of_core(error: Exception, connection: Connection, text: str) -> BaseException:
    """What Core would raise for a driver's error; any other as it is."""
    dialect = connection.dialect
    driver = dialect.loaded_dbapi.Error
    return DBAPIError.instance(text, None, error, driver, hide_parameters=True, dialect=dialect)


class Asked:
    """A statement that was run, or sent."""

    __slots__ = ("_connection", "_cursor", "_rows", "_sql")

    def __init__(self, connection: Connection, cursor: Any, sql: Sql) -> None:
        self._connection = connection
        self._cursor = cursor
        self._sql = sql
        self._rows: list[tuple[Any, ...]] | None = None

    def rows(self) -> list[Row]:
        """What it found or returns."""
        found = self._sql.found
        return [found(row) for row in self.fetch()]

    def fetch(self) -> list[tuple[Any, ...]]:
        """The driver's rows, once they are here."""
        if self._rows is None:
            try:
                self._rows = self._cursor.fetchall()
            except Exception as error:
                raise as_of_core(error, self._connection, self._sql.text) from error
        return self._rows

    def row(self) -> Row | None:
        """The one row that it finds, if any."""
        found = self.rows()
        return found[0] if found else None


class Columns(NamedTuple):
    """The columns that a statement finds."""

    names: tuple[str, ...]
    converts: Converts
    """What makes the driver's values ours."""


class Sql(NamedTuple):
    """A statement in one database's SQL."""

    text: str
    columns: Columns
    names: tuple[str, ...] = ()
    """Of the values that it is given."""
    converts: Converts = ()
    """What makes them the driver's."""
    constants: Mapping[str, Any] = MappingProxyType({})
    """Parameters that the statement itself gives values to, as the driver takes them."""
    order: tuple[str, ...] | None = None
    """Of the parameters, where the driver takes them by their place."""

    def bind(self, values: Mapping[str, Any]) -> Any:
        """The parameters as the driver takes them."""
        given = {name: values[name] for name in self.names}
        for name, convert in self.converts:
            given[name] = convert(given[name])
        given |= self.constants
        return given if self.order is None else tuple(map(given.__getitem__, self.order))

    def found(self, row: tuple[Any, ...]) -> Row:
        """A row of the driver's as Core would give it."""
        names, converts = self.columns
        found = dict(zip(names, row, strict=True))
        for name, convert in converts:
            found[name] = convert(found[name])
        return found


def _compiled(statement: Statement, sets: tuple[str, ...], dialect: Dialect) -> Sql:
    if isinstance(statement, Insert):
        statement = statement.inline()  # nobody asks for the new row's number
    compiled = statement.compile(dialect=dialect, column_keys=list(sets) if sets else None)
    names, converts, constants = [], [], {}
    for parameter, name in compiled.bind_names.items():
        convert = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if parameter.required:
            names.append(name)
            converts += [] if convert is None else [(name, convert)]
        else:
            value = parameter.effective_value
            constants[name] = value if convert is None else convert(value)
    return Sql(
        text=str(compiled),
        columns=found_columns(statement.exported_columns, dialect),
        names=tuple(names),
        converts=tuple(converts),
        constants=constants,
        order=tuple(compiled.positiontup or ()) if compiled.positional else None,
    )


def found_columns(columns: Iterable[ColumnElement[Any]], dialect: Dialect) -> Columns:
    """What a statement finds that returns these."""
    columns = list(columns)
    converts = [(str(it.key), it.type.dialect_impl(dialect).result_processor(dialect, None)) for it in columns]
    return Columns(
        names=tuple(str(it.key) for it in columns),
        converts=tuple((name, convert) for name, convert in converts if convert is not None),
    )
