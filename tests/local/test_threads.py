from __future__ import annotations

import asyncio
import threading

import pytest

from app.local.threads import Threads


async def test_a_cancelled_caller_waits_for_its_job() -> None:
    threads = Threads()
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()
        raise OSError("nobody is told")

    caller = asyncio.create_task(threads.bytes(job))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
    await asyncio.to_thread(threads.close)


async def test_results_and_errors_come_back() -> None:
    threads = Threads()
    assert await threads.records(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.bytes(divmod, 7, 0)
    await asyncio.to_thread(threads.close)


async def test_records_are_touched_by_one_job_at_a_time() -> None:
    threads = Threads()
    names = await asyncio.gather(*(threads.records(lambda: threading.current_thread().name) for _ in range(20)))
    assert len(set(names)) == 1
    await asyncio.to_thread(threads.close)
