"""How many bytes of files the accounts that have a quota of them moved today.

Counted in memory as they go by and written down every second; what other processes wrote is seen then, too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from app.domain.limiting import ByteBook, Moved
from app.domain.ports import StoreUnavailable

FLUSH_SECONDS: Final = 1.0
_FRESH: Final = timedelta(seconds=60)
"""What was not asked for in so long is read anew when it is."""
_KEPT_DAYS: Final = timedelta(days=31)

log = structlog.get_logger()


class Tally:
    """What one account moved on one day, as far as this process knows."""

    __slots__ = ("downloaded", "new_downloaded", "new_uploaded", "touched_at", "uploaded")

    def __init__(self, moved: Moved, touched_at: datetime) -> None:
        self.uploaded = moved.uploaded
        self.downloaded = moved.downloaded
        self.new_uploaded = 0
        """What is not written down yet. It is in `uploaded`."""
        self.new_downloaded = 0
        self.touched_at = touched_at

    def take(self) -> Moved:
        """What is to be written down now."""
        taken = Moved(self.new_uploaded, self.new_downloaded)
        self.new_uploaded = self.new_downloaded = 0
        return taken

    def put_back(self, moved: Moved) -> None:
        """Write that down another time."""
        self.new_uploaded += moved.uploaded
        self.new_downloaded += moved.downloaded

    def learn(self, moved: Moved) -> None:
        """What all processes have written down."""
        self.uploaded = moved.uploaded + self.new_uploaded
        self.downloaded = moved.downloaded + self.new_downloaded


class DailyBytes:
    """The tallies that are in use. `flush` is to be called every FLUSH_SECONDS, and once more at the end."""

    def __init__(self, book: ByteBook, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._book = book
        self._clock = clock
        self._tallies: dict[tuple[date, str], Tally] = {}
        self._forgotten_for: date | None = None

    async def today(self, account: str) -> Tally:
        """Where an account stands today. Raises StoreUnavailable where it is not in memory."""
        now = self._clock()
        place = (now.date(), account)
        tally = self._tallies.get(place)
        if tally is None:
            found = await self._book.add(now.date(), {account: Moved()})
            tally = self._tallies.setdefault(place, Tally(found[account], now))
        tally.touched_at = now
        return tally

    def _tally(self, account: str) -> Tally:
        """Today's, at once: where it is not in memory, what others wrote follows within a second."""
        now = self._clock()
        place = (now.date(), account)
        tally = self._tallies.get(place)
        if tally is None:
            tally = self._tallies[place] = Tally(Moved(), now)
        tally.touched_at = now
        return tally

    def uploaded(self, account: str, size: int) -> int:
        """Count so many bytes; returns how many that makes today."""
        tally = self._tally(account)
        tally.uploaded += size
        tally.new_uploaded += size
        return tally.uploaded

    def downloaded(self, account: str, size: int) -> int:
        """Count so many bytes; returns how many that makes today."""
        tally = self._tally(account)
        tally.downloaded += size
        tally.new_downloaded += size
        return tally.downloaded

    async def flush(self) -> None:
        """Write down what is new, and take in what others wrote. Raises StoreUnavailable; nothing is lost then."""
        now = self._clock()
        for day in sorted({day for day, _ in self._tallies}):
            await self._flush_day(day)
        for place, tally in list(self._tallies.items()):
            if now - tally.touched_at > _FRESH and not (tally.new_uploaded or tally.new_downloaded):
                del self._tallies[place]
        if self._tallies and self._forgotten_for != now.date():
            await self._book.forget(now.date() - _KEPT_DAYS)
            self._forgotten_for = now.date()

    async def aclose(self) -> None:
        """Write down the last of it."""
        try:
            await self.flush()
        except StoreUnavailable as outage:
            log.warning("daily_bytes_lost", reason=str(outage))

    async def _flush_day(self, day: date) -> None:
        tallies = {account: tally for (of, account), tally in self._tallies.items() if of == day}
        taken = {account: tally.take() for account, tally in tallies.items()}
        try:
            known = await self._book.add(day, taken)
        except StoreUnavailable:
            for account, moved in taken.items():
                tallies[account].put_back(moved)
            raise
        for account, moved in known.items():
            tallies[account].learn(moved)
