"""One daemon thread that renders log events and writes them, so that nobody who logs ever waits for a reader."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.telemetry.draining import GATHER_SECONDS, Drain

Event = dict[str, Any]

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
MAX_CHUNK_BYTES: Final = 64 * 1024
"""How much is rendered before it is written."""


class Sink(Protocol):
    """Where bytes go: a raw binary file, or anything that writes like one."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of it; how much, or None where nothing can be written right now."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Lines that are rendered already."""

    data: bytes


class LineWriter:
    """A queue of events, bounded by what they weigh, and the thread that drains it.

    `render` turns an event into a line, in the thread. Events that find the queue full, or cannot be rendered, are
    dropped and counted, and once lines can be written again one of them says how many were lost.
    """

    def __init__(
        self, sink: Sink, render: Callable[[Event], bytes], *, max_pending_bytes: int = MAX_PENDING_BYTES
    ) -> None:
        self._sink = sink
        self._render = render
        self._max_pending_bytes = max_pending_bytes
        self._lines: list[bytes] = []  # the next chunk
        self._chunk_bytes = 0
        self._weight = 0
        self._lock = threading.RLock()  # re-entrant: a garbage collection inside `put` may log
        self._pending_bytes = 0
        self._dropped = 0
        self._dropped_told = 0
        self._drain: Drain[Item] = Drain("log-writer", self._take, self._write)
        self._drain.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost so far: to a full queue, a failing sink, or because they could not be rendered."""
        return self._dropped

    def put(self, event: Event) -> bool:
        """Take an event, which is the writer's from now on; False where there was no room for it. Never blocks."""
        weight = _weight(event)
        with self._lock:
            if self._drain.closed or weight > self._max_pending_bytes - self._pending_bytes:
                self._dropped += 1
                return False
            self._pending_bytes += weight
        self._drain.put((event, weight))
        return True

    def put_lines(self, data: bytes) -> bool:
        """Take rendered lines, each with its line feed; False where there was no room. Never blocks."""
        with self._lock:
            if self._drain.closed or len(data) > self._max_pending_bytes - self._pending_bytes:
                self._dropped += data.count(b"\n")
                return False
            self._pending_bytes += len(data)
        self._drain.put((Lines(data), len(data)))
        return True

    def flush(self, timeout_seconds: float) -> bool:
        """Block until everything taken so far is written; False where that took too long."""
        return self._drain.flush(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Write what is there and end the thread. A thread that is stuck in its sink is left behind."""
        self._drain.close(timeout_seconds)

    def _take(self, item: Item) -> bool:
        event, weight = item
        line = self._rendered(event)
        self._lines.append(line)
        self._chunk_bytes += len(line)
        self._weight += weight
        return self._chunk_bytes >= MAX_CHUNK_BYTES

    def _rendered(self, event: Event | Lines) -> bytes:
        try:
            return event.data if isinstance(event, Lines) else self._render(event)
        except Exception:  # the thread must live on
            with self._lock:
                self._dropped += 1
            return b""

    def _write(self) -> None:
        """Write the lines, make room, and tell of lines that were lost."""
        lines, weight = self._lines, self._weight
        self._lines, self._chunk_bytes, self._weight = [], 0, 0
        data = b"".join(lines)
        if not self._sent(data):
            with self._lock:
                self._dropped += data.count(b"\n")
        with self._lock:
            self._pending_bytes -= weight
            lost = self._dropped - self._dropped_told
        if lost and self._sent(self._rendered(_lost(lost))):
            self._dropped_told += lost

    def _sent(self, data: bytes) -> bool:
        """Write all of it, for as long as it takes; False where the sink failed."""
        rest = memoryview(data)
        try:
            while rest:
                written = self._sink.write(rest)  # type: ignore[arg-type]
                if written is None:
                    time.sleep(GATHER_SECONDS)
                else:
                    rest = rest[written:]
        except (OSError, ValueError):  # nobody reads any more, the disk is full, the file was closed
            return False
        return True


Item = tuple[Event | Lines, int]
"""What is to be written, and how much it weighs."""


def _lost(count: int) -> Event:
    return {"timestamp": time.time(), "level": "warning", "event": "log_lines_dropped", "count": count}


def _weight(event: Event) -> int:
    """About how much memory an event holds."""
    return 64 * len(event) + sum(len(value) for value in event.values() if type(value) is str)
