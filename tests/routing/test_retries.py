from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.health import Failure, failure_of
from app.routing.retries import (
    RETRIED_STATUSES,
    RetryBudget,
    backoff_seconds,
    parse_retry_after,
    wait_before_retry,
)

NOON = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date in RFC 9110's examples."""


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]), st.integers(0, 20))
def test_retries_never_exceed_their_share(retries: list[bool], ratio: float, burst: int) -> None:
    budget = RetryBudget(ratio, burst)
    history = []
    for retry in retries:
        if retry:
            history.append((0, int(budget.take())))
        else:
            budget.request()
            history.append((1, 0))
    for start in range(0, len(history), 7):
        requests = taken = 0
        for first, again in history[start:]:
            requests += first
            taken += again
            assert taken * 1000 <= round(ratio * 1000) * requests + burst * 1000


def test_a_budget_is_spent_and_earned() -> None:
    budget = RetryBudget()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(4):
        budget.request()
    assert not budget.take()
    budget.request()
    assert [budget.take(), budget.take()] == [True, False]


def test_what_is_earned_is_not_saved_beyond_the_burst() -> None:
    budget = RetryBudget(0.2, 2)
    for _ in range(1000):
        budget.request()
    assert [budget.take() for _ in range(3)] == [True, True, False]


def test_not_quite_one_is_none() -> None:
    budget = RetryBudget(0.333, 1)
    assert budget.take()
    for _ in range(3):
        budget.request()
    assert not budget.take()


def test_back_off_grows_is_capped_and_is_all_chance() -> None:
    random = Random(1)
    for number, longest in [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, 2.0), (6, 2.0), (10_000, 2.0)]:
        waits = [backoff_seconds(number, random) for _ in range(500)]
        assert 0 <= min(waits) < 0.05 * longest
        assert 0.95 * longest < max(waits) <= longest


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"date", b"5")], None),
        ([(b"retry-after", b"5")], 5),
        ([(b"retry-after", b" 0 ")], 0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after", b"5"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"5")], 0.25),
        ([(b"retry-after-ms", b"0.5")], 0.0005),
        ([(b"retry-after-ms", b"soon"), (b"retry-after", b"5")], 5),
        ([(b"retry-after-ms", b"-1"), (b"retry-after", b"5")], 5),
        ([(b"retry-after", b"later"), (b"retry-after", b"5")], 5),
        ([(b"retry-after", b"5"), (b"retry-after", b"7")], 5),
        ([(b"retry-after", b"Sun, 06 Nov 1994 08:50:37 GMT")], 60),
        ([(b"retry-after", b"Sunday, 06-Nov-94 08:50:37 GMT")], 60),
        ([(b"retry-after", b"Sun Nov  6 08:50:37 1994")], 60),
        ([(b"retry-after", b"Sun, 06 Nov 1994 08:50:37 -0000")], 60),
        ([(b"retry-after", b"Sun, 06 Nov 1994 08:49:37 GMT")], 0),
        ([(b"retry-after", b"Sun, 06 Nov 1988 08:49:37 GMT")], 0),
        *[
            ([(b"retry-after", nonsense)], None)
            for nonsense in (
                b"",
                b"-5",
                b"+5",
                b"5s",
                b"nan",
                b"inf",
                b"1e3",
                b"0x10",
                b"9" * 40,
                b"tomorrow",
                b"Sun",
                b"Sun, 99 Nov 1994 08:49:37 GMT",
                b"Sun, 06 Nov 1994 30:99:99 GMT",
                b"Sun, 06 Nov 99999999999 08:49:37 GMT",
                b"Sun, 06 Nov 1994 08:49:37 +99999999999999999999",
                b"1994-11-06T08:49:37Z",
                b"\xff\xfe",
                b"Sun, " * 1000,
            )
        ],
    ],
)
def test_how_long_an_upstream_asks_to_wait(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    found = parse_retry_after(headers, NOON)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_date_without_a_zone_is_in_utc_wherever_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert parse_retry_after([(b"retry-after", b"Sun, 06 Nov 1994 08:50:37 -0000")], NOON) == 60
        assert parse_retry_after([(b"retry-after", b"Sun Nov  6 08:50:37 1994")], NOON) == 60
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.lists(st.tuples(st.sampled_from([b"retry-after", b"retry-after-ms"]), st.binary()), max_size=3))
def test_no_header_can_break_it(headers: list[tuple[bytes, bytes]]) -> None:
    found = parse_retry_after(headers, NOON)
    assert found is None or 0 <= found < 1e13


@given(st.text("SunMoOctNv 0123456789:,-+GMT", max_size=40))
def test_nothing_like_a_date_can_break_it(text: str) -> None:
    found = parse_retry_after([(b"retry-after", text.encode())], NOON)
    assert found is None or 0 <= found < 1e13


@given(
    number=st.integers(1, 100), told=st.none() | st.floats(0, 100), left=st.floats(0, 100), seed=st.integers(0, 1000)
)
def test_a_wait_honours_what_was_asked_and_fits_the_deadline(
    number: int, told: float | None, left: float, seed: int
) -> None:
    wait = wait_before_retry(number, Random(seed), told, left)
    longest = (told or 0) + min(0.1 * 2**number, 2.0)
    if wait is None:
        assert left <= longest
    else:
        assert (told or 0) <= wait <= longest
        assert wait < left


def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    assert wait_before_retry(1, Random(1), 60.0, 30.0) is None
    assert wait_before_retry(1, Random(1), None, 0.0) is None
    assert wait_before_retry(1, Random(1), None, -1.0) is None


def test_what_is_tried_again() -> None:
    assert {408, 429, 500, 502, 503, 504} <= RETRIED_STATUSES
    assert not RETRIED_STATUSES & {*range(400), 400, 401, 402, 403, 404, 409, 422, 501, 505}
    assert {failure_of(status) for status in RETRIED_STATUSES} == {None, Failure.RATE_LIMITED, Failure.SERVER_ERROR}
