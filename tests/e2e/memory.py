"""How much memory another process takes while something happens."""

from __future__ import annotations

import asyncio
from types import TracebackType

import psutil

LOOK_EVERY_SECONDS = 0.02


class MemoryWatch:
    """Looks at a process's RSS again and again: `grown_bytes` is the most it grew by while the context lasted."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before_bytes = self.peak_bytes = 0

    @property
    def grown_bytes(self) -> int:
        return self.peak_bytes - self.before_bytes

    async def __aenter__(self) -> MemoryWatch:
        self.before_bytes = self.peak_bytes = self._process.memory_info().rss
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        self._look()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
