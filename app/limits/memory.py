"""Counting in this process: exact where there is one, and this process's share where Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from sys import maxsize
from typing import Final

from app.domain.limiting import MINUTE_SECONDS, Ask, Refusal, Verdict

SLOT_SECONDS: Final = 1.0
"""When to ask again for a parallel slot: nobody knows when one is free."""


class _Counter:
    """A minute that began with its first request, or the slots of an account that are taken."""

    __slots__ = ("count", "ends_at", "is_slots", "name")

    def __init__(self, ask: Ask, now: float) -> None:
        self.name = ask.counter
        self.is_slots = ask.is_parallel
        self.count = 0
        self.ends_at = inf if ask.is_parallel else now + MINUTE_SECONDS


class MemoryLimiter:
    """`app.domain.limiting.Limiter` in the memory of one process, whose end ends its leases.

    Nothing here suspends, so no two requests see the same last place. What nobody asked for within a minute is
    forgotten. `clock` gives seconds, `share` how much of a limit is this process's.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, share: Callable[[int], int] | None = None) -> None:
        self._clock = clock
        self._share = share
        self._minutes: dict[str, _Counter] = {}
        """The one that ends first is first: all are as long."""
        self._slots: dict[str, _Counter] = {}
        self._held: dict[str, list[_Counter]] = {}
        """The slots that a live request has, by its lease."""

    def __len__(self) -> int:
        """How many counters are remembered."""
        return len(self._minutes) + len(self._slots)

    def admit(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """Count one request against all of these, or against none."""
        now = self._clock()
        refusal: Refusal | None = None
        overrun: tuple[Ask, ...] = ()
        limit: int | None = None
        remaining = maxsize
        reset_at = now
        minutes, slots, share = self._minutes, self._slots, self._share
        counters = []
        for ask in asks:
            counter = (slots if ask.is_parallel else minutes).get(ask.counter)
            if counter is None or counter.ends_at <= now:
                counter = _Counter(ask, now)
            counters.append(counter)
            most = ask.limit if share is None else share(ask.limit)
            left = most - counter.count
            if left <= 0:
                if ask.shadow:
                    overrun += (ask,)
                else:
                    refusal = _longer(refusal, ask, SLOT_SECONDS if ask.is_parallel else counter.ends_at - now)
            if ask.is_told and left < remaining:
                limit, remaining, reset_at = most, left, counter.ends_at
        if refusal is None:
            self._count(counters, lease_id, now)
            remaining -= 1
        if limit is None or remaining < 0:
            remaining = 0
        return Verdict(refusal, limit, remaining, reset_at - now, overrun)

    def note(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Count one request that was admitted elsewhere."""
        now = self._clock()
        self._count([self._counter(ask, now) for ask in asks], lease_id, now)

    def _counter(self, ask: Ask, now: float) -> _Counter:
        """The one of an ask; one that has counted nothing is not remembered yet."""
        counter = (self._slots if ask.is_parallel else self._minutes).get(ask.counter)
        return _Counter(ask, now) if counter is None or counter.ends_at <= now else counter

    def _count(self, counters: list[_Counter], lease_id: str, now: float) -> None:
        held = []
        for counter in counters:
            if not counter.count:
                self._remember(counter, now)
            counter.count += 1
            if counter.is_slots:
                held.append(counter)
        if held:
            self._held[lease_id] = held

    def _remember(self, counter: _Counter, now: float) -> None:
        if counter.is_slots:
            self._slots[counter.name] = counter
        else:
            self._minutes.pop(counter.name, None)
            self._forget(now)
            self._minutes[counter.name] = counter

    def _forget(self, now: float) -> None:
        minutes = self._minutes
        while minutes and minutes[oldest := next(iter(minutes))].ends_at <= now:
            del minutes[oldest]

    def release(self, lease_id: str) -> None:
        """Give the parallel slots back; what is not held is no error."""
        for counter in self._held.pop(lease_id, ()):
            counter.count -= 1
            if not counter.count:
                del self._slots[counter.name]

    async def tend(self) -> None:
        """Forget the minutes that are over."""
        self._forget(self._clock())

    async def aclose(self) -> None:
        """Nothing is open."""


def _longer(refusal: Refusal | None, ask: Ask, seconds: float) -> Refusal:
    """Of two refusals the one that lasts longer."""
    return Refusal(ask, seconds) if refusal is None or seconds > refusal.retry_after_seconds else refusal
