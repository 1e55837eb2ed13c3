"""What runs inside Redis: one script judges all requests of a batch, another keeps leases alive.

Redis runs a script as a whole, so each request counts against all of its counters or none. Its own clock tells when
minutes and leases end, so processes agree. A batch comes as JSON and its verdicts go back as JSON: parsing costs both
sides less than as many arguments would. Each counter is read and written once in a batch, however many count in it:
64 requests of one principal take Redis 5.5 µs each; one by one they took 17 and more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha1
from typing import Final

import orjson

from app.domain.limiting import Ask, Rate, Refusal, Verdict

PREFIX: Final = "quaymaster:"
MINUTE_MS: Final = 60_000
SLOT_MS: Final = 1_000
_FIELDS: Final = 6


class Script:
    """A script, and the name that Redis has for it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


JUDGE: Final = Script("""
local batch = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function all(command, key, members)
  for at = 1, #members, 1000 do
    redis.call(command, key, unpack(members, at, math.min(at + 999, #members)))
  end
end

for _, given in ipairs(batch.release) do
  for _, key in ipairs(given[1]) do
    all('ZREM', key, given[2])
  end
end

local counters = {}
for _, asks in ipairs(batch.asks) do
  for _, ask in ipairs(asks) do
    local key, found = ask[1], counters[ask[1]]
    if not found then
      if ask[2] == 1 then
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        found = {used = redis.call('ZCARD', key), ends = batch.slot, leases = {}}
      else
        local ends = redis.call('PTTL', key)
        if ends < 0 then ends = batch.minute end
        found = {used = tonumber(redis.call('GET', key) or '0'), ends = ends, new = 0}
      end
      counters[key] = found
    end
    ask.counter = found
  end
end

local out = {}
for at, lease in ipairs(batch.leases) do
  local asks = batch.asks[batch.of[at]]
  local refused, wait, overrun = 0, -1, 0
  local limit, remaining, reset = -1, 0, 0
  for i, ask in ipairs(asks) do
    local left, ends = ask[3] - ask.counter.used, ask.counter.ends
    if ask[4] == 1 then
      if left <= 0 then overrun = overrun + 2 ^ (i - 1) end
    else
      if left <= 0 and ends > wait then refused, wait = i, ends end
      if ask[2] == 0 and (limit < 0 or left < remaining) then limit, remaining, reset = ask[3], left, ends end
    end
  end
  if refused == 0 then
    remaining = remaining - 1
    for _, ask in ipairs(asks) do
      local found = ask.counter
      found.used = found.used + 1
      if found.leases then
        table.insert(found.leases, now + batch.lease)
        table.insert(found.leases, lease)
      else
        found.new = found.new + 1
      end
    end
  end
  out[at] = string.format('%d,%d,%d,%d,%d,%d', refused, wait, limit, remaining, reset, overrun)
end

for key, found in pairs(counters) do
  if found.leases then
    if #found.leases > 0 then
      all('ZADD', key, found.leases)
      redis.call('PEXPIRE', key, batch.lease)
    end
  elseif found.new > 0 and redis.call('INCRBY', key, found.new) == found.new then
    redis.call('PEXPIRE', key, batch.minute)
  end
end
return '[' .. table.concat(out, ',') .. ']'
""")

TEND: Final = Script("""
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
""")

_KINDS: Final = {Rate.REQUESTS: 0, Rate.PARALLEL: 1, Rate.CREATES: 2}


def batch(
    requests: Sequence[tuple[Sequence[Ask], str]], releases: Mapping[tuple[str, ...], Sequence[str]], *, lease_ms: int
) -> bytes:
    """JUDGE's argument: the requests, each with its lease, and the leases of slots that are given back before them.

    Requests of one principal share the very tuple of what they ask, so it is said once.
    """
    numbers: dict[int, int] = {}
    distinct: list[Sequence[Ask]] = []
    of: list[int] = []
    for asks, _ in requests:
        number = numbers.get(id(asks))
        if number is None:
            distinct.append(asks)
            number = numbers[id(asks)] = len(distinct)
        of.append(number)
    return orjson.dumps(
        {
            "asks": [
                [(PREFIX + ask.counter, _KINDS[ask.rate], ask.limit, int(ask.shadow)) for ask in asks]
                for asks in distinct
            ],
            "leases": [lease for _, lease in requests],
            "of": of,
            "release": [([PREFIX + counter for counter in counters], leases) for counters, leases in releases.items()],
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
    numbers = orjson.loads(answer)
    if not isinstance(numbers, list) or len(numbers) != _FIELDS * len(requests):
        raise ValueError("Redis answered another question")
    by_request = zip(*[iter(numbers)] * _FIELDS, strict=True)
    return [_verdict(asks, six) for asks, six in zip(requests, by_request, strict=True)]


def _verdict(asks: Sequence[Ask], six: tuple[int, ...]) -> Verdict:
    refused, wait, limit, remaining, reset, overrun = six
    return Verdict(
        Refusal(asks[refused - 1], wait / 1000) if refused else None,
        limit if limit >= 0 else None,
        max(remaining, 0),
        reset / 1000,
        tuple(ask for at, ask in enumerate(asks) if overrun >> at & 1) if overrun else (),
    )
