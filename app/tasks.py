"""Background tasks: named, referenced so that none vanishes, their failures logged, drained on shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog


class Tasks:
    """The background tasks of one application."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a coroutine in the background. What it raises is logged under its name and goes nowhere else."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def repeat(self, work: Callable[[], Awaitable[object]], every_seconds: float, name: str) -> None:
        """Do a chore now and every so many seconds, until `drain`. What it raises is logged, and it goes on.

        Of failures in a row only the first is logged.
        """

        async def chore() -> None:
            failed = False
            while True:
                try:
                    await work()
                    failed = False
                except Exception:
                    if not failed:
                        self._log.exception("chore_failed", chore=name)
                    failed = True
                await asyncio.sleep(every_seconds)

        task = asyncio.get_running_loop().create_task(chore(), name=name)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def __len__(self) -> int:
        return len(self._running)

    async def drain(self, timeout_seconds: float) -> None:
        """Stop the chores, and wait until every task has ended, also those that others spawn; cancel what is left."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while self._running and loop.time() < deadline:
            await asyncio.wait(self._running, timeout=deadline - loop.time())
        left = list(self._running)
        for task in left:
            task.cancel()
        if left:
            self._log.warning("tasks_cancelled", tasks=sorted(task.get_name() for task in left))
            await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (raised := task.exception()) is not None:
            self._log.error("task_failed", task=task.get_name(), exc_info=raised)
