"""One daemon thread that renders log events and writes them, so that nobody who logs ever waits for a reader."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

Event = dict[str, Any]

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
MAX_CHUNK_BYTES: Final = 64 * 1024
"""How much is rendered before it is written."""
GATHER_SECONDS: Final = 0.01
"""How long the thread lets lines gather: waking it for each one would cost more than writing it."""
WORK_SECONDS: Final = 0.0005
REST_SECONDS: Final = 0.0001
"""After so much rendering the thread sleeps so long: a busy thread keeps the event loop from the interpreter lock."""


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
        self._queue: queue.SimpleQueue[Item | threading.Event] = queue.SimpleQueue()
        self._lock = threading.RLock()  # re-entrant: a garbage collection inside `put` may log
        self._pending_bytes = 0
        self._dropped = 0
        self._dropped_told = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost so far: to a full queue, a failing sink, or because they could not be rendered."""
        return self._dropped

    def put(self, event: Event) -> bool:
        """Take an event, which is the writer's from now on; False where there was no room for it. Never blocks."""
        weight = _weight(event)
        with self._lock:
            if self._closed or weight > self._max_pending_bytes - self._pending_bytes:
                self._dropped += 1
                return False
            self._pending_bytes += weight
        self._queue.put((event, weight))
        return True

    def put_lines(self, data: bytes) -> bool:
        """Take rendered lines, each with its line feed; False where there was no room. Never blocks."""
        with self._lock:
            if self._closed or len(data) > self._max_pending_bytes - self._pending_bytes:
                self._dropped += data.count(b"\n")
                return False
            self._pending_bytes += len(data)
        self._queue.put((Lines(data), len(data)))
        return True

    def flush(self, timeout_seconds: float) -> bool:
        """Block until everything taken so far is written; False where that took too long."""
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Write what is there and end the thread. A thread that is stuck in its sink is left behind."""
        self._closed = True
        self._queue.put(threading.Event())
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not (self._closed and self._queue.empty()):
            item = self._queue.get()
            if isinstance(item, tuple) and not self._closed:
                time.sleep(GATHER_SECONDS)
            self._drain(item)

    def _drain(self, item: Item | threading.Event | None) -> None:
        """Write everything that is queued, in chunks."""
        lines: list[bytes] = []
        chunk_bytes = weight = 0
        rest_at = time.monotonic() + WORK_SECONDS
        while item is not None:
            if isinstance(item, threading.Event):
                self._write(lines, weight)
                lines, chunk_bytes, weight = [], 0, 0
                item.set()
            else:
                lines.append(self._rendered(item[0]))
                chunk_bytes += len(lines[-1])
                weight += item[1]
            if chunk_bytes >= MAX_CHUNK_BYTES:
                self._write(lines, weight)
                lines, chunk_bytes, weight = [], 0, 0
            if time.monotonic() >= rest_at:
                time.sleep(REST_SECONDS)
                rest_at = time.monotonic() + WORK_SECONDS
            item = self._next()
        self._write(lines, weight)

    def _rendered(self, event: Event | Lines) -> bytes:
        try:
            return event.data if isinstance(event, Lines) else self._render(event)
        except Exception:  # the thread must live on
            with self._lock:
                self._dropped += 1
            return b""

    def _next(self) -> Item | threading.Event | None:
        with contextlib.suppress(queue.Empty):
            return self._queue.get_nowait()
        return None

    def _write(self, lines: list[bytes], weight: int) -> None:
        """Write lines, make room, and tell of lines that were lost."""
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
