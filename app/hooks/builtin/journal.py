"""The thread that writes requests out and hands them to whoever wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from app.domain.exchange import Exchange
from app.hooks.builtin.pen import Pen, Written, without_bodies
from app.telemetry.draining import Drain

BASE_BYTES: Final = 2048
"""About what one request weighs without its bodies."""
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
        self._taken_bytes = 0  # written by who puts, and only there
        self._done_bytes = 0  # written by the thread, and only there
        self._batch: list[Written] = []
        self._weight = 0
        self._failing: set[int] = set()
        self._log = structlog.get_logger()
        self._drain: Drain[tuple[Exchange, int]] = Drain("request-log", self._take, self._pass_on)
        self._drain.start()

    @property
    def pending_bytes(self) -> int:
        """What waits to be written out."""
        return self._taken_bytes - self._done_bytes

    def put(self, exchange: Exchange, body_bytes: int) -> None:
        """Take a request that is over, without its bodies or not at all where there is no room. Never blocks.

        The thread looks at it a little later: nobody may change it any more.
        """
        weight = BASE_BYTES + min(body_bytes, self._max_pending_bytes // 4)  # what weighs more than the queue, too
        room = self._max_pending_bytes - self._taken_bytes + self._done_bytes
        if weight > room:
            if self._drain.closed or room < BASE_BYTES:
                self.dropped += 1
                return
            exchange, weight = without_bodies(exchange), BASE_BYTES
        self._taken_bytes += weight
        self._drain.put((exchange, weight))

    def flush(self, timeout_seconds: float) -> bool:
        """Block until everything taken so far is with the sinks; False where that took too long."""
        return self._drain.flush(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Write out what is there and end the thread."""
        self._drain.close(timeout_seconds)

    def _take(self, item: tuple[Exchange, int]) -> bool:
        exchange, weight = item
        self._weight += weight
        try:
            self._batch.append(self._pen.write(exchange))
        except Exception:  # the thread must live on
            self.dropped += 1
            self._log.exception("request_log_failed", request_id=exchange.request_id)
        return len(self._batch) >= MAX_BATCH

    def _pass_on(self) -> None:
        batch, weight = self._batch, self._weight
        self._batch, self._weight = [], 0
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
