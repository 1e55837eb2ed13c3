"""Looking again at once, rather than sleeping, while somebody's next word keeps coming at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

FEW: Final = 4
"""With more requests in flight there is mostly something to do, or the upstream is slow."""
WINDOW_SECONDS: Final = 0.0005
"""How long to look, from when something moved."""
STREAK: Final = 4
"""How often in a row it has to have moved on so soon."""


class BusyPoll:
    """Keeps the event loop from sleeping for a moment, where that has been paying.

    A process that sleeps has to be woken, in a virtual machine by an interrupt of another core, and finds its caches
    cold: that is a quarter of what a client that is alone waits for, half of it before its request is read and half
    before the upstream's answer is. So where both came soon several times in a row the loop is kept turning until the
    next does. With an upstream that takes milliseconds, or clients that do, it never begins.
    `docs/adr/0021-busy-polling.md` has the figures.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_at = clock()
        self._streak = 0
        self._looking = False

    def moved(self, in_flight: int) -> None:
        """A request has begun or was answered, and now so many are in flight."""
        if in_flight > FEW:
            return
        now = self._clock()
        gap, self._moved_at = now - self._moved_at, now
        if gap > WINDOW_SECONDS:
            self._streak = 0
        elif self._streak < STREAK:
            self._streak += 1
        elif not self._looking:
            self._looking = True
            self._look()

    def _look(self) -> None:
        """Have the loop look at its sockets and come back here, until the window is over."""
        if self._clock() - self._moved_at < WINDOW_SECONDS:
            asyncio.get_running_loop().call_soon(self._look)
        else:
            self._looking = False
