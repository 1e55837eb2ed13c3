"""Counting in this process: exact where there is one, and this process's share where Redis is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from app.domain.limiting import MINUTE_SECONDS, Ask, Refusal, Verdict

SLOT_SECONDS: Final = 1.0
"""When to ask again for a parallel slot: nobody knows when one is free."""


class _Window:
    """A minute that began with its first request."""

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
        self._windows: dict[str, _Window] = {}
        """The one that ends first is first: all are as long."""
        self._slots: dict[str, set[str]] = {}

    def __len__(self) -> int:
        """How many counters are remembered."""
        return len(self._windows) + len(self._slots)

    async def admit(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """Count one request against all of these, or against none."""
        return self.judge(asks, lease_id)

    def judge(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """The same, at once."""
        now = self._clock()
        refusal: Refusal | None = None
        overrun: tuple[Ask, ...] = ()
        limit: int | None = None
        remaining = 0
        reset_at = now
        for ask in asks:
            most = ask.limit if self._share is None else self._share(ask.limit)
            if ask.is_parallel:
                left = most - len(self._slots.get(ask.counter, ()))
                frees_at = now + SLOT_SECONDS
            else:
                window = self._windows.get(ask.counter)
                if window is None or window.ends_at <= now:
                    left, frees_at = most, now + MINUTE_SECONDS
                else:
                    left, frees_at = most - window.count, window.ends_at
            if ask.shadow:
                if left <= 0:
                    overrun += (ask,)
                continue
            if left <= 0 and (refusal is None or frees_at - now > refusal.retry_after_seconds):
                refusal = Refusal(ask, frees_at - now)
            if ask.rate == "requests" and (limit is None or left < remaining):
                limit, remaining, reset_at = most, left, frees_at
        if refusal is None:
            self._count(asks, lease_id, now)
            remaining -= 1
        return Verdict(refusal, limit, max(remaining, 0), reset_at - now, overrun)

    def note(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Count one request that was admitted elsewhere."""
        self._count(asks, lease_id, self._clock())

    def _count(self, asks: Sequence[Ask], lease_id: str, now: float) -> None:
        for ask in asks:
            if ask.is_parallel:
                self._slots.setdefault(ask.counter, set()).add(lease_id)
            else:
                window = self._windows.get(ask.counter)
                if window is None or window.ends_at <= now:
                    window = self._begin(ask.counter, now)
                window.count += 1

    def _begin(self, counter: str, now: float) -> _Window:
        """A new minute."""
        self._windows.pop(counter, None)
        self._forget(now)
        window = self._windows[counter] = _Window(now + MINUTE_SECONDS)
        return window

    def _forget(self, now: float) -> None:
        windows = self._windows
        while windows and windows[oldest := next(iter(windows))].ends_at <= now:
            del windows[oldest]

    def release(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Give the parallel slots back; what is not held is no error."""
        for ask in asks:
            if ask.is_parallel and (held := self._slots.get(ask.counter)) is not None:
                held.discard(lease_id)
                if not held:
                    del self._slots[ask.counter]

    async def tend(self) -> None:
        """Forget the minutes that are over."""
        self._forget(self._clock())

    async def aclose(self) -> None:
        """Nothing is open."""
