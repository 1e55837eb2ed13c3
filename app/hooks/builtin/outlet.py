"""A thread that sends written requests on, in batches, from a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from app.hooks.builtin.pen import Written

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
BASE_BYTES: Final = 2048
"""About what a written request weighs beside its line."""


class NotSent(Exception):
    """A batch did not get there and may be sent again. The message holds no secret."""


class Outlet:
    """Calls `send` with up to `max_rows` requests, at the latest `every_seconds` after the first of them came.

    What `send` refuses with NotSent is sent again, later and later, for `give_up_seconds`, or without end where that is
    None. What raises anything else, is given up, or finds the queue full is dropped and counted.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[Written]], None],
        *,
        max_rows: int,
        every_seconds: float,
        max_pending_bytes: int,
        give_up_seconds: float | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.pending_bytes = 0
        self.dropped = 0
        self._send = send
        self._max_rows = max_rows
        self._every_seconds = every_seconds
        self._max_pending_bytes = max_pending_bytes
        self._give_up_seconds = give_up_seconds
        self._on_progress = on_progress
        self._waiting: deque[Written] = deque()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._many = threading.Event()
        self._closing = threading.Event()
        self._closes_at = float("inf")
        self._log = structlog.get_logger()
        self._thread = threading.Thread(target=self._run, name=f"log-{name}", daemon=True)
        self._thread.start()

    def put(self, batch: Sequence[Written]) -> None:
        """Take requests; those that find no room are dropped. Never blocks."""
        wanted = len(batch)
        with self._lock:
            room = -1 if self._closing.is_set() else self._max_pending_bytes - self.pending_bytes
            weight = _weight(batch)
            if weight > room:
                batch = _fitting(batch, room)
                weight = _weight(batch)
            self.dropped += wanted - len(batch)
            self.pending_bytes += weight
            self._waiting.extend(batch)
        self._some.set()
        if len(self._waiting) >= self._max_rows:
            self._many.set()

    def close(self, timeout_seconds: float) -> None:
        """Send what is there and end the thread; what cannot be sent in time is dropped."""
        self._closes_at = time.monotonic() + timeout_seconds
        self._closing.set()
        self._some.set()
        self._many.set()
        self._thread.join(timeout_seconds + 1)

    def _run(self) -> None:
        while True:
            self._some.wait()
            if len(self._waiting) < self._max_rows and not self._closing.is_set():
                self._many.wait(self._every_seconds)
            self._some.clear()
            self._many.clear()
            while self._waiting:
                self._pass_on()
                if len(self._waiting) < self._max_rows and not self._closing.is_set():
                    break
            if self._waiting:
                self._some.set()
            elif self._closing.is_set():
                return

    def _pass_on(self) -> None:
        """One batch, until it is sent or given up."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._max_rows, len(self._waiting)))]
        if not self._sent(batch):
            self.dropped += len(batch)
        with self._lock:
            self.pending_bytes -= _weight(batch)
        self._on_progress()

    def _sent(self, batch: Sequence[Written]) -> bool:
        pause = FIRST_PAUSE_SECONDS
        until = float("inf") if self._give_up_seconds is None else time.monotonic() + self._give_up_seconds
        told = False
        while True:
            try:
                self._send(batch)
            except NotSent as error:
                if not told:
                    self._log.warning("request_log_waits", sink=self.name, rows=len(batch), reason=str(error))
                told = True
            except Exception:
                self._log.exception("request_log_failed", sink=self.name, rows=len(batch))
                return False
            else:
                return True
            if time.monotonic() + pause > min(until, self._closes_at):
                self._log.error("request_log_gave_up", sink=self.name, rows=len(batch))
                return False
            if self._closing.is_set():
                time.sleep(pause)
            else:
                self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _weight(batch: Sequence[Written]) -> int:
    return BASE_BYTES * len(batch) + sum([len(written.line) for written in batch])


def _fitting(batch: Sequence[Written], room: int) -> list[Written]:
    """Those that still find room."""
    found = []
    for written in batch:
        weight = _weight([written])
        if weight <= room:
            room -= weight
            found.append(written)
    return found
