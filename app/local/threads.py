"""Where blocking work runs, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

BYTES_THREADS: Final = 8


class Threads:
    """One thread for records, which are therefore never touched by two jobs at once, and a few for bytes."""

    def __init__(self) -> None:
        self._records = ThreadPoolExecutor(1, thread_name_prefix="local-records")
        self._bytes = ThreadPoolExecutor(BYTES_THREADS, thread_name_prefix="local-bytes")

    async def records(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a job on the records."""
        return await _run(self._records, job, *args, **kwargs)

    async def bytes(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a job that reads, writes or chews bytes."""
        return await _run(self._bytes, job, *args, **kwargs)

    def close(self) -> None:
        """Wait for the jobs under way, and end the threads. Blocks."""
        self._bytes.shutdown()
        self._records.shutdown()


async def _run(pool: ThreadPoolExecutor, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a job to its end, even when the caller is cancelled: only then may what the job uses be closed."""
    work = asyncio.wrap_future(pool.submit(job, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # taken, or asyncio would report it as lost
        raise
    finally:
        del work  # what it raised leads back to this frame, and to the job's arguments: a cycle of many MiB
