"""Counting in Redis: batches, leases that end by themselves, and a server that forgets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.domain.limiting import Ask, Rate
from app.limits.redis import RedisLimiter, Unreachable

pytestmark = pytest.mark.service


@pytest.fixture
def name() -> str:
    return f"key:{uuid4().hex}"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


def limiter_at(url: str, lease_seconds: float = 15) -> RedisLimiter:
    return RedisLimiter(url, timeout_seconds=5, lease_seconds=lease_seconds)


@pytest.fixture
async def limiter(redis_url: str) -> AsyncIterator[RedisLimiter]:
    limiter = limiter_at(redis_url)
    await limiter.tend()
    yield limiter
    await limiter.aclose()


async def scripts_run(redis: Any) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_what_is_asked_at_once_goes_out_together(limiter: RedisLimiter, redis: Any, name: str) -> None:
    asks = (Ask(name, Rate.REQUESTS, 50),)
    before = await scripts_run(redis)
    await asyncio.gather(*(limiter.judge(asks, str(number)) for number in range(200)))
    assert await scripts_run(redis) - before <= 2


async def test_a_minute_ends_by_the_clock_of_redis(limiter: RedisLimiter, redis: Any, name: str) -> None:
    asks = (Ask(name, Rate.REQUESTS, 1),)
    await limiter.judge(asks, "a")
    counter = f"quaymaster:requests:{name}"
    assert 59_000 < await redis.pttl(counter) <= 60_000
    await redis.pexpire(counter, 1500)
    refusal = (await limiter.judge(asks, "b")).refusal
    assert refusal is not None
    assert 1 < refusal.retry_after_seconds <= 1.5
    await redis.pexpire(counter, 1)
    await asyncio.sleep(0.01)
    assert (await limiter.judge(asks, "c")).refusal is None


async def test_a_process_that_was_killed_leaks_no_slot_for_longer_than_a_lease(redis_url: str, name: str) -> None:
    killed, other = limiter_at(redis_url, 0.2), limiter_at(redis_url)
    await killed.tend()
    await other.tend()
    asks = (Ask(name, Rate.PARALLEL, 2),)
    await killed.judge(asks, "killed")
    await other.judge(asks, "living")
    assert (await other.judge(asks, "too many")).refusal is not None
    await asyncio.sleep(0.21)
    assert (await other.judge(asks, "in its place")).refusal is None
    assert (await other.judge(asks, "too many")).refusal is not None
    await killed.aclose()
    await other.aclose()


async def test_a_lease_that_is_tended_goes_on(redis_url: str, redis: Any, name: str) -> None:
    limiter = limiter_at(redis_url, 10)
    await limiter.tend()
    asks = (Ask(name, Rate.PARALLEL, 1),)
    await limiter.judge(asks, "a")
    slots = f"quaymaster:parallel:{name}"
    first = await redis.zscore(slots, "a")
    await asyncio.sleep(0.01)
    await limiter.tend()
    assert await redis.zscore(slots, "a") > first
    limiter.release("a")
    await limiter.tend()
    await limiter.aclose()
    assert not await redis.exists(slots)


async def test_at_its_end_a_process_gives_back_what_it_holds(redis_url: str, redis: Any, name: str) -> None:
    limiter = RedisLimiter(redis_url, timeout_seconds=5, process=f"process-{name}")
    await limiter.tend()
    await limiter.judge((Ask(name, Rate.PARALLEL, 1),), "a")
    assert await redis.zscore("quaymaster:processes", f"process-{name}")
    await limiter.aclose()
    assert not await redis.exists(f"quaymaster:parallel:{name}")
    assert await redis.zscore("quaymaster:processes", f"process-{name}") is None


async def test_what_is_given_back_goes_with_the_next_request(limiter: RedisLimiter, redis: Any, name: str) -> None:
    asks = (Ask(name, Rate.PARALLEL, 1),)
    before = await scripts_run(redis)
    for lease in "abcde":
        assert (await limiter.judge(asks, lease)).refusal is None
        limiter.release(lease)
        for _ in range(4):  # time enough to send it, if it went by itself
            await asyncio.sleep(0)
    assert 5 <= await scripts_run(redis) - before < 10


async def test_what_is_given_back_is_free_soon_where_no_other_request_comes(
    limiter: RedisLimiter, redis: Any, name: str
) -> None:
    await limiter.judge((Ask(name, Rate.PARALLEL, 1),), "a")
    limiter.release("a")
    async with asyncio.timeout(5):
        while await redis.exists(f"quaymaster:parallel:{name}"):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_no_number_of_slots_is_too_many_to_be_given_back_at_once(
    limiter: RedisLimiter, redis: Any, name: str
) -> None:
    asks = (Ask(name, Rate.PARALLEL, 10_000),)
    await asyncio.gather(*(limiter.judge(asks, str(number)) for number in range(9000)))
    assert await redis.zcard(f"quaymaster:parallel:{name}") == 9000
    for number in range(9000):
        limiter.release(str(number))
    await limiter.judge(asks, "last")
    assert await redis.zrange(f"quaymaster:parallel:{name}", 0, -1) == [b"last"]


async def test_who_has_left_says_nothing_more(redis_url: str, redis: Any, name: str) -> None:
    limiter = limiter_at(redis_url)
    await limiter.tend()
    await limiter.aclose()
    before = await scripts_run(redis)
    limiter.adopt((Ask(name, Rate.PARALLEL, 1),), "late")
    limiter.release("late")
    with pytest.raises(Unreachable):
        await limiter.judge((Ask(name, Rate.REQUESTS, 1),), "later")
    assert await scripts_run(redis) == before


async def test_processes_know_how_many_they_are(redis_url: str, redis: Any) -> None:
    await redis.delete("quaymaster:processes")
    limiters = [limiter_at(redis_url) for _ in range(3)]
    assert [await limiter.tend() for limiter in limiters] == [1, 2, 3]
    await limiters.pop().aclose()
    assert await limiters[0].tend() == 2
    for limiter in limiters:
        await limiter.aclose()


async def test_a_server_that_forgot_the_scripts_is_told_again(limiter: RedisLimiter, redis: Any, name: str) -> None:
    asks = (Ask(name, Rate.REQUESTS, 5),)
    await limiter.judge(asks, "a")
    await redis.script_flush()
    assert (await limiter.judge(asks, "b")).remaining == 3


async def test_a_judgement_that_nobody_waits_for_any_more_holds_nothing(
    limiter: RedisLimiter, redis: Any, name: str
) -> None:
    asks = (Ask(name, Rate.PARALLEL, 1),)
    await redis.client_pause(100, all=True)
    asking = asyncio.ensure_future(limiter.judge(asks, "a"))
    await asyncio.sleep(0.02)
    asking.cancel()
    await asyncio.wait([asking])
    while (await limiter.judge(asks, "b")).refusal is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_one_that_does_not_speak_our_language_is_away(name: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1") as server:
        limiter = limiter_at(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        with pytest.raises(Unreachable):
            await limiter.tend()
        with pytest.raises(Unreachable):
            await limiter.judge((Ask(name, Rate.REQUESTS, 5),), "a")
        await limiter.aclose()


async def test_one_that_is_too_old_to_say_hello_will_do(name: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := int((await reader.readline())[1:] or 0):
            command = [(await reader.readexactly(int((await reader.readline())[1:]) + 2))[:-2] for _ in range(words)]
            writer.write(b":7\r\n" if command[0] == b"EVALSHA" else b"-ERR unknown command\r\n")
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1") as server:
        limiter = limiter_at(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        assert await limiter.tend() == 7
        with pytest.raises(Unreachable):
            await limiter.judge((Ask(name, Rate.REQUESTS, 5),), "a")
        await limiter.aclose()


async def test_a_wrong_password_is_not_told_to_anybody(redis_url: str) -> None:
    limiter = limiter_at(redis_url.replace("only-for-tests", "hunter2"))
    with pytest.raises(Unreachable) as outage:
        await limiter.tend()
    assert "hunter2" not in str(outage.value)
    assert "127.0.0.1" not in str(outage.value)
    await limiter.aclose()


async def test_nobody_is_left_waiting_when_it_turns_out_meanwhile_that_redis_is_away(
    limiter: RedisLimiter, name: str
) -> None:
    judged = asyncio.create_task(limiter.judge((Ask(name, Rate.REQUESTS, 1),), "lease"))
    await asyncio.sleep(0)  # it has asked, and nothing was sent yet
    limiter.is_up = False  # as `tend` says when Redis did not answer it
    with pytest.raises(Unreachable):
        await asyncio.wait_for(judged, 5)
