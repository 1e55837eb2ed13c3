"""What admin routes answer, as people read it: what names a thing first, times to the second."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.commands.exits import tell
from app.commands.output import show_fields, show_table

_NAMES: Final = (
    "key_id",
    "team_id",
    "user_id",
    "key_alias",
    "team_alias",
    "user_alias",
    "blocked",
    "role",
    "expires",
)
_PAGING: Final = (("total_count", "total"), ("current_page", "page"))
"""What the routes call the number of all things, and that of the page."""
_FRACTION: Final = re.compile(r"(?<=^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+(?=Z$)")


def show_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print these columns of the rows, if there are any."""
    show_table(columns, [{name: _brief(row.get(name)) for name in columns} for row in rows])


def show_entity(fields: Mapping[str, Any]) -> None:
    """Print all that is known of a key, a team or a user."""
    names = [name for name in _NAMES if name in fields]
    show_fields({name: _brief(fields[name]) for name in dict.fromkeys((*names, *fields))})


def tell_page(answer: Mapping[str, Any]) -> None:
    """Say on stderr which page of how many it is."""
    total, page = (answer.get(name, answer.get(other)) for name, other in _PAGING)
    tell(f"{total} in all, page {page} of {answer['total_pages']}.")


def _brief(value: object) -> object:
    return _FRACTION.sub("", value) if isinstance(value, str) else value
