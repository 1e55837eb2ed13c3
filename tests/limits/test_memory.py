"""Counting in memory: minutes that end, and what is forgotten."""

from __future__ import annotations

import pytest

from app.domain.limiting import Ask, Rate
from app.limits.memory import MemoryLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> MemoryLimiter:
    return MemoryLimiter(clock)


ASKS = (Ask("key:a", Rate.REQUESTS, 2),)


def test_a_minute_begins_with_its_first_request(limiter: MemoryLimiter, clock: Clock) -> None:
    limiter.admit(ASKS, "a")
    clock.now += 59.5
    limiter.admit(ASKS, "b")
    refused = limiter.admit(ASKS, "c").refusal
    assert refused is not None
    assert refused.retry_after_seconds == pytest.approx(0.5)
    clock.now += 0.5
    verdict = limiter.admit(ASKS, "d")
    assert (verdict.refusal, verdict.remaining, verdict.reset_seconds) == (None, 1, 60)


def test_who_waits_as_told_is_let_through(limiter: MemoryLimiter, clock: Clock) -> None:
    asks = (*ASKS, Ask("team:a", Rate.REQUESTS, 3))
    other = (asks[1],)
    limiter.admit(other, "a")
    clock.now += 20
    for lease in ("b", "c"):
        limiter.admit(asks, lease)
    refused = limiter.admit(asks, "d").refusal
    assert refused is not None
    assert refused.ask.account == "key:a"
    clock.now += refused.retry_after_seconds
    assert limiter.admit(asks, "e").refusal is None


def test_refused_requests_do_not_put_off_the_next_minute(limiter: MemoryLimiter, clock: Clock) -> None:
    for second in range(70):
        clock.now = 1000.0 + second
        verdict = limiter.admit(ASKS, str(second))
        assert (verdict.refusal is None) is (second % 60 < 2)


def test_a_refused_request_leaves_nothing_behind(limiter: MemoryLimiter, clock: Clock) -> None:
    limiter.admit(ASKS, "a")
    limiter.admit(ASKS, "b")
    clock.now += 59
    team = (Ask("team:a", Rate.PARALLEL, 5), Ask("team:a", Rate.REQUESTS, 5))
    before = len(limiter)
    assert limiter.admit((*team, *ASKS), "c").refusal is not None
    assert len(limiter) == before
    clock.now += 30
    verdict = limiter.admit(team, "c")
    assert (verdict.remaining, verdict.reset_seconds) == (4, 60)
    limiter.release("c")
    assert [limiter.admit(team[:1], str(number)).refusal is None for number in range(6)] == [True] * 5 + [False]


async def test_counters_that_nobody_uses_are_forgotten(limiter: MemoryLimiter, clock: Clock) -> None:
    for number in range(1000):
        clock.now += 1
        asks = (Ask(f"key:{number}", Rate.REQUESTS, 5), Ask(f"key:{number}", Rate.PARALLEL, 5))
        limiter.admit(asks, "lease")
        limiter.release("lease")
        assert len(limiter) <= 60
    clock.now += 60
    await limiter.tend()
    assert len(limiter) == 0


def test_a_process_that_has_a_share_keeps_to_it(clock: Clock) -> None:
    limiter = MemoryLimiter(clock, lambda limit: limit // 3)
    asks = (Ask("key:a", Rate.REQUESTS, 9),)
    verdicts = [limiter.admit(asks, str(number)) for number in range(4)]
    assert [verdict.refusal is None for verdict in verdicts] == [True, True, True, False]
    assert verdicts[0].limit == 3


def test_what_was_admitted_elsewhere_counts(limiter: MemoryLimiter) -> None:
    asks = (*ASKS, Ask("key:a", Rate.PARALLEL, 9))
    limiter.note(asks, "a")
    limiter.note(asks, "b")
    assert limiter.admit(asks, "c").refusal is not None
