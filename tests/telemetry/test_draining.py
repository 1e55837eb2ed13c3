"""What is put in comes out in order, in one thread, and is passed on soon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.telemetry.draining import MANY_ITEMS, Drain


class Basin:
    """Takes numbers and passes them on, four at most at once."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.passed: list[list[int]] = []
        self.arrived = threading.Event()

    def take(self, number: int) -> bool:
        """Is it enough?"""
        self.waiting.append(number)
        return len(self.waiting) == 4

    def pass_on(self) -> None:
        """Take what waits."""
        if self.waiting:
            self.passed.append(self.waiting)
            self.waiting = []
            self.arrived.set()


@contextmanager
def draining(basin: Basin) -> Iterator[Drain[int]]:
    drain: Drain[int] = Drain("test", basin.take, basin.pass_on)
    drain.start()
    yield drain
    drain.close(5)


def test_what_is_put_in_comes_out_in_order_and_never_too_much_at_once() -> None:
    basin = Basin()
    with draining(basin) as drain:
        for number in range(10 * MANY_ITEMS):
            drain.put(number)
        assert drain.flush(5)
        assert [number for passed in basin.passed for number in passed] == list(range(10 * MANY_ITEMS))
        assert max(map(len, basin.passed)) == 4


def test_a_single_item_is_passed_on_without_being_asked_for() -> None:
    basin = Basin()
    with draining(basin) as drain:
        drain.put(1)
        assert basin.arrived.wait(5)
    assert basin.passed == [[1]]


def test_a_flush_waits_for_what_was_put_in_before_it_and_says_where_that_takes_too_long() -> None:
    basin = Basin()
    gate = threading.Event()

    def take(number: int) -> bool:
        return gate.wait(5) and basin.take(number)

    drain: Drain[int] = Drain("test", take, basin.pass_on)
    drain.start()
    drain.put(1)
    assert not drain.flush(0.05)
    gate.set()
    assert drain.flush(5)
    drain.put(2)
    drain.close(5)
    assert basin.passed == [[1], [2]]
