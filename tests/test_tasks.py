"""Background tasks neither vanish nor outlive the application."""

from __future__ import annotations

import asyncio
import gc

from app.tasks import Tasks
from tests.logs import captured_log


async def test_drain_waits_for_tasks_and_for_those_they_spawn() -> None:
    tasks = Tasks()
    ended: list[str] = []

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.spawn(second(), "second")
        ended.append("first")

    async def second() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("second")

    tasks.spawn(first(), "first")
    await tasks.drain(5)
    assert ended == ["first", "second"]
    assert len(tasks) == 0


async def test_a_task_nobody_holds_is_not_collected() -> None:
    tasks = Tasks()
    go_on = asyncio.Event()
    ended = asyncio.Event()

    async def patient() -> None:
        await go_on.wait()
        ended.set()

    tasks.spawn(patient(), "patient")
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    go_on.set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_what_a_task_raises_is_logged_under_its_name() -> None:
    async def broken() -> None:
        raise RuntimeError("went wrong")

    with captured_log() as log:
        tasks = Tasks()
        tasks.spawn(broken(), "the broken one")
        await tasks.drain(5)
        (event,) = log.events("task_failed")
    assert event["task"] == "the broken one"
    assert event["exception"].endswith("RuntimeError: went wrong")


async def test_drain_cancels_what_takes_too_long_and_says_so() -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with captured_log() as log:
        tasks = Tasks()
        tasks.spawn(endless(), "endless")
        await tasks.drain(0.01)
        (event,) = log.events()
    assert event["event"] == "tasks_cancelled"
    assert event["tasks"] == ["endless"]
    assert cancelled.is_set()
    assert len(tasks) == 0


async def test_draining_nothing_is_quiet() -> None:
    with captured_log() as log:
        await Tasks().drain(5)
        assert log.events() == []
