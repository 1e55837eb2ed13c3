"""Bytes of a day: counted at once, written down soon, and seen by other processes then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.limiting import Moved
from app.domain.ports import StoreUnavailable
from app.gateway.daily import DailyBytes
from app.storage.daily_bytes import SqlDailyBytes
from app.storage.engine import Database


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Away(SqlDailyBytes):
    """A book that can be away."""

    is_away = False
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    async def add(self, day: date, moved: Mapping[str, Moved]) -> dict[str, Moved]:
        if self.is_away:
            raise StoreUnavailable("away")
        known = await super().add(day, moved)
        self.meanwhile()
        return known


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Away]:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    yield Away(database)
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def stand(daily: DailyBytes, account: str = "key:a") -> tuple[int, int]:
    tally = await daily.today(account)
    return tally.uploaded, tally.downloaded


async def test_what_is_counted_shows_at_once_and_elsewhere_once_it_is_written(book: Away, clock: Clock) -> None:
    here, there = DailyBytes(book, clock), DailyBytes(book, clock)
    assert await stand(there) == (0, 0)
    assert here.uploaded("key:a", 10) == 10
    assert here.downloaded("key:a", 5) == 5
    assert await stand(here) == (10, 5)
    there.uploaded("key:a", 1)
    await here.flush()
    await there.flush()
    assert await stand(there) == (11, 5)
    await here.flush()
    assert await stand(here) == (11, 5)
    await here.flush()
    assert await stand(DailyBytes(book, clock)) == (11, 5)


async def test_what_comes_while_it_is_written_down_is_not_lost(book: Away, clock: Clock) -> None:
    daily = DailyBytes(book, clock)
    daily.uploaded("key:a", 10)
    book.meanwhile = lambda: daily.uploaded("key:a", 3)
    await daily.flush()
    book.meanwhile = lambda: None
    assert daily.uploaded("key:a", 0) == 13
    await daily.flush()
    assert await stand(DailyBytes(book, clock)) == (13, 0)


async def test_an_outage_loses_nothing(book: Away, clock: Clock) -> None:
    daily = DailyBytes(book, clock)
    daily.uploaded("key:a", 10)
    book.is_away = True
    with pytest.raises(StoreUnavailable):
        await daily.flush()
    assert daily.uploaded("key:a", 1) == 11
    with pytest.raises(StoreUnavailable):
        await daily.today("key:other")
    book.is_away = False
    await daily.flush()
    assert await stand(DailyBytes(book, clock)) == (11, 0)


async def test_midnight_begins_anew_and_leaves_yesterday_whole(book: Away, clock: Clock) -> None:
    daily = DailyBytes(book, clock)
    daily.uploaded("key:a", 10)
    yesterday = clock.now.date()
    clock.now += timedelta(minutes=1)
    assert daily.uploaded("key:a", 3) == 3
    await daily.flush()
    assert await book.add(yesterday, {"key:a": Moved()}) == {"key:a": Moved(10, 0)}
    assert await stand(daily) == (3, 0)


async def test_what_nobody_asks_for_is_forgotten_once_written(book: Away, clock: Clock) -> None:
    daily = DailyBytes(book, clock)
    daily.uploaded("key:a", 10)
    clock.now += timedelta(minutes=5)
    book.is_away = True
    with pytest.raises(StoreUnavailable):
        await daily.flush()
    assert daily._tallies
    book.is_away = False
    await daily.flush()
    assert not daily._tallies


async def test_the_last_of_it_is_written_at_the_end(book: Away, clock: Clock) -> None:
    daily = DailyBytes(book, clock)
    daily.downloaded("key:a", 4)
    await daily.aclose()
    assert await stand(DailyBytes(book, clock)) == (0, 4)
    book.is_away = True
    daily.downloaded("key:a", 4)
    await daily.aclose()
