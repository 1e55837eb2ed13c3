from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from contextvars import Context
from typing import Any

from app.api.clock import Deadline


class Loop(asyncio.SelectorEventLoop):
    """A loop that tells which timers were made."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[TimerHandle] = []

    def call_at(self, when: float, callback: Any, *arguments: Any, context: Context | None = None) -> TimerHandle:  # type: ignore[override]
        """Make one."""
        timer = super().call_at(when, callback, *arguments, context=context)
        self.timers.append(timer)
        return timer


async def test_it_calls_when_its_time_has_come() -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    began_at = loop.time()
    Deadline(loop, reached.set).set(0.02)
    await reached.wait()
    assert loop.time() - began_at >= 0.02


async def test_moved_on_it_does_not_call_before() -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    deadline = Deadline(loop, reached.set)
    deadline.set(0.01)
    began_at = loop.time()
    deadline.set(0.05)
    await reached.wait()
    assert loop.time() - began_at >= 0.05


async def test_moved_forward_it_calls_at_the_earlier_time() -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    deadline = Deadline(loop, reached.set)
    deadline.set(3600)
    deadline.set(0.01)
    await asyncio.wait_for(reached.wait(), 5)


async def test_once_it_is_closed_it_never_calls() -> None:
    loop, called = asyncio.get_running_loop(), list[str]()
    deadline = Deadline(loop, lambda: called.append("closed"))
    deadline.set(0.01)
    deadline.close()
    later = asyncio.Event()
    loop.call_later(0.03, later.set)
    await later.wait()
    assert called == []


def test_moving_it_makes_no_timer() -> None:
    loop = Loop()
    try:
        deadline = Deadline(loop, lambda: None)
        for _ in range(100):
            deadline.set(3600)
        assert len(loop.timers) == 1
    finally:
        loop.close()
