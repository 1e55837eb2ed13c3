"""The thread that writes requests out and hands them to whoever wants them."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from app.hooks.builtin.ended import BASE_BYTES, Ended, Pen, Written, without_bodies

GATHER_SECONDS: Final = 0.01
"""How long the thread lets requests gather: waking it for each one would cost more than writing it."""
WORK_SECONDS: Final = 0.0005
REST_SECONDS: Final = 0.0001
"""After so much work the thread sleeps so long: a busy thread keeps the event loop from the interpreter lock."""
MAX_BATCH: Final = 256

RequestSink = Callable[[Sequence[Written]], None]
"""Takes some written requests, in the journal's thread; must not block."""


class Journal:
    """A queue of requests that are over, bounded by what they weigh, and the thread that drains it into `sinks`.

    What a sink raises is logged.
    `put` and `pending_bytes` are the event loop's.
    """

    def __init__(
        self,
        pen: Pen,
        sinks: Sequence[RequestSink],
        *,
        max_pending_bytes: int,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.dropped = 0
        self._on_progress = on_progress
        self._pen = pen
        self._sinks = sinks
        self._max_pending_bytes = max_pending_bytes
        self._queue: queue.SimpleQueue[tuple[Ended, int] | threading.Event] = queue.SimpleQueue()
        self._taken_bytes = 0  # written by who puts, and only there
        self._done_bytes = 0  # written by the thread, and only there
        self._closed = False
        self._failing: set[int] = set()
        self._log = structlog.get_logger()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """What waits to be written out."""
        return self._taken_bytes - self._done_bytes

    def put(self, noted: Ended, body_bytes: int) -> None:
        """Take a request, without its bodies or not at all where there is no room. Never blocks."""
        weight = BASE_BYTES + min(body_bytes, self._max_pending_bytes // 4)  # what weighs more than the queue, too
        room = self._max_pending_bytes - self._taken_bytes + self._done_bytes
        if weight > room:
            if self._closed or room < BASE_BYTES:
                self.dropped += 1
                return
            noted, weight = without_bodies(noted), BASE_BYTES
        self._taken_bytes += weight
        self._queue.put((noted, weight))

    def flush(self, timeout_seconds: float) -> bool:
        """Block until everything taken so far is with the sinks; False where that took too long."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Write out what is there and end the thread."""
        self._closed = True
        self._queue.put(threading.Event())
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not (self._closed and self._queue.empty()):
            item = self._queue.get()
            if isinstance(item, tuple) and not self._closed:
                time.sleep(GATHER_SECONDS)
            self._drain(item)

    def _drain(self, item: tuple[Ended, int] | threading.Event | None) -> None:
        batch: list[Written] = []
        weight = 0
        rest_at = time.monotonic() + WORK_SECONDS
        while item is not None:
            if isinstance(item, threading.Event):
                self._pass_on(batch, weight)
                batch, weight = [], 0
                item.set()
            else:
                self._write(item[0], batch)
                weight += item[1]
            if len(batch) >= MAX_BATCH:
                self._pass_on(batch, weight)
                batch, weight = [], 0
            if time.monotonic() >= rest_at:
                time.sleep(REST_SECONDS)
                rest_at = time.monotonic() + WORK_SECONDS
            item = None
            with contextlib.suppress(queue.Empty):
                item = self._queue.get_nowait()
        self._pass_on(batch, weight)

    def _write(self, noted: Ended, batch: list[Written]) -> None:
        try:
            batch.append(self._pen.write(noted))
        except Exception:  # the thread must live on
            self.dropped += 1
            self._log.exception("request_log_failed", request_id=noted.request_id)

    def _pass_on(self, batch: list[Written], weight: int) -> None:
        if batch:
            for number, sink in enumerate(self._sinks):
                self._call(number, sink, batch)
        self._done_bytes += weight
        self._on_progress()

    def _call(self, number: int, sink: RequestSink, batch: list[Written]) -> None:
        try:
            sink(batch)
        except Exception:
            if number not in self._failing:  # once, until it works again
                self._log.exception("request_log_failed", rows=len(batch))
            self._failing.add(number)
        else:
            self._failing.discard(number)
