"""What runs inside Redis: one script judges all requests of a batch, another keeps leases alive.

Redis runs a script as a whole, so each request counts against all of its counters or none. Its own clock tells when
minutes and leases end, so processes agree. A batch comes as JSON and its verdicts go back as one text of numbers:
parsing costs both sides less than as many arguments would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from app.domain.limiting import Ask, Rate, Refusal, Verdict

PREFIX: Final = "quaymaster:"
MINUTE_MS: Final = 60_000
SLOT_MS: Final = 1_000
_FIELDS: Final = 6

JUDGE: Final = """
local batch = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, given in ipairs(batch.release) do
  redis.call('ZREM', given[1], given[2])
end
local out = {}
for _, request in ipairs(batch.admit) do
  local lease, asks = request[1], request[2]
  local refused, wait, overrun = 0, -1, 0
  local limit, remaining, reset = -1, 0, 0
  for i, ask in ipairs(asks) do
    local key, kind, most, shadow = ask[1], ask[2], ask[3], ask[4]
    local used, ends = 0, batch.slot
    if kind == 1 then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      used = redis.call('ZCARD', key)
    else
      used = tonumber(redis.call('GET', key) or '0')
      ends = redis.call('PTTL', key)
      if ends < 0 then ends = batch.minute end
    end
    local left = most - used
    if shadow == 1 then
      if left <= 0 then overrun = overrun + 2 ^ (i - 1) end
    else
      if left <= 0 and ends > wait then refused, wait = i, ends end
      if kind == 0 and (limit < 0 or left < remaining) then limit, remaining, reset = most, left, ends end
    end
  end
  if refused == 0 then
    remaining = remaining - 1
    for _, ask in ipairs(asks) do
      if ask[2] == 1 then
        redis.call('ZADD', ask[1], now + batch.lease, lease)
        redis.call('PEXPIRE', ask[1], batch.lease)
      elseif redis.call('INCR', ask[1]) == 1 then
        redis.call('PEXPIRE', ask[1], batch.minute)
      end
    end
  end
  out[#out + 1] = string.format('%d %d %d %d %d %d', refused, wait, limit, remaining, reset, overrun)
end
return table.concat(out, ' ')
"""

TEND: Final = """
local held = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, given in ipairs(held.leases) do
  redis.call('ZADD', given[1], now + held.lease, given[2])
  redis.call('PEXPIRE', given[1], held.lease)
end
redis.call('ZADD', held.processes, now + held.lease, held.process)
redis.call('PEXPIRE', held.processes, held.lease)
redis.call('ZREMRANGEBYSCORE', held.processes, '-inf', now)
return redis.call('ZCARD', held.processes)
"""

_KINDS: Final = {Rate.REQUESTS: 0, Rate.PARALLEL: 1, Rate.CREATES: 2}


def batch(
    requests: Iterable[tuple[Sequence[Ask], str]], releases: Sequence[tuple[str, str]], *, lease_ms: int
) -> bytes:
    """JUDGE's argument: the requests, and the (counter, lease) pairs that are given back before them."""
    return orjson.dumps(
        {
            "admit": [
                (lease, [(PREFIX + ask.counter, _KINDS[ask.rate], ask.limit, int(ask.shadow)) for ask in asks])
                for asks, lease in requests
            ],
            "release": [(PREFIX + counter, lease) for counter, lease in releases],
            "lease": lease_ms,
            "minute": MINUTE_MS,
            "slot": SLOT_MS,
        }
    )


def tending(leases: Iterable[tuple[str, str]], *, process: str, lease_ms: int) -> bytes:
    """TEND's argument: the (counter, lease) pairs that go on, and this process."""
    return orjson.dumps(
        {
            "leases": [(PREFIX + counter, lease) for counter, lease in leases],
            "processes": f"{PREFIX}processes",
            "process": process,
            "lease": lease_ms,
        }
    )


def verdicts(requests: Sequence[Sequence[Ask]], answer: bytes) -> list[Verdict]:
    """What JUDGE said of each request. Raises ValueError where it did not say so much."""
    numbers = [int(number) for number in answer.split()]
    if len(numbers) != _FIELDS * len(requests):
        raise ValueError("Redis answered another question")
    return [_verdict(asks, numbers[at * _FIELDS : at * _FIELDS + _FIELDS]) for at, asks in enumerate(requests)]


def _verdict(asks: Sequence[Ask], numbers: Sequence[int]) -> Verdict:
    refused, wait, limit, remaining, reset, overrun = numbers
    return Verdict(
        Refusal(asks[refused - 1], wait / 1000) if refused else None,
        limit if limit >= 0 else None,
        max(remaining, 0),
        reset / 1000,
        tuple(ask for at, ask in enumerate(asks) if overrun >> at & 1) if overrun else (),
    )
