"""Whether to try again, and when: a budget, a back-off with jitter, and what the upstream asked for."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Final

from app.domain.ports import RawHeaders

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
"""Answers after which the same GET or DELETE may well succeed.

408 comes from a connection that was closed while the request was under way. 520 to 524 are what Cloudflare, which
stands before OpenAI, says when the server behind it did not answer. A 409 is about the container, and 501, 505 or
a failed TLS handshake (525) stay as they are however often one asks.
"""

_FIRST_BACKOFF_SECONDS: Final = 0.1
_MAX_BACKOFF_SECONDS: Final = 2.0
_MILLI: Final = 1000

_NUMBER: Final = re.compile(rb"[0-9]{1,12}(\.[0-9]{1,12})?")


class RetryBudget:
    """Keeps retries from making an outage worse: over any stretch at most `ratio` per request, and `burst` more."""

    def __init__(self, ratio: float = 0.2, burst: int = 10) -> None:
        self._earned_milli = round(ratio * _MILLI)
        self._most_milli = burst * _MILLI
        self._milli = self._most_milli

    def request(self) -> None:
        """A request is sent for the first time."""
        if self._milli < self._most_milli:
            self._milli = min(self._most_milli, self._milli + self._earned_milli)

    def take(self) -> bool:
        """Take the right to one retry; False where there is none left."""
        if self._milli < _MILLI:
            return False
        self._milli -= _MILLI
        return True


def backoff_seconds(retry_number: int, random: Random) -> float:
    """How long to wait before a retry, the first being number 1: anything up to 0.1 · 2ⁿ and 2 seconds.

    All of it is chance, so that requests that failed together do not come back together.
    """
    longest = min(_FIRST_BACKOFF_SECONDS * 2 ** min(retry_number, 10), _MAX_BACKOFF_SECONDS)
    return random.uniform(0.0, longest)


def wait_before_retry(
    retry_number: int, random: Random, retry_after_seconds: float | None, seconds_left: float
) -> float | None:
    """How long to wait before a retry: what the upstream asked for, and the back-off on top.

    None where that leaves no time for the retry itself before `seconds_left` are over: then do not retry.
    """
    wait = backoff_seconds(retry_number, random) + (retry_after_seconds or 0.0)
    return wait if wait < seconds_left else None


def parse_retry_after(headers: RawHeaders, now_unix: float) -> float | None:
    """The seconds an answer asks to wait, never negative: `retry-after-ms`, else `retry-after` (seconds or a date).

    None where neither is there or says anything. `now_unix` is what dates are compared with.
    """
    after: float | None = None
    for name, value in headers:
        if name == b"retry-after-ms":
            milliseconds = _number(value)
            if milliseconds is not None:
                return milliseconds / 1000
        elif name == b"retry-after" and after is None:
            after = _number(value)
            if after is None:
                after = _until(value, now_unix)
    return after


def _number(value: bytes) -> float | None:
    value = value.strip()
    return float(value) if _NUMBER.fullmatch(value) else None


def _until(date: bytes, now_unix: float) -> float | None:
    """The seconds until an HTTP date, in any of its three forms; 0 for one that is past."""
    if not date[:1].isalpha():
        return None
    try:
        at = parsedate_to_datetime(date.decode("latin-1"))
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_unix)
    except (ValueError, OverflowError):
        return None
