"""A thread that sends written requests on, in batches, from a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import structlog

from app.domain.requests import RequestRow
from app.hooks.builtin.pen import Written

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
BASE_BYTES: Final = 2048
"""About what a written request weighs beside its line, and a row beside its bodies."""

T = TypeVar("T")


class NotSent(Exception):
    """A batch did not get there and may be sent again. The message holds no secret."""


class Outlet(Generic[T]):
    """Calls `send` with up to `max_rows` requests, at the latest `every_seconds` after the first of them came.

    They are what `send` needs of them and no more: what waits goes cold, and is bounded by what it weighs.

    What `send` refuses with NotSent is sent again, later and later, for `give_up_seconds`, or without end where that is
    None. What raises anything else, is given up, or finds the queue full is dropped and counted.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[T]], None],
        weigh: Callable[[Sequence[T]], int],
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
        self._weigh = weigh
        self._max_rows = max_rows
        self._every_seconds = every_seconds
        self._max_pending_bytes = max_pending_bytes
        self._give_up_seconds = give_up_seconds
        self._on_progress = on_progress
        self._waiting: deque[T] = deque()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._many = threading.Event()
        self._closing = threading.Event()
        self._closes_at = float("inf")
        self._log = structlog.get_logger()
        self._thread = threading.Thread(target=self._run, name=f"log-{name}", daemon=True)
        self._thread.start()

    def put(self, batch: Sequence[T]) -> None:
        """Take requests; those that find no room are dropped. Never blocks."""
        wanted = len(batch)
        with self._lock:
            room = -1 if self._closing.is_set() else self._max_pending_bytes - self.pending_bytes
            weight = self._weigh(batch)
            if weight > room:
                batch = self._fitting(batch, room)
                weight = self._weigh(batch)
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
            self.pending_bytes -= self._weigh(batch)
        self._on_progress()

    def _sent(self, batch: Sequence[T]) -> bool:
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

    def _fitting(self, batch: Sequence[T], room: int) -> list[T]:
        """Those that still find room."""
        found = []
        for one in batch:
            weight = self._weigh([one])
            if weight <= room:
                room -= weight
                found.append(one)
        return found


def weight_of_lines(batch: Sequence[Written]) -> int:
    """For outlets that send lines."""
    return BASE_BYTES * len(batch) + sum([len(written.line) for written in batch])


def weight_of_rows(batch: Sequence[RequestRow]) -> int:
    """For the one that keeps rows."""
    return BASE_BYTES * len(batch) + sum([len(row.request or "") + len(row.response or "") for row in batch])
