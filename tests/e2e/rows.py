"""What a gateway on SQLite has written down, read and bent from outside."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def query(folder: Path, statement: str) -> list[dict[str, Any]]:
    """Run a statement on the database of the gateway in this folder, and commit."""
    with closing(sqlite3.connect(folder / "data" / "quaymaster.db", timeout=5)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(statement)]
        connection.commit()
        return rows


def creations(folder: Path) -> list[dict[str, Any]]:
    """Every creation, the oldest first."""
    return query(folder, "SELECT * FROM creations ORDER BY started_at, rowid")


def containers(folder: Path) -> list[dict[str, Any]]:
    """Every container, in the order in which they were registered."""
    return query(folder, "SELECT * FROM containers ORDER BY number")


def let_leases_end(folder: Path) -> None:
    """Let every pending creation be two minutes old, and its process gone for one."""
    query(
        folder,
        "UPDATE creations SET started_at = datetime(started_at, '-2 minutes'),"
        " lease_until = datetime(started_at, '-1 minutes') WHERE state = 'pending'",
    )


async def until(found: Callable[[], T], seconds: float = 15) -> T:
    """What this returns, as soon as it is something: for what nobody tells but a database."""
    async with asyncio.timeout(seconds):
        while True:
            if value := found():
                return value
            await asyncio.sleep(0.05)
