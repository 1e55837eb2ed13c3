"""What keeps a database from doing what it was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from app.domain.ports import StoreUnavailable

_OUR_MISTAKES: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a driver raises because of the statement, not because of the database."""

_WHY_NOT_CONNECTED: Final = re.compile(
    r"(?: failed: | bad: |\[Errno -?[0-9]+\] )((?:FATAL: |invalid )[ -~]+|[A-Za-z ]+)$", re.MULTILINE
)
_DEADLOCK: Final = "40P01"
_NAME: Final = re.compile(r':? "[^"]*"')


class UnsupportedDatabase(Exception):
    """This database URL, or this database, cannot be used; the message says why and never holds the URL."""


class Deadlocked(StoreUnavailable):
    """Two transactions waited for each other, and the database gave this one up."""


@contextmanager
def outages() -> Iterator[None]:
    """Turn whatever keeps the database from answering into StoreUnavailable; our own mistakes come through."""
    try:
        yield
    except _OUR_MISTAKES:
        raise
    except DBAPIError as error:
        raise unavailable(error.orig or error) from None


def unavailable(cause: BaseException) -> StoreUnavailable:
    """Say why in a code or a few words: the whole text may hold addresses, names and values."""
    reason = _reason(cause)
    kind = Deadlocked if reason == _DEADLOCK else StoreUnavailable
    return kind(f"the database did not answer ({reason})")


def _reason(cause: BaseException) -> str:
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    if code is not None:
        return str(code)
    # libpq has no codes for a connection that failed: the system's or the server's words, less every name in them.
    why = _WHY_NOT_CONNECTED.search(str(cause))
    return _NAME.sub("", why[1]) if why else type(cause).__name__
