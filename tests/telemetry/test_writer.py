"""Whoever logs never waits, memory is bounded, and what is lost is told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from app.telemetry.writer import Event, LineWriter


class Gate:
    """A sink that lets nothing through until it is opened."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def write(self, data: bytes) -> int:
        self.reached.set()
        self.opened.wait(10)
        self.raw += data
        return len(data)

    def lines(self) -> list[str]:
        return self.raw.decode().splitlines()


def rendered(event: Event) -> bytes:
    values = [value() if callable(value) else value for value in event.values()]
    return f"{values}\n".encode()


@contextmanager
def writer_into(sink: Gate, max_pending_bytes: int = 10_000) -> Iterator[LineWriter]:
    writer = LineWriter(sink, rendered, max_pending_bytes=max_pending_bytes)
    try:
        yield writer
    finally:
        sink.opened.set()
        writer.close(5)


def stopped_at(gate: Gate, writer: LineWriter) -> None:
    """Log one line and wait until the thread is stuck in writing it."""
    assert writer.put({"a": "first"})
    assert gate.reached.wait(5)


def test_lines_come_out_in_order() -> None:
    gate = Gate()
    gate.opened.set()
    with writer_into(gate, 1_000_000) as writer:
        for number in range(1000):
            assert writer.put({"n": number})
        assert writer.flush(5)
        assert gate.lines() == [f"[{number}]" for number in range(1000)]


def test_a_full_queue_drops_and_later_says_how_many() -> None:
    gate = Gate()
    with writer_into(gate) as writer:
        stopped_at(gate, writer)
        taken = [writer.put({"a": "x" * 936}) for _ in range(20)]
        assert taken == [True] * 9 + [False] * 11
        assert writer.dropped == 11
        gate.opened.set()
        assert writer.flush(5)
        assert len([line for line in gate.lines() if "xxx" in line]) == 9
        told = [line for line in gate.lines() if "log_lines_dropped" in line]
        assert len(told) == 1
        assert told[0].endswith("11]")
        assert writer.put({"a": "again"})
        assert writer.flush(5)
        assert gate.lines()[-1] == "['again']"


def test_rendered_lines_go_where_events_go() -> None:
    gate = Gate()
    with writer_into(gate) as writer:
        stopped_at(gate, writer)
        assert writer.put_lines(b"one\ntwo\n")
        assert writer.put({"a": "three"})
        assert not writer.put_lines(b"x\n" * 5000)
        assert writer.dropped == 5000
        gate.opened.set()
        assert writer.flush(5)
        assert [line for line in gate.lines() if "dropped" not in line][1:] == ["one", "two", "['three']"]


def test_a_pipe_that_nobody_reads_delays_nobody() -> None:
    read_end, write_end = os.pipe()
    sink = os.fdopen(write_end, "wb", buffering=0)
    writer = LineWriter(sink, rendered, max_pending_bytes=1_000_000)
    started_at = time.perf_counter()
    while writer.dropped < 100:
        writer.put({"a": "x" * 5000})
    assert time.perf_counter() - started_at < 2
    assert not writer.flush(0.05)
    with ThreadPoolExecutor(1) as pool, os.fdopen(read_end, "rb") as source:
        received = pool.submit(source.read)
        assert writer.flush(5)
        writer.close(5)
        sink.close()
    assert received.result().count(b"log_lines_dropped") == 1


def test_a_reader_that_has_gone_costs_lines_and_nothing_else() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as sink:
        writer = LineWriter(sink, rendered)
        writer.put({"a": 1})
        writer.put({"a": 2})
        assert writer.flush(5)
        assert writer.dropped == 2
        writer.close(5)


def test_a_line_that_cannot_be_rendered_is_lost_alone() -> None:
    gate = Gate()
    gate.opened.set()
    with writer_into(gate) as writer:
        writer.put({"a": lambda: 1 // 0})
        writer.put({"a": "next"})
        assert writer.flush(5)
        assert gate.lines()[0] == "['next']"
        assert writer.dropped == 1


def test_short_writes_and_a_sink_that_is_not_ready() -> None:
    class Reluctant(Gate):
        turns = 0

        def write(self, data: bytes) -> int | None:  # type: ignore[override]
            self.turns += 1
            if self.turns % 2:
                return None
            self.raw += data[:3]
            return len(data[:3])

    sink = Reluctant()
    with writer_into(sink) as writer:
        writer.put({"a": "long enough"})
        assert writer.flush(5)
        assert sink.lines() == ["['long enough']"]


@pytest.mark.parametrize("producers", [4])
def test_many_threads_may_log(producers: int) -> None:
    gate = Gate()
    gate.opened.set()
    with writer_into(gate, 10_000_000) as writer:
        threads = [
            threading.Thread(target=lambda: [writer.put({"n": number}) for number in range(500)])
            for _ in range(producers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.flush(5)
        assert len(gate.lines()) == producers * 500
        assert writer._pending_bytes == 0


def test_after_close_lines_are_counted_as_lost() -> None:
    gate = Gate()
    gate.opened.set()
    writer = LineWriter(gate, rendered)
    writer.put({"a": 1})
    writer.close(5)
    assert gate.lines() == ["[1]"]
    assert not writer.put({"a": 2})
    assert writer.dropped == 1
