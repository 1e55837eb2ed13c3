"""Counting in this process: exact where there is one, and this process's share where Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from sys import maxsize
from typing import Final

from app.domain.limiting import MINUTE_SECONDS, Ask, Refusal, Verdict

SLOT_SECONDS: Final = 1.0
"""When to ask again for a parallel slot: nobody knows when one is free."""


class _Minute:
    """How often something was asked for in a minute that began with its first request."""

    __slots__ = ("count", "ends_at")

    def __init__(self, ends_at: float) -> None:
        self.count = 0
        self.ends_at = ends_at


class MemoryLimiter:
    """`app.domain.limiting.Limiter` in the memory of one process, whose end ends its leases.

    Nothing here suspends, so no two requests see the same last place. What nobody asked for within a minute is
    forgotten. `clock` gives seconds, `share` how much of a limit is this process's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, share: Callable[[int], int] | None = None) -> None:
        self._clock = clock
        self._share = share
        self._minutes: dict[str, _Minute] = {}
        """The one that ends first is first: all are as long."""
        self._taken: dict[str, int] = {}
        """How many slots are, of those counters of which any is."""
        self._held: dict[str, Sequence[Ask]] = {}
        """What a live request asked for that has slots, by its lease."""

    def __len__(self) -> int:
        """How many counters are remembered."""
        return len(self._minutes) + len(self._taken)

    def admit(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """Count one request against all of these, or against none.

        It is counted as they are gone through, and taken back where one has no room: seldom, and unseen by others.
        """
        now = self._clock()
        refusal: Refusal | None = None
        overrun: tuple[Ask, ...] = ()
        limit: int | None = None
        remaining = maxsize
        ends_at = now
        has_slots = False
        minutes, taken, share = self._minutes, self._taken, self._share
        for ask in asks:
            counter = ask.counter
            most = ask.limit if share is None else share(ask.limit)
            if ask.is_parallel:
                count = taken.get(counter, 0)
                taken[counter] = count + 1
                has_slots = True
            else:
                minute = minutes.get(counter)
                if minute is None or minute.ends_at <= now:
                    minute = self._begin(counter, now)
                count = minute.count
                minute.count = count + 1
                if ask.is_told and most - count < remaining:
                    limit, remaining, ends_at = most, most - count, minute.ends_at
            if count >= most:
                if ask.shadow:
                    overrun += (ask,)
                else:
                    refusal = _longer(refusal, ask, self._wait(ask, now))
        if refusal is not None:
            self._take_back(asks, lease_id)
        else:
            remaining -= 1
            if has_slots:
                self._held[lease_id] = asks
        if limit is None or remaining < 0:
            remaining = 0
        return Verdict(refusal, limit, remaining, ends_at - now, overrun)

    def note(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Count one request that was admitted elsewhere."""
        now = self._clock()
        minutes, taken = self._minutes, self._taken
        for ask in asks:
            counter = ask.counter
            if ask.is_parallel:
                taken[counter] = taken.get(counter, 0) + 1
                self._held[lease_id] = asks
            else:
                minute = minutes.get(counter)
                if minute is None or minute.ends_at <= now:
                    minute = self._begin(counter, now)
                minute.count += 1

    def release(self, lease_id: str) -> None:
        """Give the parallel slots back; what is not held is no error."""
        taken = self._taken
        for ask in self._held.pop(lease_id, ()):
            if ask.is_parallel:
                counter = ask.counter
                left = taken[counter] - 1
                if left:
                    taken[counter] = left
                else:
                    del taken[counter]

    def _begin(self, counter: str, now: float) -> _Minute:
        """A new minute, in the place of one that is over."""
        self._minutes.pop(counter, None)
        self._forget(now)
        minute = self._minutes[counter] = _Minute(now + MINUTE_SECONDS)
        return minute

    def _forget(self, now: float) -> None:
        minutes = self._minutes
        while minutes and minutes[oldest := next(iter(minutes))].ends_at <= now:
            del minutes[oldest]

    def _wait(self, ask: Ask, now: float) -> float:
        """After how many seconds a counter that has no room may have some."""
        return SLOT_SECONDS if ask.is_parallel else self._minutes[ask.counter].ends_at - now

    def _take_back(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Count one request less: a minute that began with it has not begun."""
        self._held[lease_id] = asks
        self.release(lease_id)
        for ask in asks:
            if not ask.is_parallel:
                minute = self._minutes[ask.counter]
                minute.count -= 1
                if not minute.count:
                    del self._minutes[ask.counter]

    async def tend(self) -> None:
        """Forget the minutes that are over."""
        self._forget(self._clock())

    async def aclose(self) -> None:
        """Nothing is open."""


def _longer(refusal: Refusal | None, ask: Ask, seconds: float) -> Refusal:
    """Of two refusals the one that lasts longer."""
    return Refusal(ask, seconds) if refusal is None or seconds > refusal.retry_after_seconds else refusal
