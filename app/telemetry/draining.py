"""A thread that works off a queue, so that nobody who puts something in ever waits, and the event loop seldom."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

GATHER_SECONDS: Final = 0.004
"""How long the thread lets items gather: waking it for each one would cost more than its work. With ten milliseconds a
client alone waited for longer stretches of work (p99 a sixth more), and 64 took the same CPU."""
WORK_SECONDS: Final = 0.0002
REST_SECONDS: Final = 0.0001
"""After so much work the thread sleeps so long: a busy thread keeps the event loop from the interpreter lock."""
MANY_ITEMS: Final = 64
LONG_WORK_SECONDS: Final = 0.001
"""Where so many wait, it works so long at a stretch: there requests wait for one another anyway, and each rest costs 16
to 40 µs, a third of the work between two."""


class Drain(Generic[T]):
    """Calls `take` with each item, in its thread, and `pass_on` when take says that it has enough, or none is left.

    Neither may raise or block without end. `put` is any thread's.
    """

    def __init__(self, name: str, take: Callable[[T], bool], pass_on: Callable[[], None]) -> None:
        self._take = take
        self._pass_on = pass_on
        self._queue: queue.SimpleQueue[T | threading.Event] = queue.SimpleQueue()
        self.put: Callable[[T], None] = self._queue.put
        self.closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def flush(self, timeout_seconds: float) -> bool:
        """Block until everything put in so far is passed on; False where that took too long."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Pass on what is there and end the thread. One that is stuck is left behind."""
        self.closed = True
        self._queue.put(threading.Event())
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not (self.closed and self._queue.empty()):
            item = self._queue.get()
            if not (self.closed or isinstance(item, threading.Event)):
                time.sleep(GATHER_SECONDS)
            self._drain(item)

    def _drain(self, item: T | threading.Event) -> None:
        work_seconds = WORK_SECONDS if self._queue.qsize() < MANY_ITEMS else LONG_WORK_SECONDS
        rest_at = time.monotonic() + work_seconds
        try:
            while True:
                if isinstance(item, threading.Event):
                    self._pass_on()
                    item.set()
                elif self._take(item):
                    self._pass_on()
                if time.monotonic() >= rest_at:
                    time.sleep(REST_SECONDS)
                    rest_at = time.monotonic() + work_seconds
                item = self._queue.get_nowait()
        except queue.Empty:
            self._pass_on()
