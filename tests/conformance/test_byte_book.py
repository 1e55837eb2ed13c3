"""What accounts moved on a day, on either database."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

from app.domain.limiting import Moved
from app.storage.daily_bytes import SqlDailyBytes
from app.storage.engine import Database

TODAY = date(2026, 11, 21)


@pytest.fixture
async def book(database: Database) -> SqlDailyBytes:
    await database.migrate()
    return SqlDailyBytes(database)


async def test_what_is_added_adds_up(book: SqlDailyBytes) -> None:
    assert await book.add(TODAY, {"key:a": Moved(5, 0), "team:b": Moved(1, 2)}) == {
        "key:a": Moved(5, 0),
        "team:b": Moved(1, 2),
    }
    assert await book.add(TODAY, {"key:a": Moved(2**40, 3), "key:new": Moved()}) == {
        "key:a": Moved(2**40 + 5, 3),
        "key:new": Moved(),
    }


async def test_days_are_apart_and_old_ones_forgotten(book: SqlDailyBytes) -> None:
    yesterday = TODAY - timedelta(days=1)
    await book.add(yesterday, {"key:a": Moved(7, 0)})
    assert await book.add(TODAY, {"key:a": Moved(1, 0)}) == {"key:a": Moved(1, 0)}
    await book.forget(TODAY)
    assert await book.add(yesterday, {"key:a": Moved()}) == {"key:a": Moved()}
    assert await book.add(TODAY, {"key:a": Moved()}) == {"key:a": Moved(1, 0)}


async def test_many_at_once_lose_nothing(book: SqlDailyBytes) -> None:
    accounts = [f"key:{number}" for number in range(5)]
    await asyncio.gather(
        *(book.add(TODAY, dict.fromkeys(accounts[:: 1 if turn % 2 else -1], Moved(1, 2))) for turn in range(20))
    )
    found = await book.add(TODAY, dict.fromkeys(accounts, Moved()))
    assert set(found.values()) == {Moved(20, 40)}


async def test_more_accounts_than_fit_one_question(book: SqlDailyBytes) -> None:
    accounts = [f"key:{number}" for number in range(1201)]
    found = await book.add(TODAY, dict.fromkeys(accounts, Moved(3, 0)))
    assert found == dict.fromkeys(accounts, Moved(3, 0))


async def test_names_that_no_database_keeps_are_no_error(book: SqlDailyBytes) -> None:
    assert (await book.add(TODAY, {"team:\0": Moved(1, 1)})).keys() == {"team:\0"}
