"""Answers of admin routes as tables, whatever fields they have: a gateway may know more than this command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.commands.output import show_fields, show_table


def show_rows(answer: Any, preferred: Sequence[str] = ()) -> None:
    """Print the list that an answer is, or holds: with the preferred columns that some row has, else with all."""
    rows = rows_of(answer)
    present = list(dict.fromkeys(name for row in rows for name in row))
    show_table([name for name in preferred if name in present] or present, rows)


def rows_of(answer: Any) -> list[Mapping[str, Any]]:
    """The first list of objects in an answer."""
    if isinstance(answer, Mapping):
        answer = next((value for value in answer.values() if isinstance(value, list)), [])
    return [row for row in answer if isinstance(row, Mapping)] if isinstance(answer, list) else []


def show_entity(answer: Mapping[str, Any]) -> None:
    """Print what is known of one thing, where the answer wraps it (`info`, `team_info`, …) without the wrapping."""
    wrapped = next((value for name, value in answer.items() if name.endswith("info") and isinstance(value, dict)), {})
    show_fields({name: value for name, value in answer.items() if value is not wrapped} | wrapped)
