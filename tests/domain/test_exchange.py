"""What an exchange knows of its own times."""

from __future__ import annotations

import time

import pytest

from app.domain.exchange import Attempt
from tests.exchanges import DEPLOYMENT, opened_exchange


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        ([], 0.0),
        ([(10.0, 12.0)], 2.0),
        ([(10.0, 12.0), (15.0, 16.0)], 3.0),
        ([(10.0, 12.0), (11.0, 15.0)], 5.0),
        ([(10.0, 15.0), (11.0, 12.0)], 5.0),
    ],
    ids=["none", "one", "two", "overlapping", "one inside the other"],
)
def test_time_spent_on_upstreams_counts_once(attempts: list[tuple[float, float]], seconds: float) -> None:
    exchange = opened_exchange()
    for number, (started_at, ended_at) in enumerate(attempts, start=1):
        exchange.attempts.append(Attempt(number, DEPLOYMENT, started_at, ended_at))
    assert exchange.upstream_seconds == pytest.approx(seconds)


@pytest.mark.parametrize("before", [0, 1])
def test_an_attempt_that_goes_on_counts_until_now(before: int) -> None:
    exchange, now = opened_exchange(), time.monotonic()
    exchange.attempts += [Attempt(1, DEPLOYMENT, now - 9, now - 8)] * before
    exchange.attempts.append(Attempt(before + 1, DEPLOYMENT, now - 2))
    assert before + 2 <= exchange.upstream_seconds < before + 3
