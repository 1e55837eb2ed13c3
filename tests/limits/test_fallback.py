"""Redis that stops, hangs and comes back: nobody waits for long, and nobody gets more than this process's share."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from redis.asyncio import Redis

from app.domain.limiting import TEND_SECONDS, Ask, Rate
from app.limits.fallback import FallbackLimiter
from app.limits.opening import CannotLimit, over_redis
from tests.logs import captured_log
from tests.services import Server, redis_server

pytestmark = pytest.mark.service

ASKS = (Ask("key:a", Rate.REQUESTS, 9), Ask("key:a", Rate.PARALLEL, 6))


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def over(
    server: Server, when_down: Literal["share", "allow", "refuse"] = "share", processes: int = 1, seconds: float = 1
) -> AsyncIterator[FallbackLimiter]:
    limiter = over_redis(server.url, timeout_seconds=seconds, when_down=when_down, processes=processes)
    await limiter.tend()
    try:
        yield limiter
    finally:
        await limiter.aclose()


async def admitted(limiter: FallbackLimiter, times: int, asks: tuple[Ask, ...] = ASKS[:1], prefix: str = "") -> int:
    verdicts = [await limiter.admit(asks, f"{prefix}{number}") for number in range(times)]
    return sum(verdict.refusal is None for verdict in verdicts)


async def is_back(limiter: FallbackLimiter) -> None:
    """Tend it as a gateway does, until Redis is back."""
    for _ in range(20):
        await limiter.tend()
        if not limiter.is_alone:
            return
        await asyncio.sleep(TEND_SECONDS / 5)
    raise TimeoutError


async def test_alone_a_process_keeps_to_its_share_of_what_it_already_admitted(server: Server) -> None:
    async with over(server) as first, over(server) as second, over(server) as third:
        await asyncio.gather(first.tend(), second.tend(), third.tend())
        first._tended_at = float("-inf")
        await first.tend()
        assert first.processes == 3
        assert await admitted(first, 2) == 2
        server.stop()
        verdict = await first.admit(ASKS[:1], "alone")
        assert (verdict.refusal, verdict.is_fallback, verdict.limit) == (None, True, 3)
        assert await admitted(first, 5) == 0
        assert first.is_alone
        assert first.judged_alone == 6
        server.start()
        await is_back(first)


async def test_the_share_of_a_small_limit_is_one_and_of_none_is_none(server: Server) -> None:
    server.stop()
    async with over(server, processes=5) as limiter:
        assert await admitted(limiter, 9, (Ask("key:small", Rate.REQUESTS, 2),)) == 1
        assert await admitted(limiter, 9, (Ask("key:none", Rate.REQUESTS, 0),)) == 0


async def test_who_allows_allows_all(server: Server) -> None:
    async with over(server, "allow") as limiter:
        server.stop()
        assert await admitted(limiter, 30, ASKS) == 30
        assert (await limiter.admit(ASKS, "x")).limit is None


async def test_who_refuses_says_that_it_does_not_know(server: Server) -> None:
    async with over(server, "refuse") as limiter:
        server.stop()
        refusal = (await limiter.admit(ASKS, "a")).refusal
        assert refusal is not None
        assert refusal.is_outage
        in_shadow = (Ask("key:a", Rate.REQUESTS, 1, True),)
        assert await admitted(limiter, 5, in_shadow) == 5


async def test_a_redis_that_hangs_is_waited_for_once(server: Server) -> None:
    async with over(server, seconds=0.05) as limiter:
        pid = await _pid(server)
        os.kill(pid, signal.SIGSTOP)
        try:
            began_at = time.monotonic()
            verdicts = await asyncio.gather(*(limiter.admit(ASKS[:1], str(number)) for number in range(300)))
            took = time.monotonic() - began_at
            again_at = time.monotonic()
            await admitted(limiter, 100)
            again = time.monotonic() - again_at
        finally:
            os.kill(pid, signal.SIGCONT)
        assert sum(verdict.refusal is None for verdict in verdicts) == 9
        assert all(verdict.is_fallback for verdict in verdicts)
        assert 0.045 < took < 0.25
        assert again < 0.05
        await is_back(limiter)


async def _pid(server: Server) -> int:
    async with Redis.from_url(server.url) as redis:
        return int((await redis.info("server"))["process_id"])


async def test_slots_taken_while_redis_was_away_are_counted_when_it_is_back(server: Server) -> None:
    async with over(server) as limiter, over(server) as other:
        slots = (Ask("team:a", Rate.PARALLEL, 4),)
        assert await admitted(limiter, 1, slots, "before") == 1
        server.stop()
        assert await admitted(limiter, 1, slots, "during") == 1
        server.start()
        await is_back(limiter)
        await is_back(other)
        assert await admitted(other, 9, slots, "other") == 2
        limiter.release("during0")
        limiter.release("before0")
        assert (await limiter.admit(slots, "after")).refusal is None
        assert await admitted(other, 9, slots, "more") == 1


async def test_slots_given_back_while_redis_hangs_are_free_when_it_is_back(server: Server) -> None:
    async with over(server, seconds=0.05) as limiter:
        slots = (Ask("team:a", Rate.PARALLEL, 1),)
        assert await admitted(limiter, 1, slots) == 1
        pid = await _pid(server)
        os.kill(pid, signal.SIGSTOP)
        try:
            limiter.release("0")
            await limiter.admit(ASKS, "late")
            assert limiter.is_alone
            limiter.release("late")
        finally:
            os.kill(pid, signal.SIGCONT)
        await is_back(limiter)
        assert (await limiter.admit(slots, "next")).refusal is None
        async with Redis.from_url(server.url) as redis:
            assert await redis.zrange("quaymaster:parallel:key:a", 0, -1) == []


async def test_stopped_and_started_in_the_middle_of_everything(server: Server) -> None:
    """Under load, no request fails or hangs, and slots are all free at the end."""
    slowest = 0.0
    asks = (Ask("key:a", Rate.REQUESTS, 10**6), Ask("key:a", Rate.PARALLEL, 1000))
    over_now = asyncio.Event()

    async def client(limiter: FallbackLimiter, number: int) -> int:
        nonlocal slowest
        turns = 0
        while not over_now.is_set():
            began_at = time.monotonic()
            lease = f"{number}-{turns}"
            assert (await limiter.admit(asks, lease)).refusal is None
            slowest = max(slowest, time.monotonic() - began_at)
            await asyncio.sleep(0)
            limiter.release(lease)
            turns += 1
        return turns

    async def disturb(limiter: FallbackLimiter) -> None:
        for _ in range(2):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.1)
            assert limiter.is_alone
            await asyncio.to_thread(server.start)
            await is_back(limiter)
        over_now.set()

    with captured_log() as log:
        async with over(server, seconds=0.05) as limiter:
            turns = await asyncio.gather(disturb(limiter), *(client(limiter, number) for number in range(20)))
            assert all(turn for turn in turns[1:])
        assert len(log.events("redis_away")) == len(log.events("redis_back")) == 2
    assert slowest < 0.5
    async with Redis.from_url(server.url) as redis:
        assert await redis.keys("quaymaster:parallel:*") == []


async def test_it_starts_without_redis_and_finds_it_later(server: Server) -> None:
    server.stop()
    async with over(server) as limiter:
        assert limiter.is_alone
        assert await admitted(limiter, 1) == 1
        server.start()
        await is_back(limiter)
        assert not (await limiter.admit(ASKS[:1], "x")).is_fallback


def test_a_url_that_makes_no_sense_says_so() -> None:
    async def opening() -> Any:
        return over_redis("redis://:hunter2@h:port/", timeout_seconds=1, when_down="share", processes=1)

    with pytest.raises(CannotLimit) as problem:
        asyncio.run(opening())
    assert "hunter2" not in str(problem.value)
