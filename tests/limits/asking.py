"""A process that asks a shared Redis many times at once, and prints how often it was let through.

python asking.py URL ACCOUNT LIMIT TIMES
"""

from __future__ import annotations

import asyncio
import sys

from app.domain.limiting import Ask, Rate
from app.limits.opening import over_redis


async def asking(url: str, account: str, limit: int, times: int) -> int:
    limiter = over_redis(url, timeout_seconds=5, when_down="refuse", processes=1)
    await limiter.tend()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    asks = (Ask(account, Rate.REQUESTS, limit), Ask(account, Rate.PARALLEL, times * 10))
    verdicts = await asyncio.gather(*(limiter.admit(asks, f"lease-{number}") for number in range(times)))
    await limiter.aclose()
    assert limiter.judged_alone == 0
    return sum(verdict.refusal is None for verdict in verdicts)


if __name__ == "__main__":
    url, account, limit, times = sys.argv[1:]
    print(asyncio.run(asking(url, account, int(limit), int(times))), flush=True)
