"""What commands print: for a terminal in colour, for a pipe in plain columns, for programs as JSON.

Whatever comes from a server or a file's name is shown with its control characters as `?`: it must not command the
terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TextIO

_ABSENT: Final = "-"
_GAP: Final = 2
"""Blanks between two columns."""
_LEGIBLE: Final = 10
"""Characters that a cell is not cut below."""


def is_fancy(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user wants colours and bars."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_json(answer: Any) -> None:
    """Print an answer for programs."""
    print(json.dumps(answer, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows, if there are any, under the columns' names. A cell that a row does not have is shown as `-`."""
    cells = [[shown(row.get(name)) for name in columns] for row in rows]
    if not cells:
        return
    titles = [name.upper() for name in columns]
    if is_fancy(sys.stdout):
        _show_rich_table(titles, cells)
        return
    lines = [titles, *cells]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print names and their values, one pair a line."""
    width = max(map(len, fields), default=0)
    if not is_fancy(sys.stdout):
        for name, value in fields.items():
            print(f"{name:<{width}}  {shown(value)}")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for name, value in fields.items():
        console.print(Text.assemble((f"{name:<{width}}  ", "bold"), shown(value)))


def shown(value: object) -> str:
    """A value as text that is safe to print."""
    if value is None or value in ([], {}, ""):
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{Decimal(str(value)):f}".removesuffix(".0")
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    elif isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else "?" for character in str(value))


def moment(unix_seconds: int | None) -> str | None:
    """A time, in UTC."""
    if unix_seconds is None:
        return None
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def counted(count: int, noun: str) -> str:
    """Such as "1 file" and "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _show_rich_table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold cyan", padding=(0, _GAP, 0, 0))
    console = Console(highlight=False)
    widths = [max(len(line[place]) for line in (titles, *cells)) for place in range(len(titles))]
    least = [min(width, max(len(title), _LEGIBLE)) for title, width in zip(titles, widths, strict=True)]
    least[0] = widths[0]  # what names a thing is there to be copied
    if sum(least) + _GAP * len(least) > console.width:
        # The terminal breaks the lines: better than columns that nobody can read.
        console.width = sum(widths) + _GAP * len(widths)
    for title, width in zip(titles, least, strict=True):
        table.add_column(title, no_wrap=True, overflow="ellipsis", min_width=width)
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table, soft_wrap=True)
